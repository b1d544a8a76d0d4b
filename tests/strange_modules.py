"""Folders full of Python modules that must not be run, named as everything that a program may import."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

MARK = "RAN"
"""The file that appears in such a folder when one of its modules is run."""

# What programs import, what those import, and what Python itself looks for at its start.
NAMES = sorted(
    {name for name in sys.stdlib_module_names if name.isidentifier()}
    | {path.name.partition(".")[0] for path in Path(sysconfig.get_path("purelib")).iterdir() if path.name[0] != "."}
    | {"edge_wsd", "llama_cpp", "numpy", "sitecustomize", "usercustomize", "converters", "PIL", "readline"}
)
# Python's own start of `-m` needs these before the first line of ours.
OF_PYTHONS_START = frozenset(
    [
        "runpy",
        "warnings",
        "importlib",
        "contextlib",
        "collections",
        "functools",
        "types",
        "keyword",
        "operator",
        "reprlib",
        "itertools",
        "abc",
        "pkgutil",
        "_collections",
        "_collections_abc",
        "_operator",
        "_functools",
        "edge_wsd",
    ]
)
PROGRAM = "from edge_wsd.cli.main import main\nmain()\n"
"""What pip makes of the entry point `edge-wsd`."""


def fill(folder: Path, names: Iterable[str] = NAMES) -> Path:
    """A module of each name in `folder`, and a package of each in `packages` below it."""
    folder.mkdir(exist_ok=True)
    for name in names:
        code = f"open({str(folder / MARK)!r}, 'a').write({name!r} + ' ')\nraise SystemExit(99)\n"
        (folder / f"{name}.py").write_text(code)
        package = folder / "packages" / name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(code)
    return folder
