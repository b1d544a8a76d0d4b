"""A model file in memory.

>>> with Model.load("base.gguf") as model:
...     print(model.description)
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol

from edge_wsd.errors import ModelLoadError, OptionError
from edge_wsd.llama import kernels, library, workers
from edge_wsd.llama.binding import llama_cpp
from edge_wsd.llama.handle import Handle, require_own_workers
from edge_wsd.llama.relay import Relay
from edge_wsd.llama.settings import ALL_LAYERS, AUTO, ModelSettings, context_length
from edge_wsd.llama.vocab import Vocab

LoadProgress = Callable[[float], None]

_LEARNED_POSITIONS = frozenset({"gpt2", "starcoder", "mpt"})
"""Their positions are rows of a tensor; llama.cpp ends the process where it looks for one more."""


class Closable(Protocol):
    """What is made of a model, and goes with it: its contexts."""

    def close(self) -> None: ...


class Model:
    """Owner of a llama.cpp model and of the contexts made of it. After `close` everything of it is a `ClosedError`."""

    def __init__(self, handle: int, path: Path, *, on_gpu: bool = False, relays: Sequence[Relay] = ()) -> None:
        self._handle = Handle(handle, f"{path}: this model")
        self._can_cut: bool | None = None
        self.path = path
        self.on_gpu = on_gpu
        """Whether layers of it are on a GPU."""
        self.relays = tuple(relays)
        """The workers that compute layers of it."""
        self.contexts: list[Closable] = []
        """Those that are open; `Context` enters and leaves itself."""
        try:
            self.vocab = Vocab(self._handle, path)
        except BaseException:  # nobody else knows of it yet
            self.close()
            raise

    @classmethod
    def load(
        cls,
        path: str | Path,
        settings: ModelSettings | None = None,
        *,
        vocab_only: bool = False,
        simulated: bool = False,
        host_only: bool = False,
        progress: LoadProgress | None = None,
    ) -> Model:
        """Load a GGUF file. `progress` is called with 0 to 1. Raises `ModelLoadError`, `ForkedError`, `WorkerError`.

        A simulated model has no weights: it and its contexts only tell, in llama.cpp's log, what they would need.
        `host_only` leaves out GPUs, which otherwise help even with layers that are not theirs. "auto" layers are all
        of them here; `edge_wsd.models.plan.planner` knows how many fit. Check the file first
        (`edge_wsd.models.gguf.check`): llama.cpp can end the process on a damaged one. Where its kernels do not hold on
        this processor, they are left out (`edge_wsd.llama.kernels`).
        """
        settings = settings or ModelSettings()
        require_own_workers(elsewhere=bool(settings.workers))
        path = Path(path)
        extra_buffers = kernels.uses_extra_buffers(settings)
        library.start()
        parameters = llama_cpp.llama_model_default_params()
        relays = [] if host_only or vocab_only else workers.connect(settings)
        if host_only or relays:
            chosen = [*workers.local_gpus(), *workers.devices(relays)] if relays else []
            listed = (ctypes.c_void_p * (len(chosen) + 1))(*chosen, None)
            parameters.devices = ctypes.cast(listed, ctypes.c_void_p)
        parameters.use_extra_bufts = extra_buffers
        parameters.n_gpu_layers = ALL_LAYERS if settings.gpu_layers == AUTO else settings.gpu_layers
        if settings.main_gpu is not None:
            parameters.main_gpu, parameters.split_mode = settings.main_gpu, llama_cpp.LLAMA_SPLIT_MODE_NONE
        mapped = settings.mmap and not simulated
        parameters.load_mode = llama_cpp.LLAMA_LOAD_MODE_MMAP if mapped else llama_cpp.LLAMA_LOAD_MODE_NONE
        parameters.vocab_only, parameters.no_alloc = vocab_only, simulated
        failures: list[BaseException] = []
        callback = _progress_callback(progress, failures)
        parameters.progress_callback = callback
        with library.LOCK, library.error_lines() as lines:
            handle = llama_cpp.llama_model_load_from_file(os.fsencode(path), parameters)
            if failures:  # raised by the caller's own callback; an exception cannot pass through C
                if handle:
                    llama_cpp.llama_model_free(handle)
                raise failures[0]
            if any(relay.has_failed for relay in relays) and handle:
                llama_cpp.llama_model_free(handle)
            for relay in relays:
                relay.require_sound()
            if not handle:
                raise ModelLoadError(f"{path}: llama.cpp cannot load this model{library.because(lines)}")
        on_gpu = parameters.n_gpu_layers != 0 and not host_only and library.supports_offload()
        return cls(handle, path, on_gpu=on_gpu, relays=relays)

    @property
    def handle(self) -> int:
        """llama.cpp's pointer. Raises `ClosedError` once the model is closed, `ForkedError` in a forked child."""
        return self._handle.pointer

    @property
    def chat_template(self) -> str | None:
        """The Jinja source stored in the file."""
        raw = llama_cpp.llama_model_chat_template(self.handle, None)
        return raw.decode("utf-8", errors="replace") if raw else None

    @property
    def description(self) -> str:
        """Such as `llama 8B Q4_K - Medium`."""
        return _string(llama_cpp.llama_model_desc, self.handle)

    @property
    def architecture(self) -> str:
        """Such as `llama`."""
        return _string(llama_cpp.llama_model_meta_val_str, self.handle, b"general.architecture")

    @property
    def n_params(self) -> int:
        return int(llama_cpp.llama_model_n_params(self.handle))

    @property
    def size_bytes(self) -> int:
        """Bytes of all tensors."""
        return int(llama_cpp.llama_model_size(self.handle))

    @property
    def n_ctx_train(self) -> int:
        return int(llama_cpp.llama_model_n_ctx_train(self.handle))

    @property
    def can_cut(self) -> bool:
        """Whether the memory of a context can be cut back to any token. Recurrent and hybrid memories cannot."""
        handle = self.handle
        if self._can_cut is None:  # it is asked several times for each token
            fixed = llama_cpp.llama_model_is_recurrent(handle) or llama_cpp.llama_model_is_hybrid(handle)
            self._can_cut = not fixed
        return self._can_cut

    @property
    def is_asynchronous(self) -> bool:
        """Whether a decode may return before it is computed: whoever reads the logits waits."""
        return self.on_gpu or bool(self.relays)

    @property
    def sliding_window(self) -> int:
        """Tokens that some layers look back on; 0 where all look at everything."""
        return int(llama_cpp.llama_model_n_swa(self.handle))

    def require_workers(self) -> None:
        """Raises `WorkerError` once a worker has failed: then nothing that was computed since is true."""
        for relay in self.relays:
            relay.require_sound()

    def context_length(self, settings: ModelSettings) -> int:
        """Tokens a context gets under `settings`. Raises `OptionError` for more than the model has places for."""
        length = context_length(settings, self.n_ctx_train)
        if length > self.n_ctx_train and self.architecture in _LEARNED_POSITIONS:
            raise OptionError(
                f"context_length must be at most {self.n_ctx_train} for {self.path.name}, not {length}: "
                f"{self.architecture} models learn every position separately and know none beyond"
            )
        return length

    def close(self) -> None:
        """Close its contexts and free the memory. Closing twice does nothing."""
        with library.LOCK:
            for context in list(self.contexts):
                context.close()
            if pointer := self._handle.take():
                llama_cpp.llama_model_free(pointer)

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()


def _progress_callback(progress: LoadProgress | None, failures: list[BaseException]) -> object:
    def call(fraction: float, _user_data: int | None) -> bool:
        try:
            if progress:
                progress(fraction)
        except BaseException as error:
            failures.append(error)
            return False
        return True

    return llama_cpp.llama_progress_callback(call)


def _string(function: Callable[..., int], *arguments: object) -> str:
    size = 256
    while True:
        buffer = ctypes.create_string_buffer(size)
        n = function(*arguments, buffer, size)
        if n < size:
            return buffer.value.decode("utf-8", errors="replace")
        size = n + 1
