"""`edge-wsd quantize`, and `edge-wsd convert` to a type that only llama.cpp writes."""

from __future__ import annotations

import signal
import time

import numpy as np
import pytest

from edge_wsd.converters import SUPPORTED_TYPES
from edge_wsd.converters.quantization.imatrix import Activations, Imatrix, write_imatrix
from tests.tiny_models import TinyModel


@pytest.fixture
def source(tmp_path):
    return TinyModel(n_embd=256, n_layers=1, n_ff=256).write(tmp_path / "model.gguf")


def test_the_summary_says_size_bits_and_what_was_stored_as_what(program, source, tmp_path):
    done = program("quantize", str(source), "out.gguf", "q4_k", "--keep", "output=F16", "--threads", "1")
    assert done.returncode == 0 and done.stdout == "", done.stderr
    assert "out.gguf: Q4_K_M, 12 tensors, " in done.stderr and "bits per weight" in done.stderr
    assert "stored as Q4_K (" in done.stderr and "F16 (1)" in done.stderr
    assert program("check", "out.gguf", "out.gguf").stdout.startswith("identical")
    again = program("quantize", str(source), "out.gguf", "Q8_0", "--threads", "1")
    assert again.returncode == 1 and again.stderr.count("\n") == 1 and "--force" in again.stderr
    assert program("quantize", str(source), "out.gguf", "Q8_0", "-q", "--force", "--threads", "1").stderr == ""


@pytest.mark.parametrize(
    "arguments, code",
    [
        (["model.gguf", "out.gguf", "Q99"], 2),
        (["model.gguf", "out.gguf"], 2),
        (["model.gguf", "out.gguf", "Q4_0", "--threads", "0"], 2),
        (["nowhere.gguf", "out.gguf", "Q4_0"], 1),
        (["model.gguf", "model.gguf", "Q4_0", "--force"], 1),
        (["model.gguf", "out.gguf", "IQ1_S"], 1),
        (["model.gguf", "out.gguf", "Q4_0", "--imatrix", "model.gguf"], 1),
        (["model.gguf", "nowhere/out.gguf", "Q4_0"], 1),
    ],
)
def test_what_cannot_be_done_is_one_line(program, source, tmp_path, arguments, code):
    done = program("quantize", *arguments)
    assert done.returncode == code and done.stdout == ""
    assert done.stderr.startswith("edge-wsd: error: ") and done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".gguf"] == ["model.gguf"]


@pytest.mark.parametrize("command", ["quantize", "convert"])
def test_the_help_names_every_type(program, command):
    words = program(command, "--help").stdout.split()
    assert set(SUPPORTED_TYPES) <= set(words)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_ctrl_c_and_the_end_of_the_session_leave_nothing(number, start, source, tmp_path):
    # The tables of IQ1_M take llama.cpp seconds, however small the model.
    names = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    ones = Activations(np.ones((1, 256), np.float32), np.array([1]))
    write_imatrix(tmp_path / "imatrix", Imatrix({f"blk.0.{name}.weight": ones for name in names}, 1, 1))
    before = sorted(path.name for path in tmp_path.iterdir())
    arguments = ("quantize", "model.gguf", "out.gguf", "IQ1_M", "--imatrix", "imatrix", "--threads", "1")
    process = start(*arguments, real=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".edge-wsd-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout, stderr) == (130, b"", b"")
    assert sorted(path.name for path in tmp_path.iterdir()) == before
