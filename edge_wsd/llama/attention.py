"""How a context computes attention: with llama.cpp's flash attention or without, and over how many tokens at once.

On a processor flash attention reads a cache of 16-bit numbers slowly (a third of the speed behind 2,500 tokens), sums
in 16 bits, and its result depends on the number of threads. It is left to caches that cannot do without, and to GPUs.
What it saves is memory: without it the attention of every head stands in memory at once. Passes of 128 tokens keep that
small, and a processor reads a prompt no slower in them. docs/speed.md has the figures.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_wsd.llama.passes import BLOCK
from edge_wsd.llama.settings import FlashAttention, ModelSettings

_READ_WITHOUT = ("f32", "f16", "bf16")
_MICRO_BATCH = 128


@dataclass(frozen=True, slots=True)
class Attention:
    """Settled: "auto" is what llama.cpp makes of it on the GPUs at hand, which is on wherever they can."""

    flash: FlashAttention
    micro_batch: int
    """Tokens that are computed at once; a batch is read in pieces of that many."""

    @classmethod
    def of(cls, settings: ModelSettings, *, on_gpu: bool) -> Attention:
        """For a model with layers `on_gpu`, or without. Caches of fewer bits can only be read by flash attention."""
        on_gpu = on_gpu and not settings.workers  # llama.cpp does not know what a worker computes on
        flash = settings.flash_attention
        if flash == "auto" and not on_gpu:
            flash = "off" if settings.kv_type in _READ_WITHOUT else "on"
        most = settings.batch
        if settings.exact:
            most = BLOCK
        elif flash == "off" and not on_gpu:
            most = _MICRO_BATCH
        return cls(flash, min(settings.batch, most))

    @property
    def is_flash(self) -> bool:
        """Whether memory is to be reckoned with flash attention."""
        return self.flash != "off"
