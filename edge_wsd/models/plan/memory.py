"""The memory of one model and its context, before it is loaded.

>>> memory = model_memory("base.gguf", ModelSettings(context_length=8192))
>>> memory.host.weights, memory.host.kv_cache
(4912898304, 1073741824)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from edge_wsd.llama.attention import Attention
from edge_wsd.llama.repacking import NOTHING_REPACKED, Repacking
from edge_wsd.llama.settings import ModelSettings, context_length, n_texts
from edge_wsd.models.gguf.header import GgufHeader
from edge_wsd.models.gguf.shape import EMBEDDING, TYPE_BY_NAME, ModelShape, WeightShape, shape_of_file
from edge_wsd.models.plan.compute_buffer import compute_bytes, handed_on, input_bytes
from edge_wsd.models.plan.placement import HOST, Placement, place

N_SCORED = 129
"""Tokens with logits in one pass: the largest chunk of proposals, and the token after it."""
_CELL_BLOCK = 256  # llama.cpp rounds a context up to it
_TOKEN_BYTES, _MERGE_BYTES = 150, 125  # measured: llama.cpp's tables of a vocabulary
_COPIES = {False: 1, True: 4}
"""Of the rows in llama.cpp's output buffer: samplers get room for logits, probabilities and candidates as well."""
_F32_BYTES = 4
_MOST_COPIES = 4
"""Passes that llama.cpp has under way at once on several devices, each with inputs of its own."""
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes on one device."""

    weights: int = 0
    mapped: int = 0
    """The part of `weights` that is mapped from the file; the system may drop its pages and read them again."""
    kv_cache: int = 0
    compute: int = 0
    logits: int = 0
    vocabulary: int = 0
    cache: int = 0
    """For texts that have left the context, if a size is asked for."""

    @property
    def total(self) -> int:
        return self.weights + self.kv_cache + self.compute + self.logits + self.vocabulary + self.cache

    def __add__(self, other: Sizes) -> Sizes:
        return Sizes(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    def as_dict(self) -> dict[str, int]:
        return {**asdict(self), "total": self.total}


@dataclass(frozen=True)
class ModelMemory:
    """What a model needs on the host and on each GPU."""

    shape: ModelShape
    n_ctx: int
    placement: Placement
    host: Sizes
    gpus: tuple[Sizes, ...]

    @property
    def gpu_layers(self) -> int:
        """Layers on GPUs, the output among them."""
        return sum(place_ != HOST for place_ in self.placement)

    @property
    def all(self) -> Sizes:
        """Sum over the devices."""
        return sum(self.gpus, self.host)


def model_memory(
    model: str | Path | GgufHeader | ModelShape, settings: ModelSettings | None = None, *, n_scored: int = N_SCORED
) -> ModelMemory:
    """Memory of a model that is entirely on the host. A header means an unsplit file. Raises `ModelFileError`."""
    if isinstance(model, GgufHeader):
        model = shape_of_file("model.gguf", model)
    shape = model if isinstance(model, ModelShape) else shape_of_file(model)
    return placed_memory(shape, settings or ModelSettings(), place(shape.n_layers, 0, []), n_scored=n_scored)


def placed_memory(
    shape: ModelShape,
    settings: ModelSettings,
    placement: Placement,
    n_gpus: int = 0,
    *,
    n_ctx: int | None = None,
    repacked: Mapping[str, Repacking] = NOTHING_REPACKED,
    n_scored: int = N_SCORED,
) -> ModelMemory:
    """Memory of a model with its layers placed by `placement`, on the host and `n_gpus` GPUs.

    `n_ctx` replaces the context length of the settings. `repacked` are the types that are copied out of a mapped file
    (`edge_wsd.llama.repacking`).
    """
    n_ctx = n_ctx or context_length(settings, shape.n_ctx_train)
    settings = replace(settings, batch=min(settings.batch, n_ctx))
    attention = Attention.of(settings, on_gpu=any(place_ != HOST for place_ in placement))
    # llama.cpp reserves room for passes of whole multiples of its sequences.
    n_sequences = _n_sequences(shape, settings)
    attention = replace(attention, micro_batch=-(-attention.micro_batch // n_sequences) * n_sequences)
    # Replies share all cells, so each is computed over all of them; with `exact` or a sliding window each has its own.
    own = settings.exact or shape.sliding_window > 0
    shared = cells(n_ctx * (1 if own else settings.parallel))
    kept = shared * (settings.parallel if own else 1)
    host = _host_weights(shape, placement, repacked, mmap=settings.mmap) + Sizes(
        kv_cache=_kv_bytes(shape, settings, kept, placement, HOST),
        compute=_host_compute(shape, attention, shared, placement, device_signal=settings.uses_device_signal),
        logits=shape.n_vocab * _n_rows(shape, settings, n_scored) * _F32_BYTES * _COPIES[settings.uses_device_signal],
        vocabulary=shape.n_vocab * _TOKEN_BYTES + shape.n_merges * _MERGE_BYTES,
        cache=(settings.cache_ram or 0) * MIB,
    )
    gpus = tuple(_on_gpu(shape, settings, attention, (shared, kept), placement, number) for number in range(n_gpus))
    return ModelMemory(shape, n_ctx, placement, host, gpus)


def _n_sequences(shape: ModelShape, settings: ModelSettings) -> int:
    return n_texts(settings, shares_cells=not shape.sliding_window)


def _n_rows(shape: ModelShape, settings: ModelSettings, n_scored: int) -> int:
    """Rows of logits in llama.cpp's output buffer: at least one for each sequence, and enough for a pass."""
    return max(_n_sequences(shape, settings), min(n_scored * settings.parallel, settings.batch))


def cells(n_ctx: int) -> int:
    """Cells of the KV cache that llama.cpp makes for a context of `n_ctx` tokens."""
    return -(-n_ctx // _CELL_BLOCK) * _CELL_BLOCK


def layer_kv_bytes(shape: ModelShape, kv_type: str, n_ctx: int, layer: int) -> int:
    """KV cache of one layer. A layer with a sliding window also has the full length, so that it can be cut back."""
    kind = TYPE_BY_NAME[kv_type.upper()]
    widths = (shape.n_heads_kv[layer] * shape.key_length, shape.n_heads_kv[layer] * shape.value_length)
    return sum(-(-width // kind.block) * kind.block_bytes for width in widths) * n_ctx


def _kv_bytes(shape: ModelShape, settings: ModelSettings, n_ctx: int, placement: Placement, where: int) -> int:
    return sum(
        layer_kv_bytes(shape, settings.kv_type, n_ctx, layer)
        for layer in range(shape.n_layers)
        if placement[layer] == where
    )


def _host_weights(shape: ModelShape, placement: Placement, repacked: Mapping[str, Repacking], *, mmap: bool) -> Sizes:
    behind = list(shape.output_weights) if placement[-1] == HOST else []
    if shape.is_tied:  # one tensor serves both ends, unless the output is rearranged
        behind = [weight for weight in behind if weight.name != EMBEDDING or _is_repacked(weight, repacked)]
    staying = [layer for layer, place_ in enumerate(placement[:-1]) if place_ == HOST]
    weights = sum(weight.n_bytes for weight in (*shape.input_weights, *behind))
    weights += sum(shape.layer_bytes[layer] for layer in staying)
    copied = added = 0
    if repacked:
        inside = (weight for layer in staying for weight in shape.layers[layer])
        moved = [weight for weight in (*behind, *inside) if _is_repacked(weight, repacked)]
        copied = sum(weight.n_bytes for weight in moved)
        added = sum(_added_bytes(weight, repacked[weight.type]) for weight in moved)
    return Sizes(weights=weights + added, mapped=weights - copied if mmap else 0)


def _added_bytes(weight: WeightShape, repacking: Repacking) -> int:
    return repacking.added_bytes(weight.shape, TYPE_BY_NAME[weight.type].block)


def _is_repacked(weight: WeightShape, repacked: Mapping[str, Repacking]) -> bool:
    return weight.type in repacked and repacked[weight.type].takes(weight.shape)


def _host_compute(
    shape: ModelShape, attention: Attention, n_ctx: int, placement: Placement, *, device_signal: bool
) -> int:
    has_layers, has_output = HOST in placement[:-1], placement[-1] == HOST
    batch, flash = attention.micro_batch, attention.is_flash
    needs = input_bytes(shape, n_ctx=n_ctx, batch=batch, flash_attention=flash, n_copies=_n_copies(placement))
    if not has_layers and not has_output:
        return needs
    return max(
        needs,
        compute_bytes(
            shape,
            n_ctx=n_ctx,
            batch=batch,
            flash_attention=flash,
            has_layers=has_layers,
            has_output=has_output,
            device_signal=device_signal,
        ),
    )


def _n_copies(placement: Placement) -> int:
    """llama.cpp lets passes overlap where several devices have all layers."""
    return _MOST_COPIES if HOST not in placement and len(set(placement)) > 1 else 1


def _on_gpu(
    shape: ModelShape,
    settings: ModelSettings,
    attention: Attention,
    n_cells: tuple[int, int],
    placement: Placement,
    number: int,
) -> Sizes:
    """`n_cells` are the cells that a reply is computed over, and all cells that are kept."""
    n_ctx, n_kept = n_cells
    layers = [layer for layer, place_ in enumerate(placement[:-1]) if place_ == number]
    has_output = placement[-1] == number
    if not layers and not has_output:
        return Sizes()
    weights = sum(shape.layer_bytes[layer] for layer in layers)
    if has_output:
        weights += sum(weight.n_bytes for weight in shape.output_weights)
    compute = compute_bytes(
        shape,
        n_ctx=n_ctx,
        batch=attention.micro_batch,
        flash_attention=attention.is_flash,
        has_layers=bool(layers),
        has_output=has_output,
        device_signal=settings.uses_device_signal,
    )
    # The embeddings come over from the host; so do, for large batches, weights of layers that stayed there.
    compute += shape.n_embd * min(attention.micro_batch, n_ctx) * _F32_BYTES
    handed = handed_on(shape, n_ctx=n_ctx, batch=attention.micro_batch, flash_attention=attention.is_flash)
    compute += (_n_copies(placement) - 1) * handed
    staying = (shape.largest_in_layer[layer] for layer, place_ in enumerate(placement[:-1]) if place_ == HOST)
    compute += max(staying, default=0)
    return Sizes(
        weights=weights,
        kv_cache=_kv_bytes(shape, settings, n_kept, placement, number),
        compute=compute,
    )
