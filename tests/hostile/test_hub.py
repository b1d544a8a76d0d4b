"""A hub is not believed: whatever it answers stays in the store, is bounded, and ends in one line."""

from __future__ import annotations

import json
import os
import threading
import time
import tracemalloc
from itertools import repeat
from pathlib import Path

import pytest

from edge_wsd.errors import Cancelled, EdgeWsdError, HubError
from edge_wsd.models.store.hub import Hub
from edge_wsd.models.store.hub_errors import RetryPolicy
from edge_wsd.models.store.local import Store
from edge_wsd.models.store.manifest import is_safe_path
from edge_wsd.pull import pull
from tests.hub_server import Fault
from tests.tiny_hub import COMMIT, FILE, GGUF, NAME, REPO

SHA256, SHA1 = "a" * 64, "b" * 40
MIB = 1 << 20


@pytest.fixture
def get(server, tmp_path):
    def run(name=NAME, **how):
        retries = RetryPolicy(tries=2, first_wait_s=0.01, silence_s=how.pop("silence_s", 5))
        return pull(name, store=Store(tmp_path / "store"), hub=Hub(endpoint=server.url, retries=retries), **how)

    return run


def info(**changes):
    return {"id": REPO, "sha": COMMIT, "gated": False, "tags": [], "cardData": {}, **changes}


def entry(path, **changes):
    """An entry of a list of files as the hub makes it."""
    return {
        "type": "file", "path": path, "size": 9, "oid": SHA1,
        "lfs": {"oid": SHA256, "size": 9, "pointerSize": 130}, **changes,
    }  # fmt: skip


def answers(server, path, value):
    server.faults.append(Fault(path, answer=json.dumps(value).encode(), times=99))


def files_outside(tmp_path: Path) -> list[Path]:
    return [path for path in tmp_path.rglob("*") if path.is_file() and tmp_path / "store" not in path.parents]


@pytest.mark.parametrize(
    "commit",
    [
        "{outside}", "../../outside", "main", "", None, 7, ["a"], "A" * 40, "a" * 39, "a" * 41, "a" * 39 + "\n",
        "a" * 39 + "/", "٠" * 40, "\x1b[2J",
    ],
    ids=repr,
)  # fmt: skip
def test_the_name_of_a_commit_is_forty_digits_and_never_a_path(server, get, tmp_path, commit):
    """It became the name of a folder: "/somewhere" put files there."""
    outside = tmp_path / "outside"
    answers(server, "/main", info(sha=str(outside) if commit == "{outside}" else commit))
    with pytest.raises(HubError, match=r"names the commit .*, expected 40 hexadecimal digits"):
        get()
    assert files_outside(tmp_path) == [] and not outside.exists()


@pytest.mark.parametrize(
    "path",
    ["../x.gguf", "/x.gguf", "a/../../x.gguf", "a\\..\\x.gguf", "C:x.gguf", "a//x.gguf", "x\0.gguf",
     "x\n.gguf", "\x1b[2Jx.gguf", "x\x9b.gguf", "x\ud800.gguf", "x\u2028.gguf", "", ".", "n" * 256, 7, None],
)  # fmt: skip
def test_the_path_of_a_file_stays_inside_and_is_plain_text(server, get, tmp_path, path):
    answers(server, COMMIT, [entry(path)])
    with pytest.raises(HubError, match="lists a file") as told:
        get()
    assert str(told.value).isprintable() and files_outside(tmp_path) == []


@pytest.mark.parametrize("identity", ["../../../x", "a" * 63, "A" * 64, "a" * 65, "", None, 7, "a" * 63 + "\n"])
@pytest.mark.parametrize("large", [True, False])
def test_a_checksum_is_digits_and_never_a_path(server, get, tmp_path, identity, large):
    changes = {"lfs": {"oid": identity, "size": 9, "pointerSize": 1}} if large else {"oid": identity, "lfs": None}
    answers(server, COMMIT, [entry(FILE, **changes)])
    with pytest.raises(HubError, match="as the checksum"):
        get()
    assert files_outside(tmp_path) == []


@pytest.mark.parametrize("size", [-1, 1.5, "9", None, True, 10**30, [9], {}])
@pytest.mark.parametrize("large", [True, False])
def test_a_size_is_a_number_that_a_file_can_have(server, get, size, large):
    changes = {"lfs": {"oid": SHA256, "size": size}} if large else {"size": size, "lfs": None}
    answers(server, COMMIT, [entry(FILE, **changes)])
    with pytest.raises(HubError, match="bytes"):
        get()


@pytest.mark.parametrize(
    "listed, expected",
    [
        ([entry(FILE), entry(FILE)], "twice"),
        ([entry("a"), entry("a/b.gguf")], "as a file and as a folder"),
        ({"a": 1}, "is a dict"),
        (["a"], "is a str, expected an object"),
        ([entry(FILE, lfs="x")], "is a str, expected an object"),
    ],
)
def test_a_list_of_files_is_one(server, get, listed, expected):
    answers(server, COMMIT, listed)
    with pytest.raises(HubError, match=expected):
        get()


@pytest.mark.parametrize("value", [[], "x", 7, None, [info()]])
def test_what_is_told_of_a_repository_is_an_object(server, get, value):
    answers(server, "/main", value)
    with pytest.raises(HubError, match="expected an object"):
        get()


def test_whatever_else_is_told_of_a_repository_does_no_harm(server, get):
    odd = {"cardData": {"license": ["\x1b[2Jmit", 7, "x" * 10_000]}, "tags": [7, None], "id": ["x"], "gated": 0,
           "safetensors": {"total": -1}, "lastModified": 7, "inferenceProviderMapping": "x", "siblings": 9}  # fmt: skip
    answers(server, "/main", info(**odd))
    model = get()
    assert model.name == NAME and model.manifest.licence.isprintable() and len(model.manifest.licence) < 250


@pytest.mark.parametrize("path", ["/main", COMMIT, FILE])
@pytest.mark.parametrize("status", [200, 302, 401, 500])
def test_an_answer_without_end_is_read_up_to_a_bound(server, get, path, status):
    """400 MB of JSON were read into memory, and so were the bodies of refusals and redirections."""
    if path == FILE and status == 200:
        pytest.skip("a file has the size that was listed")
    headers = {"Location": "/nowhere"} if status == 302 else {}
    server.faults.append(Fault(path, status=status, headers=headers, answer=repeat(b"[" * MIB, 400), times=99))
    tracemalloc.start()
    try:
        with pytest.raises(HubError):
            get()
        assert tracemalloc.get_traced_memory()[1] < 60 * MIB
    finally:
        tracemalloc.stop()
    assert max(one.sent for one in server.requests) < 40 * MIB


@pytest.mark.parametrize("path", ["/main", COMMIT])
@pytest.mark.parametrize("answer", [b"[" * 200_000, b"", b"<html>", b"1" * 5000, b'{"sha": NaN', b"\xff\xfe", b"null"])
def test_an_answer_that_is_no_json_is_one_line(server, get, path, answer):
    server.faults.append(Fault(path, answer=answer, times=99))
    with pytest.raises(HubError, match="no usable answer") as told:
        get()
    assert "\n" not in str(told.value)


def test_pages_of_files_end(server, get):
    again = {"Link": f'<{server.url}/api/models/{REPO}/tree/{COMMIT}?cursor=1>; rel="next"'}
    server.faults.append(Fault(COMMIT, answer=b"[]", headers=again, times=2000))
    with pytest.raises(HubError, match="more than 1000 pages"):
        get()


@pytest.mark.parametrize("link", ["<http://[::1/>", "<\x7f>", "<?\xe9>"])
def test_a_next_page_without_an_address_is_one_line(server, get, link):
    server.faults.append(Fault(COMMIT, answer=b"[]", headers={"Link": f'{link}; rel="next"'}, times=9))
    with pytest.raises(HubError, match="no address"):
        get()


def test_redirections_end(server, get):
    server.faults.append(Fault("", status=302, headers={"Location": "/again"}, times=999))
    with pytest.raises(HubError, match="redirects more than 10 times"):
        get()


@pytest.mark.parametrize("location", ["ftp://127.0.0.1/x", "file:///etc/passwd", "http://[", "", "//", "http://\x7f"])
def test_a_redirection_to_nowhere_is_one_line(server, get, location):
    server.faults.append(Fault("/main", status=302, headers={"Location": location}, times=99))
    with pytest.raises(HubError):
        get()


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "²"}, {"Retry-After": "9" * 5000}, {"Retry-After": "Fri, 31 Dec 99999 23:59:59 GMT"},
        {"Retry-After": "-5"}, {"Retry-After": "NaN"}, {"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"},
    ],
    ids=repr,
)  # fmt: skip
def test_a_pause_that_makes_no_sense_is_one_line(server, get, headers):
    server.faults.append(Fault("/main", status=429, headers=headers, times=99))
    with pytest.raises(HubError, match="fewer requests"):
        get()


@pytest.mark.parametrize("content_range", ["bytes 5-9/10", "bytes -", "²", "bytes " + "9" * 5000 + "-1/1", ""])
def test_a_range_that_was_not_asked_for_is_one_line(server, get, content_range):
    server.faults.append(Fault(FILE, status=206, headers={"Content-Range": content_range}, answer=b"x", times=99))
    with pytest.raises(HubError, match="it sent byte"):
        get()


@pytest.mark.parametrize("path", ["/main", COMMIT, FILE])
def test_what_is_compressed_unasked_is_not_unpacked(server, get, path):
    server.faults.append(Fault(path, status=200, headers={"Content-Encoding": "gzip"}, answer=b"x", times=99))
    with pytest.raises(HubError, match="compressed"):
        get()


def test_texts_of_refusals_move_no_cursor(server, get):
    message = "\x1b[2J\x9b" + "x" * 5000
    server.faults.append(Fault(FILE, status=418, headers={"X-Error-Message": message, "X-Error-Code": message}))
    with pytest.raises(HubError) as told:
        get()
    assert str(told.value).isprintable() and len(str(told.value)) < 500


@pytest.mark.parametrize("path", ["/main", COMMIT, "/auth-check", FILE])
def test_whoever_gives_up_does_not_wait_for_a_silent_hub(server, get, path):
    """It was waited for until its connection timed out."""
    server.repositories[REPO].gated, server.repositories[REPO].accepted = True, frozenset({None})
    server.faults.append(Fault(path, silent=True, times=99))
    asked = threading.Event()

    def give_up(_step):
        if any(one.path.endswith(path) for one in server.requests):
            asked.set()
            raise Cancelled("enough")

    began = time.monotonic()
    with pytest.raises(Cancelled):
        get(progress=give_up, silence_s=600)
    assert asked.is_set() and time.monotonic() - began < 60, "it waited for the time-out"


def test_a_hub_that_is_silent_says_how_long_it_is_waited_for(server, get):
    server.faults.append(Fault("/main", silent=True))
    notes = set()
    assert get(progress=lambda step: notes.add(step.note), silence_s=1.5).name == NAME
    assert f"{NAME}, 1 s" in notes and any(note.startswith("the connection failed; next try in") for note in notes)


def test_a_thread_that_was_given_up_writes_no_more(server, get, tmp_path):
    server.bytes_per_second = 4_000_000

    def stop(step):
        if step.done:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        get(progress=stop)
    (partial,) = (tmp_path / "store").rglob("*.incomplete")
    before = partial.stat().st_size
    time.sleep(0.3)
    assert partial.stat().st_size == before


def test_a_name_as_long_as_the_file_system_allows_is_fetched(server, get):
    """The name of a file that is being fetched was longer than its own."""
    longest = "x" * 245 + "-Q8_0.gguf"
    server.add("someone/long", {f"{'f' * 255}/{longest}": GGUF})
    assert get("someone/long:Q8_0").path.name == longest
    server.add("someone/two", {longest: GGUF, "short-Q8_0.gguf": GGUF})
    with pytest.raises(EdgeWsdError, match="cannot be the name of a folder"):
        get(f"someone/two:{longest}")


def test_names_are_safe_on_every_system():
    assert is_safe_path("模型　一/weights (1) é.gguf") and not is_safe_path("a" + os.sep + "..")


def test_links_that_are_signed_stand_in_no_log(server, get, caplog):
    """The client's libraries log addresses and heads of answers, for an application that listens to them."""
    link = f"{server.cdn}/cdn/{COMMIT}/{FILE}?X-Amz-Signature=0123456789abcdef&Expires=1"
    server.faults.append(Fault(FILE, status=302, headers={"Location": link}))
    caplog.set_level("DEBUG")
    get()
    told = "\n".join(record.getMessage() for record in caplog.records)
    assert f"{server.cdn}/cdn/" in told and "0123456789abcdef" not in told
