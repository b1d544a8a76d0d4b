"""The source of llama-cpp-python without what no build of it reads, small enough to be carried."""

from __future__ import annotations

import shutil
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

_LLAMA_CPP = PurePosixPath("vendor/llama.cpp")
_UNREAD = ("docs", "tests", "examples", ".git")
_UNREAD_OF_LLAMA_CPP = (
    *("models", "media", "docs", "tests", "benches", "examples", "pocs", "app", "gguf-py", "conversion", "grammars"),
    *("tools", ".git"),
)
_MULTIMODAL = "tools/mtmd"
PEERS = {
    "llama-bench": "tools/llama-bench",
    "llama-batched-bench": "tools/batched-bench",
    "llama-speculative-simple": "examples/speculative-simple",
}
"""llama.cpp's own programs, and where their sources are in it."""


def is_read(path: PurePosixPath, *, peers: bool) -> bool:
    """Whether a build reads this file of the source tree."""
    kept = [_MULTIMODAL, *(PEERS.values() if peers else ())]
    if path.is_relative_to(_LLAMA_CPP):
        inside = path.relative_to(_LLAMA_CPP)
        return inside.parts[0] not in _UNREAD_OF_LLAMA_CPP or any(inside.is_relative_to(one) for one in kept)
    return path.parts[0] not in _UNREAD


def pack(source: Path, target: Path, *, peers: bool) -> None:
    """Write what a build reads of `source`, an sdist or the folder it was unpacked to, as .tar.gz or .tar.xz."""
    kind = target.suffix[1:]
    if target.suffixes[-2:-1] != [".tar"] or kind not in ("gz", "xz"):
        sys.exit(f"{target}: the archive's name must end in .tar.gz or .tar.xz")
    with tempfile.TemporaryDirectory() as scratch:
        tree = source_tree(source, Path(scratch))
        partial = target.with_name(target.name + ".part")
        with tarfile.open(partial, f"w:{kind}") as archive:  # type: ignore[call-overload]
            for path in sorted(tree.rglob("*")):
                inside = PurePosixPath(path.relative_to(tree).as_posix())
                if path.is_file() and is_read(inside, peers=peers):
                    archive.add(path, f"{tree.name}/{inside}", recursive=False)
        partial.replace(target)


def unpack(archive: Path, folder: Path) -> Path:
    """The source tree of an archive, unpacked into `folder`. A tree that is there stays: a build may go on in it."""
    if not (trees := _trees(folder)):
        partial = folder.with_name(folder.name + ".part")
        shutil.rmtree(partial, ignore_errors=True)
        with tarfile.open(archive) as opened:
            opened.extractall(partial, filter="data")
        if not (_trees(partial)):
            sys.exit(f"{archive}: not the source of llama-cpp-python, there is no {_LLAMA_CPP} in it")
        partial.rename(folder)
        trees = _trees(folder)
    return trees[0]


def source_tree(source: Path, scratch: Path) -> Path:
    """The folder with CMakeLists.txt and vendor/llama.cpp, unpacked into `scratch` if `source` is an archive."""
    if source.is_file():
        return unpack(source, scratch / "source")
    if not (source / _LLAMA_CPP).is_dir():
        sys.exit(f"{source}: not the source of llama-cpp-python, there is no {_LLAMA_CPP} in it")
    return source.resolve()


def has_peers(tree: Path) -> bool:
    return all((tree / _LLAMA_CPP / where).is_dir() for where in PEERS.values())


def _trees(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*") if (path / _LLAMA_CPP).is_dir()]
