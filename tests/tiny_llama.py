"""The smallest Llama checkpoint without a tokenizer, for tests that look at tokenizers alone."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np

N_EMBD, N_FF, HEAD_DIM = 32, 32, 16


def save_llama_folder(folder: Path, n_rows: int, **config: object) -> None:
    """Writes config.json and model.safetensors with `n_rows` embeddings into `folder`."""
    values = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": n_rows, "hidden_size": N_EMBD,
        "intermediate_size": N_FF, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
        "max_position_embeddings": 128, **config,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(values), "utf-8")
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
    tensors = {name: draw.random(shape, np.float32) for name, shape in shapes.items()}
    header, offset = {}, 0
    for name, tensor in tensors.items():
        span = [offset, offset + tensor.nbytes]
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": span}
        offset = span[1]
    raw = json.dumps(header).encode()
    data = b"".join(tensor.tobytes() for tensor in tensors.values())
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(raw)) + raw + data)
