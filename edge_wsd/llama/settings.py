"""How one model is put into memory. Given per model: the drafter and the base each have their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from edge_wsd.errors import OptionError

KvType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]
FlashAttention = Literal["auto", "on", "off"]
GpuLayers = int | Literal["auto"]
AUTO: Literal["auto"] = "auto"
ALL_LAYERS = -1


@dataclass(frozen=True)  # no slots: `ModelSettings.field` reads a default
class ModelSettings:
    """Settings of a model and its context. Validated on construction; an `OptionError` names the setting."""

    gpu_layers: GpuLayers = AUTO
    """Layers on the GPU; "auto" for as many as fit, -1 for all of them. Without a GPU everything stays on the CPU."""
    main_gpu: int | None = None
    """The one GPU that takes all layers; None spreads them over all GPUs."""
    threads: int | None = None
    """CPU threads; None for the machine's physical cores, or 1 for a model so small that it runs faster alone."""
    kv_type: KvType = "f16"
    """Element type of the KV cache."""
    flash_attention: FlashAttention = "auto"
    context_length: int | None = None
    """Tokens of the context; None for what the model was trained with, at most `DEFAULT_CONTEXT_LENGTH`."""
    batch: int = 512
    """Tokens per pass over the model; a cancel takes effect between two of them at the latest."""
    mmap: bool = True
    memory_check: bool = True
    """Refuse to load a pair that certainly does not fit into memory."""

    def __post_init__(self) -> None:
        for name, holds, expected in (
            ("gpu_layers", _is_layers(self.gpu_layers), "auto, -1 (all) or the number of layers"),
            ("main_gpu", self.main_gpu is None or self.main_gpu >= 0, "a device number, from 0"),
            ("threads", self.threads is None or 1 <= self.threads <= 512, "between 1 and 512"),
            ("kv_type", self.kv_type in get_args(KvType), f"one of {', '.join(get_args(KvType))}"),
            ("flash_attention", self.flash_attention in get_args(FlashAttention), "auto, on or off"),
            ("context_length", self.context_length is None or self.context_length >= 16, "at least 16"),
            ("batch", 8 <= self.batch <= 8192, "between 8 and 8192"),
        ):
            if not holds:
                raise OptionError(f"{name} must be {expected}, not {getattr(self, name)!r}")


def _is_layers(value: object) -> bool:
    return value == AUTO or (isinstance(value, int) and not isinstance(value, bool) and value >= ALL_LAYERS)


DEFAULT_CONTEXT_LENGTH = 8192


def context_length(settings: ModelSettings, n_ctx_train: int) -> int:
    """Tokens of a context under `settings`, for a model that was trained with `n_ctx_train`; 0 if that is unknown."""
    return settings.context_length or min(n_ctx_train or DEFAULT_CONTEXT_LENGTH, DEFAULT_CONTEXT_LENGTH)
