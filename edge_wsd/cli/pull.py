"""`edge-wsd pull someone/Pilot-3B:Q4_K_M`: a model from the hub into the store."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

import click

from edge_wsd.cli.interruptible import call
from edge_wsd.cli.terminal import one_line
from edge_wsd.errors import Cancelled
from edge_wsd.models.model_name import DEFAULT_TYPE

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from edge_wsd.models.staging import Step
    from edge_wsd.models.store import StoredModel

_DOING = {
    "look up": "asking the hub",
    "wait": "waiting",
    "download": "downloading",
    "convert": "converting",
    "verify": "comparing tokenizers",
    "check": "checksum",
}
_COUNTS_BYTES = ("download", "convert", "check")


_HELP = f"""Bring a model of the hub's repository REPO (owner/name) into the store; TYPE is by default {DEFAULT_TYPE}.

A ready GGUF file of that type is fetched as it is, all parts of a split one; a checkpoint is fetched, converted,
quantized, and its tokenizer compared with the original. TYPE may also be a GGUF file's name. `edge-wsd models`
lists the store; a model in it needs no network.

A pull that was stopped goes on where it was. What arrives waits in the store's folder `.staging`; a checkpoint
is deleted once it is converted, so it takes no space beside the result. To keep it, for several types perhaps,
fetch it with `hf download` first: files in that cache are used and left there.

\b
HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE, HF_HOME   as for `hf`
EDGE_WSD_STORE                                   folder of the store
"""


@click.command(help=_HELP)
@click.argument("name", metavar="REPO[:TYPE]")
@click.option("--revision", metavar="REV", help="Branch, tag or commit.  [default: main]")
@click.option("--token", metavar="TOKEN", help="Access token of the hub.  [default: HF_TOKEN, else `hf auth login`]")
@click.option("-f", "--force", is_flag=True, help="Pull again what is in the store already.")
@click.option("--pre-tokenizer", metavar="NAME", help="llama.cpp's pre-tokenizer, where it is not recognised.")
@click.option("--no-verify", is_flag=True, help="Do not compare a converted tokenizer with its origin.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar and no summary.")
def command(*, name: str, quiet: bool, no_verify: bool, **wishes: Any) -> None:
    pull_with_progress(name, quiet=quiet, verify=not no_verify, **wishes)


def pull_with_progress(name: str, *, quiet: bool = False, **wishes: Any) -> StoredModel:
    """`edge_wsd.models.pull.pull` with a bar and a summary on stderr. Ctrl-C stops it; the next pull goes on."""
    from edge_wsd.models.pull import pull

    hush_client()
    stopped: list[bool] = []
    bar = _Bar(quiet)

    def progress(step: Step) -> None:
        bar.show(step)
        if stopped:
            raise Cancelled("the pull was stopped")

    def stop() -> None:
        stopped.append(True)

    try:
        with bar:
            model = call(lambda: pull(name, progress=progress, **wishes), cancel=stop)
    except KeyboardInterrupt:
        if bar.has_fetched and not quiet:
            click.echo(f"stopped; `edge-wsd pull {one_line(name)}` goes on from here", err=True)
        raise
    if not quiet:
        for note in model.manifest.notes if bar.has_fetched else ():
            click.echo(f"note: {one_line(note)}", err=True)
        click.echo(_summary(model, fetched=bar.has_fetched), err=True)
    return model


def hush_client() -> None:
    """What the client warns of, such as that nobody is logged in, would fall into the bar; errors are told here."""
    if "HF_HUB_VERBOSITY" not in os.environ:
        import huggingface_hub.utils.logging  # noqa: F401  (it sets a level of its own when it is imported)

        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)


def _summary(model: StoredModel, *, fetched: bool) -> str:
    manifest = model.manifest
    facts = [f"{model.n_bytes / 2**20:.1f} MiB", f"licence {manifest.licence or 'not stated'}"]
    if fetched and manifest.tokenizer_texts is not None:
        facts.append(f"tokenizer equal on {manifest.tokenizer_equal} of {manifest.tokenizer_texts} texts")
    verb = "is in the store" if fetched else "was in the store already"
    return one_line(f"{model.name} {verb}: {', '.join(facts)}; {model.path}")


class _Bar:
    """A line for what is being done; a bar with bytes and rate where bytes are counted. Nothing without a terminal."""

    def __init__(self, quiet: bool) -> None:
        self._bar = _columns(quiet)
        self._task: TaskID | None = None
        self._stage = ""
        self._shown_quietly = quiet or not self._bar.console.is_terminal
        self._quiet = quiet
        self.has_fetched = False

    def __enter__(self) -> _Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, step: Step) -> None:
        self.has_fetched = self.has_fetched or step.stage not in ("look up", "wait")
        if step.stage != self._stage:
            self._begin(step)
        text = _DOING[step.stage] + (f" ({one_line(step.note)})" if step.note else "")
        if self._task is not None:
            self._bar.update(self._task, completed=step.done, total=step.total, description=text)

    def _begin(self, step: Step) -> None:
        """A new task for each stage, so that the rate is that of the stage. What was there counts for no rate."""
        self._stage = step.stage
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(
            _DOING[step.stage],
            total=step.total,
            completed=step.done,
            unit="bytes" if step.stage in _COUNTS_BYTES else "",
        )
        if step.stage == "wait" and self._shown_quietly and not self._quiet:
            click.echo(f"waiting: {one_line(step.note)}", err=True)


def _columns(quiet: bool) -> Progress:
    from rich.progress import BarColumn, DownloadColumn, Task, TextColumn, TimeRemainingColumn
    from rich.progress import TransferSpeedColumn as Rate
    from rich.table import Column
    from rich.text import Text

    from edge_wsd.cli.consoles import progress_bar

    class Bytes(DownloadColumn):
        """Of what counts texts or nothing, no bytes."""

        def render(self, task: Task) -> Text:
            if task.fields["unit"] == "bytes":
                return super().render(task)
            return Text(f"{task.completed:.0f}/{task.total:.0f}" if task.total is not None else "")

    class Speed(Rate):
        def render(self, task: Task) -> Text:
            return super().render(task) if task.fields["unit"] == "bytes" else Text("")

    columns = (
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(),
        Bytes(),
        Speed(),
        TimeRemainingColumn(compact=True),
    )
    return progress_bar(*columns, quiet=quiet)
