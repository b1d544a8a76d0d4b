"""One text in a context's memory.

The ledger `tokens` always says what is really in memory, also after a decode that failed or was cancelled.
"""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_wsd.errors import ClosedError, ContextFullError, DecodeError, OptionError
from edge_wsd.llama import library
from edge_wsd.llama.binding import llama_cpp
from edge_wsd.llama.scores import Scores
from edge_wsd.llama.sequence_state import SequenceState, kept

if TYPE_CHECKING:
    from edge_wsd.llama.context import Context


@dataclass(frozen=True, slots=True)
class Piece:
    """`tokens` to be read behind what a sequence holds, with rows behind the last ones: one for each of `targets`."""

    sequence: Sequence
    tokens: list[int]
    targets: list[int]
    """The token that a row is asked about; -1 for none."""


@dataclass(frozen=True, slots=True)
class Going:
    """A text that goes on greedily behind the last of its `scores`, whose choice is not read yet."""

    sequence: Sequence
    scores: Scores
    most: int
    """Tokens to be chosen; fewer where its context has no room for them."""
    stops: Collection[int]
    """Tokens behind which nothing is wanted."""
    stop_below: float
    """Nor behind a token that is less probable."""

    @property
    def last(self) -> tuple[int, float]:
        """The choice of its last row."""
        return self.scores.choose(self.scores.n_rows - 1)

    @property
    def n_room(self) -> int:
        """Tokens that it may go on for."""
        return min(self.most, self.sequence.context.n_ctx - len(self.sequence.tokens))


class Sequence:
    """Made by `Context.sequence()`. Reading appends to the ledger, `cut` shortens it."""

    def __init__(self, context: Context, index: int) -> None:
        self.tokens: list[int] = []
        self.context = context
        self.index = index
        self.fork_point: int | None = None
        """Where a prompt ends: a memory that cannot be cut keeps a checkpoint there, for others that begin like it."""
        self.n_reused = 0
        """Tokens of its text that were found in memory and not read; counted by whoever finds them."""
        self._checkpoints: list[SequenceState] = []  # at the fork point, and the newest
        self._whole_from = 0  # tokens behind which nothing is missing, as it may after `restore`
        self._closed = False

    # Reading, of this sequence alone

    def extend(self, tokens: Iterable[int]) -> None:
        """Append `tokens`, of any number."""
        if tokens := list(tokens):
            self._read(tokens, [])

    def score(self, context: Iterable[int], proposed: Iterable[int]) -> Scores:
        """Append `context`, at least one token, and `proposed`; a row behind the context and behind each proposed one.

        Raises `ContextFullError` before anything is decoded, `Cancelled`, `DecodeError`; `LogitsError`, after which the
        context is empty.
        """
        context, proposed = list(context), list(proposed)
        if not context:
            raise OptionError("scores need a context of at least one token that is not in memory yet")
        scores, targets = Scores(self.context), [*proposed, -1]
        n_first = (len(targets) - 1) % self.context.most_rows + 1  # so that the rows to draw from are as many as can be
        self._read(context + proposed[: n_first - 1], targets[:n_first], scores)
        for start in range(n_first, len(targets), self.context.most_rows):
            end = start + self.context.most_rows
            self._read(proposed[start - 1 : end - 1], targets[start:end], scores)
        return scores

    def logits(self, tokens: Iterable[int]) -> NDArray[np.float32]:
        """Append `tokens`, at most a batch of them. Row i is what follows token i, of shape (n_tokens, n_vocab)."""
        tokens = list(tokens)
        if not 1 <= len(tokens) <= self.context.most_rows:
            raise OptionError(f"logits of {len(tokens)} tokens at once; expected 1 to {self.context.most_rows}")
        with self.context.lock:  # until the rows are read, nobody may free or overwrite them
            address = self.context.decode([Piece(self, tokens, [-1] * len(tokens))])[0]
            buffer = (ctypes.c_float * (len(tokens) * self.context.n_vocab)).from_address(address)
            return np.array(buffer, np.float32).reshape(len(tokens), self.context.n_vocab)

    def _read(self, tokens: list[int], targets: list[int], scores: Scores | None = None) -> None:
        self.context.run([Piece(self, tokens, targets)], [scores or Scores(self.context)])

    def require_room(self, n_new: int) -> None:
        """Raises `ContextFullError` if `n_new` more tokens do not fit."""
        needed, available = len(self.tokens) + n_new, self.context.n_ctx
        if needed > available:
            raise ContextFullError(
                f"{needed} tokens do not fit into a context of {available}; shorten the text "
                "or raise context_length (--ctx)",
                needed=needed,
                available=available,
            )

    def spare(self, n: int) -> int:
        """By how many tokens a pass that reads `n` may be longer at no cost, as they are computed with the others."""
        return max(0, min(-(len(self.tokens) + n) % self.context.block, self.context.most_rows - n))

    # Going back

    def kept(self, n: int) -> int:
        """How many tokens `cut(n)` keeps: those of a checkpoint, or none, where the memory cannot be cut to `n`."""
        return kept(n, len(self.tokens), self._fewest, self._checkpoints)

    def shared(self, n: int) -> int:
        """How many of the first `n` tokens `copy_to` can give to another sequence."""
        if self.context.is_unified:
            return self.kept(n)
        return kept(n, len(self.tokens), self._fewest_once_saved, self._checkpoints) if self.can_be_saved else 0

    @property
    def shares_beginnings(self) -> bool:
        """Whether that is any number of them, however long the text becomes."""
        return not (self._fewest if self.context.is_unified else self._fewest_once_saved)

    def cut(self, n: int) -> None:
        """Keep the first `n` tokens. Memory that cannot be cut anywhere keeps a checkpoint of fewer, or nothing."""
        if n < 0:
            raise OptionError(f"a sequence cannot be cut back to {n} tokens; expected 0 or more")
        self.require_open()
        if n >= len(self.tokens):
            return
        with self.context.lock:
            n = self.kept(n)
            if n == 0:
                self.clear()
            elif not self.context.model.can_cut:
                self._checkpoints = [one for one in self._checkpoints if len(one.tokens) <= n]
                self._restore_partial(self._checkpoints[-1])
            elif self._remove_from(n):
                del self.tokens[n:]
            else:  # a kind of memory that turns out not to
                self.clear()

    def clear(self) -> None:
        """Forget everything; this never fails."""
        with self.context.lock:
            if not self._remove_from(0):
                raise DecodeError("llama.cpp could not clear a sequence")
        self.tokens = []
        self._checkpoints = []
        self._whole_from = 0

    def checkpoint(self) -> None:
        """Make this point cheap to come back to with `cut`. Does nothing for a memory that can be cut anywhere."""
        if not self.context.model.can_cut and self.tokens:
            older = [one for one in self._checkpoints if len(one.tokens) == self.fork_point != len(self.tokens)]
            self._checkpoints = [*older, self._save(llama_cpp.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY)]

    @property
    def _fewest(self) -> int:
        """As in a state."""
        return self._whole_from if self.context.model.can_cut else len(self.tokens)

    def resync(self, tokens: list[int]) -> None:
        """After a decode of `tokens` that failed: whatever part was finished stays, and memory is asked how much.

        What failed is taken back by llama.cpp, but not out of a memory that cannot be cut: nothing of that stays.
        """
        if not self.context.model.can_cut:
            self.clear()
            return
        kept = llama_cpp.llama_memory_seq_pos_max(self._memory, self.index) + 1
        self.tokens = (self.tokens + tokens)[:kept]

    def _remove_from(self, n: int) -> bool:
        return bool(llama_cpp.llama_memory_seq_rm(self._memory, self.index, n, -1))

    def _restore_partial(self, saved: SequenceState) -> None:
        self._load(saved, llama_cpp.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY)
        # The attention part of a hybrid memory is not in a partial state, but it can be cut.
        if not self._remove_from(len(saved.tokens)):
            self.clear()
            raise DecodeError("llama.cpp could not return to a checkpoint")

    # States

    @property
    def can_be_saved(self) -> bool:
        """Whether it could be restored in its context. Exact passes go back to where their block begins, and of a text
        longer than its sliding window that is not in the state.
        """
        return self.context.block == 1 or not self._fewest_once_saved

    @property
    def _fewest_once_saved(self) -> int:
        window = self.context.model.sliding_window
        return max(self._fewest, len(self.tokens) - 1 if 0 < window < len(self.tokens) else 0)

    @property
    def state_bytes(self) -> int:
        """Bytes of what `save` makes."""
        with self.context.lock:
            self.require_open()
            n_bytes = self._state_bytes(llama_cpp.LLAMA_STATE_SEQ_FLAGS_NONE)
        return n_bytes + sum(one.n_bytes for one in self._checkpoints)

    def save(self) -> SequenceState:
        """The whole sequence, to be restored later into any sequence of an equal context."""
        state = self._save(llama_cpp.LLAMA_STATE_SEQ_FLAGS_NONE)
        return replace(state, fewest=self._fewest_once_saved, checkpoints=tuple(self._checkpoints))

    def restore(self, state: SequenceState) -> None:
        """Replace this sequence by a saved one. A state that does not fit leaves it empty and raises `DecodeError`."""
        self.clear()
        if state.fewest and self.context.block > 1:
            raise DecodeError("a text longer than its sliding window cannot be restored where passes are exact")
        self._load(state, llama_cpp.LLAMA_STATE_SEQ_FLAGS_NONE)
        self._whole_from = state.fewest
        self._checkpoints = list(state.checkpoints)

    def copy_to(self, other: Sequence, n: int | None = None) -> None:
        """Make `other`, a sequence of the same context, the `shared(n)` first tokens of this one; all without `n`.

        In a unified cache nothing is copied: both share the cells.
        """
        if other.context is not self.context:
            raise OptionError("a sequence can only be copied inside its context; save and restore it instead")
        self.require_open()
        if other is self:
            return
        with self.context.lock:  # what a decode under way reads into it is known only then
            other.clear()
            n = self.shared(len(self.tokens) if n is None else n)
            if n == 0:
                return
            if not self.context.is_unified:
                # llama.cpp copies between streams at the next decode; until then neither may be saved or restored.
                other.restore(self.save())
            else:
                end = n if self.context.model.can_cut else -1
                llama_cpp.llama_memory_seq_cp(self._memory, self.index, other.index, 0, end)
                other.tokens = self.tokens[:end] if end > 0 else self.tokens[:]
                other._whole_from = self._whole_from
                other._checkpoints = self._checkpoints[:]
            other.cut(n)

    def close(self) -> None:
        """Give the sequence's place in the context back. Closing twice does nothing, nor behind the context."""
        with self.context.lock:
            if not self._closed and self.context.is_open:
                self.clear()
            if not self._closed:
                self.context.release(self.index)
            self._closed = True
            self.tokens = []

    def require_open(self) -> None:
        """Raises `ClosedError` once this sequence or its context is closed, `ForkedError` in a forked child."""
        if self._closed and self.context.is_open:
            raise ClosedError(f"{self.context.model.path}: this sequence is closed; make another one of its context")
        self.context.require_open()

    @property
    def _memory(self) -> int:
        self.require_open()
        return self.context.memory

    def _save(self, flags: int) -> SequenceState:
        with self.context.lock:
            self.require_open()
            handle = self.context.handle
            data = np.empty(self._state_bytes(flags), np.uint8)
            written = llama_cpp.llama_state_seq_get_data_ext(handle, _bytes_of(data), data.size, self.index, flags)
            tokens = tuple(self.tokens)
        if written != data.size or not written:
            raise DecodeError(f"llama.cpp saved {written} of {data.size} bytes of a sequence")
        return SequenceState(tokens, data)

    def _state_bytes(self, flags: int) -> int:
        return int(llama_cpp.llama_state_seq_get_size_ext(self.context.handle, self.index, flags))

    def _load(self, state: SequenceState, flags: int) -> None:
        self.require_open()
        data = np.frombuffer(state.data, np.uint8)
        with self.context.lock, library.error_lines() as lines:
            read = llama_cpp.llama_state_seq_set_data_ext(
                self.context.handle, _bytes_of(data), data.size, self.index, flags
            )
            if read == 0:
                self.clear()
                raise DecodeError(f"a saved sequence does not fit this context{library.because(lines)}")
        self.tokens = list(state.tokens)


def _bytes_of(data: NDArray[np.uint8]) -> Any:
    """Where they begin, as the binding wants it."""
    return data.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
