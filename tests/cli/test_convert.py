"""`edge-wsd convert` and `edge-wsd doctor`."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from edge_wsd.cli.commands import doctor
from edge_wsd.llama import rebuild
from tests.small_checkpoint import Folder
from tests.strange_modules import MARK, PROGRAM, fill


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "checkpoint"
    path.mkdir()
    folder = Folder(path)
    folder.write()
    for name, value in (("config.json", folder.config), ("tokenizer.json", folder.tokenizer)):
        (path / name).write_text(json.dumps(value))
    return path


def test_a_checkpoint_becomes_a_file_that_loads(program, checkpoint):
    done = program("convert", str(checkpoint), "model.gguf", "--type", "f32")
    assert done.returncode == 0 and done.stdout == "", done.stderr
    assert "model.gguf: llama, 12 tensors" in done.stderr
    assert program("check", "model.gguf", "model.gguf").stdout.startswith("identical")


def test_converting_where_the_checkpoint_lies_runs_nothing_that_lies_there(checkpoint, tmp_path, environment):
    """A `json.py` in a downloaded folder was executed, with exit code 0."""
    fill(checkpoint)
    (tmp_path / "edge-wsd").write_text(PROGRAM)
    command = [sys.executable, tmp_path / "edge-wsd", "convert", ".", "../out.gguf", "--type", "Q4_K_M"]
    done = subprocess.run(command, cwd=checkpoint, env=environment, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.gguf").exists() and not (checkpoint / MARK).exists()


def test_an_existing_file_is_replaced_only_when_asked(program, checkpoint, tmp_path):
    (tmp_path / "model.gguf").write_text("precious")
    done = program("convert", str(checkpoint), "model.gguf")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "--force" in done.stderr
    assert (tmp_path / "model.gguf").read_text() == "precious"
    assert program("convert", str(checkpoint), "model.gguf", "--force").returncode == 0


@pytest.mark.parametrize("source", ["nowhere", "."])
def test_what_is_no_checkpoint_is_one_line(program, source):
    done = program("convert", source, "model.gguf")
    assert done.returncode == 1 and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "platform, tool, first",
    [("darwin", None, "Metal"), ("linux", "/usr/bin/nvidia-smi", "CUDA"), ("linux", None, "Vulkan")],
)
def test_doctor_names_the_build_that_fits_the_machine_first(monkeypatch, platform, tool, first):
    monkeypatch.setattr(doctor.sys, "platform", platform)
    monkeypatch.setattr(doctor.shutil, "which", lambda _name: tool)
    rows = doctor.install_commands("0.3.36")
    assert rows[0][0] == first and {row[0] for row in rows} == {"CUDA", "Metal", "Vulkan"}
    assert all('"llama-cpp-python==0.3.36"' in row[1] and "--extra-index-url https://" in row[2] for row in rows)


def test_a_new_build_keeps_the_backends_that_are_there(monkeypatch, tmp_path):
    """The command for a GPU once took the workers away, and that for workers the GPU."""
    (tmp_path / "libggml-rpc.so").touch()
    (tmp_path / "libggml-vulkan.so").touch()
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", str(tmp_path))
    assert rebuild.backend_switches() == ["GGML_VULKAN", "GGML_RPC"]
    assert "-DGGML_VULKAN=ON -DGGML_RPC=ON" in rebuild.rebuild_command()
    builds = {row[0]: row[1] for row in doctor.install_commands("0.3.36", rebuild.backend_switches())}
    assert builds["CUDA"].startswith('CMAKE_ARGS="-DGGML_CUDA=on -DGGML_VULKAN=on -DGGML_RPC=on" pip install ')
    assert builds["Vulkan"].startswith('CMAKE_ARGS="-DGGML_VULKAN=on -DGGML_RPC=on" pip install ')


def test_doctor_explains_a_library_that_cannot_be_loaded(program, tmp_path):
    done = program("doctor", "--json", LLAMA_CPP_LIB_PATH=str(tmp_path))
    (problem,) = json.loads(done.stdout)["problems"]
    assert done.returncode == 1
    assert "llama-cpp-python cannot be loaded" in problem and "install it again as below" in problem
