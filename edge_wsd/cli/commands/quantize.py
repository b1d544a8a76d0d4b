"""`edge-wsd quantize model-f16.gguf model.gguf Q4_K_M`: a GGUF file in another type."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_wsd.cli.quant_type import IMATRIX_HELP, KEEP_HELP, TypeParam, tell_written, type_table
from edge_wsd.cli.ui.file_work import with_bar
from edge_wsd.units import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_wsd.converters import Quantization


@click.command(epilog=type_table())
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@click.argument("type_name", metavar="TYPE", type=TypeParam())
@click.option("--keep", multiple=True, metavar="NAME[=TYPE]", help=KEEP_HELP)
@click.option("--imatrix", metavar="FILE", help=IMATRIX_HELP)
@click.option("--threads", type=click.IntRange(1, 512), metavar="N", help="CPU threads.  [default: physical cores]")
@click.option("--allow-requantize", is_flag=True, help="Accept a SRC that is already quantized, at a loss.")
@click.option("-f", "--force", is_flag=True, help="Replace DST if it exists.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar and no summary.")
def command(
    *,
    source: str,
    target: str,
    type_name: str,
    keep: tuple[str, ...],
    imatrix: str | None,
    threads: int | None,
    allow_requantize: bool,
    force: bool,
    quiet: bool,
) -> None:
    """Store the model in the GGUF file SRC in fewer bits, as the GGUF file DST.

    SRC should be in F16, BF16 or F32; for a split model, give the first part. DST appears only once it is complete.
    """
    from edge_wsd.converters import quantize
    from edge_wsd.converters.quantization.keep import parse_keep

    rules = parse_keep(keep)

    def work(progress: Callable[[int, int], None]) -> Quantization:
        return quantize(
            source,
            target,
            type_name,
            keep=rules,
            imatrix=imatrix,
            force=force,
            requantize=allow_requantize,
            threads=threads,
            progress=progress,
        )

    result = with_bar(Path(target).name, work, quiet=quiet)
    if not quiet:
        about = f"{result.type}, {counted(result.n_tensors, 'tensors')}"
        tell_written(result.target, about, result.n_bytes, result.bits_per_weight, result.types, result.notes)
