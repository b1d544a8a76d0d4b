"""`edge-wsd batch questions.jsonl answers.jsonl`: many answers, which can be stopped and taken up again."""

from __future__ import annotations

import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from threading import Event
from typing import Any, BinaryIO

import click

from edge_wsd.batch import Batch
from edge_wsd.batch_files import Answers, AnswersFile, Line, digest_of, read_lines
from edge_wsd.cli.first_use import models_of
from edge_wsd.cli.main import INTERRUPTED, debug_wanted, explained, show_traceback
from edge_wsd.cli.options import PER_MODEL_NOTE, parallel_option, reply_options
from edge_wsd.cli.pair_choice import PairChoice, pair_options
from edge_wsd.cli.sections import SectionCommand
from edge_wsd.cli.ui.count_bar import Counter, counting
from edge_wsd.cli.ui.interruptible import Interruptible
from edge_wsd.cli.ui.paint import aside
from edge_wsd.cli.ui.rows import tell
from edge_wsd.cli.ui.status import reply_object
from edge_wsd.cli.ui.texts import InputError, system_option
from edge_wsd.cli.warnings import quiet_option
from edge_wsd.decoding.events import SOURCES, Reply
from edge_wsd.decoding.options import Options
from edge_wsd.demo.examples import DEMO_NOTE
from edge_wsd.errors import BatchFileError, EdgeWsdError
from edge_wsd.reading import open_regular
from edge_wsd.units import counted

_STDIN_OR_STDOUT = "-"
_TICK_S = 0.25
_ONLY_SPEED = ("chunk", "speculation", "proposers", "propose")
"""Options that may be others when a batch is taken up again."""
_OF_THE_TEXT = ("context_length", "kv_type", "flash_attention", "exact")
"""Settings of a model that may not."""


@click.command(cls=SectionCommand, epilog=PER_MODEL_NOTE)
@click.argument("source", metavar="IN.jsonl")
@click.argument("target", metavar="OUT.jsonl")
@system_option
@click.option("--tokens", is_flag=True, help="Also write every token, as `edge-wsd run --json` does.")
@click.option("-f", "--force", is_flag=True, help="Start over, and replace OUT.jsonl.")
@quiet_option
@parallel_option
@reply_options
@pair_options
@click.pass_context
def command(
    context: click.Context,
    *,
    source: str,
    target: str,
    system: str | None,
    tokens: bool,
    force: bool,
    quiet: bool,
    options: Options,
    pair_choice: PairChoice,
) -> None:
    """Answer every line of IN.jsonl, in order, with a line of OUT.jsonl; - is stdin or stdout.

    A line is an object with "prompt", a text, or with "messages" or "context", a list of {"role", "content"}; one that
    ends with an assistant message is continued. Its other keys come back in the answer, beside text, finish_reason,
    switch, stats and more, or an error if the line cannot be answered; the others are answered nevertheless, and the
    exit code is then 1.

    After Ctrl-C, or if the program was killed, the same command continues where it stopped. IN.jsonl may have grown
    meanwhile; if an answered line, the pair or an option has changed, the command refuses to continue.

    \b
    edge-wsd batch questions.jsonl answers.jsonl --parallel 4
    """
    bar: Counter | None = None
    stopped = False
    with ExitStack() as stack:
        questions = stack.enter_context(_opened(source, interrupted := Event()))
        total = _surveyed(questions, source, quiet=quiet)
        settings = digest_of(_settings(pair_choice, options, system, tokens=tokens))
        answers = stack.enter_context(_answers(target, questions, settings, anew=force))
        lines = answers.take_up(read_lines(questions))
        if answers.n_lines and not quiet:
            tell(f"{target}: {_of(answers.n_lines, total)} answered already")
        if answers.n_lines != total:
            pair = stack.enter_context(_opened_pair(pair_choice, quiet=quiet))
            batch = Batch(pair, lines, Line.prompt, system=system, options=options)
            bar = stack.enter_context(counting(source, answers.n_lines, total, quiet=quiet))
            stopped = _write(batch, interrupted, answers, bar, tokens=tokens, debug=debug_wanted(context))
    if stopped and answers.n_lines != total:
        if not quiet:
            goes_on = "" if target == _STDIN_OR_STDOUT else "; the same command goes on from there"
            tell(f"stopped after {_of(answers.n_lines, total)}{goes_on}")
        context.exit(INTERRUPTED)
    if answers.n_lines == 0:
        raise _empty(source)
    if bar is not None and not quiet:
        tell(f"{_of(bar.n_counted)} in {bar.seconds:.1f} s, {bar.rate or '0/s'}")
    if answers.first_error is not None:
        number, error = answers.first_error
        raise BatchFileError(f"{answers.n_errors} of {_of(answers.n_lines)} failed; line {number}: {error}")


def _write(
    batch: Batch[Line], interrupted: Event, answers: Answers, bar: Counter, *, tokens: bool, debug: bool
) -> bool:
    """All answers. Returns whether Ctrl-C came before the end; it is told to `interrupted` as well."""

    def cancel() -> None:
        interrupted.set()
        batch.cancel()

    work = Interruptible(lambda: batch, cancel=cancel)
    with closing(iter(work)) as answered:
        for line, reply in answered:
            if debug and isinstance(reply, Exception) and not isinstance(reply, EdgeWsdError):
                show_traceback(reply)
            answers.write(line, _answer(reply, tokens=tokens))
            bar.count()
    return work.interrupted


def _answer(reply: Reply | Exception, *, tokens: bool) -> dict[str, Any]:
    if isinstance(reply, Exception):
        return {"error": explained(reply)}
    return {key: value for key, value in reply_object(reply).items() if tokens or key != "tokens"}


@contextmanager
def _opened(source: str, stopped: Event) -> Iterator[BinaryIO]:
    """The questions. A pipe from which nothing comes is at its end once it is `stopped`."""
    if source == _STDIN_OR_STDOUT and sys.stdin is None:
        raise InputError("stdin is closed; name a file of questions")
    with nullcontext(sys.stdin.buffer) if source == _STDIN_OR_STDOUT else open_regular(source) as file:
        yield file if file.seekable() else io.BufferedReader(_Pipe(file.fileno(), stopped))


class _Pipe(io.RawIOBase):
    """Who waits inside a read hears of no Ctrl-C."""

    def __init__(self, descriptor: int, stopped: Event) -> None:
        self._descriptor, self._stopped = descriptor, stopped

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def readinto(self, buffer: Any) -> int:
        """As for every raw stream: what is there, 0 at the end."""
        if sys.platform != "win32":  # where only sockets can be waited for
            while not select.select([self._descriptor], [], [], _TICK_S)[0]:
                if self._stopped.is_set():
                    return 0
        data = os.read(self._descriptor, len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _surveyed(questions: BinaryIO, source: str, *, quiet: bool) -> int | None:
    """How many lines there are, None of a pipe. What cannot be answered is told before hours have gone by."""
    if not questions.seekable():
        return None
    start = questions.tell()
    n_lines = n_bad = 0
    first = ""
    for line in read_lines(questions):
        n_lines += 1
        if line.error is not None:
            n_bad += 1
            first = first or f"line {line.number}: {line.error}"
    questions.seek(start)
    if n_lines == 0:
        raise _empty(source)
    if n_lines == n_bad:
        raise InputError(f"{source}: none of {_of(n_lines)} can be answered; {first}")
    if n_bad and not quiet:
        tell(f"warning: {n_bad} of {_of(n_lines)} cannot be answered and will get an error; {first}")
    return n_lines


def _empty(source: str) -> InputError:
    name = "stdin" if source == _STDIN_OR_STDOUT else source
    return InputError(f"{name} is empty; expected a JSON object in each line")


def _answers(target: str, questions: BinaryIO, settings: str, *, anew: bool) -> Answers:
    """Where the answers go. Raises `InputError` if the questions stand there."""
    if target != _STDIN_OR_STDOUT:
        if os.path.exists(target) and os.path.samestat(os.stat(target), os.fstat(questions.fileno())):
            raise InputError(f"{target} holds the questions; name another file for the answers")
        return AnswersFile(Path(target), settings, anew=anew)
    if sys.stdout is None:
        raise InputError("stdout is closed; name a file for the answers")
    return Answers(settings, lambda data: click.echo(data.decode(), nl=False))


def _settings(choice: PairChoice, options: Options, system: str | None, *, tokens: bool) -> dict[str, Any]:
    """Everything that decides what an answer will be."""
    files = models_of(choice.pair, choice.consent)
    stats = [os.stat(path) if path.exists() else None for path in files]
    templates = [choice.loading.get(f"{role}_template", "") for role in SOURCES]
    return {
        "models": [
            (path.name, stat and (stat.st_size, stat.st_mtime_ns)) for path, stat in zip(files, stats, strict=True)
        ],
        "templates": [Path(name).read_bytes().hex() if os.path.isfile(name) else name for name in templates],
        "settings": [[getattr(choice.loading[f"{role}_settings"], name) for name in _OF_THE_TEXT] for role in SOURCES],
        "options": {name: value for name, value in asdict(options).items() if name not in _ONLY_SPEED},
        "system": system,
        "tokens": tokens,
    }


@contextmanager
def _opened_pair(choice: PairChoice, *, quiet: bool) -> Iterator[Any]:
    if choice.is_demo and not quiet:
        aside(DEMO_NOTE)
    with choice.open(quiet=quiet) as pair:
        if not quiet:
            choice.warn(pair)
        yield pair


def _of(n_lines: int, total: int | None = None) -> str:
    """`1 line`, `7 of 10 lines`."""
    if total is not None:
        return f"{n_lines} of {_of(total)}"
    return counted(n_lines, "lines")
