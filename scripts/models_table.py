"""Writes the tables of sizes in the documents: of files by type, of pairs in memory, and what a first pair takes.

    python scripts/models_table.py [--check]

Everything is computed as `edge-wsd plan` does. A table stands between `<!-- begin NAME: ... -->` and
`<!-- end NAME -->`.
`--check` changes nothing and exits with 1 if a table is stale.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from edge_wsd.llama.settings import ModelSettings
from edge_wsd.models.gguf.file_types import find_type
from edge_wsd.models.pairs.built_in import BUILT_IN_PAIRS, TERMS
from edge_wsd.models.pairs.named_pair import NamedPair
from edge_wsd.models.plan.known_shapes import KNOWN_MODELS, known_shape
from edge_wsd.models.plan.memory import model_memory

_DOCS = Path(__file__).resolve().parent.parent / "docs"
FILES = (_DOCS / "models.md", _DOCS / "first-real-pair.md")
TYPES = ("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K")
LENGTHS = (4096, 8192, 32768)
_GIB = 1 << 30
# Bytes of a checkpoint a second: a line of 100 Mbit/s; what converting as it is, converting to Q8_0 and quantizing to
# Q4_K_M took on two cores (docs/models.md, Measured).
_FETCHES, _COPIES, _CONVERTS, _QUANTIZES = 12.5e6, 617e6, 256e6, 32e6
_MARKED = re.compile(r"(<!-- begin ([a-z-]+):[^>]*-->\n).*?(<!-- end \2 -->)", re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing, exit with 1 if a table is stale")
    arguments = parser.parse_args()
    n_stale = 0
    for file in FILES:
        before = file.read_text(encoding="utf-8")
        after = renewed(before)
        if after != before:
            n_stale += 1
            if not arguments.check:
                file.write_text(after, encoding="utf-8")
            print(f"{file.name}: {'is stale' if arguments.check else 'written anew'}", file=sys.stderr)
    sys.exit(1 if n_stale and arguments.check else 0)


def renewed(text: str) -> str:
    """The text with every marked table of these made again."""
    return _MARKED.sub(lambda found: found[1] + TABLES[found[2]]() + found[3] if found[2] in TABLES else found[0], text)


def files_table() -> str:
    """Size of each model's weights in each type, in GiB."""
    head = ("model", "parameters", *TYPES)
    rows = []
    for name in KNOWN_MODELS:
        sizes = [_gib(known_shape(name, type_).weights_bytes) for type_ in TYPES]
        rows.append((name, f"{known_shape(name, 'F16').n_params / 1e9:.2f} B", *sizes))
    return _markdown(head, rows)


def memory_table() -> str:
    """Memory of both models of each pair together, in GiB, by type of the base and length of the context."""
    head = ("pair", "base as", "base's file", *(f"{length // 1024}k tokens" for length in LENGTHS))
    rows = []
    for pair in _pulled_pairs():
        rows += [_memory_row(pair, type_) for type_ in TYPES[1:]]
    return _markdown(head, rows)


def _memory_row(pair: NamedPair, type_name: str) -> tuple[str, ...]:
    drafter, base = known_shape(pair.drafter), known_shape(pair.base, type_name)
    cells = []
    for length in LENGTHS:
        if length > min(drafter.n_ctx_train, base.n_ctx_train):
            cells.append("–")  # not trained for it
            continue
        settings = ModelSettings(context_length=length)
        cells.append(_gib(sum(model_memory(shape, settings).host.total for shape in (drafter, base))))
    return (f"`{pair.name}`", type_name, _gib(base.weights_bytes), *cells)


def first_pair_table() -> str:
    """What each pair takes: to fetch, on the disk, in memory, and of time. Those without an account come first."""
    head = (
        "pair",
        "account",
        "to fetch",
        "minutes to fetch",
        "minutes to convert",
        "disk meanwhile",
        "disk then",
        "memory",
    )
    return _markdown(head, [_first_pair_row(pair) for pair in sorted(_pulled_pairs(), key=_is_gated)])


def _first_pair_row(pair: NamedPair) -> tuple[str, ...]:
    published, stored, most, minutes = 0, 0, 0, 0.0
    for name in (pair.drafter, pair.base):
        repo, _, type_name = name.partition(":")
        n_published, n_stored = (known_shape(repo, kind).weights_bytes for kind in ("BF16", type_name))
        is_direct = find_type(type_name).is_direct
        most = max(most, stored + n_published + n_stored + (0 if is_direct else n_published))
        minutes += n_published * (1 / _CONVERTS if is_direct else 1 / _COPIES + 1 / _QUANTIZES) / 60
        published, stored = published + n_published, stored + n_stored
    shapes = [known_shape(name) for name in (pair.drafter, pair.base)]
    settings = ModelSettings(context_length=LENGTHS[0])
    memory = sum(model_memory(shape, settings).host.total for shape in shapes)
    account = "needed" if _is_gated(pair) else "none"
    times = (f"{published / _FETCHES / 60:.0f}", f"{max(minutes, 1):.0f}")
    return (f"`{pair.name}`", account, _gib(published), *times, _gib(most), _gib(stored), _gib(memory))


def _is_gated(pair: NamedPair) -> bool:
    return any(TERMS[name.partition(":")[0]].gated for name in (pair.drafter, pair.base))


def _pulled_pairs() -> list[NamedPair]:
    return [pair for pair in BUILT_IN_PAIRS.values() if pair.base.partition(":")[0] in KNOWN_MODELS]


TABLES: Mapping[str, Callable[[], str]] = {
    "model-files": files_table,
    "pair-memory": memory_table,
    "first-pair": first_pair_table,
}


def _gib(n_bytes: int) -> str:
    return f"{n_bytes / _GIB:.1f}"


def _markdown(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
