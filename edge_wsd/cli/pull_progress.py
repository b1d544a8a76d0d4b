"""A pull as a person sees it: a line for what is being done, a bar where bytes are counted, and what came of it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

from edge_wsd.cli.ui.amounts import BYTES
from edge_wsd.cli.ui.interruptible import call
from edge_wsd.cli.ui.terminal import one_line
from edge_wsd.errors import Cancelled

if TYPE_CHECKING:
    from rich.progress import TaskID

    from edge_wsd.models.store.local import StoredModel
    from edge_wsd.pull import PullSize
    from edge_wsd.staging import Step

_DOING = {
    "look up": "asking the hub",
    "wait": "waiting",
    "download": "downloading",
    "convert": "converting",
    "verify": "comparing tokenizers",
    "check": "checksum",
}
_COUNTS_BYTES = ("download", "convert", "check")


def pull_with_progress(
    name: str, *, quiet: bool = False, announce: Callable[[PullSize], Iterable[str]] | None = None, **wishes: Any
) -> StoredModel:
    """`edge_wsd.pull.pull` with a bar and a summary on stderr. Ctrl-C stops it; the next pull goes on.

    The lines of `announce` are shown before anything is fetched, unless `quiet`; what it raises ends the pull.
    """
    from edge_wsd.pull import pull

    hush_client()
    stopped: list[bool] = []
    bar = _PullBar(quiet)

    def progress(step: Step) -> None:
        bar.show(step)
        if stopped:
            raise Cancelled("the pull was stopped")

    def before(size: PullSize) -> None:
        for line in announce(size) if announce is not None else ():
            if not quiet:
                bar.say(line)

    def stop() -> None:
        stopped.append(True)

    try:
        with bar:
            model = call(lambda: pull(name, progress=progress, before=before, **wishes), cancel=stop)
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
    verb = "is in the store" if fetched else "was already in the store"
    return one_line(f"{model.name} {verb}: {', '.join(facts)}; {model.path}")


class _PullBar:
    """A line for what is being done; a bar with bytes and rate where bytes are counted. Nothing without a terminal."""

    def __init__(self, quiet: bool) -> None:
        from edge_wsd.cli.ui.progress_bar import progress_bar

        self._bar = progress_bar(quiet)
        self._task: TaskID | None = None
        self._stage = ""
        self._shown_quietly = quiet or not self._bar.console.is_terminal
        self._quiet = quiet
        self.has_fetched = False

    def __enter__(self) -> _PullBar:
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

    def say(self, line: str) -> None:
        """A line above the bar."""
        self._bar.console.print(one_line(line), soft_wrap=True)

    def _begin(self, step: Step) -> None:
        """A new task for each stage, so that the rate is that of the stage. What was there counts for no rate."""
        self._stage = step.stage
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(
            _DOING[step.stage],
            total=step.total,
            completed=step.done,
            unit=BYTES if step.stage in _COUNTS_BYTES else "",
        )
        if step.stage == "wait" and self._shown_quietly and not self._quiet:
            click.echo(f"waiting: {one_line(step.note)}", err=True)
