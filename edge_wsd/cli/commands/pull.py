"""`edge-wsd pull someone/Pilot-3B:Q4_K_M`: a model from the hub into the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from edge_wsd.cli.first_use import missing_models
from edge_wsd.cli.main import FAILED
from edge_wsd.cli.pair_choice import complete_pair
from edge_wsd.cli.pull_needs import TooLargeError, memory_of_model, memory_of_pair, needs_lines
from edge_wsd.cli.pull_progress import hush_client, pull_with_progress
from edge_wsd.cli.ui.question import agrees, can_be_asked
from edge_wsd.cli.ui.rows import tell
from edge_wsd.cli.ui.terminal import one_line
from edge_wsd.errors import StoreError
from edge_wsd.models.pairs.known import find_pair, known_pairs
from edge_wsd.models.pairs.named_pair import NamedPair
from edge_wsd.models.store.model_name import DEFAULT_TYPE, HubModel, parse_model_name

if TYPE_CHECKING:
    from edge_wsd.pull import PullSize

_HELP = f"""Download a model from the hub's repository REPO (owner/name) to the store. TYPE defaults to {DEFAULT_TYPE}.
With the name of a pair, download those of its two models that are not there yet.

What is downloaded, what stays on the disk, what is needed meanwhile, what is free, and the memory that the model or
the pair will take are told first (--dry-run: only that). You are asked only if it will not fit into memory.

A ready GGUF file of that type is fetched as it is (all parts, if it is split); a checkpoint is fetched, converted,
quantized, and its tokenizer compared with the original. TYPE may also be a GGUF file's name. `edge-wsd models`
lists the store; a model in it needs no network.

A pull that was stopped continues where it stopped. What arrives waits in the store's folder `.staging`; a checkpoint
is deleted once it is converted, so it takes no space beside the result. To keep it, perhaps for several types,
fetch it with `hf download` first: files in that cache are used and left there.

\b
HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE, HF_HOME   as for `hf`
EDGE_WSD_STORE                                   folder of the store
"""


@click.command(help=_HELP)
@click.argument("name", metavar="REPO[:TYPE]|PAIR", shell_complete=complete_pair)
@click.option("--revision", metavar="REV", help="Branch, tag or commit.  [default: main]")
@click.option("--token", metavar="TOKEN", help="Access token of the hub.  [default: HF_TOKEN, else `hf auth login`]")
@click.option("-f", "--force", is_flag=True, help="Pull again even if it is already in the store.")
@click.option("--pre-tokenizer", metavar="NAME", help="llama.cpp's pre-tokenizer, if it is not recognised.")
@click.option("--no-verify", is_flag=True, help="Do not compare a converted tokenizer with the original.")
@click.option("-n", "--dry-run", is_flag=True, help="Tell what would be needed, and download nothing.")
@click.option("-y", "--yes", is_flag=True, help="Pull even what will not fit into memory, without asking.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar and no summary.")
@click.pass_context
def command(
    context: click.Context, /, *, name: str, quiet: bool, no_verify: bool, dry_run: bool, yes: bool, **wishes: Any
) -> None:
    pair = _pair_of(name)
    if pair is not None and wishes["revision"] is not None:
        raise click.UsageError("--revision is that of one repository; pull the two models of the pair one by one")
    models = [name] if pair is None else _models_of(pair, anew=wishes["force"])
    need = None if pair is None else memory_of_pair(pair)
    if need is not None and not quiet:
        (click.echo if dry_run else tell)(one_line(need.text))
    if dry_run:
        fits = [_tell_needs(model, pair, token=wishes["token"], revision=wishes["revision"]) for model in models]
        if not all(fits) or (need is not None and need.excess):
            context.exit(FAILED)
        return
    if need is not None and need.excess:
        _require_consent(need.excess, yes=yes)
    if not models:
        tell(f"both models of the pair {name!r} are in the store")
    for model in models:
        _pull(model, alone=pair is None, yes=yes, quiet=quiet, verify=not no_verify, **wishes)


def _pair_of(name: str) -> NamedPair | None:
    """The pair of this name; None for a repository, which has a slash."""
    return find_pair(name) if "/" not in name and name in known_pairs() else None


def _models_of(pair: NamedPair, *, anew: bool) -> list[str]:
    """Those of its models that are to be pulled, the base's once more if `anew`."""
    if not anew:
        return [str(model) for model in missing_models(pair)]
    named = dict.fromkeys((pair.drafter, pair.base))
    return [model for model in named if isinstance(parse_model_name(model), HubModel)]


def _pull(model: str, *, alone: bool, yes: bool, **wishes: Any) -> None:
    """One model. Where its memory is more than this machine has, the pull is begun again once that was agreed to."""

    def announce(size: PullSize) -> list[str]:
        need = memory_of_model(size) if alone else None
        if need is not None and need.excess and not yes:
            raise TooLargeError(need.excess)
        return [*needs_lines(size), *([need.text] if need is not None else [])]

    try:
        pull_with_progress(model, announce=announce, **wishes)
    except TooLargeError as error:
        _require_consent(str(error), yes=False)
        _pull(model, alone=alone, yes=True, **wishes)


def _require_consent(excess: str, *, yes: bool) -> None:
    """Raises `StoreError` unless the person wants it all the same."""
    if yes:
        return
    if not can_be_asked():
        raise StoreError(f"nothing was pulled: {excess}; --yes pulls it all the same")
    tell(f"warning: {excess}")
    if not agrees("Pull it all the same?"):
        raise StoreError("nothing was pulled")


def _tell_needs(model: str, pair: NamedPair | None, **wishes: Any) -> bool:
    """Prints what a pull would take. Returns whether this machine has it."""
    from edge_wsd.models.store.disk_space import free_bytes
    from edge_wsd.pull import pull_size

    hush_client()
    size = pull_size(model, **wishes)
    need = memory_of_model(size) if pair is None else None
    for line in (*needs_lines(size), *([need.text] if need is not None else [])):
        click.echo(one_line(line))
    return free_bytes(size.destination) >= size.needed_bytes and (need is None or not need.excess)
