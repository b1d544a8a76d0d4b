"""`edge-wsd trace "How do I list files by size?"`: every token of an answer, and the signal behind it."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_wsd.calibration.settings import SettingGrid, WindowSetting
from edge_wsd.cli.commands.run import prompt_of, what_to_answer
from edge_wsd.cli.main import INTERRUPTED
from edge_wsd.cli.options import PER_MODEL_NOTE, reply_options
from edge_wsd.cli.pair_choice import PairChoice, pair_options
from edge_wsd.cli.sections import SectionCommand
from edge_wsd.cli.ui.answer import Answer
from edge_wsd.cli.ui.guard import drawing_on, print_json
from edge_wsd.cli.ui.paint import aside
from edge_wsd.cli.ui.rows import broken, columns_of_stdout, prose_lines, table_lines, tell
from edge_wsd.cli.ui.status import REASONS, reply_object, status_lines
from edge_wsd.cli.ui.terminal import colours_wanted, one_line
from edge_wsd.cli.ui.texts import system_option
from edge_wsd.cli.warnings import quiet_option
from edge_wsd.decoding.events import Reply, Switched, Token
from edge_wsd.decoding.options import Options

if TYPE_CHECKING:
    from edge_wsd.calibration.draft_signal import DraftSignal
    from edge_wsd.pair import Pair

_HEADINGS = ("#", "token", "by", "probability", "confidence", "note")
_WORDS = (1, 2, 5)
_UNSEEN_COLUMNS = 100
"""Of the chart, where it goes to a file or a pipe."""


@click.command(cls=SectionCommand, epilog=PER_MODEL_NOTE)
@click.argument("words", nargs=-1, metavar="[PROMPT... | -]")
@system_option
@click.option("--json", "as_object", is_flag=True, help="Print one JSON object: the answer, and the signal.")
@click.option("--plot", metavar="FILE.svg|png", help="Also draw the signal as a picture.")
@click.option(
    "--signal/--no-signal",
    default=True,
    help="Score the whole draft, draw the signal and tell what other settings would have done.  [default: signal]",
)
@quiet_option
@reply_options
@pair_options
@click.pass_context
def command(
    context: click.Context,
    *,
    words: tuple[str, ...],
    system: str | None,
    as_object: bool,
    plot: str | None,
    signal: bool,
    quiet: bool,
    options: Options,
    pair_choice: PairChoice,
) -> None:
    """Answer PROMPT, or the text on stdin, and show every token: who wrote it, and what the base thinks of it.

    Probabilities are the base's; the confidence is that of the window ending at the token. The token at which the
    base takes over is marked, and with --ignore-repeated those that were left out of the confidence.

    Then the drafter writes its whole draft once more, and the base scores all of it. So the signal is drawn beyond the
    switch, and a table tells when the base would have taken over with other thresholds and windows. With --rule nudge
    and --rule never, the signal and the table are those of the rule window.
    """
    if plot is not None:
        if not signal or options.mode != "wsd":
            why = "--no-signal" if not signal else f"--mode {options.mode}, in which there is no draft"
            raise click.UsageError(f"--plot draws the signal, so it cannot be used with {why}")
        from edge_wsd.pictures import require_plot

        require_plot(Path(plot))
    conversation, question, _ = what_to_answer(prompt_of(words), None, system, quiet=quiet)
    with pair_choice.open(quiet=quiet) as pair:
        if not quiet:
            pair_choice.warn(pair)
        answer = Answer(pair.session(system=system, options=options, messages=conversation), None, quiet=quiet)
        answer.write(question)
        found, interrupted = None, answer.interrupted
        if answer.reply is not None and signal and options.mode == "wsd" and not interrupted:
            found = _signal(pair, system, conversation, question, options, answer.reply, quiet=quiet)
            interrupted = found is None
    grid = SettingGrid().including(options)
    if answer.reply is not None:
        _show(answer.reply, found, grid, options, as_object=as_object, quiet=quiet)
    if plot is not None:
        rule = "" if options.rule == "window" else "As --rule window would switch: "
        _write_plot(Path(plot), found, grid, f"{rule}{question or ''}")
    if interrupted:
        context.exit(INTERRUPTED)


def _signal(
    pair: Pair,
    system: str | None,
    conversation: list[dict[str, Any]],
    question: str | None,
    options: Options,
    reply: Reply,
    *,
    quiet: bool,
) -> DraftSignal | None:
    """The whole draft, scored; None after Ctrl-C. Where tokens are drawn, the same ones are: it has the same seed."""
    from edge_wsd.calibration.draft import ScoredDraft, scoring_options
    from edge_wsd.calibration.draft_signal import DraftSignal

    scoring = scoring_options(options.with_changes(seed=reply.seed))
    whole = Answer(pair.session(system=system, options=scoring, messages=conversation), None, quiet=quiet)
    whole.write(question)
    if whole.interrupted or whole.reply is None:
        return None
    draft, setting = ScoredDraft.of(whole.reply), WindowSetting.of(options)
    switch = reply.switch if options.rule == "window" else draft.switch(setting)
    return DraftSignal(draft, setting, switch, knows_nudges=options.is_greedy and pair.vocabulary.same)


def _write_plot(path: Path, signal: DraftSignal | None, grid: SettingGrid, question: str) -> None:
    """The picture, or why there is none."""
    if signal is None or not len(signal.draft):
        why = "the draft was not scored to its end" if signal is None else "there is no draft to draw"
        tell(f"{path} was not written: {why}")
        return
    from edge_wsd.calibration.plot import SIGNAL_SIZE, draw_signal
    from edge_wsd.pictures import write_picture

    write_picture(path, lambda figure: draw_signal(figure, signal, grid, question), size=SIGNAL_SIZE)


def _show(
    reply: Reply, signal: DraftSignal | None, grid: SettingGrid, options: Options, *, as_object: bool, quiet: bool
) -> None:
    n_columns = columns_of_stdout()
    if as_object:
        print_json({"answer": reply_object(reply), "signal": None if signal is None else signal.as_dict(grid)})
    else:
        for line in table_lines([_HEADINGS, *_rows(reply)], n_columns, words=_WORDS):
            click.echo(line)
        if signal is not None:
            if options.rule != "window":
                other = f"The answer is by --rule {options.rule}. What --rule window would have made of the draft:"
                click.echo("\n" + "\n".join(prose_lines([other], n_columns)))
            _draw(signal, grid, n_columns)
    if not quiet:
        if reply.note is not None:
            aside(f"{reply.note}; --no-stop-loops lets it go on")
        for line in status_lines(reply, options, shutil.get_terminal_size().columns):
            aside(line)


def _draw(signal: DraftSignal, grid: SettingGrid, n_columns: int | None) -> None:
    """The chart, the whole draft in words, and the table of other settings."""
    from edge_wsd.cli.ui.signal_chart import chart_lines, marks_for
    from edge_wsd.cli.ui.what_if import grid_lines, nudge_lines

    out, width = drawing_on(sys.stdout), n_columns or _UNSEEN_COLUMNS
    marks = marks_for(getattr(out, "encoding", None))
    chart = chart_lines(signal, width, marks, colours=colours_wanted(sys.stdout))
    if not chart:
        click.echo("\nThe drafter wrote nothing that the base could score.")
        return
    out.write("\n" + "\n".join(chart) + "\n")
    click.echo("\nThe whole draft:")
    n_kept = len(signal.draft) if signal.switch is None else signal.switch.index + 1
    kept, rest = ("".join(part) for part in (signal.draft.texts[:n_kept], signal.draft.texts[n_kept:]))
    for line in broken(one_line(kept + (f" {marks.switch}" if rest else "") + rest), width):
        click.echo(line)
    in_force = signal.setting
    for ignore_repeated in (False, True) if any(signal.draft.repeated) else (False,):
        counted = "without repeated tokens" if ignore_repeated else "every token counted"
        title = f"Drafted tokens, of {len(signal.draft)}, when the base takes over with other settings, {counted}:"
        click.echo("")
        for line in grid_lines(
            title,
            grid,
            lambda setting: _place(signal.draft.switch(setting)) + ("*" if setting == in_force else " "),
            n_columns,
            ignore_repeated=ignore_repeated,
        ):
            click.echo(line)
    legend = "w: tokens in the window   -: it is never confident   *: the setting of this answer"
    for line in prose_lines([legend], n_columns):
        click.echo(line)
    if nudges := list(signal.nudges(grid)):
        click.echo("")
        for line in nudge_lines(nudges, n_columns):
            click.echo(line)


def _place(switch: Switched | None) -> str:
    return "-" if switch is None or switch.reason != "confident" else str(switch.index + 1)


def _rows(reply: Reply) -> Iterator[tuple[str, ...]]:
    for n, (token, confidence) in enumerate(zip(reply.tokens, reply.confidences, strict=True)):
        text = json.dumps(token.text, ensure_ascii=False)
        probability = "" if token.logprob is None else _figure(math.exp(token.logprob))
        yield str(n + 1), text, token.source, probability, _figure(confidence), _note(reply, n, token)


def _note(reply: Reply, n: int, token: Token) -> str:
    if reply.switch is not None and n == reply.switch.index:
        return f"switch: {REASONS[reply.switch.reason]}"
    if n == len(reply.tokens) - 1 and reply.note is not None:
        return reply.note.partition(":")[0]  # the whole would leave other columns no space
    return "repeated" if token.repeated else ""


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
