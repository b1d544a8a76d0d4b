"""A whole run: every pair by itself, and of a pair all rows and peers in turns, as often as they are repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from functools import partial

from edge_wsd.bench.cases import BenchCase, Sweep, Workload
from edge_wsd.bench.figures import Figures
from edge_wsd.bench.machine import BenchMachine
from edge_wsd.bench.measure import PairBench
from edge_wsd.bench.peers import Peer, PeerFiles
from edge_wsd.bench.results import BenchPair, BenchResults, BenchRow
from edge_wsd.decoding.events import Source
from edge_wsd.errors import BenchError, Cancelled
from edge_wsd.llama.threads import default_threads
from edge_wsd.pair import Pair

ROOM = 64
"""Tokens of context beyond prompt and answer."""
_MIB = 1 << 20
_WARM = Workload(32, 8)
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
        progress: BenchProgress = lambda _what, _done, _total: None,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> BenchResults:
        """Load each pair under its name, with contexts for `longest` and `most_at_once`, and measure it.

        A peer that fails is a line of `failures`. Raises `BenchError`, and `Cancelled` once `is_cancelled`.
        """
        results = BenchResults(BenchMachine.this(), self.n_repetitions)
        for number, (name, load) in enumerate(pairs):
            with load() as pair, ExitStack() as stack:
                bench = PairBench(pair, is_cancelled)
                progress(f"{name}: agreement", number, len(pairs))
                results.pairs.append(_described(name, bench))
                self._warm(bench)
                turns = self._turns(name, bench, self._started(pair, stack))
                for n_done, turn in enumerate(self._measured(turns, results, is_cancelled)):
                    n_each = len(turns) * self.n_repetitions
                    progress(f"{name}: {turn.row.name}", number * n_each + n_done, len(pairs) * n_each)
                results.rows += [turn.row for turn in turns]
        return results

    def _started(self, pair: Pair, stack: ExitStack) -> list[Peer]:
        files = PeerFiles(
            drafter=pair.drafter.model.path,
            base=pair.base.model.path,
            threads=_threads(pair, "base"),
            batch=pair.base.context.batch_size,
            propose=_PEER_PROPOSES,
            most_at_once=self.most_at_once,
            longest=self.longest,
        )
        peers = [make(files) for make in self.peers]
        for peer in peers:
            stack.callback(peer.close)
        return peers

    def _warm(self, bench: PairBench) -> None:
        """Each way of writing once, so that memory is touched and numbers of threads are chosen."""
        for case in {case.name: case for case in self.sweep.cases()}.values():
            bench.measure(replace(case, workload=_WARM))

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
        threads=(_threads(pair, "drafter"), _threads(pair, "base")),
    )


def _threads(pair: Pair, source: Source) -> int:
    """CPU threads that a model has at most."""
    planned = None if pair.plan is None else getattr(pair.plan, source).settings.threads
    return planned or default_threads(pair.model(source).model.size_bytes)
