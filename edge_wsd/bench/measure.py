"""One measurement of a pair: the answers of a case, asked together over empty memories."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from edge_wsd.bench.cases import BenchCase, Workload
from edge_wsd.bench.figures import Figures
from edge_wsd.bench.pass_clock import PassClock
from edge_wsd.bench.prompts import BareTemplate, messages_of, prompt_of
from edge_wsd.decoding.events import SOURCES, Reply, Source
from edge_wsd.decoding.experience import Experience
from edge_wsd.decoding.options import Options
from edge_wsd.errors import Cancelled
from edge_wsd.llama.library import devices
from edge_wsd.pair import Pair

_MIB = 1 << 20
_STATUS = Path("/proc/self/status")


class PairBench:
    """Measures one pair. Its templates and the ends of its texts are taken away: prompts and answers have exactly the
    tokens that are asked for.
    """

    def __init__(self, pair: Pair, is_cancelled: Callable[[], bool] = lambda: False) -> None:
        self.pair = pair
        self._is_cancelled = is_cancelled
        models = pair.loaded
        models.drafter, models.base = (replace(one, template=BareTemplate()) for one in (models.drafter, models.base))
        for model in (pair.drafter, pair.base):
            model.model.vocab.ignores_ends = True
        self._costs = pair.loaded.experience.costs
        self._learnt: dict[tuple[str, int], Experience] = {}

    def prompts(self, work: Workload) -> list[str]:
        """Prompts of so many of the base's tokens, of which no two begin alike."""
        return [prompt_of(work.n_prompt, number, self._count) for number in range(work.at_once)]

    def _count(self, text: str) -> int:
        return len(self.pair.base.encode(messages_of(text)).tokens)

    def agreement(self, n_prompt: int = 32, n_tokens: int = 128) -> float | None:
        """Share of the base's own tokens that the drafter would have chosen, along a text that the base writes. None if
        the two have different vocabularies, or the base writes nothing.
        """
        if not self.pair.vocabulary.same:
            return None
        messages = messages_of(prompt_of(n_prompt, 0, self._count))
        self.forget()
        options = Options(mode="base", max_tokens=n_tokens, stop_loops=False)
        reply = self.pair.session(options=options, messages=messages).ask()
        chosen = [token.id for token in reply.tokens]
        self.forget()
        sequence = self.pair.drafter.context.sequence()
        try:
            scores = sequence.score(self.pair.drafter.encode(messages).tokens, chosen[:-1])
            rows = range(scores.n_rows - len(chosen), scores.n_rows) if chosen else range(0)
            n_equal = sum(scores.choose(row)[0] == token for row, token in zip(rows, chosen, strict=True))
        finally:
            sequence.close()
        return n_equal / len(chosen) if chosen else None

    def forget(self) -> None:
        """Empty both memories, so that nothing is reused."""
        for source in SOURCES:
            self.pair.model(source).context.wipe()

    def measure(self, case: BenchCase) -> Figures:
        """One repetition. Raises `Cancelled` soon after that is asked for.

        Rows share what they learn of the machine, but not what they learn of the answers: other rows' proposals are not
        those that this one would make.
        """
        self.forget()
        key = case.name, case.workload.at_once
        self.pair.loaded.experience = self._learnt.setdefault(key, Experience(self._costs))
        options, prompts = case.options(), self.prompts(case.workload)
        with ExitStack() as stack:
            clocks = {source: stack.enter_context(PassClock(self.pair.model(source).context)) for source in SOURCES}
            began = time.perf_counter()
            streams = [self.pair.session(options=options, messages=messages_of(prompt)).stream() for prompt in prompts]
            for stream in streams:
                stack.callback(stream.close)
            replies = []
            for stream in streams:
                for _ in stream:
                    if self._is_cancelled():
                        raise Cancelled("the measurement was stopped")
                replies.append(stream.result())
            seconds = time.perf_counter() - began
        return _figures(replies, seconds, clocks, overlaps=self.pair.overlaps)


def _figures(replies: list[Reply], seconds: float, clocks: dict[Source, PassClock], *, overlaps: bool) -> Figures:
    stats = [reply.stats for reply in replies]
    n_tokens = sum(one.n_tokens for one in stats)
    drafter = clocks["drafter"].rates(max(one.drafter_prompt_tokens for one in stats))
    base = clocks["base"].rates(max(one.base_prompt_tokens for one in stats))
    n_proposed = sum(sum(one.n_proposed.values()) for one in stats)
    n_accepted = sum(sum(one.n_proposed_accepted.values()) for one in stats)
    computing_s = sum(clock.computing_s for clock in clocks.values())
    return Figures(
        answer_s=seconds,
        n_tokens=n_tokens,
        ttft_s=sum(one.ttft_s for one in stats) / len(stats),
        drafter_prompt_tps=drafter[0],
        drafter_decode_tps=drafter[1],
        base_prompt_tps=base[0],
        base_decode_tps=base[1],
        base_passes=sum(one.base_passes for one in stats) / len(stats) if clocks["base"].n_passes else None,
        accepted=n_accepted / n_proposed if n_proposed else None,
        host_ms=None if overlaps else 1e3 * max(0.0, seconds - computing_s) / n_tokens,
        resident_mib=resident_mib(),
        device_mib=device_mib(),
    )


def resident_mib() -> float | None:
    """Memory of this process that is in the machine's, where the system tells it."""
    try:
        found = re.search(r"^VmRSS:\s+(\d+) kB", _STATUS.read_text(encoding="ascii"), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) / 1024 if found else None


def device_mib() -> float | None:
    """What is taken of GPUs with memory of their own, by all programs; None without one."""
    gpus = [one for one in devices() if one.type == "gpu"]
    return sum(one.total_bytes - one.free_bytes for one in gpus) / _MIB if gpus else None
