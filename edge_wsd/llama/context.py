"""A model's context: the KV memory and the sequences of tokens in it.

>>> with Model.load("base.gguf") as model, Context(model) as context:
...     text = context.sequence()
...     scores = text.score(prompt_tokens, proposed_tokens)   # one batch
...     scores.logprobs, scores.choose(0)
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from types import TracebackType

from edge_wsd import checks
from edge_wsd._native import CancelFlag
from edge_wsd.errors import Cancelled, ModelLoadError, OptionError
from edge_wsd.llama import library
from edge_wsd.llama.attention import Attention
from edge_wsd.llama.batch import Batch
from edge_wsd.llama.binding import llama_cpp
from edge_wsd.llama.handle import Handle, require_own_workers
from edge_wsd.llama.model import Model
from edge_wsd.llama.passes import BLOCK, most_rows
from edge_wsd.llama.sequence import Sequence
from edge_wsd.llama.settings import ModelSettings
from edge_wsd.llama.tap import Tap
from edge_wsd.llama.thread_choice import FEW_TOKENS, ThreadChoice
from edge_wsd.llama.threads import default_threads

_GGML_TYPE_BF16 = 30  # the binding has no name for it
_KV_TYPES = {
    "f32": llama_cpp.GGML_TYPE_F32,
    "f16": llama_cpp.GGML_TYPE_F16,
    "bf16": _GGML_TYPE_BF16,
    "q8_0": llama_cpp.GGML_TYPE_Q8_0,
    "q5_1": llama_cpp.GGML_TYPE_Q5_1,
    "q5_0": llama_cpp.GGML_TYPE_Q5_0,
    "q4_1": llama_cpp.GGML_TYPE_Q4_1,
    "q4_0": llama_cpp.GGML_TYPE_Q4_0,
}
_FLASH_ATTENTION = {
    "auto": llama_cpp.LLAMA_FLASH_ATTN_TYPE_AUTO,
    "on": llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED,
    "off": llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED,
}


class Context:
    """Owner of a llama.cpp context and of its sequences. Decodes one batch at a time; closed with its model at last."""

    def __init__(
        self,
        model: Model,
        settings: ModelSettings | None = None,
        *,
        n_sequences: int = 1,
        tap: Tap | None = None,
    ) -> None:
        """`tap` looks at what the passes compute."""
        settings = settings or ModelSettings()
        self.model = model
        self.n_vocab = model.vocab.n_tokens
        self._tap = tap  # keeps the callback alive that llama.cpp calls
        checks.require_whole("n_sequences", n_sequences, 1, int(llama_cpp.llama_max_parallel_sequences()))
        self._n_threads = settings.threads or default_threads(model.size_bytes)
        attention = Attention.of(settings, on_gpu=model.on_gpu)
        # Flash attention sums in another order with another number of threads: nothing may change it then.
        adapts = settings.threads is None and not model.on_gpu and not attention.is_flash
        self._choice = ThreadChoice(self._n_threads) if adapts and self._n_threads > 1 else None
        pointer = _create(model, settings, attention, self._n_threads, n_sequences, tap)
        self._handle = Handle(pointer, f"{model.path}: this context")
        model.contexts.append(self)
        self.block = _block(model, settings)
        """Passes cover whole blocks of so many tokens."""
        self.batch_size = int(llama_cpp.llama_n_batch(self.handle)) // self.block * self.block
        """Tokens of a pass: what the settings say, and no more than the context holds. llama.cpp ends the process
        at one more."""
        self.most_rows = most_rows(block=self.block, most=self.batch_size)
        """Tokens of which one pass can lend the logits."""
        self.batch = Batch(self.batch_size)
        self.n_ctx = min(model.context_length(settings), int(llama_cpp.llama_n_ctx_seq(self.handle)))
        """Tokens that one sequence can hold: those asked for. llama.cpp makes room for a multiple of 256."""
        self.on_pass: Callable[[int, int], None] | None = None
        """Called before each pass of a decode with the tokens that have been read and those there are to read."""
        self._sequences: list[Sequence | None] = [None] * n_sequences
        self._owner: Sequence | None = None
        self.watch(CancelFlag())

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

    def claim(self, sequence: Sequence) -> None:
        """Give the logits buffer to `sequence`; the one that had it keeps a copy of its last row."""
        if self._owner is not None and self._owner is not sequence:
            self._owner.stash_head()
        self._owner = sequence

    def wipe(self) -> None:
        """Forget all sequences, and their numbers with them.

        What is only cut off still lies in the memory, where it is multiplied by 0: of a NaN that makes a NaN, for ever.
        """
        with library.LOCK:
            llama_cpp.llama_memory_clear(self.memory, True)
            for sequence in self._sequences:
                if sequence is not None:
                    sequence.clear()

    def decode(self, n_tokens: int) -> int:
        """Run the pass of `n_tokens` that stands in `batch`; llama.cpp's code for how it went."""
        handle = self.handle
        if self._choice is None or n_tokens > FEW_TOKENS:
            llama_cpp.llama_set_n_threads(handle, self._n_threads, self._n_threads)
            return int(llama_cpp.llama_decode(handle, self.batch.struct))
        llama_cpp.llama_set_n_threads(handle, self._choice.n, self._choice.n)
        began, cpu_began = time.perf_counter(), time.process_time()
        code = int(llama_cpp.llama_decode(handle, self.batch.struct))
        self._choice.took(time.perf_counter() - began, time.process_time() - cpu_began)
        return code

    def watch(self, flag: CancelFlag) -> None:
        """Stop decodes once `flag` is set: inside a pass where the backend can (CPU), else between two of them."""
        self._cancel = flag  # keeps the memory alive that llama.cpp reads
        callback = ctypes.cast(flag.callback, llama_cpp.ggml_abort_callback)
        llama_cpp.llama_set_abort_callback(self.handle, callback, ctypes.c_void_p(flag.address))

    def raise_if_cancelled(self) -> None:
        self.require_open()
        if self._cancel.is_set:
            raise Cancelled("cancelled")

    def close(self) -> None:
        """Close its sequences and free the memory. Closing twice does nothing."""
        with library.LOCK:
            if pointer := self._handle.take():
                llama_cpp.llama_free(pointer)
            for sequence in self._sequences:
                if sequence is not None:
                    sequence.close()
            if self in self.model.contexts:
                self.model.contexts.remove(self)
            self._owner = None
            self._cancel = CancelFlag()  # nothing polls it; the caller's own is no longer held

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()


def _block(model: Model, settings: ModelSettings) -> int:
    """Exact passes are over blocks; over single tokens where what was filled up could not be taken out again."""
    return BLOCK if settings.exact and model.can_cut else 1


def _create(
    model: Model, settings: ModelSettings, attention: Attention, n_threads: int, n_sequences: int, tap: Tap | None
) -> int:
    require_own_workers(n_threads)
    length = model.context_length(settings)
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx = length * n_sequences
    parameters.n_batch = settings.batch
    parameters.n_ubatch = _block(model, settings) if settings.exact else attention.micro_batch
    parameters.n_seq_max = n_sequences
    parameters.n_threads = parameters.n_threads_batch = n_threads
    parameters.type_k = parameters.type_v = _KV_TYPES[settings.kv_type]
    parameters.flash_attn_type = _FLASH_ATTENTION[attention.flash]
    parameters.swa_full = True  # a window that forgets could not be cut back
    parameters.no_perf = True
    if tap is not None:
        parameters.cb_eval = tap.callback
    with library.error_lines() as lines:
        handle = llama_cpp.llama_init_from_model(model.handle, parameters)
        if not handle:
            raise ModelLoadError(
                f"{model.path}: no context of {length} tokens with KV type {settings.kv_type} could be made"
                f"{library.because(lines)}; try a smaller context length or another KV type"
            )
    if not llama_cpp.llama_get_memory(handle):
        llama_cpp.llama_free(handle)
        raise ModelLoadError(
            f"{model.path}: this kind of model keeps nothing of what it has read, so it cannot write a text token by "
            "token (it makes embeddings, or writes by diffusion); expected a language model"
        )
    # Whatever the file says: text is written in one direction, and llama.cpp ends the process at a batch that is read
    # in pieces otherwise.
    llama_cpp.llama_set_causal_attn(handle, True)
    return int(handle)
