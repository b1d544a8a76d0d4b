"""Step `build`: llama-cpp-python from the carried source, llama.cpp's own programs over its libraries, this project."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from scripts.gpu.archive import PEERS, has_peers, unpack
from scripts.gpu.cuda import Cuda
from scripts.gpu.workplace import ROOT, Workplace, n_cores

TOOLS = ("scikit-build-core", "nanobind", "cmake", "ninja")
OF_LLAMA = ("diskcache", "jinja2", "typing-extensions")
FOR_TESTS = ("pytest>=8.0", "hypothesis>=6.100", "psutil>=5.9", "pyte>=0.8.2")
"""Besides torch and transformers, which the oracle needs."""


def build(place: Workplace, archive: Path, cuda: Cuda, wheels: Path | None) -> None:
    """What is built stays, and compiling goes on where it was stopped."""
    what = {"source": archive.name, "definitions": cuda.definitions}
    if place.read("build") == what:
        return
    place.make_environment()
    index = ["--no-index", "--find-links", wheels.resolve()] if wheels else []
    install = [place.python, "-m", "pip", "install", "--quiet", *index]
    place.run([*install, *TOOLS])
    tree = unpack(archive, place.folder / "source")
    wheel = _wheel_of_llama(place, tree, cuda)
    place.run([*install, "--no-deps", "--force-reinstall", wheel])
    place.run([*install, wheel, *FOR_TESTS])
    own = ["--no-build-isolation", "--config-settings", f"build-dir={place.folder / 'native'}"]
    place.run([*install, *own, "--editable", ROOT], **own_symbols())
    if has_peers(tree):
        place.run(["cmake", "--build", _objects(place), "--parallel", n_cores(), "--target", *PEERS])
    place.run([place.python, "-c", "import llama_cpp, edge_wsd; print(llama_cpp.__file__, llama_cpp.__version__)"])
    place.write("build", what)


def download_wheels(folder: Path, python: str, there: list[str]) -> None:
    """What `build` installs, for Linux on x86-64 and this version of Python, but for the packages that are `there`."""
    try:
        needs = [line for line in requires("edge-wsd") or [] if "extra ==" not in line and "llama" not in line]
    except PackageNotFoundError:
        sys.exit("--wheels needs this project installed, to know what it needs: pip install -e .")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary", ":all:", "--dest", str(folder)]
    platforms = [f"--platform={name}_x86_64" for name in ("manylinux_2_28", "manylinux_2_17", "manylinux2014")]
    command += ["--implementation=cp", f"--python-version={python}", *platforms]
    subprocess.run([*command, *TOOLS, *OF_LLAMA, *FOR_TESTS, *needs], check=True, stdout=2)
    names = {_plain(name) for name in there}
    for path in folder.glob("*.whl"):
        if _plain(path.name.split("-")[0]) in names:
            path.unlink()


def _plain(name: str) -> str:
    return name.lower().replace("-", "_").replace(".", "_")


def programs(place: Workplace) -> dict[str, Path]:
    """llama.cpp's own programs that were built, by name."""
    folder = _objects(place) / "bin"
    return {name: folder / name for name in PEERS if (folder / name).is_file()}


def _wheel_of_llama(place: Workplace, tree: Path, cuda: Cuda) -> Path:
    definitions, folder = dict(cuda.definitions), place.folder / "built"
    if has_peers(tree):
        definitions["CMAKE_PROJECT_llama_cpp_INCLUDE"] = str(Path(__file__).with_name("peers.cmake"))
    if not list(folder.glob("*.whl")):
        options = ["--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", folder, "--verbose"]
        options += ["--config-settings", f"build-dir={_objects(place)}", "--config-settings", "cmake.verbose=false"]
        place.run(
            [place.python, "-m", "pip", "wheel", *options, tree],
            CMAKE_ARGS=" ".join(f"-D{name}={value}" for name, value in definitions.items()),
            CMAKE_BUILD_PARALLEL_LEVEL=str(n_cores()),
            **own_symbols(),
        )
    return next(folder.glob("*.whl"))


def own_symbols() -> dict[str, str]:
    """Variables for CMake. A compiler without a shared libstdc++ puts a copy into every library, and their symbols that
    are to be there once in a process are then those of whoever was loaded first: beside numpy's the process crashed.
    """
    compiler = shlex.split(os.environ.get("CXX") or shutil.which("g++") or "")
    command = [*compiler, "-print-file-name=libstdc++.so"]
    if not compiler or Path(subprocess.run(command, check=True, capture_output=True, text=True).stdout).is_absolute():
        return {}
    unique, hidden = "-fno-gnu-unique", "-Wl,--exclude-libs,libstdc++.a"
    more = {"CXXFLAGS": unique, "CUDAFLAGS": f"-Xcompiler={unique}", "LDFLAGS": hidden}
    return {name: f"{os.environ.get(name, '')} {flags}".strip() for name, flags in more.items()}


def _objects(place: Workplace) -> Path:
    return place.folder / "objects"
