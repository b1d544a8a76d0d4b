"""Builds llama.cpp's RPC backend alone, in seconds, as a library beside the installed llama.cpp.

    python scripts/build_rpc_backend.py FOLDER [--source DIR_OR_SDIST]
    export GGML_BACKEND_PATH=FOLDER/libggml-rpc.so

The source is that of the installed llama-cpp-python, which pip downloads if none is given. It needs a C++ compiler
(`c++`, or what CXX names). A llama-cpp-python built with `CMAKE_ARGS="-DGGML_RPC=on"` has the backend inside.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

PACKAGE = "llama-cpp-python"
SOURCES = ("ggml-rpc.cpp", "transport.cpp")
DEFINITIONS = ("GGML_BACKEND_DL", "GGML_BACKEND_BUILD", "GGML_BACKEND_SHARED", "GGML_SHARED", "NDEBUG")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where libggml-rpc.so is put")
    parser.add_argument("--source", type=Path, help=f"the sdist of {PACKAGE}, or the folder it was unpacked to")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        ggml = ggml_folder(arguments.source or download(Path(scratch)), Path(scratch))
        built = Path(scratch, "libggml-rpc.so")
        build(ggml, installed_libraries(), built)
        target = arguments.folder.resolve() / built.name
        partial = target.with_suffix(".part")
        partial.write_bytes(built.read_bytes())
        partial.replace(target)
    print(target)


def download(folder: Path) -> Path:
    """The sdist of the installed version."""
    wanted = f"{PACKAGE}=={version(PACKAGE)}"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", PACKAGE]
    pip += ["--dest", str(folder)]
    subprocess.run([*pip, wanted], check=True, stdout=sys.stderr)
    return next(folder.glob("*.tar.gz"))


def ggml_folder(source: Path, scratch: Path) -> Path:
    """ggml's source in an sdist, or in a folder of one."""
    if source.is_file():
        with tarfile.open(source) as archive:
            members = [member for member in archive.getmembers() if "/vendor/llama.cpp/ggml/" in member.name]
            archive.extractall(scratch, members, filter="data")
        source = scratch
    return next(source.rglob("vendor/llama.cpp/ggml/include/ggml-rpc.h")).parents[1]


def installed_libraries() -> Path:
    """Where llama-cpp-python keeps llama.cpp."""
    found = find_spec("llama_cpp")
    if found is None or not found.origin:
        sys.exit(f"{PACKAGE} is not installed for {sys.executable}")
    return Path(found.origin).parent / "lib"


def build(ggml: Path, libraries: Path, target: Path) -> None:
    """The ABI is that of the installed llama.cpp: the same version's headers, linked to its libggml-base."""
    folder = ggml / "src" / "ggml-rpc"
    base = next(libraries.glob("libggml-base.*"))
    subprocess.run(
        [
            *(os.environ.get("CXX", "c++"), "-O2", "-std=c++17", "-fPIC", "-shared", "-pthread"),
            *(f"-D{name}" for name in DEFINITIONS),
            *(f"-I{ggml / part}" for part in ("include", "src")),
            *(str(folder / name) for name in SOURCES),
            *(str(base), f"-Wl,-rpath,{libraries}", "-o", str(target)),
        ],
        check=True,
    )


if __name__ == "__main__":
    main()
