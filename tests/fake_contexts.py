"""A context over a `FakeModel`: rows as llama.cpp leaves them, every decode on record, and failures on command."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from types import SimpleNamespace

import numpy as np

from edge_wsd.decoding.bridge import SameVocabulary
from edge_wsd.decoding.drafter import Drafter
from edge_wsd.decoding.events import Reply, Token
from edge_wsd.decoding.meter import Meter
from edge_wsd.decoding.options import Options
from edge_wsd.decoding.protocols import Pass
from edge_wsd.decoding.reply_state import PromptedModel
from edge_wsd.decoding.signal import ConfidenceWindow
from edge_wsd.decoding.weak_to_strong import weak_to_strong
from edge_wsd.decoding.window_reply import WindowReply
from edge_wsd.decoding.writer import ReplyWriter
from edge_wsd.engine.engine import Engine
from edge_wsd.errors import Cancelled, ClosedError, ContextFullError, DecodeError
from edge_wsd.llama.library import Locked
from edge_wsd.llama.scores import FLOAT_BYTES, read_rows
from edge_wsd.llama.sequence import Sequence
from edge_wsd.llama.sequence_state import SequenceState
from tests.fakes import FakeModel, FakeVocabulary, drive
from tests.fakes import FakeSequence as DrivenSequence

WORDS = FakeVocabulary([b"", *(f"w{i}.".encode() for i in range(1, 9))])
PATIENCE_S = 60
"""After which a test that waits has failed."""
PROMPTS = [([3, 1, 2, *range(1, 2 + n % 5)], [2, 5, 4, 1, *range(1, 2 + n % 3)]) for n in range(16)]
"""The drafter's and the base's of sixteen replies."""
LONG_PROMPT = [1 + (i * i // 7) % 8 for i in range(4000)]
UNWRITTEN = Reply("", (), (), "cancelled", None)


@dataclass(frozen=True)
class Read:
    """One sequence's part of a decode."""

    sequence: int
    position: int
    tokens: tuple[int, ...]


def locked(method):
    """A method of a sequence that waits for the decode under way, as those of the real one do."""

    @wraps(method)
    def waits(sequence, *given):
        with sequence.context.lock:
            return method(sequence, *given)

    return waits


class FakeSequence(Sequence):
    """Keeps tokens and nothing else."""

    @locked
    def cut(self, n: int) -> None:
        kept = self.kept(n)
        self.tokens = self.tokens[:kept]
        self._checkpoints = [one for one in self._checkpoints if len(one.tokens) <= kept]

    @locked
    def clear(self) -> None:
        self.tokens, self._checkpoints = [], []

    @locked
    def _save(self, flags: int) -> SequenceState:
        return SequenceState(tuple(self.tokens), bytes(self._state_bytes(flags)))

    def _state_bytes(self, flags: int) -> int:
        return 10 * len(self.tokens)

    @locked
    def restore(self, state: SequenceState) -> None:
        self.clear()
        self.context.restore(state)
        self.tokens, self._checkpoints = list(state.tokens), list(state.checkpoints)

    @locked
    def copy_to(self, other: FakeSequence, n: int | None = None) -> None:
        assert other.context is self.context and n == self.kept(n)
        other.tokens, other._checkpoints = self.tokens[:n], self._checkpoints[:]

    @locked
    def close(self) -> None:
        self.context.release(self.index)
        self.tokens = []


class FakeContext(Locked):
    """`on_decode` is called with the pieces before they are read: it may wait, or raise."""

    def __init__(
        self,
        seed,
        *,
        common,
        n_sequences=24,
        batch=512,
        room=None,
        can_cut=True,
        can_share=True,
        n_ctx=5000,
    ):
        super().__init__()
        self.fake = FakeModel(WORDS.n_tokens, seed=seed, common=common, agreement=0.7)
        self.model = SimpleNamespace(can_cut=can_cut, sliding_window=0, is_asynchronous=False)
        self.n_sequences, self.n_vocab, self.n_ctx = n_sequences, WORDS.n_tokens, n_ctx
        self.batch_size = self.most_rows = self.micro_batch = batch
        self.block, self.can_share, self.is_open = 1, can_share, True
        self.room, self.is_unified = room, True
        self.n_cells = n_ctx * n_sequences if room is None else room
        self.n_decodes = 0
        self.restored: list[int] = []
        self.decodes: list[list[Read]] = []
        self.on_decode: Callable[[list], object] = lambda pieces: None
        self._places: list[FakeSequence | None] = [None] * n_sequences
        self._rows = np.zeros((batch, self.n_vocab), np.float32)

    def watch(self, flag):
        self.flag = flag

    def require_open(self):
        if not self.is_open:
            raise ClosedError("closed")

    def sequence(self):
        index = self._places.index(None)
        self._places[index] = FakeSequence(self, index)
        return self._places[index]

    def release(self, index):
        self._places[index] = None

    def restore(self, state):
        if self.room is not None and self._cells() + len(state.tokens) > self.room:
            raise DecodeError("no room")
        self.restored.append(len(state.tokens))

    def wipe(self):
        for sequence in filter(None, self._places):
            sequence.clear()

    def run(self, pieces, scores):
        with self.lock:
            self._run(pieces, scores)

    def _run(self, pieces, scores):
        self.require_open()
        self.n_decodes += 1
        self.decodes.append([Read(p.sequence.index, len(p.sequence.tokens), tuple(p.tokens)) for p in pieces])
        assert all(piece.tokens for piece in pieces) and all(
            p.sequence is self._places[p.sequence.index] for p in pieces
        )
        assert len({piece.sequence.index for piece in pieces}) == len(pieces) and (self.can_share or len(pieces) == 1)
        assert sum(len(piece.tokens) for piece in pieces) <= self.batch_size
        for piece in pieces:
            piece.sequence.require_room(len(piece.tokens))
        self._rows[:] = np.nan  # what was lent before is gone
        self.on_decode(pieces)
        if self.flag.is_set:
            raise Cancelled("cancelled")
        if self.room is not None and self._cells() + sum(len(piece.tokens) for piece in pieces) > self.room:
            raise ContextFullError("no room", needed=0, available=self.room)
        first = 0
        for piece, one in zip(pieces, scores, strict=True):
            n_rows = len(piece.targets)
            before = len(piece.sequence.tokens) + len(piece.tokens) - n_rows + 1
            piece.sequence.tokens += piece.tokens
            for i in range(n_rows):
                self._rows[first + i] = self.fake.logprobs(tuple(piece.sequence.tokens[: before + i]))
            address = self._rows.ctypes.data + first * self.n_vocab * FLOAT_BYTES
            rows = read_rows(address, piece.targets, self.n_vocab) if n_rows else []
            one.add(rows, address, 0.001)
            first += n_rows

    def go_on(self, going, enough):
        """Steps as of the real one; a step for which there is no room ends it."""
        with self.lock:
            return self._steps(going, enough)

    def _steps(self, going, enough):
        n_steps = 0
        most = min(min(one.most, self.n_ctx - len(one.sequence.tokens)) for one in going)
        chosen = [one.scores.choose(one.scores.n_rows - 1)[0] for one in going]
        while n_steps < most and not enough.is_set and not any(map(self._ends, going, chosen)):
            if self.room is not None and self._cells() + len(going) > self.room:
                break
            for at, one in enumerate(going):
                one.sequence.tokens.append(chosen[at])
                row = np.array(self.fake.logprobs(tuple(one.sequence.tokens)), np.float32)
                one.scores.add(read_rows(row.ctypes.data, [-1], self.n_vocab), 0, 0.001)
                chosen[at] = one.scores.choose(one.scores.n_rows - 1)[0]
            n_steps += 1
        return n_steps

    def _ends(self, one, token):
        return WORDS.is_end(token) or token in one.stops

    def _cells(self):
        """Where two sequences have a beginning in common, it is there once."""
        texts = [sequence.tokens for sequence in self._places if sequence is not None]
        return len({tuple(text[: i + 1]) for text in texts for i in range(len(text))})


class FakeSampler:
    """Draws from the row itself, so that a row that is gone is noticed."""

    def __init__(self, random):
        self.random = random

    def choose(self, address, n_vocab):
        row = np.ctypeslib.as_array((ctypes.c_float * n_vocab).from_address(address))
        assert np.isfinite(row).all()
        token = self.random.choices(range(n_vocab), np.exp(row))[0]
        return token, float(row[token])

    def accept(self, token, *, drafted=False):
        pass


@contextmanager
def engine_of(*, parallel=4, longest_queue=256, seed=1, cache_bytes=0, overlap=False, **settings) -> Iterator[Engine]:
    """An engine over two fake contexts; closed, whatever happens."""
    contexts = {
        "drafter": FakeContext(2 * seed, common=seed, **settings),
        "base": FakeContext(2 * seed + 1, common=seed, **settings),
    }
    saved = {"drafter": cache_bytes, "base": cache_bytes}
    engine = Engine(contexts, parallel=parallel, longest_queue=longest_queue, cache_bytes=saved, overlap=overlap)
    engine.drafter, engine.base = contexts["drafter"], contexts["base"]
    try:
        yield engine
    finally:
        for context in contexts.values():
            context.on_decode = lambda pieces: None
        engine.close()


@contextmanager
def held(*contexts: FakeContext) -> Iterator[None]:
    """The first decode inside the block waits for its end, so that what is submitted inside begins together."""
    go_on = threading.Event()
    before = [context.on_decode for context in contexts]
    for context in contexts:
        context.on_decode = lambda pieces: go_on.wait(PATIENCE_S)
    try:
        yield
    finally:
        for context, one in zip(contexts, before, strict=True):
            context.on_decode = one
        go_on.set()


def plain(prompt, n, *, source="base", fail_at=None, sampler=None, proposed=()):
    """A writer of `n` tokens of one model. It has `proposed` read with each, and makes nothing of that."""

    def write(memories):
        memory, text, ids, reason = memories[source], list(prompt), [], "length"
        sequence = memory.take(text)
        try:
            for position in range(n):
                rows = yield Pass(sequence, text, list(proposed), sampler)
                token, logprob = rows.choose(0)
                sequence.cut(len(text))
                text.append(token)
                ids.append(Token(position, token, f"w{token}.", source, logprob))
                yield ids[-1]
                if position == fail_at:
                    raise ValueError("this reply is broken")
        except Cancelled:
            reason = "cancelled"
        finally:
            memory.give_back(sequence)
        return Reply("".join(token.text for token in ids), tuple(ids), (None,) * len(ids), reason, None)

    return write


def weak_to_strong_writer(drafter_prompt, base_prompt, samplers=(None, None), *, overlaps=False, **given):
    """A writer of a whole reply, as the product writes it."""
    options = Options(**{"max_tokens": 30, "threshold": 0.4, "window": 3, "max_draft": 20, **given})

    def write(memories):
        drafter, base = memories["drafter"].take(drafter_prompt), memories["base"].take(base_prompt)
        writer, meter = ReplyWriter(WORDS, max_tokens=options.max_tokens), Meter()
        rule = ConfidenceWindow(threshold=options.threshold, window=options.window)
        bridge = SameVocabulary(WORDS, WORDS)
        its_drafter = Drafter(
            drafter,
            list(drafter_prompt),
            WORDS,
            bridge,
            bridge.draft("", strip=True),
            anchor="",
            sampler=samplers[0],
            max_draft=options.max_draft,
            n_ctx=5000,
        )
        its_drafter.overlaps = overlaps
        finisher = PromptedModel(base, list(base_prompt), [], sampler=samplers[1])
        try:
            yield from each_reads_its_own(
                weak_to_strong(WindowReply(finisher, options, writer, meter, its_drafter, rule))
            )
        except Cancelled:
            yield from writer.end("cancelled")
        finally:
            memories["drafter"].give_back(drafter)
            memories["base"].give_back(base)
        confidences = (*rule.logprobs, *rule.confidences)
        return Reply(writer.text, tuple(writer.tokens), confidences, writer.finish, None)

    return write


def each_reads_its_own(writing):
    """The same; checks that nothing else than its text stands where a pass has read it."""
    go_on = partial(next, writing)
    while True:
        try:
            asked = go_on()
        except StopIteration as end:
            return end.value
        try:
            answer = yield asked
        except BaseException as error:
            go_on = partial(writing.throw, error)
            continue
        if isinstance(asked, Pass):
            read = asked.sequence.tokens[: len(asked.text)]
            assert read == asked.text[: len(read)]
        go_on = partial(writing.send, answer)


def alone(write, **settings):
    """What a writer writes if there is nobody else."""
    with engine_of(parallel=1, **settings) as engine:
        return engine.submit(write).result()


class OneAtATime:
    """In the place of what a context holds: every text begins anew, and nobody schedules anything."""

    def __init__(self, seed, *, common=1):
        self.model = FakeModel(WORDS.n_tokens, seed=seed, common=common, agreement=0.7)

    def take(self, text):
        return DrivenSequence(self.model)

    def give_back(self, sequence):
        pass


def without_engine(write):
    """What a writer writes where each pass is answered by the model itself."""
    writing = drive(write({"drafter": OneAtATime(2), "base": OneAtATime(3)}))
    while True:
        try:
            next(writing)
        except StopIteration as end:
            return end.value


def soon(condition: Callable[[], object]) -> None:
    """Wait until it holds."""
    pause = threading.Event()
    for _ in range(PATIENCE_S * 200):
        if condition():
            return
        pause.wait(0.005)
    raise AssertionError("it never came true")


def its(reply):
    """All that must not depend on who else is there."""
    return reply.text, [token.id for token in reply.tokens], list(map(str, reply.confidences)), reply.finish_reason


def fail(error, at=True):
    if at:
        raise error
