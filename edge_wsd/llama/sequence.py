"""One text in a context's memory.

The ledger `tokens` always says what is really in memory, also after a decode that failed or was cancelled.
Logits are made only where they are asked for, and are read where llama.cpp left them.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edge_wsd import _native
from edge_wsd.errors import (
    Cancelled,
    ClosedError,
    ContextFullError,
    DecodeError,
    LogitsError,
    OptionError,
    VocabularyError,
)
from edge_wsd.llama import library
from edge_wsd.llama.binding import llama_cpp
from edge_wsd.llama.passes import passes
from edge_wsd.llama.sampler import Sampler
from edge_wsd.llama.scores import Row, Scores

if TYPE_CHECKING:
    from edge_wsd.llama.context import Context

_FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True)
class SequenceState:
    """A saved sequence: its ledger and llama.cpp's bytes. Fits only the same model and context settings."""

    tokens: tuple[int, ...]
    data: bytes


@dataclass(slots=True)
class _Rows:
    """Where the logits of the last decode lie: rows that follow the first `first` to `last` tokens."""

    first: int
    last: int


class Sequence:
    """Made by `Context.sequence()`. `score` and `extend` append to the ledger, `cut` shortens it."""

    def __init__(self, context: Context, index: int) -> None:
        self.tokens: list[int] = []
        self._context = context
        self._index = index
        self._rows: _Rows | None = None
        self._stash: tuple[int, NDArray[np.float32]] | None = None
        self._opening_row: tuple[int, NDArray[np.float32]] | None = None
        self._checkpoint: SequenceState | None = None
        self._closed = False

    # Appending

    def extend(self, tokens: Iterable[int]) -> None:
        """Append `tokens`; only what follows the last one can be asked about."""
        tokens = list(tokens)
        self._opening_row = None
        if tokens:
            self._decode(tokens, 1)

    def score(self, context: Iterable[int], proposed: Iterable[int]) -> Scores:
        """Append `context` and `proposed` in one batch (more, if longer than a batch); score the proposed tokens.

        With an empty context the first proposed token is scored by what is there already. Raises
        `ContextFullError` before anything is decoded, `Cancelled`, `DecodeError`; `LogitsError`, after which the
        context is empty.
        """
        with library.LOCK:  # until the rows are read, nobody may free or overwrite them
            self.require_open()
            try:
                return self._score(list(context), list(proposed))
            except LogitsError as error:
                self._context.wipe()
                raise LogitsError(
                    f"{self._context.model.path}: the model computes no probabilities ({error}); its weights are "
                    "damaged, or overflow in their type: check the file, or get it in another type"
                ) from error

    def _score(self, context: list[int], proposed: list[int]) -> Scores:
        self._opening_row = None
        most = self._context.most_rows - 1
        if len(proposed) > most:
            # The first piece takes the remainder, so that the rows that can be drawn from later are as many as can be.
            first = (len(proposed) - 1) % most + 1
            scores = self._score(context, proposed[:first])
            for start in range(first, len(proposed), most):
                scores = scores.joined(self._score([], proposed[start : start + most]))
            return scores
        if proposed and not self._context.model.can_cut:
            # The proposed tokens may be cut off again, and this memory can only go back to a saved state.
            self.extend(context)
            self.checkpoint()
            self._opening_row = self._copy_head()  # the batch to come takes its place in llama.cpp's buffer
            context = []
        rows: list[Row] = []
        if not context:
            head = self._head_address()
            if head is not None:
                rows = [_native.score_row(head, self._context.n_vocab, proposed[0] if proposed else -1)]
            else:
                context = self._take_back_last()
        if context or proposed:
            rows += self._score_batch(context, proposed, n_known=len(rows))
        start = len(self.tokens) - len(proposed)
        return Scores(rows, lambda row, sampler: self._draw(start + row, sampler))

    def logits(self, tokens: Iterable[int]) -> NDArray[np.float32]:
        """Append `tokens`, at most a batch of them. Row i is what follows token i, of shape (n_tokens, n_vocab)."""
        tokens = list(tokens)
        if not 1 <= len(tokens) <= self._context.most_rows:
            raise OptionError(f"logits of {len(tokens)} tokens at once; expected 1 to {self._context.most_rows}")
        self._opening_row = None
        n_vocab = self._context.n_vocab
        with library.LOCK:
            self._decode(tokens, len(tokens))
            first = self._row_address(len(self.tokens) - len(tokens) + 1)
            buffer = (ctypes.c_float * (len(tokens) * n_vocab)).from_address(first)
            return np.array(buffer, np.float32).reshape(len(tokens), n_vocab)

    def _score_batch(self, context: list[int], proposed: list[int], n_known: int) -> list[Row]:
        n_rows = len(proposed) + 1 - n_known
        self._decode(context + proposed, n_rows)
        address, n_vocab = self._row_address(len(self.tokens) - n_rows + 1), self._context.n_vocab
        targets = [*proposed[n_known:], -1]
        if n_rows == 1:
            return [_native.score_row(address, n_vocab, targets[0])]
        columns = _native.score_rows(address, n_rows, n_vocab, np.array(targets, np.int32))
        return list(zip(*(column.tolist() for column in columns), strict=True))

    def _take_back_last(self) -> list[int]:
        """The last token, cut off to be decoded again: its logits are gone."""
        if not self.tokens:
            raise DecodeError("an empty sequence cannot score anything; give it a context")
        last = self.tokens[-1]
        self.cut(len(self.tokens) - 1)
        return [last]

    def spare(self, n: int) -> int:
        """By how many tokens a `score` of `n` may be longer at no cost, as they are computed with the others."""
        context = self._context
        return max(0, min(-(len(self.tokens) + n) % context.block, context.most_rows - n))

    # Going back

    def cut(self, n: int) -> None:
        """Keep the first `n` tokens. Memory that cannot be cut goes back to a checkpoint and decodes the rest again."""
        if n < 0:
            raise OptionError(f"a sequence cannot be cut back to {n} tokens; expected 0 or more")
        self.require_open()
        if n >= len(self.tokens):
            return
        with library.LOCK:
            if self._remove_from(n):
                del self.tokens[n:]
                self._forget_rows_after(n)
                return
            kept = self.tokens[:n]
            saved = self._checkpoint
            if saved is not None and len(saved.tokens) <= n and kept[: len(saved.tokens)] == list(saved.tokens):
                self._restore_partial(saved)
            else:
                self.clear()
            self.extend(kept[len(self.tokens) :])

    def clear(self) -> None:
        """Forget everything; this never fails."""
        with library.LOCK:
            if not self._remove_from(0):
                raise DecodeError("llama.cpp could not clear a sequence")
        self.tokens = []
        self._rows = self._stash = self._opening_row = self._checkpoint = None

    def checkpoint(self) -> None:
        """Make this point cheap to come back to with `cut`. Does nothing for a memory that can be cut anywhere."""
        if not self._context.model.can_cut and self.tokens:
            self._checkpoint = self._save(llama_cpp.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY)

    def _remove_from(self, n: int) -> bool:
        return bool(llama_cpp.llama_memory_seq_rm(self._memory, self._index, n, -1))

    def _restore_partial(self, saved: SequenceState) -> None:
        self._load(saved, llama_cpp.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY)
        # The attention part of a hybrid memory is not in a partial state, but it can be cut.
        if not self._remove_from(len(saved.tokens)):
            raise DecodeError("llama.cpp could not return to a checkpoint")

    def _forget_rows_after(self, n: int) -> None:
        if self._rows is not None and n < self._rows.first:
            self._rows = None
        if self._stash is not None and self._stash[0] != n:
            self._stash = None

    # States

    def save(self) -> SequenceState:
        """The whole sequence, to be restored later into any sequence of an equal context."""
        return self._save(llama_cpp.LLAMA_STATE_SEQ_FLAGS_NONE)

    def restore(self, state: SequenceState) -> None:
        """Replace this sequence by a saved one. A state that does not fit leaves it empty and raises `DecodeError`."""
        self.clear()
        self._load(state, llama_cpp.LLAMA_STATE_SEQ_FLAGS_NONE)

    def copy_to(self, other: Sequence) -> None:
        """Make `other`, a sequence of the same context, equal to this one."""
        if other._context is not self._context:
            raise OptionError("a sequence can only be copied inside its context; save and restore it instead")
        if other is self:
            return
        other.clear()
        with library.LOCK:
            llama_cpp.llama_memory_seq_cp(self._memory, self._index, other._index, -1, -1)
            other.tokens = list(self.tokens)

    def close(self) -> None:
        """Give the sequence's place in the context back. Closing twice does nothing, nor behind the context."""
        with library.LOCK:
            if not self._closed and self._context.is_open:
                self.clear()
            if not self._closed:
                self._context.release(self._index)
            self._closed = True
            self.tokens = []

    def require_open(self) -> None:
        """Raises `ClosedError` once this sequence or its context is closed, `ForkedError` in a forked child."""
        if self._closed and self._context.is_open:
            raise ClosedError(f"{self._context.model.path}: this sequence is closed; make another one of its context")
        self._context.require_open()

    @property
    def _handle(self) -> int:
        self.require_open()
        return self._context.handle

    @property
    def _memory(self) -> int:
        self.require_open()
        return self._context.memory

    def _save(self, flags: int) -> SequenceState:
        with library.LOCK:
            handle = self._handle
            size = llama_cpp.llama_state_seq_get_size_ext(handle, self._index, flags)
            buffer = (ctypes.c_uint8 * size)()
            written = llama_cpp.llama_state_seq_get_data_ext(handle, buffer, size, self._index, flags)
        if written != size:
            raise DecodeError(f"llama.cpp saved {written} of {size} bytes of a sequence")
        return SequenceState(tuple(self.tokens), bytes(buffer))

    def _load(self, state: SequenceState, flags: int) -> None:
        data = (ctypes.c_uint8 * len(state.data)).from_buffer_copy(state.data)
        with library.error_lines() as lines:
            read = llama_cpp.llama_state_seq_set_data_ext(self._handle, data, len(state.data), self._index, flags)
            if read == 0:
                self.clear()
                raise DecodeError(f"a saved sequence does not fit this context{library.because(lines)}")
        self.tokens = list(state.tokens)
        self._rows = self._stash = None

    # Logits

    def stash_head(self) -> None:
        """Keep the last row: another sequence is about to use the buffer."""
        self._stash = self._copy_head()
        self._rows = None

    def _head_address(self) -> int | None:
        """Where the logits after the last token lie, if they are still there."""
        length = len(self.tokens)
        if self._stash is not None and self._stash[0] == length:
            return int(self._stash[1].ctypes.data)
        return self._row_address(length) if self._is_in_buffer(length) else None

    def _is_in_buffer(self, length: int) -> bool:
        return self._rows is not None and self._rows.first <= length <= self._rows.last

    def _row_address(self, length: int) -> int:
        """Where the logits that follow the first `length` tokens lie in llama.cpp's buffer."""
        assert self._rows is not None
        buffer = ctypes.cast(llama_cpp.llama_get_logits(self._handle), ctypes.c_void_p).value or 0
        return buffer + (length - self._rows.first) * self._context.n_vocab * _FLOAT_BYTES

    def _draw(self, length: int, sampler: Sampler) -> tuple[int, float]:
        """A token drawn from what follows the first `length` tokens."""
        with library.LOCK:
            self.require_open()
            if self._is_in_buffer(length):
                address = self._row_address(length)
            elif self._opening_row is not None and self._opening_row[0] == length:
                address = self._opening_row[1].ctypes.data
            else:
                raise DecodeError("these logits are gone: another decode came between scoring and sampling")
            return sampler.choose(address, self._context.n_vocab)

    def _copy_head(self) -> tuple[int, NDArray[np.float32]] | None:
        """The row after the last token and the length of the text it follows."""
        address = self._head_address()
        return None if address is None else (len(self.tokens), self._view(address).copy())

    def _view(self, address: int) -> NDArray[np.float32]:
        return np.ctypeslib.as_array((ctypes.c_float * self._context.n_vocab).from_address(address))

    # Decoding

    def _decode(self, tokens: list[int], n_rows: int) -> None:
        """Append `tokens` in passes of at most a batch, with logits at the last `n_rows` or more."""
        self.require_open()
        context, n_held = self._context, len(self.tokens)
        length = n_held + len(tokens)
        if min(tokens) < 0 or max(tokens) >= context.n_vocab:
            raise VocabularyError(f"a token id is outside the vocabulary of {context.n_vocab} tokens")
        if length > context.n_ctx:
            raise self._full(len(tokens))
        with library.LOCK:
            context.claim(self)
            plan = passes(n_held, len(tokens), n_rows, block=context.block, most=context.batch_size)
            start, end = plan[0].start, plan[-1].end
            text = self.tokens[start:] + tokens + tokens[-1:] * (end - length)  # any token fills the last block up
            self.cut(start)
            for one in plan:
                if context.on_pass is not None:
                    context.on_pass(one.start - start, length - start)
                self._decode_piece(text[one.start - start : one.end - start], one.n_rows)
            self.cut(length)

    def _decode_piece(self, piece: list[int], n_rows: int) -> None:
        context, position = self._context, len(self.tokens)
        context.raise_if_cancelled()
        context.batch.fill(piece, position, self._index, n_rows)
        self._rows = self._stash = None
        code = None
        try:
            with library.error_lines() as lines:
                code = context.decode(len(piece))
        finally:  # also when Ctrl-C raises right behind the call
            if code != 0:
                # Whatever part was finished stays, so memory is asked what the ledger has to say.
                kept = llama_cpp.llama_memory_seq_pos_max(self._memory, self._index) + 1
                self.tokens = (self.tokens + piece)[:kept]
            else:
                self.tokens += piece
        if code == 0:
            if n_rows:
                self._rows = _Rows(len(self.tokens) - n_rows + 1, len(self.tokens))
            return
        if code == 2:
            raise Cancelled("cancelled")
        if code == 1:
            raise self._full(len(piece))
        raise DecodeError(f"{context.model.path}: llama.cpp could not decode (code {code}){library.because(lines)}")

    def _full(self, n_new: int) -> ContextFullError:
        needed, available = len(self.tokens) + n_new, self._context.n_ctx
        return ContextFullError(
            f"{needed} tokens do not fit into a context of {available}; shorten the text "
            "or raise context_length (--ctx)",
            needed=needed,
            available=available,
        )
