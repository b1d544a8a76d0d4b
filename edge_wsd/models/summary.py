"""What a person wants to know of a model file before using it, read from its header alone.

>>> summarize(Path("model.gguf"), n_ctx=4096)["memory"]["kv_cache_bytes"]
"""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

from edge_wsd.errors import ModelFileError
from edge_wsd.llama.settings import ModelSettings
from edge_wsd.models.gguf.check import check_gguf, n_parts, part_paths
from edge_wsd.models.gguf.header import GgufHeader, read_header
from edge_wsd.models.plan.memory import model_memory

_SPECIAL = ("bos", "eos", "eot", "unknown", "padding")


def summarize(path: Path, *, n_ctx: int | None = None) -> dict[str, Any]:
    """Facts of the model whose first (or only) file is `path`, ready for JSON; texts are as the file has them.

    `n_ctx` is the context, in tokens, that the memory is reckoned for; None: the one a pair gets by default.
    Raises ModelFileError.
    """
    header = check_gguf(path, need_weights=False)
    parts = part_paths(path, n_parts(header))
    headers = [header, *(read_header(part) for part in parts[1:])]
    architecture = str(header.metadata.get("general.architecture"))
    return {
        "file": str(path),
        "n_parts": len(parts),
        "n_bytes": sum(part.stat().st_size for part in parts),
        "name": _text(header, "general.name"),
        "architecture": architecture,
        "licence": _text(header, "general.license"),
        "n_parameters": sum(_n_values(tensor.shape) for one in headers for tensor in one.tensors),
        "shape": _shape(header, architecture),
        "tensor_types": _tensor_types(headers),
        "tokenizer": _tokenizer(header),
        "chat_template": _text(header, "tokenizer.chat_template"),
        "memory": _memory(path, n_ctx) if any(one.tensors for one in headers) else None,
    }


def _shape(header: GgufHeader, architecture: str) -> dict[str, Any]:
    keys = {
        "trained_context": "context_length",
        "n_layers": "block_count",
        "n_embd": "embedding_length",
        "n_heads": "attention.head_count",
        "n_heads_kv": "attention.head_count_kv",
        "sliding_window": "attention.sliding_window",
        "rope_freq_base": "rope.freq_base",
        "rope_scaling": "rope.scaling.type",
    }
    found = {name: header.metadata.get(f"{architecture}.{key}") for name, key in keys.items()}
    return {name: list(value) if isinstance(value, array) else value for name, value in found.items()}


def _tensor_types(headers: list[GgufHeader]) -> list[dict[str, Any]]:
    """Tensors, values and bytes of each element type, the largest first."""
    rows: dict[str, dict[str, Any]] = {}
    for tensor in (tensor for header in headers for tensor in header.tensors):
        row = rows.setdefault(tensor.type_name, {"type": tensor.type_name, "n_tensors": 0, "n_values": 0, "n_bytes": 0})
        row["n_tensors"] += 1
        row["n_values"] += _n_values(tensor.shape)
        row["n_bytes"] += tensor.n_bytes
    return sorted(rows.values(), key=lambda row: -int(row["n_bytes"]))


def _tokenizer(header: GgufHeader) -> dict[str, Any]:
    metadata = header.metadata
    tokens = metadata.get("tokenizer.ggml.tokens") or []
    special = {}
    for name in _SPECIAL:
        index = metadata.get(f"tokenizer.ggml.{name}_token_id")
        if isinstance(index, int) and 0 <= index < len(tokens):
            special[name] = {"id": index, "text": tokens[index]}
    return {
        "model": metadata.get("tokenizer.ggml.model"),
        "pre_tokenizer": metadata.get("tokenizer.ggml.pre"),
        "n_tokens": len(tokens),
        "adds_bos": metadata.get("tokenizer.ggml.add_bos_token"),
        "special": special,
    }


def _text(header: GgufHeader, key: str) -> str | None:
    value = header.metadata.get(key)
    return value if isinstance(value, str) else None


def _memory(path: Path, n_ctx: int | None) -> dict[str, int] | None:
    """Bytes on the host with everything there; None for an architecture whose memory is not known."""
    try:
        found = model_memory(path, ModelSettings(context_length=n_ctx))
    except ModelFileError:
        return None
    host = found.host
    return {
        "n_ctx": found.n_ctx,
        "weights_bytes": host.weights,
        "kv_cache_bytes": host.kv_cache,
        "compute_bytes": host.compute,
        "logits_bytes": host.logits,
        "vocabulary_bytes": host.vocabulary,
    }


def _n_values(shape: tuple[int, ...]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product
