"""`edge-wsd verify my-model/ my-model.gguf`: is the converted file right?

`edge-wsd verify --compare model-F16.gguf Q8_0 Q4_K_M`: what does quantizing cost?
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from edge_wsd.cli.ui.count_bar import counting_stages
from edge_wsd.cli.ui.guard import print_json
from edge_wsd.cli.ui.interruptible import call
from edge_wsd.cli.ui.texts import read_text
from edge_wsd.errors import VerificationError

T = TypeVar("T")

_EXAMPLES = """\b
Examples:
  edge-wsd verify my-model/ my-model.gguf
  edge-wsd verify my-model/ my-model.gguf --text notes.txt --json
  edge-wsd verify --compare my-model-F16.gguf my-model-Q4_K_M.gguf
  edge-wsd verify --compare my-model-F16.gguf Q8_0 Q6_K Q4_K_M Q2_K
"""


@click.command(epilog=_EXAMPLES)
@click.argument("models", metavar="CHECKPOINT GGUF | --compare PARENT FILE_OR_TYPE...", nargs=-1, required=True)
@click.option("--compare", is_flag=True, help="Compare quantized files with the F16, BF16 or F32 file PARENT.")
@click.option("--lora", metavar="DIR", multiple=True, help="Adapter that was merged while converting; may be repeated.")
@click.option(
    "--text", "texts", metavar="FILE", multiple=True, help="Compare on this text; may be repeated.  [default: built in]"
)
@click.option("--max-tokens", type=click.IntRange(min=1), metavar="N", help="Only N tokens.  [default: the whole text]")
@click.option(
    "--ctx", type=click.IntRange(min=2), metavar="N", help="Tokens read in one go.  [default: as trained, at most 512]"
)
@click.option("--imatrix", metavar="FILE", help="With --compare: importance matrix for the types that are made.")
@click.option(
    "--gpu-layers",
    type=click.IntRange(min=-1),
    metavar="N",
    help="With --compare: layers on the GPU; -1 for all.  [default: 0]",
)
@click.option("--threads", type=click.IntRange(1, 512), metavar="N", help="CPU threads.  [default: the physical cores]")
@click.option("--json", "as_object", is_flag=True, help="Print one JSON object.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
def command(
    *, models: Sequence[str], compare: bool, texts: Sequence[str], as_object: bool, quiet: bool, **wishes: Any
) -> None:
    """Check a converted file against the checkpoint that it was made from, or quantized files against their parent.

    With CHECKPOINT (a Hugging Face folder) and GGUF: the logits of both on the same tokens, the tokenizers on a
    corpus of hard texts, the chat templates on several conversations. The exit code is 0 only if all three hold:
    logits of an F32 file within 1e-3 in every log-probability (Gemma: 1e-2, as llama.cpp takes its GELU from a
    table in half precision; other types are not exact, so theirs are shown and have no limit), 99.9 % of the texts,
    every conversation. The checkpoint is computed by transformers on the CPU, in
    32-bit floats: that takes 4 bytes of memory for each of its parameters.

    With --compare: one row for each file, to choose a type by. The name of a type instead of a file (Q4_K_M)
    quantizes PARENT to it, for this comparison alone. Perplexity and KL divergence count every token of a text, so
    they compare with each other and not with figures from elsewhere. Transformers is not needed. The parent's
    predictions are kept on disk meanwhile, 4 bytes for each token of the vocabulary at each position, in
    a folder beside PARENT or in TMPDIR.
    """
    from edge_wsd.llama.kernels import require_sound

    given = {name: value for name, value in wishes.items() if value not in (None, ())}
    if "ctx" in given:
        given["context_length"] = given.pop("ctx")
    if compare and "lora" in given:
        raise click.UsageError("--lora needs CHECKPOINT, not --compare")
    if not compare:
        for name in ("imatrix", "gpu_layers"):
            if name in given:
                raise click.UsageError(f"--{name.replace('_', '-')} needs --compare")
    if compare and len(models) < 2:
        raise click.UsageError("--compare takes PARENT and at least one file or type")
    if not compare and len(models) != 2:
        raise click.UsageError("give CHECKPOINT and GGUF, or --compare with PARENT and files or types")
    if texts:
        given["texts"] = [read_text(text) for text in texts]
    require_sound()
    if compare:
        _compare(models[0], models[1:], given, as_object=as_object, quiet=quiet)
    else:
        _verify(models[0], models[1], given, as_object=as_object, quiet=quiet)


def _verify(checkpoint: str, gguf: str, given: dict[str, Any], *, as_object: bool, quiet: bool) -> None:
    from edge_wsd.cli.ui.verify_report import print_verification, verification_object
    from edge_wsd.converters.verification.verify import verify

    result = _interruptible(lambda **how: verify(checkpoint, gguf, **given, **how), quiet=quiet)
    if as_object:
        print_json(verification_object(result))
    else:
        print_verification(result)
    if not result.holds:
        raise VerificationError(f"{gguf} is not what {checkpoint} is: {'; '.join(result.failures)}")


def _compare(parent: str, candidates: Sequence[str], given: dict[str, Any], *, as_object: bool, quiet: bool) -> None:
    from edge_wsd.cli.ui.verify_report import print_comparison, table_object
    from edge_wsd.converters.verification.quant_comparison import compare_quants

    table = _interruptible(lambda **how: compare_quants(parent, candidates, **given, **how), quiet=quiet)
    if as_object:
        print_json(table_object(table))
    else:
        print_comparison(table)


def _interruptible(work: Callable[..., T], *, quiet: bool) -> T:
    """Runs `work(progress=..., cancel=...)` in a thread; Ctrl-C stops it inside a pass over a model."""
    from edge_wsd._native import CancelFlag

    flag = CancelFlag()
    with counting_stages(quiet=quiet) as progress:
        return call(lambda: work(progress=progress, cancel=flag), cancel=flag.set)
