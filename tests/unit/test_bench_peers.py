"""llama.cpp's programs beside a pair: what they print, and what happens if they print something else or nothing."""

import json
import os
import sys
from pathlib import Path

import pytest

from edge_wsd.bench.cases import Workload
from edge_wsd.bench.peers import (
    LlamaBatchedBench,
    LlamaBench,
    LlamaCompletion,
    LlamaSpeculativeSimple,
    PeerFiles,
    output_of,
    program,
)
from edge_wsd.bench.server_peer import LlamaServer
from edge_wsd.errors import BenchError

WORK = Workload(32, 16)
FILES = PeerFiles(
    Path("d.gguf"),
    Path("b.gguf"),
    threads=1,
    batch=512,
    micro_batch=128,
    flash="off",
    kv_type="q8_0",
    drafter_layers=7,
    base_layers=3,
    propose=8,
    most_at_once=2,
    longest=48,
)

BENCH = """[
  {"n_prompt": 32, "n_gen": 0, "avg_ns": 400000000, "avg_ts": 80.0},
  {"n_prompt": 32, "n_gen": 16, "avg_ns": 1200000000, "avg_ts": 40.0}
]"""
BATCHED = 'main: n_kv_max = 512\n{"pp": 32, "tg": 16, "pl": 2, "t_pp": 0.5, "speed_pp": 128, "t_tg": 0.8}\n\n'
COMPLETION = """ some words
0.1 I common_perf_print:    sampling time =      10.29 ms
0.1 I common_perf_print:        load time =     210.81 ms
0.1 I common_perf_print: prompt eval time =     320.00 ms /    32 tokens (   10.00 ms per token,   100.00 per second)
0.1 I common_perf_print:        eval time =     600.00 ms /    15 runs   (   40.00 ms per token,    25.00 per second)
0.1 I common_perf_print:       total time =     920.00 ms /    47 tokens
"""
SPECULATIVE = """
0.1 I encoded   32 tokens in    0.400 seconds, speed:   80.000 t/s
0.1 I decoded   20 tokens in    1.000 seconds, speed:   20.000 t/s
0.1 I n_draft   = 8
0.1 I n_predict = 20
0.1 I n_drafted = 24
0.1 I n_accept  = 18
0.1 I accept    = 75.000%
"""


@pytest.fixture
def script(tmp_path):
    """A program that prints and ends as it is told, and writes down its arguments."""

    def write(out="", err="", code=0):
        path = tmp_path / "program"
        path.write_text(
            f"#!{sys.executable}\nimport json, sys\n"
            f"json.dump(sys.argv[1:], open({str(tmp_path / 'arguments')!r}, 'w'))\n"
            f"sys.stdout.write({out!r}); sys.stderr.write({err!r}); sys.exit({code})\n"
        )
        path.chmod(0o755)
        return str(path)

    return write


def test_llama_bench_tells_the_prompt_and_both(script):
    found = LlamaBench(script(BENCH), FILES).measure(WORK, ["a"])
    assert found.answer_s == pytest.approx(1.2) and found.base_prompt_tps == pytest.approx(80)
    assert found.base_decode_tps == pytest.approx(16 / 0.8) and found.n_tokens == 16


def test_llama_batched_bench_counts_all_answers(script, tmp_path):
    found = LlamaBatchedBench(script(BATCHED), FILES).measure(Workload(32, 16, 2), ["a", "b"])
    assert (found.answer_s, found.n_tokens) == (pytest.approx(1.3), 32)
    assert (found.base_prompt_tps, found.base_decode_tps) == (pytest.approx(128), pytest.approx(40))
    arguments = json.loads((tmp_path / "arguments").read_text())
    assert arguments[arguments.index("-npl") + 1] == "2"


def test_llama_completion_tells_its_times_on_stderr(script, tmp_path):
    """The evaluation of the prompt has the same words in its line as that of the answer."""
    found = LlamaCompletion(script(" some words", COMPLETION), FILES).measure(WORK, ["a prompt"])
    assert found.answer_s == pytest.approx(0.32 + 0.6) and found.base_decode_tps == pytest.approx(25)
    arguments = json.loads((tmp_path / "arguments").read_text())
    assert not Path(arguments[arguments.index("-f") + 1]).exists(), "the prompt's file stays behind"


def test_llama_speculative_simple_is_scaled_to_the_answer(script):
    found = LlamaSpeculativeSimple(script("", SPECULATIVE), FILES).measure(WORK, ["a prompt"])
    assert found.answer_s == pytest.approx(0.4 + 16 / 20) and found.accepted == pytest.approx(0.75)


def test_llama_speculative_simple_is_asked_again_where_it_lost_the_end_of_its_log(tmp_path):
    """Its log has a thread of its own; two of eight runs ended before that did, and the row was lost."""
    path = tmp_path / "program"
    path.write_text(
        f"#!{sys.executable}\nimport os, sys\nseen = {str(tmp_path / 'seen')!r}\n"
        f"if os.path.exists(seen): sys.stderr.write({SPECULATIVE!r})\nopen(seen, 'w')\n"
    )
    path.chmod(0o755)
    assert LlamaSpeculativeSimple(str(path), FILES).measure(WORK, ["a prompt"]).accepted == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("kind", "out"),
    [
        (LlamaBench, BENCH),
        (LlamaBatchedBench, BATCHED),
        (LlamaCompletion, COMPLETION),
        (LlamaSpeculativeSimple, SPECULATIVE),
    ],
)
def test_programs_compute_as_the_pair_does(script, tmp_path, kind, out):
    """They took flash attention where it is slower, and longer pieces of a prompt."""
    kind(script(out), FILES).measure(WORK, ["a"])
    arguments = json.loads((tmp_path / "arguments").read_text())
    given = {name: arguments[arguments.index(name) + 1] for name in ("-fa", "-ub", "-ctk", "-ctv", "-ngl")}
    assert given == {"-fa": "off", "-ub": "128", "-ctk": "q8_0", "-ctv": "q8_0", "-ngl": "3"}


def test_only_two_can_answer_several_at_once(script):
    several, path = Workload(32, 16, 4), script()
    kinds = (LlamaBench, LlamaBatchedBench, LlamaCompletion, LlamaSpeculativeSimple, LlamaServer)
    assert [kind.__name__ for kind in kinds if kind(path, FILES).can(several)] == ["LlamaBatchedBench", "LlamaServer"]


KINDS = (LlamaBench, LlamaBatchedBench, LlamaCompletion, LlamaSpeculativeSimple)
GARBAGE = (
    "", "{", "[]", "[1, 2]", '{"pp": 1}', "[[[[", '[{"n_gen": 0, "avg_ns": "fast"}]', '{"t_pp": -1, "t_tg": 1e999}',
    '[{"n_gen": 0, "avg_ns": 1}]', "encoded 1 tokens in 1.0 seconds", "\x00\xff", "null",
    "prompt eval time = 320.00 ms / 32 tokens",
    "encoded 1 tokens in 1.0 seconds decoded 0 tokens in 0.0 seconds",
    "prompt eval time = 0.00 ms / 1 tokens\n eval time = 0.00 ms / 0 runs",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", GARBAGE)
def test_garbage_is_one_line_that_names_the_program(script, kind, text):
    path = script(text)
    with pytest.raises(BenchError) as caught:
        kind(path, FILES).measure(WORK, ["a"])
    assert path in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", (*KINDS, LlamaServer))
def test_a_program_that_fails_says_why(script, kind):
    path = script("", "loading\nerror: no such model\n", code=3)
    with pytest.raises(BenchError, match=r"exit code 3.*: error: no such model"):
        kind(path, FILES).measure(WORK, ["a"])


@pytest.mark.parametrize("kind", (*KINDS, LlamaServer))
def test_a_program_that_is_missing_is_told_before_anything_is_measured(kind, tmp_path):
    with pytest.raises(BenchError, match=r"does not exist; expected a program of llama\.cpp"):
        kind(str(tmp_path / "nothing"), FILES)


def test_a_file_that_is_no_program_is_told(tmp_path):
    path = tmp_path / "text"
    path.write_text("words")
    with pytest.raises(BenchError, match="is not executable"):
        program(str(path))
    path.chmod(0o755)
    with pytest.raises(BenchError, match="cannot be started"):
        output_of([path])


def test_a_program_that_hangs_is_ended(tmp_path):
    path = tmp_path / "program"
    path.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(600)\n")
    path.chmod(0o755)
    with pytest.raises(BenchError, match="did not end within 1 s"):
        output_of([path], timeout_s=1)


SERVER = """#!{python}
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    def answer(self, status, body):
        self.send_response(status); self.end_headers(); self.wfile.write(body)
    def do_GET(self):
        self.answer(200, b"{{}}")
    def do_POST(self):
        wish = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = {body!r} or json.dumps({{"content": "x", "timings": {{
            "prompt_n": 32, "prompt_ms": 200.0, "predicted_n": wish["n_predict"], "predicted_ms": 400.0}}}})
        self.answer({status}, body.encode())
    def log_message(self, *_):
        pass

port = int(sys.argv[sys.argv.index("--port") + 1])
ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def serving(tmp_path):
    peers = []

    def start(body="", status=200):
        path = tmp_path / "server"
        path.write_text(SERVER.format(python=sys.executable, body=body, status=status))
        path.chmod(0o755)
        peers.append(LlamaServer(str(path), FILES))
        return peers[-1]

    yield start
    for peer in peers:
        peer.close()


def test_the_server_answers_several_at_once_and_is_gone_at_the_end(serving):
    peer = serving()
    found = peer.measure(Workload(32, 16, 2), ["a", "b"])
    assert found.n_tokens == 32 and found.answer_s > 0 and found.ttft_s is None
    one = peer.measure(WORK, ["a"])
    assert (one.ttft_s, one.base_prompt_tps, one.base_decode_tps) == (
        pytest.approx(0.2), pytest.approx(160), pytest.approx(40),
    )  # fmt: skip
    process = peer._process
    peer.close()
    assert process.poll() is not None


@pytest.mark.parametrize(
    ("body", "status"), [("", 500), ("garbage", 200), ("[]", 200), ('{"timings": 1}', 200), ('{"timings": {}}', 200)]
)
def test_a_server_that_answers_wrongly_is_told(serving, body, status):
    peer = serving(body, status)
    with pytest.raises(BenchError) as caught:
        peer.measure(WORK, ["a"])
    assert peer.path in str(caught.value) and "\n" not in str(caught.value)


def test_a_server_that_dies_is_told(serving):
    peer = serving()
    peer.measure(WORK, ["a"])
    peer._process.terminate()
    peer._process.wait()
    with pytest.raises(BenchError, match="gave no answer"):
        peer.measure(WORK, ["a"])


def test_programs_are_found_on_the_path(script, monkeypatch):
    path = script()
    monkeypatch.setenv("PATH", os.path.dirname(path))
    assert program("program") == path
