"""`edge-wsd calibrate mine prompts.jsonl`: which setting of the switch suits a pair, and whether it is a good one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_wsd.batch_files import Line, read_prompts
from edge_wsd.calibration.settings import SettingGrid
from edge_wsd.cli.first_use import Consent
from edge_wsd.cli.main import FAILED, INTERRUPTED
from edge_wsd.cli.option_types import ListType
from edge_wsd.cli.options import PER_MODEL_NOTE, REPLY_FLAGS, model_options, parallel_option
from edge_wsd.cli.pair_choice import PairChoice, complete_pair, named_or_in_folder, overlap_option, template_options
from edge_wsd.cli.sections import SectionCommand, SectionOption
from edge_wsd.cli.ui.count_bar import counting
from edge_wsd.cli.ui.guard import print_json
from edge_wsd.cli.ui.interruptible import Interruptible
from edge_wsd.cli.ui.rows import columns_of_stdout, prose_lines, tell
from edge_wsd.cli.ui.texts import InputError, system_option
from edge_wsd.cli.warnings import quiet_option
from edge_wsd.decoding.options import Options
from edge_wsd.errors import BatchFileError, OptionError, PairsFileError
from edge_wsd.llama.settings import ModelSettings, Overlap
from edge_wsd.models.pairs.file import PairsFile
from edge_wsd.models.pairs.named_pair import NamedPair
from edge_wsd.reading import open_regular
from edge_wsd.units import counted

if TYPE_CHECKING:
    from edge_wsd.calibration.calibration import Calibration, Calibrator

_TABLES = (".csv", ".tsv", ".xls", ".xlsx", ".ods", ".parquet")
_EXPECTED = "expected a question, or a JSON object, in each line"


def _swept(flag: str, kind: type, text: str) -> Callable[[Any], Any]:
    return click.option(
        flag, type=ListType(kind), cls=SectionOption, section="What is tried", help=f"{text}, separated by commas."
    )


@click.command(cls=SectionCommand, epilog=PER_MODEL_NOTE)
@click.argument("name", metavar="PAIR", shell_complete=complete_pair)
@click.argument("source", metavar="PROMPTS")
@_swept("--thresholds", float, "Thresholds")
@_swept("--windows", int, "Windows")
@_swept("--nudges", float, "For --rule nudge: values of --nudge-below")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N prompts.  [default: all]")
@click.option("--max-tokens", type=int, metavar="N", help=f"{REPLY_FLAGS['max_tokens'][1]}  [default: the pair's]")
@click.option("--max-draft", type=int, metavar="N", help=f"{REPLY_FLAGS['max_draft'][1]}  [default: the pair's]")
@system_option
@click.option("--plot", metavar="FILE.svg|png", help="Also draw switches and the drafted share against the threshold.")
@click.option("--store", is_flag=True, help="Keep the recommended setting in the pair, which must be one of your own.")
@click.option("--json", "as_object", is_flag=True, help="Print one JSON object.")
@quiet_option
@parallel_option
@template_options
@overlap_option
@model_options
@click.pass_context
def command(  # noqa: PLR0913
    context: click.Context,
    *,
    name: str,
    source: str,
    thresholds: tuple[float, ...] | None,
    windows: tuple[int, ...] | None,
    nudges: tuple[float, ...] | None,
    limit: int | None,
    max_tokens: int | None,
    max_draft: int | None,
    system: str | None,
    plot: str | None,
    store: bool,
    as_object: bool,
    quiet: bool,
    parallel: int,
    overlap: Overlap,
    drafter_template: str | None,
    base_template: str | None,
    drafter_settings: ModelSettings,
    base_settings: ModelSettings,
) -> None:
    """Find the threshold and the window that suit PAIR, a pair's name or a folder with drafter.gguf and base.gguf.

    PROMPTS is a file (- is stdin) with a question on each line, or with JSON lines as for `edge-wsd batch`. For each of
    them the drafter writes one draft, and the base scores it once. Every setting is then tried on the same scores: how
    often the base would take over, after how many tokens, and what share of the draft would be kept. The setting that
    is recommended is named with the rule by which it was found. A pair whose base hardly ever takes over, or always at
    once, is told to be a poor one.

    \b
    edge-wsd calibrate demo questions.txt --plot demo.svg
    edge-wsd calibrate mine prompts.jsonl --limit 50 --store
    """
    if plot is not None:
        from edge_wsd.pictures import require_plot

        require_plot(Path(plot))
    pair = named_or_in_folder(name)
    if store:
        _require_own(pair)
    grid = _grid(pair, thresholds=thresholds, windows=windows, nudges=nudges)
    lines = _read(source, limit)
    templates = {"drafter_template": drafter_template, "base_template": base_template}
    loading = {
        **{key: template for key, template in templates.items() if template is not None},
        "drafter_settings": drafter_settings,
        "base_settings": base_settings,
        "parallel": parallel,
        "overlap": overlap,
    }
    choice = PairChoice.of(pair, loading, Consent.NONE)
    options = _options(choice.defaults, max_tokens=max_tokens, max_draft=max_draft)
    with choice.open(quiet=quiet) as loaded:
        from edge_wsd.calibration.calibration import Calibrator

        if not quiet:
            choice.warn(loaded)
        work = Calibrator(loaded, lines, Line.prompt, system=system, options=options)
        n_done = _write_drafts(work, lines, source, quiet=quiet)
    found, is_whole = work.result(grid), n_done == len(lines)
    _print(found, grid, pair.name or name, len(lines), as_object=as_object)
    if not is_whole:
        tell(f"stopped after {n_done} of {counted(len(lines), 'prompts')}; the figures are those of their drafts")
    is_stored = not store or (is_whole and _store(pair, found))
    for line, error in found.failures[:1]:
        left_out = f"{len(found.failures)} of {counted(n_done, 'prompts')} could not be answered"
        tell(f"warning: {left_out}; line {line.number}: {error}")
    if plot is not None:
        _write_plot(Path(plot), found)
    if not is_whole:
        context.exit(INTERRUPTED)
    if found.failures or not is_stored:
        context.exit(FAILED)


def _grid(pair: NamedPair, **given: tuple[Any, ...] | None) -> SettingGrid:
    """What was given; else the usual values, and those of the pair."""
    chosen = {name: values for name, values in given.items() if values is not None}
    try:
        return SettingGrid(**chosen) if chosen else SettingGrid().including(Options(**pair.options))
    except OptionError as error:
        raise click.UsageError(str(error)) from error


def _read(source: str, limit: int | None) -> list[Line]:
    """The prompts. A table is refused: which of its columns holds them is not known."""
    if source == "-" and sys.stdin is None:
        raise InputError("stdin is closed; name a file of prompts")
    shown = "stdin" if source == "-" else source
    if Path(source).suffix.lower() in _TABLES:
        raise InputError(f"{shown} is a table; {_EXPECTED}")
    with nullcontext(sys.stdin.buffer) if source == "-" else open_regular(source) as file:
        try:
            lines = list(islice(read_prompts(file), limit))
        except BatchFileError as error:
            raise InputError(f"{shown}: {error}") from error
    if not lines:
        raise InputError(f"{shown} is empty; {_EXPECTED}")
    return lines


def _options(options: Options, **given: Any) -> Options:
    """The pair's, with what was given."""
    try:
        return options.with_changes(**{key: value for key, value in given.items() if value is not None})
    except OptionError as error:
        key, _, rest = str(error).partition(" ")
        raise click.UsageError(f"{REPLY_FLAGS[key][0]} {rest}") from error


def _write_drafts(work: Calibrator[Line], lines: Sequence[Line], source: str, *, quiet: bool) -> int:
    """How many prompts were done, which is fewer after Ctrl-C. Raises KeyboardInterrupt if none has been by then."""
    running = Interruptible(lambda: work, cancel=work.cancel)
    with counting(source, 0, len(lines), quiet=quiet) as bar, closing(iter(running)) as done:
        for _ in done:
            bar.count()
    if running.interrupted and not bar.n_done:
        raise KeyboardInterrupt
    return bar.n_done


def _print(found: Calibration, grid: SettingGrid, name: str, n_prompts: int, *, as_object: bool) -> None:
    if as_object:
        print_json({"pair": name, "n_prompts": n_prompts, **found.as_dict()})
        return
    for line in _report(found, grid, columns_of_stdout()):
        click.echo(line)


def _write_plot(path: Path, found: Calibration) -> None:
    from edge_wsd.calibration.plot import SWEEP_SIZE, draw_sweep
    from edge_wsd.pictures import write_picture

    write_picture(path, lambda figure: draw_sweep(figure, found.rows, found.verdict.recommended), size=SWEEP_SIZE)


def _report(found: Calibration, grid: SettingGrid, n_columns: int | None) -> Iterator[str]:
    """Tables of what every setting would have done, and the verdict."""
    from edge_wsd.cli.ui.what_if import nudge_row_lines, sweep_lines

    n_tokens = sum(map(len, found.drafts))
    yield from prose_lines(
        [f"{counted(len(found.drafts), 'drafts')} of {n_tokens / len(found.drafts):.0f} tokens on average"], n_columns
    )
    yield from sweep_lines(found.rows, grid, found.verdict.recommended, n_columns)
    if found.nudges:
        yield ""
        yield from nudge_row_lines(found.nudges, n_columns)
    yield ""
    yield from prose_lines(verdict_lines(found), n_columns)


def verdict_lines(found: Calibration) -> Iterator[str]:
    """What is concluded, in sentences."""
    from edge_wsd.calibration.verdict import FEW, RULE

    verdict = found.verdict
    if found.n_empty:
        yield f"To {counted(found.n_empty, 'prompts')} the drafter wrote nothing."
    if verdict.recommended is not None:
        setting = verdict.recommended
        yield f"Recommended: --threshold {setting.threshold:g} --window {setting.window}"
        yield f"{verdict.reason[0].upper()}{verdict.reason[1:]}."
        yield f"This is {RULE}."
    else:
        title = "A poor pair" if verdict.is_poor else "No recommendation"
        yield f"{title}: {verdict.reason}."
        if not verdict.is_poor:
            yield f"The rule asks for {RULE}."
    if len(found.drafts) < FEW:
        yield f"Told from {counted(len(found.drafts), 'drafts')} alone; {FEW} or more say more."


def _require_own(pair: NamedPair) -> None:
    """Raises where there is no pair in the user's file that a setting could be kept in, or the file cannot change."""
    if not pair.name or pair.is_built_in:
        what = f"{pair.name!r} is built in" if pair.name else "a folder has no options"
        raise PairsFileError(
            f"{what}, so no setting can be stored in it; name the two models with `edge-wsd pairs add NAME --drafter "
            "MODEL --base MODEL`, and calibrate that pair"
        )
    PairsFile().require_writable()


def _store(pair: NamedPair, found: Calibration) -> bool:
    """Keeps the setting in the user's file; False if there is none."""
    setting = found.verdict.recommended
    if setting is None:
        tell(f"nothing was stored in {pair.name}: no setting is recommended")
        return False
    file = PairsFile()
    now = file.read().pairs.get(pair.name, pair)  # it may have been edited while the drafts were written
    file.add(replace(now, threshold=setting.threshold, window=setting.window), replace=True)
    tell(f"stored threshold {setting.threshold:g} and window {setting.window} in {pair.name}, in {file.path}")
    return True
