"""`edge-wsd bench demo`: how fast a pair is, against its base alone and llama.cpp's own programs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_wsd.bench.cases import Sweep
from edge_wsd.cli.bench_options import peer_options, sweep_options
from edge_wsd.cli.first_use import Consent
from edge_wsd.cli.main import FAILED
from edge_wsd.cli.options import PER_MODEL_NOTE, model_options
from edge_wsd.cli.pair_choice import PairChoice, choose_pair, complete_pair, named_or_in_folder, overlap_option
from edge_wsd.cli.sections import SectionCommand, SectionOption
from edge_wsd.cli.ui.guard import print_json
from edge_wsd.cli.ui.interruptible import call
from edge_wsd.cli.ui.progress_bar import progress_bar
from edge_wsd.cli.ui.rows import tell
from edge_wsd.llama.settings import ModelSettings, Overlap
from edge_wsd.models.pairs.named_pair import NamedPair

if TYPE_CHECKING:
    from edge_wsd.bench.results import BenchResults
    from edge_wsd.bench.runner import Bench, MakePeer
    from edge_wsd.pair import Pair


@click.command(cls=SectionCommand, epilog=PER_MODEL_NOTE)
@click.argument("pairs", nargs=-1, metavar="[PAIR]...", shell_complete=complete_pair)
@sweep_options
@click.option(
    "-r",
    "--repetitions",
    type=click.IntRange(1, 1000),
    default=3,
    metavar="N",
    cls=SectionOption,
    section="What is measured",
    help="Measurements of each row, in turns with the others.  [default: 3]",
)
@peer_options
@click.option("--drafter", metavar="MODEL", help="Instead of PAIR: the drafter, a GGUF file or REPO:TYPE.")
@click.option("--base", metavar="MODEL", help="The base, given the same way.")
@click.option("--json", "as_object", is_flag=True, help="Print one JSON object, with every repetition.")
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
@click.option("--plot", metavar="FILE.svg|png", help="Also draw the time of an answer against agreement and against k.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
@overlap_option
@model_options
@click.pass_context
def command(  # noqa: PLR0913
    context: click.Context,
    *,
    pairs: tuple[str, ...],
    drafter: str | None,
    base: str | None,
    as_object: bool,
    as_csv: bool,
    plot: str | None,
    quiet: bool,
    repetitions: int,
    sweep: Sweep,
    peers: dict[str, str],
    drafter_settings: ModelSettings,
    base_settings: ModelSettings,
    overlap: Overlap,
) -> None:
    """Measure how fast each PAIR is: a pair's name, or a folder with drafter.gguf and base.gguf in it.

    Rows are the base alone, the drafter alone, and both together without speculation and with it; every row is repeated
    in turns with the others. Prompts have an exact number of tokens, with no template around them, and the switch is
    forced. The columns are explained in docs/benchmarks.md. With several pairs the time of an answer can be seen by how
    much drafter and base agree.

    Peers are llama.cpp's own programs, given by their paths, on the same files and threads. Exit code 1 if one fails.

    \b
    edge-wsd bench demo
    edge-wsd bench bench100 bench80 bench50 -p 32 -n 128 -k 0,2,4,8,auto --plot bench.svg
    edge-wsd bench --drafter d.gguf --base b.gguf --threads 4 --llama-bench build/bin/llama-bench
    """
    if as_object and as_csv:
        raise click.UsageError("give either --json or --csv, not both")
    from edge_wsd.bench.machine import BenchMachine
    from edge_wsd.bench.peers import ROOM
    from edge_wsd.bench.results import BenchResults
    from edge_wsd.bench.runner import Bench
    from edge_wsd.bench.table import comma_separated, markdown

    makers = _makers(peers)
    if plot is not None:
        from edge_wsd.pictures import require_plot

        require_plot(Path(plot))
    bench = Bench(sweep, repetitions, makers)
    settings = [
        replace(one, context_length=one.context_length or bench.longest + ROOM, cache_ram=0)
        for one in (drafter_settings, base_settings)
    ]
    loading = {
        "drafter_settings": settings[0],
        "base_settings": settings[1],
        "parallel": bench.most_at_once,
        "overlap": overlap,
    }
    chosen = [(name, _loader(pair, loading)) for name, pair in _chosen(pairs, drafter, base)]
    results = BenchResults(BenchMachine.this(), repetitions)
    try:
        _run(bench, chosen, results, quiet)
    finally:
        if results.rows:
            if as_object:
                print_json(results.as_dict())
            else:
                click.echo(comma_separated(results) if as_csv else markdown(results))
    if plot is not None:  # last, so that no figure is lost if the file cannot be written
        _draw(results, plot)
    for failure in results.failures:
        tell(f"failed: {failure}")
    if results.failures:
        context.exit(FAILED)


def _chosen(names: tuple[str, ...], drafter: str | None, base: str | None) -> list[tuple[str, NamedPair]]:
    """The pairs under the names that their rows have."""
    if drafter is not None or base is not None:
        if names:
            raise click.UsageError("give either PAIR or --drafter MODEL and --base MODEL, not both")
        return [("pair", choose_pair(None, drafter, base))]
    found: dict[str, NamedPair] = {}
    for name in names:
        pair = named_or_in_folder(name)
        folder = Path(name).resolve().name
        found[pair.name or (name if folder in found else folder)] = pair
    if not names:
        pair = choose_pair(None, None, None)
        found[pair.name] = pair
    return list(found.items())


def _makers(paths: dict[str, str]) -> list[MakePeer]:
    """What starts the peers. Raises `BenchError` for one that is not there, before anything is loaded."""
    from functools import partial

    from edge_wsd.bench import peers
    from edge_wsd.bench.server_peer import LlamaServer

    kinds: dict[str, Callable[..., Any]] = {
        "llama_bench": peers.LlamaBench,
        "llama_batched_bench": peers.LlamaBatchedBench,
        "llama_speculative_simple": peers.LlamaSpeculativeSimple,
        "llama_completion": peers.LlamaCompletion,
        "llama_server": LlamaServer,
    }
    return [partial(kinds[name], peers.program(path)) for name, path in paths.items()]


def _loader(pair: NamedPair, loading: dict[str, Any]) -> Callable[[], AbstractContextManager[Pair]]:
    # Templates are taken away before anything is asked, so a model without one of its own will do.
    choice = PairChoice(pair, {"drafter_template": "plain", "base_template": "plain", **loading}, Consent.NONE)

    def load() -> Pair:
        pair = choice.open(quiet=True)
        choice.warn(pair)
        return pair

    return load


def _run(
    bench: Bench,
    pairs: list[tuple[str, Callable[[], AbstractContextManager[Pair]]]],
    results: BenchResults,
    quiet: bool,
) -> None:
    stopped: list[bool] = []
    with progress_bar(quiet) as bar:
        task = bar.add_task("loading", total=None)

        def progress(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        call(lambda: bench.run(pairs, results, progress, lambda: bool(stopped)), cancel=lambda: stopped.append(True))


def _draw(results: BenchResults, plot: str) -> None:
    from edge_wsd.bench.plot import SIZE, draw_bench
    from edge_wsd.pictures import write_picture

    write_picture(Path(plot), lambda figure: draw_bench(figure, results), size=SIZE)
