"""The smallest Llama checkpoint without a tokenizer, for tests that look at other things."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

N_EMBD, N_FF, HEAD_DIM = 32, 64, 16
Arrays = Mapping[str, npt.NDArray[Any]]


def llama_config(n_rows: int, **changes: object) -> dict[str, Any]:
    """config.json of a model with `n_rows` embeddings and one layer."""
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": n_rows, "hidden_size": N_EMBD,
        "intermediate_size": N_FF, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
        "max_position_embeddings": 128, **changes,
    }  # fmt: skip


def llama_tensors(n_rows: int) -> dict[str, npt.NDArray[Any]]:
    """Its weights, random ones."""
    block = "model.layers.0."
    shapes = {
        "model.embed_tokens.weight": (n_rows, N_EMBD),
        "model.norm.weight": (N_EMBD,),
        "lm_head.weight": (n_rows, N_EMBD),
        block + "input_layernorm.weight": (N_EMBD,),
        block + "post_attention_layernorm.weight": (N_EMBD,),
        block + "self_attn.q_proj.weight": (2 * HEAD_DIM, N_EMBD),
        block + "self_attn.k_proj.weight": (HEAD_DIM, N_EMBD),
        block + "self_attn.v_proj.weight": (HEAD_DIM, N_EMBD),
        block + "self_attn.o_proj.weight": (N_EMBD, 2 * HEAD_DIM),
        block + "mlp.gate_proj.weight": (N_FF, N_EMBD),
        block + "mlp.up_proj.weight": (N_FF, N_EMBD),
        block + "mlp.down_proj.weight": (N_EMBD, N_FF),
    }
    draw = np.random.default_rng(0)
    return {name: draw.random(shape, np.float32) for name, shape in shapes.items()}


def safetensors_header(tensors: Arrays) -> dict[str, Any]:
    """What the header of a file of these 32-bit tensors says."""
    header, offset = {}, 0
    for name, tensor in tensors.items():
        span = [offset, offset + tensor.nbytes]
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": span}
        offset = span[1]
    return header


def safetensors_bytes(header: object, tensors: Arrays) -> bytes:
    """A safetensors file whose header says `header`, whatever its data are."""
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + b"".join(tensor.tobytes() for tensor in tensors.values())


def save_llama_folder(folder: Path, n_rows: int, **changes: object) -> None:
    """Writes config.json and model.safetensors with `n_rows` embeddings into `folder`."""
    (folder / "config.json").write_text(json.dumps(llama_config(n_rows, **changes)), "utf-8")
    tensors = llama_tensors(n_rows)
    (folder / "model.safetensors").write_bytes(safetensors_bytes(safetensors_header(tensors), tensors))
