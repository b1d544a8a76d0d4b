"""`edge-wsd pull someone/Pilot-3B:Q4_K_M`: a model from the hub into the store."""

from __future__ import annotations

from typing import Any

import click

from edge_wsd.cli.pull_progress import pull_with_progress
from edge_wsd.models.store.model_name import DEFAULT_TYPE

_HELP = f"""Download a model from the hub's repository REPO (owner/name) to the store. TYPE defaults to {DEFAULT_TYPE}.

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
@click.argument("name", metavar="REPO[:TYPE]")
@click.option("--revision", metavar="REV", help="Branch, tag or commit.  [default: main]")
@click.option("--token", metavar="TOKEN", help="Access token of the hub.  [default: HF_TOKEN, else `hf auth login`]")
@click.option("-f", "--force", is_flag=True, help="Pull again even if it is already in the store.")
@click.option("--pre-tokenizer", metavar="NAME", help="llama.cpp's pre-tokenizer, if it is not recognised.")
@click.option("--no-verify", is_flag=True, help="Do not compare a converted tokenizer with the original.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar and no summary.")
def command(*, name: str, quiet: bool, no_verify: bool, **wishes: Any) -> None:
    pull_with_progress(name, quiet=quiet, verify=not no_verify, **wishes)
