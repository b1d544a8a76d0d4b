"""`edge-wsd pull` and `edge-wsd models` as processes: killed, interrupted, two at once, and what they print."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest

from edge_wsd.demo.files import drafter_path
from tests.cli.terminal import Person
from tests.hub_server import Fault, HubServer

GGUF = drafter_path().read_bytes()
NAME, FILE = "someone/Tiny-GGUF:Q4_K_M", "tiny-Q4_K_M.gguf"
SLOW = 500_000


@pytest.fixture
def hub():
    with HubServer() as server:
        server.add("someone/Tiny-GGUF", {FILE: GGUF, "README.md": b"card"})
        yield server


@pytest.fixture
def environment(environment, hub, tmp_path):
    kept = {name: value for name, value in environment.items() if not name.startswith(("HF_", "HUGGING_FACE_"))}
    return {
        **kept, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "EDGE_WSD_STORE": str(tmp_path / "store"),
    }  # fmt: skip


def waits_until(holds, *, seconds=20):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def ends(process):
    stdout, stderr = process.communicate(timeout=30)
    return process.returncode, stdout.decode(), stderr.decode()


def test_a_model_is_pulled_listed_shown_used_and_removed(program, hub):
    done = program("pull", "someone/Tiny-GGUF")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.splitlines()[-1].startswith(f"{NAME} is in the store: {len(GGUF) / 2**20:.1f} MiB")
    assert "was already in the store" in program("pull", NAME, HF_HUB_OFFLINE="1").stderr
    listed = json.loads(program("models", "--json").stdout)["models"]
    assert [(one["name"], one["n_bytes"], one["licence"]) for one in listed] == [(NAME, len(GGUF), "mit")]
    store = json.loads(program("models", "list", "--json").stdout)["store"]
    assert program("models").stderr == f"the store is {store}\n"
    assert program("models").stdout.splitlines()[1].split()[:2] == ["someone/Tiny-GGUF", "Q4_K_M"]
    shown = json.loads(program("models", "show", "Tiny-GGUF", "--ctx", "512", "--json").stdout)
    assert shown["architecture"] == "llama" and shown["memory"]["n_ctx"] == 512
    assert shown["n_bytes"] == len(GGUF) and shown["store"]["name"] == NAME
    assert program("check", "Tiny-GGUF", NAME).stdout.startswith("identical")
    refused = program("models", "rm", "Tiny-GGUF")
    assert refused.returncode == 1 and "--yes" in refused.stderr
    assert program("models", "rm", "Tiny-GGUF", "-y").returncode == 0
    assert program("models").stdout.startswith("the store ") and "edge-wsd pull" in program("models").stdout


def test_a_killed_pull_goes_on_and_fetches_next_to_nothing_twice(start, program, hub):
    hub.bytes_per_second = SLOW
    process = start("pull", NAME, real=True)
    waits_until(lambda: hub.bytes_sent(FILE) > len(GGUF) // 4)
    process.kill()
    process.communicate()
    before = hub.bytes_sent(FILE)
    assert "unfinished: someone/tiny-gguf:q4_k_m" in program("models").stderr
    hub.bytes_per_second = None
    done = program("pull", NAME)
    assert done.returncode == 0, done.stderr
    again = hub.bytes_sent(FILE) - len(GGUF)
    # what was on its way through the sockets when the process died
    assert 0 <= again <= 256 << 10 and before > len(GGUF) // 4, again
    last = hub.requests[-1].range
    assert last is not None and int(last[6:-1]) > len(GGUF) // 8


def test_ctrl_c_leaves_what_has_arrived_for_the_next_pull(start, program, hub):
    hub.bytes_per_second = SLOW
    process = start("pull", NAME, real=True)
    waits_until(lambda: hub.bytes_sent(FILE) > len(GGUF) // 4)
    process.send_signal(signal.SIGINT)
    code, _, stderr = ends(process)
    assert code == 130 and "Traceback" not in stderr and f"`edge-wsd pull {NAME}` goes on from here" in stderr
    hub.bytes_per_second = None
    assert program("pull", NAME).returncode == 0
    assert hub.requests[-1].range is not None


@pytest.mark.parametrize(("command", "path"), [("pull", "/main"), ("pull", FILE), ("run", "/main")])
def test_ctrl_c_is_heard_while_a_hub_is_silent(hub, environment, tmp_path, command, path):
    """Its connection had to time out first, which took up to 15 s."""
    hub.faults.append(Fault(path, silent=True, times=9))
    environment["HF_HUB_DOWNLOAD_TIMEOUT"] = "600"
    words = ["pull", NAME] if command == "pull" else ["run", "--drafter", NAME, "--base", NAME, "hello"]
    person = Person([sys.executable, "-m", "edge_wsd", *words], environment, tmp_path)
    try:
        waits_until(lambda: any(one.path.endswith(path) for one in hub.requests))
        person.types("\x03")
        assert person.leaves() == 130
    finally:
        person.close()


def test_two_pulls_of_one_model_fetch_it_once_and_the_second_says_that_it_waits(start, hub):
    hub.bytes_per_second = SLOW // 20  # until the second has come
    first = start("pull", NAME, real=True)
    waits_until(lambda: hub.bytes_sent(FILE) > 0)
    second = start("pull", NAME, real=True)
    assert b"another process is pulling this model" in second.stderr.readline()
    hub.bytes_per_second = None
    (code, _, _), (code_two, _, stderr) = ends(first), ends(second)
    assert (code, code_two) == (0, 0) and hub.bytes_sent(FILE) == len(GGUF)
    assert "was already in the store" in stderr


def test_a_model_being_pulled_or_in_use_is_not_removed(start, program, hub, environment):
    hub.bytes_per_second = SLOW // 20  # until it was refused
    process = start("pull", NAME, real=True)
    waits_until(lambda: hub.bytes_sent(FILE) > 0)
    refused = program("models", "rm", NAME, "--yes")
    assert refused.returncode == 1 and "being pulled by another process" in refused.stderr
    hub.bytes_per_second = None
    assert ends(process)[0] == 0
    if sys.platform != "linux":
        return  # only there can one see who uses a file
    holds = "import sys, mmap, time; f = open(sys.argv[1]); m = mmap.mmap(f.fileno(), 0, prot=1); print(1, flush=True);"
    path = json.loads(program("models", "--json").stdout)["models"][0]["path"]
    user = subprocess.Popen([sys.executable, "-c", holds + "time.sleep(60)", path], stdout=subprocess.PIPE)
    user.stdout.readline()
    try:
        refused = program("models", "rm", NAME, "--yes")
        assert refused.returncode == 1 and f"in use by process {user.pid}" in refused.stderr
    finally:
        user.kill()
        user.communicate()
    assert program("models", "rm", NAME, "--yes").returncode == 0


@pytest.mark.parametrize(
    "fault, text", [(Fault(FILE, flip=True, times=9), "arrived damaged 2 times"), (None, "no GGUF")]
)
def test_a_failure_is_one_line_and_exit_code_1(program, hub, fault, text):
    hub.faults += [fault] if fault else []
    done = program("pull", "-q", NAME if fault else "someone/Tiny-GGUF:Q2_K")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and text in done.stderr


def test_a_model_stays_if_the_answer_is_no(program, hub, environment, tmp_path):
    assert program("pull", NAME).returncode == 0
    person = Person([sys.executable, "-m", "edge_wsd", "models", "rm", NAME], environment, tmp_path)
    person.waits_for("[y/N]")
    person.line("n")
    assert person.leaves() == 1 and "nothing was deleted" in person.seen
    person.close()
    assert "Q4_K_M" in program("models").stdout


def test_a_damaged_model_is_told_and_the_others_are_listed(program, hub, tmp_path):
    assert program("pull", NAME).returncode == 0
    (tmp_path / "store" / "a--b--q8_0").mkdir()
    listed = program("models")
    assert listed.returncode == 1 and "someone/Tiny-GGUF" in listed.stdout
    told = listed.stderr.splitlines()[1]
    assert told.startswith("edge-wsd: error: a/b:q8_0 in the store is damaged: it has no manifest.json")
    assert program("models", "rm", "a/b:q8_0", "-y").returncode == 0
    assert program("models").returncode == 0


def test_a_person_sees_a_bar_and_the_end_of_it(hub, environment, tmp_path):
    hub.bytes_per_second = SLOW
    person = Person([sys.executable, "-m", "edge_wsd", "pull", NAME], environment, tmp_path)
    try:
        person.waits_for("downloading")
        person.waits_for("B/s")
        assert person.leaves() == 0
        assert f"{NAME} is in the store" in person.seen
    finally:
        person.close()


def test_names_from_the_hub_move_no_cursor(program, hub):
    hub.add("someone/evil", {"e-Q4_K_M.gguf": GGUF}, licence="\x1b[2Jmit")
    assert "\x1b" not in program("pull", "someone/evil").stderr
    assert "\x1b" not in program("models", "show", "evil").stdout


NEEDS = (
    f"{NAME}: downloads 1 MiB, then takes 1 MiB of disk; licence: mit",
    "needs 1 MiB meanwhile, ",
    "needs more than 1 MiB, as much as its weights, of memory; this machine has ",
)
IN_A_TINY_MACHINE = (
    "import edge_wsd.cli.pull_needs as needs; needs._total_bytes = lambda _machine: 1; "
    "from edge_wsd.cli.main import main; main()"
)


def test_what_is_needed_is_told_before_anything_is_fetched(start, hub):
    hub.faults.append(Fault(FILE, silent=True, times=9))
    process = start("pull", NAME, real=True)
    told = [process.stderr.readline().decode() for _ in NEEDS]
    assert all(expected in line for expected, line in zip(NEEDS, told, strict=True)), told
    assert " are free in " in told[1] and hub.bytes_sent(FILE) == 0
    process.kill()
    process.communicate()


def test_a_dry_run_tells_the_same_and_fetches_nothing(program, hub, tmp_path):
    done = program("pull", NAME, "--dry-run")
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and done.stderr == "" and len(lines) == len(NEEDS)
    assert all(expected in line for expected, line in zip(NEEDS, lines, strict=True)), lines
    assert hub.bytes_sent(FILE) == 0 and not any((tmp_path / "store").rglob("*.gguf*"))
    assert program("pull", NAME, "-q").returncode == 0
    assert program("pull", NAME, "-n").stdout.startswith(f"{NAME} is in the store, 1 MiB; licence: mit")


def test_a_quiet_pull_tells_nothing(program):
    done = program("pull", NAME, "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(("key", "code"), [("y\r", 0), ("n\r", 1), ("\x03", 130)])
def test_what_will_not_fit_into_memory_is_a_question(hub, environment, tmp_path, key, code):
    person = Person([sys.executable, "-c", IN_A_TINY_MACHINE, "pull", NAME], environment, tmp_path)
    try:
        person.waits_for("Pull it all the same? [y/N]")
        assert "this machine has 0 MiB" in person.seen and hub.bytes_sent(FILE) == 0
        person.types(key)
        assert person.leaves() == code
        assert hub.bytes_sent(FILE) == (len(GGUF) if code == 0 else 0)
    finally:
        person.close()


def test_without_a_terminal_it_is_pulled_only_with_yes(environment, hub, tmp_path):
    def tiny(*arguments):
        words = [sys.executable, "-c", IN_A_TINY_MACHINE, "pull", NAME, *arguments]
        how = {"env": environment, "cwd": tmp_path, "stdin": subprocess.DEVNULL, "capture_output": True}
        return subprocess.run(words, check=False, **how)

    refused = tiny()
    assert refused.returncode == 1 and b"nothing was pulled: " in refused.stderr and b"--yes" in refused.stderr
    assert tiny("--dry-run").returncode == 1 and hub.bytes_sent(FILE) == 0
    assert tiny("--yes").returncode == 0 and hub.bytes_sent(FILE) == len(GGUF)


def test_a_pair_brings_those_of_its_models_that_are_missing(program, hub, tmp_path):
    pairs = {"EDGE_WSD_PAIRS": str(tmp_path / "pairs.toml")}
    added = program("pairs", "add", "mine", "--drafter", str(drafter_path()), "--base", NAME, **pairs)
    assert added.returncode == 0, added.stderr
    done = program("pull", "mine", **pairs)
    assert done.returncode == 0 and f"{NAME} is in the store" in done.stderr
    assert hub.bytes_sent(FILE) == len(GGUF)
    again = program("pull", "mine", **pairs)
    assert again.returncode == 0 and "both models of the pair 'mine' are in the store" in again.stderr
    assert "pair mine: needs " in again.stderr and "of memory with " in again.stderr  # the planner knows both now
    assert program("pull", "mine", "--revision", "main", **pairs).returncode == 2


def test_a_pair_that_will_not_fit_is_refused_by_the_planner_before_the_hub_is_asked(program, hub):
    """Published shapes of the models say so."""
    done = program("pull", "pilot-llama-70b", "--dry-run", EDGE_WSD_PAIRS="/nowhere/pairs.toml")
    assert done.stdout.startswith("pair pilot-llama-70b: needs ") and " GiB of memory with " in done.stdout
