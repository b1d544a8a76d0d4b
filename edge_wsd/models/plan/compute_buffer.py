"""How much memory llama.cpp needs for intermediate results, estimated from a model's dimensions.

llama.cpp reserves room for its largest pass: a full batch at the end of a full context, with logits for every token.
The largest set of live values is in one of three stages: attention, the feed-forward block, or the logits. The numbers
of vectors below are those that its allocator really keeps; the tests compare the sum with it.
"""

from __future__ import annotations

from edge_wsd.models.gguf.shape import ModelShape

_F32, _F16, _INT64 = 4, 2, 8


def compute_bytes(
    shape: ModelShape,
    *,
    n_ctx: int,
    batch: int,
    flash_attention: bool,
    has_layers: bool = True,
    has_output: bool = True,
    device_signal: bool = False,
) -> int:
    """Bytes of the compute buffer of a device that has repeating layers, the output matrix, or both."""
    n_tokens = min(batch, n_ctx)
    stages = [0]
    if has_layers:
        stages += [
            _attention(shape, n_tokens, n_ctx, flash_attention=flash_attention),
            mask_bytes(shape, n_tokens, n_ctx, flash_attention=flash_attention) + _feed_forward(shape, n_tokens),
        ]
    if has_output:
        again = (n_tokens + 2) * shape.n_vocab * _F32 if device_signal else 0  # samplers read a copy of all logits
        stages.append(_logits(shape, n_tokens) + again)
    return max(stages)


def input_bytes(shape: ModelShape, *, n_ctx: int, batch: int, flash_attention: bool, n_copies: int = 1) -> int:
    """Bytes of the host's inputs for layers that are all on other devices, `n_copies` of them at once."""
    n_tokens = min(batch, n_ctx)
    embeddings = n_tokens * shape.n_embd * _F32  # once more where they are looked up
    return n_copies * handed_on(shape, n_ctx=n_ctx, batch=batch, flash_attention=flash_attention) + embeddings


def handed_on(shape: ModelShape, *, n_ctx: int, batch: int, flash_attention: bool) -> int:
    """Bytes that a device is handed for a pass: vectors of the tokens, mask, positions and places in the KV cache."""
    n_tokens = min(batch, n_ctx)
    values = 0 if flash_attention else max(shape.n_heads_kv, default=0) * shape.value_length  # are stored one by one
    mask = mask_bytes(shape, n_tokens, n_ctx, flash_attention=flash_attention)
    return mask + n_tokens * (shape.n_embd * _F32 + (3 + values) * _INT64)


def mask_bytes(shape: ModelShape, n_tokens: int, n_ctx: int, *, flash_attention: bool) -> int:
    """Bytes of the attention mask; there are two if some layers have a window."""
    one = n_ctx * n_tokens * (_F16 if flash_attention else _F32)
    return one * 2 if shape.sliding_window else one


def _attention(shape: ModelShape, n_tokens: int, n_ctx: int, *, flash_attention: bool) -> int:
    heads = max(shape.n_heads, default=0)
    query = heads * shape.key_length
    key_value = max(shape.n_heads_kv, default=0) * (shape.key_length + shape.value_length)
    vectors = (2 * query + key_value + 3 * shape.n_embd) * n_tokens * _F32
    scores = 0 if flash_attention else heads * n_ctx * n_tokens * _F32
    return vectors + scores + mask_bytes(shape, n_tokens, n_ctx, flash_attention=flash_attention)


def _feed_forward(shape: ModelShape, n_tokens: int) -> int:
    return (3 * shape.n_ff + 4 * shape.n_embd) * n_tokens * _F32


def _logits(shape: ModelShape, n_tokens: int) -> int:
    return (shape.n_vocab + 2 * shape.n_embd) * n_tokens * _F32
