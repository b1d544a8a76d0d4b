"""How a model is loaded. The drafter and the base each have settings of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from edge_wsd import checks
from edge_wsd.llama.rpc_protocol import addresses_of

KvType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]
FlashAttention = Literal["auto", "on", "off"]
ExtraBuffers = Literal["auto", "on", "off"]
DeviceSignalUse = Literal["auto", "on", "off"]
GpuLayers = int | Literal["auto"]
Overlap = Literal["auto", "on", "off"]
"""Whether the drafter and the base compute at the same time; "auto": where no device computes layers of both."""
AUTO: Literal["auto"] = "auto"
ALL_LAYERS = -1
SHORTEST_CONTEXT, DEFAULT_CONTEXT_LENGTH, LONGEST_CONTEXT = 16, 8192, 1 << 24
MOST_PARALLEL = 64
_FEWEST_TEXTS = 16
DEFAULT_CACHE_RAM, _LARGEST_CACHE_RAM = 1024, 1 << 24
_SHORTEST_SILENCE_S, _LONGEST_SILENCE_S = 0.1, 86400.0


@dataclass(frozen=True)  # no slots: `ModelSettings.field` reads a default
class ModelSettings:
    """Settings of a model and its context. Validated on construction; an `OptionError` names the setting."""

    gpu_layers: GpuLayers = AUTO
    """Layers on the GPU; "auto" for as many as fit, -1 for all of them. Without a GPU everything stays on the CPU."""
    main_gpu: int | None = None
    """The one GPU that takes all layers; None spreads them over all GPUs."""
    workers: tuple[str, ...] = ()
    """Other machines that take layers, each as HOST:PORT of its `edge-wsd worker`. With workers "auto" layers fill
    their devices and this machine's GPUs, and flash attention is off unless it is asked for."""
    worker_timeout: float = 60.0
    """Seconds that a worker may be silent, in the middle of a pass too, before it counts as failed."""
    threads: int | None = None
    """CPU threads; None for the machine's physical cores, for 1 if the model is so small that it runs faster on one,
    and for fewer while other programs keep the cores busy."""
    kv_type: KvType = "f16"
    """Element type of the KV cache."""
    flash_attention: FlashAttention = "auto"
    """By default ("auto") off on the CPU, unless the cache has fewer than 16 bits (`edge_wsd.llama.attention`)."""
    context_length: int | None = None
    """Length of the context in tokens; None for the length it was trained with, at most `DEFAULT_CONTEXT_LENGTH`."""
    parallel: int = 1
    """Replies that there is memory for at the same time, each with a context of `context_length`."""
    cache_ram: int | None = None
    """MiB of the host's memory for texts that have left the context, so that many conversations in turns read only what
    is new; 0 for none. None for half of what the machine has left, at most `DEFAULT_CACHE_RAM`."""
    batch: int = 512
    """Tokens per pass over the model; a cancel takes effect between two of them at the latest."""
    exact: bool = False
    """Numbers that depend on the text alone, and not on what is computed together (`edge_wsd.llama.passes`). With both
    models exact a reply is the same with speculation and without; it takes longer."""
    device_signal: DeviceSignalUse = "auto"
    """Compute the numbers of greedy scoring where the logits are, so that a pass sends back four numbers a row and not
    its logits (`edge_wsd.llama.device_signal`). "auto" is off: on a CPU nothing is copied, and an H200 gained hardly
    anything. With "on", passes that draw tokens and exact ones still read logits, and so does a device that
    lacks an operation or computes other numbers, which a warning tells."""
    mmap: bool = True
    extra_buffers: ExtraBuffers = "auto"
    """Rearrange weights for the CPU's fastest kernels; "auto" where these work (`edge_wsd.llama.kernels`)."""
    memory_check: bool = True
    """Refuse to load a pair that certainly does not fit into memory."""

    def __post_init__(self) -> None:
        expected = "auto, -1 (all) or the number of layers"
        checks.require(_is_layers(self.gpu_layers), "gpu_layers", expected, self.gpu_layers)
        checks.require_whole("main_gpu", self.main_gpu, 0, or_none=True)
        object.__setattr__(self, "workers", addresses_of(self.workers))
        checks.require_number("worker_timeout", self.worker_timeout)
        in_range = _SHORTEST_SILENCE_S <= self.worker_timeout <= _LONGEST_SILENCE_S
        expected = f"between {_SHORTEST_SILENCE_S:g} and {_LONGEST_SILENCE_S:g} seconds"
        checks.require(in_range, "worker_timeout", expected, self.worker_timeout)
        checks.require_whole("threads", self.threads, 1, 512, or_none=True)
        checks.require_choice("kv_type", self.kv_type, get_args(KvType))
        checks.require_choice("flash_attention", self.flash_attention, get_args(FlashAttention))
        checks.require_choice("extra_buffers", self.extra_buffers, get_args(ExtraBuffers))
        checks.require_whole("context_length", self.context_length, SHORTEST_CONTEXT, LONGEST_CONTEXT, or_none=True)
        checks.require_whole("parallel", self.parallel, 1, MOST_PARALLEL)
        checks.require_whole("cache_ram", self.cache_ram, 0, _LARGEST_CACHE_RAM, or_none=True)
        checks.require_whole("batch", self.batch, 8, 8192)
        checks.require_flag("exact", self.exact)
        checks.require_choice("device_signal", self.device_signal, get_args(DeviceSignalUse))
        checks.require_flag("mmap", self.mmap)
        checks.require_flag("memory_check", self.memory_check)

    @property
    def uses_device_signal(self) -> bool:
        return self.device_signal == "on" and not self.exact


def _is_layers(value: object) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return ALL_LAYERS <= value <= checks.LARGEST
    return isinstance(value, str) and value == AUTO


def context_length(settings: ModelSettings, n_ctx_train: int) -> int:
    """Tokens of a context under `settings`, for a model that was trained with `n_ctx_train`; 0 if that is unknown."""
    trained = n_ctx_train or DEFAULT_CONTEXT_LENGTH
    return settings.context_length or max(SHORTEST_CONTEXT, min(trained, DEFAULT_CONTEXT_LENGTH))


def n_texts(settings: ModelSettings, *, shares_cells: bool) -> int:
    """How many sequences a context has: for the replies at once, and idle ones where they cost no cells of their own.

    Cells that a sliding window has left behind llama.cpp gives to other sequences, and so a text that is cut back would
    lack them: with a window each has its own. llama.cpp reserves memory for passes of a multiple of the sequences, so
    they are a power of two.
    """
    if settings.exact or not shares_cells:
        return settings.parallel
    return max(_FEWEST_TEXTS, 1 << (2 * settings.parallel - 1).bit_length())
