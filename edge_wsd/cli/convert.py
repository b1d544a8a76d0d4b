"""`edge-wsd convert my-model/ my-model.gguf --type Q8_0`: a Hugging Face checkpoint as a GGUF file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_wsd.cli.interruptible import call
from edge_wsd.cli.terminal import neutralise
from edge_wsd.errors import Cancelled

if TYPE_CHECKING:
    from rich.progress import Progress

    from edge_wsd.converters import Conversion

TYPES = ("F32", "F16", "BF16", "Q8_0")


@click.command()
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@click.option(
    "--type", "type_name", type=click.Choice(TYPES, case_sensitive=False), help="Type of the weights.  [default: Q8_0]"
)
@click.option("-f", "--force", is_flag=True, help="Replace DST if it exists.")
@click.option("--pre-tokenizer", metavar="NAME", help="llama.cpp's pre-tokenizer, where it is not recognised.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar and no summary.")
def command(
    *, source: str, target: str, type_name: str | None, force: bool, pre_tokenizer: str | None, quiet: bool
) -> None:
    """Turn the Hugging Face checkpoint in the folder SRC into the GGUF file DST.

    The Llama family is known. Weights are read tensor by tensor, no code of the checkpoint is run, and DST appears
    only once it is complete.
    """
    wishes: dict[str, Any] = {"force": force}
    if type_name is not None:
        wishes["type"] = type_name
    if pre_tokenizer is not None:
        wishes["pre_tokenizer"] = pre_tokenizer
    result = _convert(Path(source), Path(target), wishes, quiet=quiet)
    if not quiet:
        for note in result.notes:
            click.echo(f"note: {neutralise(note)}", err=True)
        summary = f"{result.architecture}, {result.n_tensors} tensors, {result.n_bytes / 2**20:.1f} MiB"
        click.echo(f"{neutralise(str(result.target))}: {summary}", err=True)


def _convert(source: Path, target: Path, wishes: dict[str, Any], *, quiet: bool) -> Conversion:
    """Converts in a thread, so that Ctrl-C is heard between two tensors; then no target has been made."""
    from edge_wsd.converters import convert

    stopped: list[bool] = []
    with _bar(quiet) as bar:
        task = bar.add_task(neutralise(target.name), total=None)

        def progress(done_bytes: int, total_bytes: int) -> None:
            bar.update(task, completed=done_bytes, total=total_bytes)
            if stopped:
                raise Cancelled("the conversion was stopped")

        def work() -> Conversion:
            return convert(source, target, progress=progress, **wishes)

        return call(work, cancel=lambda: stopped.append(True))


def _bar(quiet: bool) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.progress import TransferSpeedColumn as Rate

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), Rate(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True)
