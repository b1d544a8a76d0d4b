"""The installed llama.cpp as files, without loading any of them."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

BINDING = "llama-cpp-python"
FOLDER_VARIABLE = "LLAMA_CPP_LIB_PATH"  # the binding's own


def library_files() -> list[Path]:
    """The libraries that the binding loads, each once. Empty if they cannot be found."""
    spec = find_spec("llama_cpp")
    places = list(spec.submodule_search_locations or ()) if spec else []
    given = os.environ.get(FOLDER_VARIABLE)
    folder = Path(given) if given else Path(places[0]) / "lib" if places else None
    try:
        names = sorted(os.listdir(folder)) if folder else []
    except OSError:
        return []
    found = {(folder / name).resolve() for name in names if folder and ("ggml" in name or "llama" in name)}
    return sorted(path for path in found if path.is_file())


def installation_stamp() -> str:
    """Changes with the version of the binding, and when one of the libraries is replaced or written to."""
    try:
        parts = [version(BINDING)]
    except PackageNotFoundError:
        parts = ["unknown"]
    for path in library_files():
        status = path.stat()
        parts.append(f"{path}:{status.st_size}:{status.st_mtime_ns}:{status.st_ino}")
    return " ".join(parts)
