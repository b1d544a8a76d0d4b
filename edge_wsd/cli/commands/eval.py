"""`edge-wsd eval demo`: the demo pair answers held-out questions in every mode, and a judge of rules counts."""

from __future__ import annotations

import functools
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from edge_wsd.cli.options import parallel_option
from edge_wsd.cli.pair_choice import PairChoice, pair_options
from edge_wsd.cli.sections import SectionCommand
from edge_wsd.cli.ui.guard import print_json
from edge_wsd.cli.ui.interruptible import Interruptible
from edge_wsd.cli.ui.paint import aside
from edge_wsd.cli.ui.rows import broken, row_lines
from edge_wsd.cli.ui.status import PROPOSER_LABELS
from edge_wsd.decoding.proposal import PROPOSERS, ProposerName
from edge_wsd.demo.examples import DEMO_NOTE
from edge_wsd.demo.held_out import outside_inputs, styled_questions
from edge_wsd.demo.tasks import held_out_questions, load_tasks
from edge_wsd.errors import Cancelled
from edge_wsd.evaluation import EVAL_MODES, EvalMode, EvalRow, Proportion, evaluate
from edge_wsd.models.pairs.built_in import BUILT_IN_PAIRS
from edge_wsd.units import counted, number

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

_OTHER: EvalMode = "wsd-other"
_WIDE = 120  # columns that the table needs with the modes' full names
_MODE_WIDTH = 24  # so that the long ones take two lines, as the figures do


@click.command(cls=SectionCommand)
@click.argument("suite", required=False, metavar="demo")
@click.option(
    "--modes", metavar="LIST", help=f"Only these, separated by commas: {','.join(EVAL_MODES)}.  [default: all]"
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only N of each kind of input.  [default: all]")
@click.option("--json", "as_object", is_flag=True, help="Print one JSON object.")
@click.option("--answers", is_flag=True, help="With --json: every single answer and the judge's verdict on it.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
@parallel_option
@functools.partial(pair_options, unnamed="demo")
def command(
    *,
    suite: str | None,
    modes: str | None,
    limit: int | None,
    as_object: bool,
    answers: bool,
    quiet: bool,
    pair_choice: PairChoice,
) -> None:
    """Measure the demo pair, or another one, on questions the demo pair was not trained on, with 95 % intervals.

    The modes are the base alone, the drafter alone, the base with a few good examples in front of the question, both
    together (wsd), and both with a drafter of another vocabulary. A judge made of rules counts aligned
    replies, commands that are exactly right, warnings before commands that destroy data, and how often the base took
    over because it was confident. A second table covers questions in styles of wording that were not trained on, and
    inputs that the demo pair has no answer for, such as a greeting or a request for a poem: the right reply is polite
    and contains no command.
    """
    if suite != "demo":
        wrong = "" if suite is None else f", not {suite!r}"
        raise click.UsageError(f"say what to measure: `edge-wsd eval demo`{wrong}; --pair NAME measures another pair")
    if answers and not as_object:
        raise click.UsageError("--answers needs --json")
    wanted = _modes(modes, pair_choice)
    if pair_choice.is_demo and not quiet:
        aside(DEMO_NOTE)
    rows = _measure(wanted, limit, pair_choice, quiet=quiet)
    if as_object:
        found = {"suite": suite, "modes": [row.as_dict(answers=answers) for row in rows]}
        print_json(found)
    else:
        _print_tables(rows)


def _modes(text: str | None, choice: PairChoice) -> list[EvalMode]:
    if text is None:
        return [mode for mode in EVAL_MODES if mode != _OTHER or choice.is_demo]
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in EVAL_MODES]
    if unknown or not names:
        raise click.UsageError(f"--modes {text!r}: choose from {', '.join(EVAL_MODES)}")
    if _OTHER in names and not choice.is_demo:
        raise click.UsageError(f"--modes {_OTHER} measures the demo pair's other drafter, so no other pair is possible")
    return [mode for mode in EVAL_MODES if mode in names]


def _measure(modes: list[EvalMode], limit: int | None, choice: PairChoice, *, quiet: bool) -> list[EvalRow]:
    """Every row. After Ctrl-C nothing is printed: half a measurement is none."""
    from edge_wsd.cli.ui.progress_bar import progress_bar

    known = load_tasks()
    questions, styled = held_out_questions(known, limit=limit), styled_questions(known, limit=limit)
    outside = outside_inputs(limit=limit)
    stopped: list[bool] = []
    with ExitStack() as stack:
        pair = stack.enter_context(choice.open(quiet=quiet))
        if not quiet:
            choice.warn(pair)
        other = None
        if _OTHER in modes:
            other = stack.enter_context(replace(choice, pair=BUILT_IN_PAIRS["demo-other"]).open(quiet=quiet))
        bar = stack.enter_context(progress_bar(quiet))
        n = len(questions) + len(styled) + len(outside)
        tasks = {mode: bar.add_task(EVAL_MODES[mode], start=False, visible=False, total=n) for mode in modes}

        def show(mode: EvalMode, done: int) -> None:
            bar.start_task(tasks[mode])  # does nothing for one that has begun
            bar.update(tasks[mode], completed=done, visible=True)

        show(modes[0], 0)

        def progress(mode: EvalMode, done: int, _total: int) -> None:
            show(mode, done)
            if stopped:
                raise Cancelled("the measurement was stopped")

        work = Interruptible(
            lambda: evaluate(pair, other, questions, styled=styled, outside=outside, modes=modes, progress=progress),
            cancel=lambda: stopped.append(True),
        )
        try:
            with closing(iter(work)) as rows:
                return list(rows)
        except Cancelled as error:
            raise KeyboardInterrupt from error


def _print_tables(rows: list[EvalRow]) -> None:
    from edge_wsd.cli.ui.consoles import table_console

    console = table_console(_WIDE)
    names = [EVAL_MODES[row.mode] if console.width >= _WIDE else row.mode for row in rows]
    headings = ["aligned", "right command", "warned", "confident", "switch after", "drafted", "s/reply"]
    cells = [
        [
            *map(_percent, (row.aligned, row.right_command, row.warned, row.confident)),
            _figure(row.mean_switch_tokens, row.switch_interval),
            _figure(100 * row.drafted_share, row.drafted_interval, 100, " %"),
            f"{row.mean_seconds:.2f}",
        ]
        for row in rows
    ]
    _print_table(console, f"{counted(rows[0].aligned.n, 'held-out questions')} of the table", headings, names, cells)
    n_styled, n_outside = rows[0].styles_aligned.n, rows[0].outside_polite.n
    title = (
        f"{counted(n_styled, 'questions')} in styles that were not trained on; "
        f"{counted(n_outside, 'inputs')} outside the table"
    )
    headings = ["styles: aligned", "styles: right", "outside: no command", "outside: polite"]
    cells = [
        [*map(_percent, (row.styles_aligned, row.styles_right, row.outside_without_command, row.outside_polite))]
        for row in rows
    ]
    note = "In brackets 95 % intervals: Wilson's for shares of replies, normal ones for switch after and drafted."
    _print_table(console, title, headings, names, cells, note)
    if any(any(row.n_proposed.values()) for row in rows):
        headings = [heading for name in PROPOSERS for heading in (f"{PROPOSER_LABELS[name]}: guessed", "right")]
        cells = [[cell for name in PROPOSERS for cell in guessed(row, name)] for row in rows]
        _print_table(console, "Tokens guessed ahead, for the model that finished the reply", headings, names, cells)


def guessed(row: EvalRow, name: ProposerName) -> tuple[str, str]:
    """How many tokens the proposer guessed, and the share that was right."""
    n, n_right = row.n_proposed[name], row.n_proposed_accepted[name]
    return (number(n), f"{100 * n_right / n:.1f} %") if n else ("-", "-")


def _print_table(
    console: Console,
    title: str,
    headings: Sequence[str],
    names: Sequence[str],
    cells: Sequence[Sequence[str]],
    note: str | None = None,
) -> None:
    """One row for each mode; where the columns do not fit, a block for each."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from edge_wsd.cli.ui.consoles import fits

    table = Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True,
        caption=note, caption_justify="left",
    )  # fmt: skip
    table.add_column("mode", max_width=_MODE_WIDTH)
    for heading in headings:
        table.add_column(heading, justify="right")
    for name, row in zip(names, cells, strict=True):
        table.add_row(name, *row)
    if fits(console, table):
        console.print(table)
        return
    for line in _blocks(title, headings, names, cells, note, console.width - 1):
        console.print(line)


def _blocks(
    title: str,
    headings: Sequence[str],
    names: Sequence[str],
    cells: Sequence[Sequence[str]],
    note: str | None,
    n_columns: int,
) -> Iterator[str]:
    yield from broken(title, n_columns)
    for name, row in zip(names, cells, strict=True):
        yield from ("", *broken(name, n_columns))
        yield from row_lines([*zip(headings, (cell.replace("\n", " ") for cell in row), strict=True)], n_columns)
    yield ""
    yield from broken(note, n_columns) if note else ()


def _percent(share: Proportion) -> str:
    if share.share is None or share.low is None or share.high is None:
        return "-"
    return _figure(100 * share.share, (share.low, share.high), 100, " %")


def _figure(value: float | None, interval: tuple[float, float] | None, scale: float = 1, unit: str = "") -> str:
    """The value, and its interval in the line below."""
    if value is None:
        return "-"
    below = "" if interval is None else f"\n[{scale * interval[0]:.1f}, {scale * interval[1]:.1f}]"
    return f"{value:.1f}{unit}{below}"
