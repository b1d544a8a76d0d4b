"""The steps of scripts/bench_gpu.py that need no GPU: what is carried, what CMake is told, limits, results."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import time
from pathlib import Path

import psutil
import pytest

from scripts.gpu.archive import PEERS, has_peers, pack, unpack
from scripts.gpu.build import own_symbols
from scripts.gpu.cuda import find_cuda
from scripts.gpu.device_tests import outcomes, run_tests
from scripts.gpu.report import goals_of, section
from scripts.gpu.workplace import OUT_OF_TIME, STOPPED, Workplace

READ = (
    "CMakeLists.txt",
    "llama_cpp/__init__.py",
    "vendor/llama.cpp/CMakeLists.txt",
    "vendor/llama.cpp/src/models/llama.cpp",
    "vendor/llama.cpp/ggml/src/ggml-cuda/common.cuh",
    "vendor/llama.cpp/common/common.cpp",
    "vendor/llama.cpp/tools/mtmd/models/clip.cpp",
)
OF_PEERS = tuple(f"vendor/llama.cpp/{folder}/CMakeLists.txt" for folder in PEERS.values())
UNREAD = (
    "docs/index.md",
    "tests/test_llama.py",
    "examples/server/server.py",
    "vendor/llama.cpp/models/ggml-vocab.gguf",
    "vendor/llama.cpp/docs/build.md",
    "vendor/llama.cpp/tools/server/server.cpp",
    "vendor/llama.cpp/examples/simple/simple.cpp",
    "vendor/llama.cpp/gguf-py/gguf.py",
)


@pytest.fixture
def sdist(tmp_path):
    tree = tmp_path / "sdist" / "llama_cpp_python-0.3.36"
    for name in (*READ, *OF_PEERS, *UNREAD):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name)
    return tree


def files_of(tree: Path) -> set[str]:
    return {path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()}


@pytest.mark.parametrize("peers", [True, False])
@pytest.mark.parametrize("ending", [".tar.gz", ".tar.xz"])
def test_the_archive_holds_what_a_build_reads_and_no_more(sdist, tmp_path, ending, peers):
    archive = tmp_path / f"carried{ending}"
    pack(sdist, archive, peers=peers)
    tree = unpack(archive, tmp_path / "there")
    assert tree.name == sdist.name and has_peers(tree) == peers
    assert files_of(tree) == {*READ, *(OF_PEERS if peers else ())}


def test_the_archive_is_the_same_from_the_sdist_as_a_file(sdist, tmp_path):
    packed = tmp_path / "sdist.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(sdist, sdist.name)
    pack(packed, tmp_path / "carried.tar.xz", peers=True)
    assert files_of(unpack(tmp_path / "carried.tar.xz", tmp_path / "there")) == {*READ, *OF_PEERS}


def test_what_was_unpacked_stays_so_that_a_build_goes_on(sdist, tmp_path):
    pack(sdist, tmp_path / "carried.tar.gz", peers=True)
    tree = unpack(tmp_path / "carried.tar.gz", tmp_path / "there")
    (tree / "object.o").write_text("compiled")
    assert unpack(tmp_path / "carried.tar.gz", tmp_path / "there") == tree
    assert (tree / "object.o").is_file()


def test_other_archives_and_names_are_refused_in_a_line(sdist, tmp_path):
    with pytest.raises(SystemExit, match=r"carried\.zip.*\.tar\.xz"):
        pack(sdist, tmp_path / "carried.zip", peers=True)
    with pytest.raises(SystemExit, match=r"not the source of llama-cpp-python"):
        pack(sdist.parent, tmp_path / "carried.tar.gz", peers=True)
    with tarfile.open(tmp_path / "other.tar.gz", "w:gz") as archive:
        archive.add(sdist / "docs", "docs")
    with pytest.raises(SystemExit, match=r"other\.tar\.gz: not the source"):
        unpack(tmp_path / "other.tar.gz", tmp_path / "there")
    assert not (tmp_path / "there").exists()


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_cmake_is_told_of_libraries_that_only_python_packages_have(tmp_path):
    """CMake looks for libcublas.so; NVIDIA's packages have libcublas.so.13 alone."""
    toolkit, packages = tmp_path / "cuda", tmp_path / "site-packages"
    touch(toolkit, "bin/nvcc", "lib64/libcudart.so", "lib64/stubs/libcuda.so", "include/cuda_runtime.h")
    touch(packages / "nvidia" / "cu13", "lib/libcublas.so.13", "lib/libcublasLt.so.13", "include/cublas_v2.h")
    found = find_cuda("90", [packages], toolkit)
    lib = packages / "nvidia" / "cu13" / "lib"
    assert found.definitions == {
        "GGML_CUDA": "on",
        "CMAKE_CUDA_ARCHITECTURES": "90",
        "CMAKE_CUDA_COMPILER": str(toolkit / "bin" / "nvcc"),
        "CUDAToolkit_ROOT": str(toolkit),
        "CUDA_cublas_LIBRARY": str(lib / "libcublas.so.13"),
        "CUDA_cublasLt_LIBRARY": str(lib / "libcublasLt.so.13"),
        "CMAKE_CUDA_FLAGS": f"-I{lib.parent / 'include'}",
    }
    assert found.library_folders == [lib]


def test_a_whole_toolkit_is_left_to_cmake(tmp_path):
    toolkit, packages = tmp_path / "cuda", tmp_path / "site-packages"
    libraries = [f"lib64/lib{name}.so" for name in ("cudart", "cublas", "cublasLt")]
    touch(toolkit, "bin/nvcc", "include/cublas_v2.h", "lib64/stubs/libcuda.so", *libraries)
    touch(packages / "nvidia" / "cublas", "lib/libcublas.so.12", "include/cublas_v2.h")
    found = find_cuda("89", [packages], toolkit)
    assert not [name for name in found.definitions if name.endswith(("LIBRARY", "FLAGS"))]
    assert not found.library_folders


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_command_that_takes_too_long_is_stopped_with_all_that_it_started(tmp_path):
    place = Workplace(tmp_path, minutes=1)
    assert place.run(["sh", "-c", "sleep 600 & echo $!; wait"], log="log", limit_s=4) == STOPPED
    pid, until = int((tmp_path / "log").read_text()), time.monotonic() + 60
    while is_alive(pid):  # it was told to end, and does so in its own time
        assert time.monotonic() < until, "what the command had started goes on"
        time.sleep(0.05)


def test_when_the_time_is_over_the_program_ends_and_says_that_it_can_go_on(tmp_path, capfd):
    place = Workplace(tmp_path, minutes=0)
    with pytest.raises(SystemExit) as ended:
        place.run([sys.executable, "-c", "import time; time.sleep(99)"])
    assert ended.value.code == OUT_OF_TIME and "again" in capfd.readouterr().err


def test_a_command_that_fails_ends_the_program_unless_its_output_is_kept(tmp_path):
    place = Workplace(tmp_path, minutes=1)
    fails = [sys.executable, "-c", "print('why'); raise SystemExit(3)"]
    with pytest.raises(SystemExit, match="status 3"):
        place.run(fails)
    assert place.run(fails, log="log") == 3
    assert (tmp_path / "log").read_text() == "why\n"


def test_the_environment_sees_what_the_python_that_made_it_sees(tmp_path):
    """One made from an environment saw the packages of neither."""
    place = Workplace(tmp_path, minutes=2)
    place.make_environment()
    program = "import numpy, pip, sys; print(sys.prefix)"
    out = subprocess.run([place.python, "-c", program], capture_output=True, text=True, check=True).stdout
    assert Path(out.strip()) == tmp_path / "venv"


def test_tests_are_counted_and_what_has_been_run_is_not_run_again(tmp_path, monkeypatch):
    monkeypatch.setattr("scripts.gpu.device_tests.ROOT", tmp_path)
    monkeypatch.setattr("scripts.gpu.workplace.ROOT", tmp_path)
    monkeypatch.setattr(Workplace, "python", Path(sys.executable))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # they take seconds to import
    (tmp_path / "suite").mkdir()
    (tmp_path / "suite" / "test_one.py").write_text(
        "import os, pytest\n"
        "def test_good(): assert os.environ['EDGE_WSD_TEST_GPU_LAYERS'] == '-1'\n"
        "def test_bad(): assert False\n"
        "@pytest.mark.skip\ndef test_none(): pass\n"
    )
    (tmp_path / "suite" / "test_two.py").write_text("def test_broken(): import nothing_like_it\n")
    place = Workplace(tmp_path / "work", minutes=2)
    run_tests(place, ["suite"], on_gpu=True)
    found = place.read("tests")
    one = found["suite/test_one.py"]
    assert (one["passed"], one["skipped"], one["failed"], one["status"]) == (1, 1, ["test_bad"], 1)
    assert found["suite/test_two.py"]["failed"] == ["test_broken"]
    (tmp_path / "suite" / "test_one.py").write_text("")
    run_tests(place, ["suite"], on_gpu=True)
    assert place.read("tests") == found


def test_a_file_that_did_not_come_to_its_report_has_nothing_passed(tmp_path):
    assert outcomes(tmp_path / "none.xml") == {"passed": 0, "skipped": 0, "failed": []}


CELL = {
    **{"pair": "3B+70B", "agreement": 0.8, "measured_agreement": 0.81, "at_once": 1, "base_s": 10.0, "plain_s": 5.0},
    **{"wsd_s": 4.0, "answer_to_base": 0.5, "wsd_first_s": 0.11, "first_to_drafter": 1.1},
    **{"wsd_tokens_per_s": 60.0, "peer_tokens_per_s": 50.0},
}


def verdicts(**changes: object) -> list[bool | None]:
    return [goal.met for goal in goals_of({**CELL, **changes})]


def test_each_goal_is_met_up_to_its_bound_and_missed_beyond():
    assert verdicts() == [True, True, True]
    assert verdicts(answer_to_base=0.501)[0] is False
    assert verdicts(first_to_drafter=1.101)[1] is False
    assert verdicts(peer_tokens_per_s=60.0)[2] is True and verdicts(peer_tokens_per_s=60.1)[2] is False


def test_what_was_not_measured_is_not_met():
    assert verdicts(peer_tokens_per_s=None)[2] is None
    assert verdicts(at_once=8) == []
    assert len(verdicts(agreement=0.5)) == len(verdicts(pair="3B+8B")) == 2


def test_the_section_tells_goals_and_failures():
    tests = {"tests/a.py": {"passed": 3, "skipped": 1, "failed": ["test_b"], "status": 1}}
    tests["tests/hangs.py"] = {"passed": 0, "skipped": 0, "failed": [], "status": 124}
    found = {"card": "NVIDIA H100", "tests": tests, "bench": {"": CELL}, "signal": None}
    found["overlap"] = {"3B+8B": {"off": 3.0, "on": 2.0}}
    text = "\n".join(section(found, list(goals_of({**CELL, "answer_to_base": 0.9}))))
    assert "3B+70B at 80 %: answer ÷ base alone ≤ 0.5: 0.9, **missed**" in text
    assert "| 3B+70B, 80 % (81.0), 1 | 10 | 5 | 4 | 0.5 | 0.11 | 1.1 | 60 | 1.2 |" in text
    assert "3B+8B, drafter on the processor: 3 s in turns, 2 s overlapped." in text
    assert "3 passed, 1 skipped; 2 of 2 files failed" in text
    assert "tests/a.py: test_b" in text and "tests/hangs.py: status 124" in text


def test_a_compiler_without_a_shared_libstdcpp_hides_its_symbols(tmp_path, monkeypatch):
    """Beside numpy's libstdc++ every process crashed that loaded llama.cpp's libraries behind it."""
    compiler = tmp_path / "g++"
    compiler.write_text("#!/bin/sh\necho libstdc++.so\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", f"env {compiler}")
    monkeypatch.setenv("LDFLAGS", "-Wl,-s")
    assert own_symbols()["LDFLAGS"] == "-Wl,-s -Wl,--exclude-libs,libstdc++.a"
    compiler.write_text(f"#!/bin/sh\necho {tmp_path}/libstdc++.so\n")
    assert own_symbols() == {}
