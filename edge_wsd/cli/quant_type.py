"""The type of a GGUF file as an argument of a command, and what was written as its last lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from edge_wsd.cli.ui.rows import tell
from edge_wsd.errors import ConversionError
from edge_wsd.models.gguf.file_types import QUANT_TYPES, SUPPORTED_TYPES, find_type

_PER_LINE = 4
KEEP_HELP = (
    "Store some tensors in a type of their own: output=Q6_K, embedding=F16 or a pattern such as 'attn_v=Q8_0'; "
    "without a type as they are. Repeatable."
)
IMATRIX_HELP = "Importance matrix, as `edge-wsd imatrix` makes it."


class TypeParam(click.ParamType):  # type: ignore[type-arg, unused-ignore]  # generic since click 8.4
    """A name of a type in any case, or an alias; gives the name as it is."""

    name = "type"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return str(find_type(value).name)
        except ConversionError as error:
            self.fail(str(error), param, ctx)

    def shell_complete(self, _ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in SUPPORTED_TYPES if name.startswith(incomplete.upper())]


def type_table() -> str:
    """All types with their bits per weight, for the end of a help text."""
    cells = [f"{kind.name:<10}{kind.bits_per_weight:5.2f}" for kind in QUANT_TYPES.values()]
    rows = ["   ".join(cells[first : first + _PER_LINE]) for first in range(0, len(cells), _PER_LINE)]
    return "\b\nTYPE and its bits per weight in a model of 8 billion parameters:\n" + "\n".join(rows)


def tell_written(
    target: Path, about: str, n_bytes: int, bits_per_weight: float, types: Mapping[str, int], notes: Sequence[str]
) -> None:
    """On stderr: the notes, the size, and how many tensors have which type."""
    for note in notes:
        tell(f"note: {note}")
    size = f"{n_bytes / 2**20:.1f} MiB" if n_bytes < 2**30 else f"{n_bytes / 2**30:.2f} GiB"
    tell(f"{target}: {about}, {size}, {bits_per_weight:.2f} bits per weight")
    counts = sorted(types.items(), key=lambda item: -item[1])
    tell("  stored as " + ", ".join(f"{name} ({count})" for name, count in counts))
