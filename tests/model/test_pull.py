"""Pulling models through the genuine client from a hub on this machine, with everything that can go wrong."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from edge_wsd.errors import Cancelled, HubError, ModelFileError, StoreError
from edge_wsd.models.store import transfer
from edge_wsd.models.store.hub import Hub
from edge_wsd.models.store.hub_errors import RetryPolicy
from edge_wsd.models.store.local import Store, find_model
from edge_wsd.pull import pull, pull_size
from tests.hub_server import Fault
from tests.tiny_hub import COMMIT, FILE, GGUF, NAME, REPO, left_over


def test_a_ready_file_is_stored_with_its_manifest_and_nothing_else_is_fetched(server, store, get):
    model = get()
    assert model.name == NAME and model.path.read_bytes() == GGUF
    about = json.loads((model.folder / "manifest.json").read_text())
    assert about["revision"] == server.repositories[REPO].refs["main"] and about["licence"] == "mit"
    assert about["files"][0]["sha256"] == hashlib.sha256(GGUF).hexdigest()
    assert about["made"] == "ready GGUF" and about["files"][0]["origin"] == FILE
    assert server.bytes_sent() == len(GGUF) and left_over(store) == []
    assert find_model(NAME.lower(), store) == find_model("Tiny-GGUF", store) == model.path


def test_a_model_in_the_store_needs_no_request(server, store, get):
    model = get(REPO)
    server.requests.clear()
    for name, revision in ((REPO, None), (NAME, "main"), (NAME, model.manifest.revision)):
        assert get(name, revision=revision) == model
    assert pull_size(NAME, store=store, hub=Hub(endpoint=server.url)).in_store
    assert server.requests == []


def test_another_revision_or_force_asks_the_hub_again_and_replaces(server, store, get):
    first = get()
    server.add(REPO, {FILE: GGUF + bytes(64)})
    assert get() == first
    second = get(force=True)
    assert second.path.stat().st_size == len(GGUF) + 64 and not first.path.exists()
    old = get(revision=first.manifest.revision)
    assert old.path.read_bytes() == GGUF and [model.name for model in store.models()] == [NAME]


def test_the_file_fetched_is_that_of_the_commit_even_if_the_branch_moves_meanwhile(server, store, get):
    def move(step):
        if step.stage == "look up":
            move.commit = server.repositories[REPO].refs["main"]
        elif step.stage == "download":
            server.repositories[REPO].refs["main"] = "0" * 40

    model = get(progress=move)
    assert model.manifest.revision == move.commit and model.path.read_bytes() == GGUF


def test_sizes_are_told_without_fetching(server, store):
    size = pull_size(REPO, store=store, hub=Hub(endpoint=server.url))
    assert (size.name, size.download_bytes, size.stored_bytes) == (NAME, len(GGUF), len(GGUF))
    assert size.licence == "mit" and size.destination.parent == store.root and not size.in_store
    assert server.bytes_sent() == 0 and not store.root.exists()


@pytest.mark.parametrize(
    "fault, most_sent",
    [
        (Fault(FILE, cut_after=300_000), len(GGUF)),
        (Fault(FILE, cut_after=300_000, times=3), len(GGUF)),
        (Fault(FILE, short_by=300_000), len(GGUF)),
        (Fault(FILE, status=500, times=2), len(GGUF)),
        (Fault(FILE, status=429, headers={"Retry-After": "0"}), len(GGUF)),
        (Fault("/main", status=503, times=2), len(GGUF)),
        (Fault("/main", status=429, headers={"Retry-After": "0"}), len(GGUF)),
        (Fault(COMMIT, status=500, times=2), len(GGUF)),
        (Fault(FILE, flip=True), 2 * len(GGUF)),
        (Fault(FILE, extra=b"more"), 2 * len(GGUF) + 4),
    ],
    ids=lambda value: repr(value)[:60] if isinstance(value, Fault) else "",
)
def test_a_passing_failure_is_survived_and_fetches_no_byte_twice_but_wrong_ones(server, get, fault, most_sent):
    server.faults.append(fault)
    assert get().path.read_bytes() == GGUF
    assert fault.times == 0 and server.bytes_sent(FILE) <= most_sent


def test_a_hub_that_cannot_resume_is_asked_from_the_start(server, get):
    server.faults += [Fault(FILE, cut_after=300_000), Fault(FILE, ignore_range=True)]
    assert get().path.read_bytes() == GGUF
    assert server.faults[1].times == 0 and server.bytes_sent(FILE) == len(GGUF) + 300_000


def test_a_hub_that_asks_for_a_pause_gets_it(server, get):
    server.faults.append(Fault(FILE, status=429, headers={"Retry-After": "1"}))
    notes = []
    get(progress=lambda step: notes.append(step.note))
    assert "the hub answered 429" in notes


LASTING = {
    "wrong bytes": (Fault(FILE, flip=True, times=9), "arrived damaged 2 times: its checksum is"),
    "cut every time": (Fault(FILE, cut_after=0, times=99), "cannot be reached"),
    "server error": (Fault(FILE, status=502, times=99), "answered 502"),
    "too many requests": (Fault(FILE, status=429, times=99), "too many requests|fewer requests"),
    "a pause of a day": (Fault(FILE, status=429, headers={"Retry-After": "86400"}), "fewer requests"),
    "forbidden": (Fault(FILE, status=403), "refuses"),
    "gone": (Fault(FILE, status=404, headers={"X-Error-Code": "EntryNotFound"}), "is gone from the hub"),
    "disabled": (
        Fault("/main", status=403, headers={"X-Error-Message": "Access to this resource is disabled."}),
        "was disabled",
    ),
    "a token nobody knows": (
        Fault("/main", status=401, headers={"X-Error-Message": "Invalid credentials in Authorization header"}),
        "does not know the token",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LASTING)
def test_a_lasting_failure_is_one_line_and_stores_nothing(server, store, get, case):
    fault, expected = LASTING[case]
    server.faults.append(fault)
    with pytest.raises(HubError, match=expected) as told:
        get()
    assert "\n" not in str(told.value) and store.models() == []


@pytest.mark.parametrize(
    "name, revision, expected",
    [
        ("someone/nothing:Q8_0", None, "there is no repository someone/nothing"),
        (NAME, "v9", "no revision 'v9'"),
        (f"{REPO}:Q8_0", None, "no GGUF file of type Q8_0; it has Q4_K_M"),
        ("someone/pickles", None, "only pickled weights .pytorch_model.bin."),
        ("someone/adapter", None, "LoRA adapter"),
        ("someone/empty", None, "neither a GGUF model nor a checkpoint"),
        ("someone/half:Q8_0", None, "part 2 is missing"),
        ("someone/twice:Q8_0", None, "name the one wanted: someone/twice:one-Q8_0, someone/twice:two-Q8_0"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(server, get, name, revision, expected):
    server.add("someone/pickles", {"config.json": b"{}", "pytorch_model.bin": b"x"})
    server.add("someone/adapter", {"adapter_config.json": b"{}", "adapter_model.safetensors": b"x"})
    server.add("someone/empty", {"README.md": b"x"})
    server.add("someone/half", {"m-Q8_0-00001-of-00003.gguf": b"x", "m-Q8_0-00003-of-00003.gguf": b"x"})
    server.add("someone/twice", {"one-Q8_0.gguf": b"x", "two-Q8_0.gguf": b"x"})
    with pytest.raises(HubError, match=expected):
        get(name, revision=revision)


def test_of_several_files_of_a_type_one_is_taken_by_its_name(server, get):
    server.add("someone/twice", {"one-Q8_0.gguf": GGUF, "two-Q8_0.gguf": GGUF + bytes(64)})
    model = get("someone/twice:two-Q8_0")
    assert model.name == "someone/twice:two-Q8_0" and model.path.name == "two-Q8_0.gguf"
    assert get("someone/twice:two-Q8_0") == model


def test_a_model_is_found_by_the_name_of_its_file_too(store, get):
    model = get(f"{REPO}:{FILE}")
    assert model.name == NAME and store.find(f"{REPO}:{FILE}").path == find_model(NAME, store) == model.path
    assert store.find(f"{REPO}:other.gguf") is None


def test_a_gated_repository_is_refused_before_any_download_and_opens_to_an_accepted_token(server, store, get):
    server.add("someone/gated", {FILE: GGUF}, gated=True, accepted=frozenset({"hf_good"}))
    for token in (None, "hf_other"):
        with pytest.raises(HubError, match=r"accept its licence at http://\S+/someone/gated, then `hf auth login`"):
            get("someone/gated", token=token)
        with pytest.raises(HubError, match="accept its licence"):
            pull_size("someone/gated", store=store, hub=Hub(endpoint=server.url, token=token))
    assert server.bytes_sent() == 0
    assert get("someone/gated", token="hf_good").path.read_bytes() == GGUF


def test_the_token_goes_to_the_endpoint_and_never_to_where_it_redirects(server, get):
    get(token="hf_secret")
    assert {one.token for one in server.requests if one.origin == "hub"} == {"hf_secret"}
    assert [one.token for one in server.requests if one.origin == "cdn"] == [None]


def test_the_token_of_the_environment_is_used(server, store, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_environment")
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    pull(NAME, store=store)
    assert server.requests[0].token == "hf_environment"


def test_no_network_and_offline_mode_say_what_the_store_has(server, store, get, monkeypatch):
    get()
    nowhere = Hub(endpoint="http://127.0.0.1:9", retries=RetryPolicy(tries=2, first_wait_s=0.01))
    with pytest.raises(HubError, match=rf"http://127.0.0.1:9 cannot be reached .*; the store has {NAME}$"):
        pull("someone/else", store=store, hub=nowhere)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match=rf"HF_HUB_OFFLINE is set; the store has {NAME}$"):
        get("someone/else")
    assert get() == store.find(NAME)


def test_what_is_no_hubs_answer_is_one_line(server, get):
    server.add("someone/odd", {"../../escape-Q4_K_M.gguf": GGUF})
    with pytest.raises(HubError, match="no usable answer"):
        get("someone/odd")
    for path in ("/main", COMMIT):  # an empty page with status 200, as of a login portal
        server.faults.append(Fault(path, status=200))
        with pytest.raises(HubError, match=r"no usable answer about someone/Tiny-GGUF: .*is HF_ENDPOINT right"):
            get()


def test_a_list_of_files_goes_on_at_the_endpoint_wherever_its_next_page_is_said_to_be(server, store, monkeypatch):
    endpoint = server.url
    monkeypatch.setattr(server, "url", "http://127.0.0.1:9")  # what a mirror passes on
    pull(NAME, store=store, hub=Hub(endpoint=endpoint, token="hf_secret"))
    assert sum("/tree/" in one.path and one.origin == "hub" for one in server.requests) == 2


def test_a_pull_goes_on_where_it_was_stopped(server, store, get):
    def stop(step):
        if step.stage == "download" and step.done > 200_000:
            raise Cancelled("stopped")

    server.bytes_per_second = 2_000_000
    with pytest.raises(Cancelled):
        get(progress=stop)
    assert [one.name for one in store.unfinished()] == [NAME.lower()] and store.models() == []
    size = pull_size(NAME, store=store, hub=Hub(endpoint=server.url))
    assert 0 < size.download_bytes < len(GGUF) - 200_000
    server.bytes_per_second = None
    server.requests.clear()
    assert get().path.read_bytes() == GGUF
    assert server.bytes_sent() == size.download_bytes and store.unfinished() == []


def test_bytes_that_went_bad_on_disk_are_fetched_again(server, store, get):
    commit = server.repositories[REPO].refs["main"][:12]
    download = transfer.Download(
        SimpleNamespace(sha256=hashlib.sha256(GGUF).hexdigest(), git_sha1=None),
        store.staging(REPO, "Q4_K_M") / commit / "Tiny-GGUF" / FILE,
    )
    download.partial.parent.mkdir(parents=True)
    download.partial.write_bytes(bytes(1000))
    assert get().path.read_bytes() == GGUF


def test_what_an_older_commit_left_is_cleared(server, store, get):
    old = store.staging(REPO, "Q4_K_M") / ("f" * 12)
    old.mkdir(parents=True)
    (old / FILE).write_bytes(b"old")
    get()
    assert left_over(store) == []


def test_parts_of_a_split_model_are_fetched_together(server, get, tmp_path):
    server.add("someone/split", split_model(tmp_path))
    model = get("someone/split:F32")
    assert [path.name for path in model.paths] == [f"m-F32-0000{n}-of-00002.gguf" for n in (1, 2)]
    assert model.path == find_model("someone/split:F32", Store(model.folder.parent))


def split_model(folder: Path) -> dict[str, bytes]:
    """A tiny model in two parts, in a folder of its own as large repositories have it."""
    from tests.tiny_models import Tensor, TinyModel, i32, u16

    whole = TinyModel()
    first, second = TinyModel(), TinyModel(tensors=[Tensor("placeholder", (32,))])
    first.tensors, second.tensors = whole.tensors[:5], whole.tensors[5:]
    second.metadata = {}
    for number, part in enumerate((first, second)):
        part.metadata |= {
            "split.no": u16(number),
            "split.count": u16(2),
            "split.tensors.count": i32(len(whole.tensors)),
        }
    parts = {}
    for number, part in enumerate((first, second), 1):
        parts[f"F32/m-F32-0000{number}-of-00002.gguf"] = part.to_bytes()
    return {**parts, "mmproj-F32.gguf": b"x"}


def test_a_file_that_is_no_model_is_not_stored(server, store, get):
    server.add("someone/bad", {"bad-Q4_K_M.gguf": GGUF[:5000]})
    with pytest.raises(
        ModelFileError, match=r"someone/bad:Q4_K_M cannot be used and was not stored: bad-Q4_K_M.gguf: "
    ):
        get("someone/bad")
    assert store.models() == [] and left_over(store) == []


def test_a_full_disk_is_told_before_and_during(server, store, get, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=1000))
        with pytest.raises(StoreError, match=r"needs 1 MiB .* free; free space, or set EDGE_WSD_STORE"):
            get()
        assert server.bytes_sent() == 0

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(transfer.os, "fsync", full)
        with pytest.raises(StoreError, match="cannot be written: No space left on device; free space"):
            get()
    assert store.models() == [] and get().path.read_bytes() == GGUF


def test_files_in_the_cache_of_hf_are_not_fetched_unless_they_are_wrong(server, store, get, tmp_path):
    for content, expected in ((GGUF, 0), (bytes(len(GGUF)), len(GGUF))):
        commit = server.repositories[REPO].refs["main"]
        snapshot = tmp_path / "hf-cache" / "models--someone--Tiny-GGUF" / "snapshots" / commit
        snapshot.mkdir(parents=True, exist_ok=True)
        (snapshot / FILE).write_bytes(content)
        server.requests.clear()
        assert get(force=True).path.read_bytes() == GGUF
        assert server.bytes_sent() == expected
        assert (snapshot / FILE).read_bytes() == content
        (snapshot / FILE).unlink()


def test_xet_is_never_tried(server, get):
    get()
    assert all("xet" not in one.path for one in server.requests)
