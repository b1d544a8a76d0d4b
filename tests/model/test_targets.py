"""What converting and quantizing write to: links, pipes, long names, two at once, and what a killed one left."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_wsd.converters import convert, quantize
from edge_wsd.converters.quantization.imatrix import Activations, Imatrix, write_imatrix
from edge_wsd.errors import ConversionError, QuantizationError
from edge_wsd.models.gguf.check import check_gguf
from tests.checkpoints import make_checkpoint

KILLED_HALF_WAY = """
import os, signal, sys
from edge_wsd.converters import convert
def progress(done, total):
    if done > 0.6 * total:
        os.kill(os.getpid(), signal.SIGKILL)
convert(sys.argv[1], sys.argv[2], type="Q4_0", progress=progress)
"""
CONVERTS_WHEN_TOLD = """
import sys
from edge_wsd.converters import convert
from edge_wsd.errors import ConversionError
print("ready", flush=True), sys.stdin.readline()
try:
    convert(sys.argv[1], sys.argv[2], type=sys.argv[3])
except ConversionError as error:
    assert "exists already" in str(error), error
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint"), "llama", hidden_size=128, intermediate_size=256)


@pytest.fixture(scope="module")
def gguf(checkpoint, tmp_path_factory) -> Path:
    return convert(checkpoint, tmp_path_factory.mktemp("gguf") / "model.gguf", type="F16").target


@pytest.fixture(params=["convert", "convert in two steps", "quantize"])
def write(request, checkpoint, gguf):
    """One of the ways to write a model to `target`, and its error."""

    def run(target: Path, *, force: bool = False) -> None:
        if request.param == "quantize":
            quantize(gguf, target, "Q8_0", force=force, threads=1)
        else:
            convert(checkpoint, target, type="Q8_0" if request.param == "convert" else "Q4_0", force=force)

    return run, QuantizationError if request.param == "quantize" else ConversionError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_link_stays_a_link_and_what_it_points_to_is_replaced(write, tmp_path):
    """The link was replaced by a file, and the disk that it led to stayed as it was."""
    run, error = write
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    real, link = elsewhere / "real.gguf", tmp_path / "link.gguf"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    with pytest.raises(error, match="--force"):
        run(link)
    assert real.read_text() == "old"
    run(link, force=True)
    assert link.is_symlink() and check_gguf(real) and stat.S_IMODE(real.stat().st_mode) == 0o640
    assert names(tmp_path) == ["elsewhere", "link.gguf"] and names(elsewhere) == ["real.gguf"]


def test_a_link_to_nothing_needs_force_and_then_leads_somewhere(write, tmp_path):
    """It was replaced by a file without --force."""
    run, error = write
    link = tmp_path / "link.gguf"
    link.symlink_to("real.gguf")
    with pytest.raises(error, match=r"is a link to .*real\.gguf.*--force"):
        run(link)
    assert names(tmp_path) == ["link.gguf"]
    run(link, force=True)
    assert link.is_symlink() and check_gguf(tmp_path / "real.gguf")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "link to the weights", "imatrix.gguf"])
def test_what_is_converted_is_not_replaced_by_the_result(checkpoint, gguf, tmp_path, name):
    """With --force the weights were replaced by the file that was made from them."""
    folder = Path(shutil.copytree(checkpoint, tmp_path / "checkpoint"))
    target = folder / name if (folder / name).exists() else tmp_path / name
    if name.startswith("link"):
        target.symlink_to(folder / "model.safetensors")
    elif name == "imatrix.gguf":
        shutil.copy(gguf, target)
    before = target.read_bytes()
    with pytest.raises(ConversionError, match="choose another name"):
        convert(folder, target, force=True, imatrix=target if name == "imatrix.gguf" else None)
    assert target.read_bytes() == before


@pytest.mark.parametrize("kind", ["device", "pipe", "circle"])
def test_what_is_no_file_is_not_replaced_by_one(write, tmp_path, kind):
    run, error = write
    target = tmp_path / "target"
    if kind == "device":
        target.symlink_to(os.devnull)
    elif kind == "pipe":
        os.mkfifo(target)
    else:
        target.symlink_to("target")
    with pytest.raises(error, match=f"{target} cannot be written"):
        run(target, force=True)
    assert names(tmp_path) == ["target"] and stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_a_read_only_file_is_not_replaced(write, tmp_path, monkeypatch):
    run, error = write
    target = tmp_path / "model.gguf"
    target.write_text("precious")
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != target)
    with pytest.raises(error, match="read-only"):
        run(target, force=True)
    assert target.read_text() == "precious"


def test_a_name_may_be_as_long_as_the_file_system_allows(write, tmp_path):
    """The hidden names beside it were longer than that."""
    target = tmp_path / ("m" * 250 + ".gguf")
    write[0](target)
    assert names(tmp_path) == [target.name]


def test_an_importance_matrix_follows_links_and_has_the_permissions_of_others(tmp_path):
    before = os.umask(0o027)
    try:
        link, long = tmp_path / "link", tmp_path / ("i" * 250 + ".gguf")
        link.symlink_to(long)
        columns = Activations(np.ones((1, 1), np.float32), np.array([1]))
        write_imatrix(link, Imatrix({"blk.0.attn_q.weight": columns}, 1, 1))
    finally:
        os.umask(before)
    assert link.is_symlink() and stat.S_IMODE(long.stat().st_mode) == 0o640


def test_what_a_killed_conversion_left_is_removed_by_the_next(checkpoint, tmp_path):
    """A file of floats of the whole model lay there for good."""
    target = tmp_path / "model.gguf"
    killed = subprocess.run([sys.executable, "-c", KILLED_HALF_WAY, str(checkpoint), str(target)], check=False)
    assert killed.returncode == -signal.SIGKILL and not target.exists() and names(tmp_path)
    convert(checkpoint, target, type="Q8_0")
    assert names(tmp_path) == ["model.gguf"]


@pytest.mark.parametrize("types", [("Q8_0", "F16"), ("Q4_0", "Q8_0")])
def test_two_conversions_to_one_target_leave_a_whole_file(checkpoint, tmp_path, types):
    """Names held the process id, which two containers have in common: 6 of 7 files were damaged, with exit code 0."""
    target = tmp_path / "model.gguf"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CONVERTS_WHEN_TOLD, str(checkpoint), str(target), kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for kind in types
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate(timeout=120) and process.returncode for process in processes] == [0, 0]
    check_gguf(target)
    alone = {kind: convert(checkpoint, tmp_path / kind, type=kind).target.read_bytes() for kind in types}
    assert target.read_bytes() in alone.values()
    assert names(tmp_path) == sorted(["model.gguf", *types])
