"""A whole run: every pair by itself, and of a pair all rows and peers in turns, as often as they are repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from functools import partial

from edge_wsd.bench.cases import BenchCase, Sweep, Workload
from edge_wsd.bench.figures import Figures
from edge_wsd.bench.measure import PairBench
from edge_wsd.bench.peers import Peer, PeerFiles
from edge_wsd.bench.results import BenchPair, BenchResults, BenchRow
from edge_wsd.decoding.events import SOURCES, Source
from edge_wsd.errors import BenchError, Cancelled
from edge_wsd.llama.attention import Attention
from edge_wsd.llama.settings import ALL_LAYERS, AUTO, ModelSettings
from edge_wsd.llama.threads import default_threads
from edge_wsd.pair import Pair

_MIB = 1 << 20
_WARM_ANSWER, _WARM_SWITCH = 12, 4
_PEER_PROPOSES = 8
MakePeer = Callable[[PeerFiles], Peer]
LoadPair = Callable[[], AbstractContextManager[Pair]]
BenchProgress = Callable[[str, int, int], None]
"""Told what is measured next, how many measurements are done, and of how many."""


@dataclass(slots=True)
class _Turn:
    """What is measured in its turn of each repetition."""

    row: BenchRow
    measure: Callable[[], Figures]


@dataclass(frozen=True, slots=True)
class Bench:
    """What to measure: a sweep of each pair, so often, beside these peers."""

    sweep: Sweep
    n_repetitions: int
    peers: Sequence[MakePeer] = ()

    @property
    def longest(self) -> int:
        """Tokens of prompt and answer together in the longest workload."""
        return max(case.workload.n_prompt + case.workload.n_answer for case in self.sweep.cases())

    @property
    def most_at_once(self) -> int:
        """Answers at once, at most."""
        return max(case.workload.at_once for case in self.sweep.cases())

    def run(
        self,
        pairs: Sequence[tuple[str, LoadPair]],
        results: BenchResults,
        progress: BenchProgress = lambda _what, _done, _total: None,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        """Load each pair under its name, with contexts for `longest` and `most_at_once`, and measure it into `results`.

        A peer that fails is a line of `failures`. Raises `BenchError`, and `Cancelled` once `is_cancelled`; what was
        measured until then is in the results.
        """
        for number, (name, load) in enumerate(pairs):
            with results.without_empty_rows(), load() as pair, ExitStack() as stack:
                bench = PairBench(pair, is_cancelled)
                progress(f"{name}: agreement", number, len(pairs))
                results.pairs.append(_described(name, bench))
                self._warm(bench)
                turns = self._turns(name, bench, self._started(pair, stack))
                results.rows += [turn.row for turn in turns]
                for n_done, turn in enumerate(self._measured(turns, results, is_cancelled)):
                    n_each = len(turns) * self.n_repetitions
                    progress(f"{name}: {turn.row.name}", number * n_each + n_done, len(pairs) * n_each)

    def _started(self, pair: Pair, stack: ExitStack) -> list[Peer]:
        settings = _settings(pair, "base")
        files = PeerFiles(
            drafter=pair.drafter.model.path,
            base=pair.base.model.path,
            threads=_threads(pair, "base"),
            batch=pair.base.context.batch_size,
            micro_batch=pair.base.context.micro_batch,
            flash=_flash(pair, "base"),
            kv_type=settings.kv_type,
            drafter_layers=_layers(_settings(pair, "drafter")),
            base_layers=_layers(settings),
            propose=_PEER_PROPOSES,
            most_at_once=self.most_at_once,
            longest=self.longest,
        )
        peers = [make(files) for make in self.peers]
        for peer in peers:
            stack.callback(peer.close)
        return peers

    def _warm(self, bench: PairBench) -> None:
        """Each prompt and way of writing once, so that memory is touched and numbers of threads are chosen."""
        cases = {(case.name, case.workload.n_prompt, case.workload.at_once): case for case in self.sweep.cases()}
        for case in cases.values():
            work = replace(case.workload, n_answer=min(case.workload.n_answer, _WARM_ANSWER))
            switch_at = None if case.switch_at is None else min(case.switch_at, _WARM_SWITCH)
            bench.measure(replace(case, workload=work, switch_at=switch_at))

    def _turns(self, name: str, bench: PairBench, peers: list[Peer]) -> list[_Turn]:
        """By workload: the pair's rows, then the peers'."""
        cases: dict[Workload, list[BenchCase]] = {}
        for case in self.sweep.cases():
            cases.setdefault(case.workload, []).append(case)
        turns = []
        for work, of_pair in cases.items():
            for case in of_pair:
                turns.append(_Turn(BenchRow(name, work, case.name, case), partial(bench.measure, case)))
            prompts = bench.prompts(work)
            for peer in peers:
                if peer.can(work):
                    turns.append(_Turn(BenchRow(name, work, peer.name, None), partial(peer.measure, work, prompts)))
        return turns

    def _measured(self, turns: list[_Turn], results: BenchResults, is_cancelled: Callable[[], bool]) -> Iterator[_Turn]:
        """Yields each turn that is about to be measured; takes those out of `turns` that fail."""
        for _ in range(self.n_repetitions):
            for turn in list(turns):
                yield turn
                try:
                    turn.row.figures.append(turn.measure())
                except BenchError as error:
                    if turn.row.case is not None:
                        raise
                    turns.remove(turn)
                    results.failures.append(str(error))
                if is_cancelled():
                    raise Cancelled("the measurement was stopped")


def _described(name: str, bench: PairBench) -> BenchPair:
    pair = bench.pair
    return BenchPair(
        name=name,
        drafter=pair.drafter.model.path.name,
        base=pair.base.model.path.name,
        drafter_mib=pair.drafter.model.size_bytes / _MIB,
        base_mib=pair.base.model.size_bytes / _MIB,
        agreement=bench.agreement(),
        overlaps=pair.overlaps,
        settings={source: _described_settings(pair, source) for source in SOURCES},
    )


def _described_settings(pair: Pair, source: Source) -> dict[str, object]:
    context, settings = pair.model(source).context, _settings(pair, source)
    return {
        "threads": _threads(pair, source),
        "gpu_layers": _layers(settings),
        "ctx": context.n_ctx,
        "batch": context.batch_size,
        "micro_batch": context.micro_batch,
        "flash_attention": _flash(pair, source),
        "kv_type": settings.kv_type,
    }


def _settings(pair: Pair, source: Source) -> ModelSettings:
    """What was planned."""
    return ModelSettings() if pair.plan is None else getattr(pair.plan, source).settings


def _threads(pair: Pair, source: Source) -> int:
    """CPU threads that a model has at most."""
    return _settings(pair, source).threads or default_threads(pair.model(source).model.size_bytes)


def _flash(pair: Pair, source: Source) -> str:
    return Attention.of(_settings(pair, source), on_gpu=pair.model(source).model.on_gpu).flash


def _layers(settings: ModelSettings) -> int:
    return ALL_LAYERS if settings.gpu_layers == AUTO else settings.gpu_layers
