"""A model's context: the KV memory and the sequences of tokens in it.

>>> with Model.load("base.gguf") as model, Context(model) as context:
...     text = context.sequence()
...     scores = text.score(prompt_tokens, proposed_tokens)   # one decode
...     scores.logprobs, scores.choose(0)
"""

from __future__ import annotations

import ctypes
import math
import time
from collections.abc import Callable
from itertools import accumulate, islice
from types import TracebackType

from edge_wsd import checks
from edge_wsd._native import CancelFlag
from edge_wsd.errors import (
    Cancelled,
    ContextFullError,
    DecodeError,
    LogitsError,
    OptionError,
    VocabularyError,
)
from edge_wsd.llama import library
from edge_wsd.llama.attention import Attention
from edge_wsd.llama.batch import DecodeBatch
from edge_wsd.llama.binding import llama_cpp
from edge_wsd.llama.device_signal import DeviceSignal
from edge_wsd.llama.handle import Handle
from edge_wsd.llama.model import Model
from edge_wsd.llama.new_context import block_of, new_context
from edge_wsd.llama.onward import Beginning, NativeSteps
from edge_wsd.llama.pass_threads import PassThreads
from edge_wsd.llama.passes import most_rows, passes
from edge_wsd.llama.row import Row
from edge_wsd.llama.scores import FLOAT_BYTES, Scores, read_rows
from edge_wsd.llama.sequence import Going, Piece, Sequence
from edge_wsd.llama.settings import ModelSettings
from edge_wsd.llama.signal_check import begin_signal
from edge_wsd.llama.tools.tap import Tap

PassListener = Callable[[list[tuple[int, int]], float], None]
"""Told of a pass: for each text where the piece that was read begins and its length, and the seconds llama.cpp took."""

# The binding's own makes an object of the pointer, and that takes longer than the call.
_logits_of: Callable[[int], int | None] = library.ggml_function("llama_get_logits", ctypes.c_void_p, ctypes.c_void_p)


class Context(library.Locked):
    """Owner of a llama.cpp context and of its sequences. Decodes one batch at a time; closed with its model at last."""

    def __init__(
        self,
        model: Model,
        settings: ModelSettings | None = None,
        *,
        n_sequences: int = 1,
        tap: Tap | None = None,
    ) -> None:
        """`n_sequences` share the memory of `settings.parallel` whole contexts. `tap` looks at what is computed."""
        super().__init__()
        settings = settings or ModelSettings()
        self.model = model
        self.n_vocab = model.vocab.n_tokens
        self._tap = tap  # keeps the callback alive that llama.cpp calls
        self.n_sequences = n_sequences
        checks.require_whole("n_sequences", n_sequences, 1, int(llama_cpp.llama_max_parallel_sequences()))
        attention = Attention.of(settings, on_gpu=model.on_gpu)
        self._threads = PassThreads.of(model, settings, attention)
        self.is_unified = n_sequences > 1 and not settings.exact and not model.sliding_window
        """Whether all sequences share their cells, so that what two have in common is there once."""
        self.can_share = not settings.exact
        """Whether a decode may be of several sequences: exact numbers do not depend on what is computed beside."""
        pointer = new_context(model, settings, attention, self._threads.most, n_sequences, self.is_unified, tap)
        self._handle = Handle(pointer, f"{model.path}: this context")
        model.contexts.append(self)
        self.block = block_of(model, settings)
        """Passes cover whole blocks of so many tokens."""
        self.batch_size = int(llama_cpp.llama_n_batch(self.handle)) // self.block * self.block
        """Tokens of a pass: what the settings say, and no more than the context holds. llama.cpp ends the process
        at one more."""
        self.micro_batch = int(llama_cpp.llama_n_ubatch(self.handle))
        """Tokens that llama.cpp computes at once; a longer pass takes no less time than several."""
        self.most_rows = most_rows(block=self.block, most=self.batch_size)
        """Tokens of which one pass can lend the logits."""
        self._batch = DecodeBatch(self.batch_size)
        self._steps = NativeSteps(self.handle, llama_cpp.llama_model_get_vocab(model.handle), self.n_vocab)
        self.signal: DeviceSignal | None = None
        """Computes rows where the logits are; None where they are read from the logits."""
        self.n_ctx = min(model.context_length(settings), int(llama_cpp.llama_n_ctx_seq(self.handle)))
        """Tokens that one sequence can hold: those asked for. llama.cpp makes room for a multiple of 256."""
        self.n_cells = int(llama_cpp.llama_n_ctx(self.handle))
        """Tokens that all sequences together can hold."""
        self.n_decodes = 0
        """Rows of logits hold until the next one."""
        self.on_pass: PassListener | None = None
        """Told of every pass that succeeds. Steps in native code are one, of all their tokens."""
        self._computing_s = 0.0  # in llama.cpp, of passes
        self._sequences: list[Sequence | None] = [None] * n_sequences
        self._cancel = CancelFlag()
        self.watch(self._cancel)
        if settings.uses_device_signal and tap is None:
            begin_signal(self)
        self.can_go_on = self.block == 1 and model.can_cut and self.signal is None
        """Whether `go_on` takes any steps: exact passes are over blocks, checkpoints are made between passes, and it
        reads logits."""

    @property
    def handle(self) -> int:
        """llama.cpp's pointer. Raises `ClosedError` once the context is closed, `ForkedError` in a forked child."""
        return self._handle.pointer

    @property
    def memory(self) -> int:
        """llama.cpp's pointer to the KV memory; raises as `handle` does."""
        return int(llama_cpp.llama_get_memory(self.handle))

    @property
    def is_open(self) -> bool:
        return self._handle.is_open

    def require_open(self) -> None:
        """Raises as `handle` does."""
        self._handle.require_open()

    def sequence(self) -> Sequence:
        """A new, empty sequence. Raises `OptionError` once all `n_sequences` are in use."""
        self.require_open()
        if None not in self._sequences:
            raise OptionError(f"all {len(self._sequences)} sequences of this context are in use; close one first")
        index = self._sequences.index(None)
        self._sequences[index] = sequence = Sequence(self, index)
        return sequence

    def release(self, index: int) -> None:
        """Take a closed sequence's place back."""
        self._sequences[index] = None

    def wipe(self) -> None:
        """Forget all sequences, and their numbers with them.

        What is only cut off still lies in the memory, where it is multiplied by 0: of a NaN that makes a NaN, for ever.
        """
        with self.lock:
            llama_cpp.llama_memory_clear(self.memory, True)
            for sequence in self._sequences:
                if sequence is not None:
                    sequence.clear()

    # Decoding

    def run(self, pieces: list[Piece], scores: list[Scores]) -> None:
        """Read `pieces` in one decode, and add the rows of each to its `scores`. A single piece may be of any length.

        Raises `ContextFullError` if memory has no room, `Cancelled`, `DecodeError`, `VocabularyError`; then the ledgers
        say what was read all the same. Raises `LogitsError`, after which the context is empty, and `WorkerError`, after
        which the pair has to be loaded again.
        """
        with self.lock:  # until the rows are read, nobody may free or overwrite them
            began, computed_s = time.perf_counter(), self._computing_s
            on_device = self._asks_device(pieces, scores)
            addresses = self.decode(pieces, on_device=on_device)
            try:
                if on_device:
                    addresses, rows = [0] * len(pieces), self._device_rows(pieces)
                else:
                    rows = [
                        read_rows(address, piece.targets, self.n_vocab) if piece.targets else []
                        for address, piece in zip(addresses, pieces, strict=True)
                    ]
            except LogitsError as error:
                raise self._damaged(error) from error
            seconds, n_tokens = time.perf_counter() - began, sum(len(piece.tokens) for piece in pieces)
            for piece, address, new, one in zip(pieces, addresses, rows, scores, strict=True):
                one.add(new, address, seconds * len(piece.tokens) / n_tokens)
            if self.on_pass is not None:
                read = [(len(one.sequence.tokens) - len(one.tokens), len(one.tokens)) for one in pieces]
                self.on_pass(read, self._computing_s - computed_s)

    def go_on(self, going: list[Going], enough: CancelFlag) -> int:
        """Write texts on greedily, one decode of all of them a step, until one has come to its end or `enough` is set;
        add the rows to their `scores`, and return the number of steps. A decode that fails ends it: whoever needs more
        asks `run` again, which says why. Raises `LogitsError`, after which the context is empty.
        """
        if not self.can_go_on:
            return 0
        with self.lock:
            self.require_open()
            began, cpu_began = time.perf_counter(), time.process_time()
            texts = [Beginning(*one.last, len(one.sequence.tokens), one.sequence.index, one.stops) for one in going]
            most, stop_below = min(one.n_room for one in going), max(one.stop_below for one in going)
            self._threads.set_for(self.handle, len(going))
            try:
                steps, code = self._steps.take(texts, most, stop_below, enough)
            except LogitsError as error:
                damaged = self._damaged(error)
                self.model.require_workers()
                raise damaged from error
            seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
            self._threads.took(len(going), seconds, cpu_seconds, n_passes=len(steps))
            self.n_decodes += len(steps) + (code != 0)
            for at, (one, text) in enumerate(zip(going, texts, strict=True)):
                read = [text.token, *(tokens[at] for tokens, _ in steps)]
                one.sequence.tokens += read[: len(steps)]
                if code != 0:
                    one.sequence.resync(read[-1:])
            if steps:  # without any nothing is told that was not true before, and the next pass finds out
                self.model.require_workers()
            for at, one in enumerate(going):
                rows = [(math.nan, tokens[at], logprobs[at]) for tokens, logprobs in steps]
                one.scores.add(rows, 0, seconds / len(going))
            if self.on_pass is not None and steps:
                self.on_pass([(text.position, len(steps)) for text in texts], seconds)
            return len(steps)

    def _damaged(self, error: LogitsError) -> LogitsError:
        """The error of rows that are no probabilities; what has left them in memory may be anywhere in it."""
        self.wipe()
        return LogitsError(
            f"{self.model.path}: the model computes no probabilities ({error}); its weights are "
            "damaged, or overflow in their type: check the file, or get it in another type"
        )

    def _asks_device(self, pieces: list[Piece], scores: list[Scores]) -> bool:
        """Whether the rows of `pieces` are computed where the logits are; tokens are drawn from logits, and the
        likeliest are found there."""
        if self.signal is None or not any(piece.targets for piece in pieces):
            return False
        self.require_open()
        if any(one.sampler is not None or one.n_likeliest for one in scores):
            return False
        return self.signal.prepare([(piece.sequence.index, piece.targets) for piece in pieces if piece.targets])

    def _device_rows(self, pieces: list[Piece]) -> list[list[Row]]:
        assert self.signal is not None
        rows = iter(self.signal.rows(self._batch.outputs, [target for piece in pieces for target in piece.targets]))
        return [list(islice(rows, len(piece.targets))) for piece in pieces]

    def decode(self, pieces: list[Piece], *, on_device: bool = False) -> list[int]:
        """Read `pieces` as `run` does; returns where the rows of each begin: hold `lock` as long. Their logits
        are not there if they are computed `on_device`."""
        self.require_open()
        if self.signal is not None and not on_device and any(piece.targets for piece in pieces):
            self.signal.rest()
        for piece in pieces:
            piece.sequence.require_open()
            if min(piece.tokens) < 0 or max(piece.tokens) >= self.n_vocab:
                raise VocabularyError(f"a token id is outside the vocabulary of {self.n_vocab} tokens")
            piece.sequence.require_room(len(piece.tokens))
        with self.lock:
            if len(pieces) == 1:
                return [self._decode_alone(pieces[0])]
            self._batch.clear()
            for piece in pieces:
                self._add(piece.sequence, piece.tokens, len(piece.targets))
            self._decode_batch([(piece.sequence, piece.tokens) for piece in pieces])
            n_before = accumulate((len(piece.targets) for piece in pieces), initial=0)
            buffer = self._logits()
            return [buffer + n * self.n_vocab * FLOAT_BYTES for n, _ in zip(n_before, pieces, strict=False)]

    def _decode_alone(self, piece: Piece) -> int:
        """In as many passes as it takes, over whole blocks."""
        sequence, n_held, n_rows = piece.sequence, len(piece.sequence.tokens), len(piece.targets)
        length = n_held + len(piece.tokens)
        plan = passes(n_held, len(piece.tokens), n_rows, block=self.block, most=self.batch_size)
        start, end = plan[0].start, plan[-1].end
        # Any token fills the last block up.
        text = sequence.tokens[start:] + piece.tokens + piece.tokens[-1:] * (end - length)
        sequence.cut(start)
        for one in plan:
            tokens = text[one.start - start : one.end - start]
            self._batch.clear()
            self._add(sequence, tokens, one.n_rows)
            self._decode_batch([(sequence, tokens)])
        sequence.cut(length)
        n_behind = plan[-1].end - length
        return self._logits() + (plan[-1].n_rows - n_behind - n_rows) * self.n_vocab * FLOAT_BYTES if n_rows else 0

    def _add(self, sequence: Sequence, tokens: list[int], n_rows: int) -> None:
        self._batch.add(tokens, len(sequence.tokens), sequence.index, n_rows)

    def _decode_batch(self, read: list[tuple[Sequence, list[int]]]) -> None:
        """Decode what stands in the batch: the tokens `read` behind what their sequences hold."""
        self.raise_if_cancelled()
        code = None
        self.n_decodes += 1
        try:
            with library.error_lines() as lines:
                code = self._llama_decode()
        finally:  # also when Ctrl-C raises right behind the call
            for sequence, tokens in read:
                if code == 0:
                    sequence.tokens += tokens
                else:
                    sequence.resync(tokens)
        self.model.require_workers()
        if code == 2:
            raise Cancelled("cancelled")
        if code == 1:
            needed = sum(len(sequence.tokens) + len(tokens) for sequence, tokens in read)
            raise ContextFullError(
                f"{self.model.path}: the memory of the context has no room for {self._batch.n_tokens} more tokens; "
                "shorten the text or raise context_length (--ctx)",
                needed=needed,
                available=self.n_cells,
            )
        if code != 0:
            raise DecodeError(f"{self.model.path}: llama.cpp could not decode (code {code}){library.because(lines)}")

    def _llama_decode(self) -> int:
        n_tokens = self._batch.n_tokens
        self._threads.set_for(self.handle, n_tokens)
        began, cpu_began = time.perf_counter(), time.process_time()
        code = int(llama_cpp.llama_decode(self.handle, self._batch.struct))
        if self.on_pass is not None and self.model.is_asynchronous:
            llama_cpp.llama_synchronize(self.handle)  # who listens is told the whole time, also where nobody waits
        seconds = time.perf_counter() - began
        self._computing_s += seconds
        self._threads.took(n_tokens, seconds, time.process_time() - cpu_began)
        return code

    def _logits(self) -> int:
        """Where llama.cpp's buffer of logits begins."""
        began = time.perf_counter()
        address = _logits_of(self.handle) or 0  # waits for a device that is computing still
        self._computing_s += time.perf_counter() - began
        self.model.require_workers()  # only now has all that was sent off come back
        return address

    def watch(self, flag: CancelFlag) -> None:
        """Stop decodes once `flag` is set: inside a pass where the backend can (CPU), else between two of them."""
        self._cancel = flag  # keeps the memory alive that llama.cpp reads
        callback = ctypes.cast(flag.callback, llama_cpp.ggml_abort_callback)
        llama_cpp.llama_set_abort_callback(self.handle, callback, ctypes.c_void_p(flag.address))

    def raise_if_cancelled(self) -> None:
        """Raises `Cancelled` once the flag that is watched is set."""
        self.require_open()
        if self._cancel.is_set:
            raise Cancelled("cancelled")

    def close(self) -> None:
        """Close its sequences and free the memory. Closing twice does nothing."""
        with library.LOCK, self.lock:
            if pointer := self._handle.take():
                llama_cpp.llama_free(pointer)
                if self.signal is not None:
                    self.signal.close()
            for sequence in self._sequences:
                if sequence is not None:
                    sequence.close()
            if self in self.model.contexts:
                self.model.contexts.remove(self)
            self._cancel = CancelFlag()  # nothing polls it; the caller's own is no longer held

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()
