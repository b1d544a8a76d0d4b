"""`edge-wsd imatrix`."""

from __future__ import annotations

import pytest

from edge_wsd.converters.quantization.calibration import CHUNK_TOKENS
from edge_wsd.converters.quantization.imatrix import read_imatrix
from tests.tiny_models import TinyModel

TEXT = "The list of files is in the folder, hello you. " * 40


@pytest.fixture
def model(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    return TinyModel().write(tmp_path / "model.gguf").name


def test_a_matrix_is_collected_over_a_text_of_ones_own(program, model, tmp_path):
    done = program("imatrix", model, "out.gguf", "--text", "text.txt", "--chunk", "64", "--chunks", "2")
    assert done.returncode == 0 and done.stdout == "", done.stderr
    assert done.stderr.startswith("out.gguf: 2 chunks, 128 tokens, 14 tensors, ") and "perplexity" in done.stderr
    assert read_imatrix(tmp_path / "out.gguf").datasets == ("text.txt",)
    assert program("imatrix", model, "out.gguf", "--chunk", "64").returncode == 1
    again = program("imatrix", model, "out.gguf", "--chunk", "64", "--chunks", "1", "-f", "-q")
    assert again.returncode == 0 and again.stderr == ""


@pytest.mark.parametrize(
    "arguments, code, part",
    [
        (["--chunk", "64", "--text", "nowhere.txt"], 1, "nowhere.txt: cannot be read"),
        (["--chunk", "64", "--text", "model.gguf"], 1, "not UTF-8"),
        (["--chunk", "3"], 2, "--chunk must be 16 to 8192"),
        (["--chunk", "512"], 2, "--chunk must be at most 256"),
        (["--chunk", "64", "--gpu-layers", "some"], 2, "'--gpu-layers': 'some'"),
    ],
)
def test_a_mistake_is_one_line(program, model, tmp_path, arguments, code, part):
    done = program("imatrix", model, "out.gguf", *arguments)
    assert done.returncode == code and part in done.stderr and done.stderr.count("\n") == 1
    assert not [entry for entry in tmp_path.iterdir() if "out.gguf" in entry.name]


@pytest.mark.parametrize("name", ["model.gguf", "same.gguf", "text.txt"])
def test_what_is_measured_is_not_replaced_by_its_matrix(program, model, tmp_path, name):
    """With --force the model itself was replaced."""
    (tmp_path / "same.gguf").symlink_to("model.gguf")
    before = (tmp_path / name).read_bytes()
    done = program("imatrix", model, name, "--text", "text.txt", "--chunk", "64", "--chunks", "1", "--force")
    assert done.returncode == 1 and f"{name} is the file to be measured" in done.stderr
    assert (tmp_path / name).read_bytes() == before


def test_the_help_tells_the_default_of_the_library(program):
    assert f"Tokens read in one go.  [default: {CHUNK_TOKENS}]" in program("imatrix", "--help").stdout
