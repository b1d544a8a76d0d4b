"""`edge-wsd convert my-model/ my-model.gguf --type Q8_0`: a Hugging Face checkpoint as a GGUF file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edge_wsd.cli.quant_type import IMATRIX_HELP, KEEP_HELP, TypeParam, tell_written, type_table
from edge_wsd.cli.ui.file_work import with_bar
from edge_wsd.units import counted


@click.command(epilog=type_table())
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@click.option("--type", "type_name", type=TypeParam(), metavar="TYPE", help="Type of the weights.  [default: Q8_0]")
@click.option("--keep", multiple=True, metavar="NAME[=TYPE]", help=KEEP_HELP)
@click.option("--imatrix", metavar="FILE", help=IMATRIX_HELP)
@click.option(
    "--lora", "adapters", metavar="DIR", multiple=True, help="Merge the PEFT LoRA adapter in DIR; repeatable."
)
@click.option("-f", "--force", is_flag=True, help="Replace DST if it exists.")
@click.option("--pre-tokenizer", metavar="NAME", help="llama.cpp's pre-tokenizer, if it is not recognised.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar and no summary.")
def command(
    *,
    source: str,
    target: str,
    type_name: str | None,
    keep: tuple[str, ...],
    imatrix: str | None,
    adapters: tuple[str, ...],
    force: bool,
    pre_tokenizer: str | None,
    quiet: bool,
) -> None:
    """Turn the Hugging Face checkpoint in the folder SRC into the GGUF file DST.

    Supported are Llama, Mistral, Qwen2, Qwen3, Gemma 2, Gemma 3 and Phi-3. Weights are read tensor by tensor, no code
    of the checkpoint is run, and DST appears only once it is complete.
    """
    from edge_wsd.converters import convert
    from edge_wsd.converters.quantization.keep import parse_keep

    wishes: dict[str, Any] = {"force": force, "lora": adapters, "keep": parse_keep(keep), "imatrix": imatrix}
    if type_name is not None:
        wishes["type"] = type_name
    if pre_tokenizer is not None:
        wishes["pre_tokenizer"] = pre_tokenizer
    result = with_bar(
        Path(target).name, lambda progress: convert(source, target, progress=progress, **wishes), quiet=quiet
    )
    if not quiet:
        about = f"{result.architecture}, {counted(result.n_tensors, 'tensors')}"
        tell_written(result.target, about, result.n_bytes, result.bits_per_weight, result.types, result.notes)
