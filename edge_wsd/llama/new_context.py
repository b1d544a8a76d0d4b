"""How a context is asked for: settings, and what they leave to us, as llama.cpp's parameters."""

from __future__ import annotations

from edge_wsd.errors import ModelLoadError, WorkerError
from edge_wsd.llama import library
from edge_wsd.llama.attention import Attention
from edge_wsd.llama.binding import llama_cpp
from edge_wsd.llama.device_signal import MOST_ROWS
from edge_wsd.llama.handle import require_own_workers
from edge_wsd.llama.model import Model
from edge_wsd.llama.passes import BLOCK
from edge_wsd.llama.settings import ModelSettings, n_texts
from edge_wsd.llama.tools.tap import Tap

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


def most_texts(model: Model, settings: ModelSettings) -> int:
    """How many sequences the context of a pair has."""
    return n_texts(settings, shares_cells=model.can_cut and not model.sliding_window)


def block_of(model: Model, settings: ModelSettings) -> int:
    """Exact passes are over blocks; over single tokens where what was filled up could not be taken out again."""
    return BLOCK if settings.exact and model.can_cut else 1


def new_context(
    model: Model,
    settings: ModelSettings,
    attention: Attention,
    n_threads: int,
    n_sequences: int,
    is_unified: bool,
    tap: Tap | None,
) -> int:
    """llama.cpp's pointer to a context with its own KV memory, to be freed by the caller. Raises `ModelLoadError`."""
    require_own_workers(n_threads)
    length = model.context_length(settings)
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx = length * (settings.parallel if is_unified else n_sequences)
    parameters.kv_unified = is_unified
    parameters.n_batch = settings.batch
    parameters.n_ubatch = block_of(model, settings) if settings.exact else attention.micro_batch
    parameters.n_seq_max = n_sequences
    parameters.n_outputs_max = max(settings.batch, n_sequences)  # fewer than sequences, and llama.cpp ends the process
    parameters.n_outputs_max_per_seq = MOST_ROWS  # of sequences with a sampler alone
    parameters.n_threads = parameters.n_threads_batch = n_threads
    parameters.type_k = parameters.type_v = _KV_TYPES[settings.kv_type]
    parameters.flash_attn_type = _FLASH_ATTENTION[attention.flash]
    parameters.swa_full = True  # a window that forgets could not be cut back
    parameters.no_perf = True
    if tap is not None:
        parameters.cb_eval = tap.callback
    with library.LOCK, library.error_lines() as lines:
        handle = llama_cpp.llama_init_from_model(model.handle, parameters)
        if not handle:
            model.require_workers()
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
    try:
        model.require_workers()
    except WorkerError:
        llama_cpp.llama_free(handle)
        raise
    return int(handle)
