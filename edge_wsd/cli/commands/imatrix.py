"""`edge-wsd imatrix model-F16.gguf imatrix.gguf`: which columns of the weights matter, measured on a text."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_wsd.cli.ui.count_bar import counting_stages
from edge_wsd.cli.ui.interruptible import call
from edge_wsd.cli.ui.terminal import one_line
from edge_wsd.units import counted

if TYPE_CHECKING:
    from edge_wsd.converters.quantization.calibration import Collection


@click.command()
@click.argument("model", metavar="MODEL.gguf")
@click.argument("target", metavar="OUT.gguf")
@click.option("--text", metavar="FILE", help="Measure on this text, in UTF-8.  [default: built in, several languages]")
@click.option("--chunk", type=int, metavar="N", help="Tokens read in one go.  [default: 512]")
@click.option("--chunks", type=click.IntRange(min=1), metavar="N", help="Only the first N chunks.  [default: all]")
@click.option("--process-output", is_flag=True, help="Also measure the output matrix.")
@click.option("-f", "--force", is_flag=True, help="Replace OUT.gguf if it exists.")
@click.option("--gpu-layers", type=click.IntRange(min=-1), metavar="N", help="Layers on the GPU.  [default: all]")
@click.option("--threads", type=click.IntRange(1, 512), metavar="N", help="CPU threads.  [default: the physical cores]")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar and no summary.")
def command(*, model: str, target: str, quiet: bool, force: bool, **wishes: Any) -> None:
    """Run MODEL.gguf over a text and write its importance matrix to OUT.gguf.

    `edge-wsd quantize` and `convert` take the file with --imatrix, and so do llama.cpp's tools: low-bit types are
    then most exact where the model looks most. MODEL should be the file to be quantized, in F16, BF16 or F32.

    What has been measured is kept in a hidden file beside OUT.gguf: a run that was stopped, was killed or ran out of
    disk space continues when the same command is given again.
    """
    given = {name: value for name, value in wishes.items() if value is not None}
    collected = _collect(Path(model), Path(target), given, force=force, quiet=quiet)
    if quiet:
        return
    rate = (collected.n_tokens - collected.n_tokens_before) / max(collected.seconds, 1e-9)
    if collected.n_tokens_before:
        before = counted(collected.n_tokens_before, "tokens")
        click.echo(f"note: {before} had been measured by an earlier run", err=True)
    if collected.n_unused:
        unused = "1 expert was" if collected.n_unused == 1 else f"{collected.n_unused} experts were"
        click.echo(f"note: {unused} never chosen; a longer text may reach more", err=True)
    click.echo(
        f"{one_line(target)}: {counted(collected.imatrix.n_chunks, 'chunks')}, "
        f"{counted(collected.n_tokens, 'tokens')}, {counted(len(collected.imatrix.activations), 'tensors')}, "
        f"{rate:.0f} tokens/s, perplexity {collected.perplexity:.2f}",
        err=True,
    )


def _collect(model: Path, target: Path, given: dict[str, Any], *, force: bool, quiet: bool) -> Collection:
    """Collects and writes in a thread, so that Ctrl-C is heard inside a pass; then no target has been made.

    What was measured by then is kept beside it.
    """
    from edge_wsd._native import CancelFlag
    from edge_wsd.llama.kernels import require_sound

    require_sound()
    from edge_wsd.converters.quantization.calibration import collect_imatrix, read_calibration_text
    from edge_wsd.converters.quantization.imatrix import write_imatrix
    from edge_wsd.converters.quantization.imatrix_progress import progress_path
    from edge_wsd.converters.writing.target import require_apart, require_target
    from edge_wsd.errors import OptionError, QuantizationError
    from edge_wsd.llama.settings import ModelSettings
    from edge_wsd.models.gguf.check import check_gguf, n_parts, part_paths

    require_target(target, force, QuantizationError)
    require_apart(target, part_paths(model, n_parts(check_gguf(model))), "to be measured", QuantizationError)
    require_apart(target, [Path(given["text"])] if "text" in given else [], "to be measured on", QuantizationError)
    kept = progress_path(target)
    options: dict[str, Any] = {"process_output": given["process_output"], "progress_file": kept}
    if "text" in given:
        options |= {"text": read_calibration_text(given["text"]), "dataset": given["text"]}
    for flag, name in (("chunk", "chunk_tokens"), ("chunks", "max_chunks")):
        if flag in given:
            options[name] = given[flag]
    settings = {name: given[name] for name in ("threads", "gpu_layers") if name in given}
    cancel = CancelFlag()
    with counting_stages(quiet=quiet) as progress:

        def work() -> Collection:
            collected = collect_imatrix(
                model,
                settings=ModelSettings(**settings),
                progress=partial(progress, model.name),
                cancel=cancel,
                **options,
            )
            if not cancel.is_set:
                write_imatrix(target, collected.imatrix)
                kept.unlink(missing_ok=True)
            return collected

        try:
            return call(work, cancel=cancel.set)
        except KeyboardInterrupt:
            if kept.exists() and not quiet:
                click.echo("stopped; the same command goes on from here", err=True)
            raise
        except OptionError as error:
            raise click.UsageError(str(error).replace("chunk_tokens", "--chunk")) from error
