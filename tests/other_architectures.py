"""Tiny random models of architectures whose tensors the checker does not know."""

from __future__ import annotations

import numpy as np

from tests.tiny_models import I32, Tensor, TinyModel, f32, numbers, string, u32


def gpt2(n_ctx: int = 64) -> TinyModel:
    """Learned positions, biases everywhere, one tensor for query, key and value."""
    model = renamed(TinyModel(n_heads=4, n_heads_kv=4, n_ctx=n_ctx), "gpt2")
    embd, n_ff = model.n_embd, model.n_ff
    model.metadata["gpt2.attention.layer_norm_epsilon"] = f32(1e-5)
    model.tensors = [model.tensor("token_embd.weight"), model.tensor("output_norm.weight")]
    model.tensors += [Tensor("position_embd.weight", (embd, n_ctx)), Tensor("output_norm.bias", (embd,))]
    for layer in range(model.n_layers):
        for name, shape in (
            ("attn_norm", (embd,)),
            ("attn_qkv", (embd, 3 * embd)),
            ("attn_output", (embd, embd)),
            ("ffn_norm", (embd,)),
            ("ffn_up", (embd, n_ff)),
            ("ffn_down", (n_ff, embd)),
        ):
            model.tensors.append(Tensor(f"blk.{layer}.{name}.weight", shape))
            model.tensors.append(Tensor(f"blk.{layer}.{name}.bias", shape[-1:]))
    return model


def mixture(gate_type: int, n_experts: int = 4) -> TinyModel:
    """Experts of which one is shared; its gate, a matrix of one row, has 16 bits per weight."""
    model = renamed(TinyModel(n_heads_kv=4), "qwen2moe")
    embd, n_ff = model.n_embd, model.n_ff
    for key, value in (("expert_count", n_experts), ("expert_used_count", 2), ("expert_feed_forward_length", n_ff)):
        model.metadata[f"qwen2moe.{key}"] = u32(value)
    model.tensors = [tensor for tensor in model.tensors if ".ffn_" not in tensor.name or "norm" in tensor.name]
    for layer in range(model.n_layers):
        block = f"blk.{layer}.ffn_"
        for name, shape in (("gate", (embd, n_ff)), ("up", (embd, n_ff)), ("down", (n_ff, embd))):
            model.tensors.append(Tensor(f"{block}{name}_exps.weight", (*shape, n_experts)))
            model.tensors.append(Tensor(f"{block}{name}_shexp.weight", shape))
        model.tensors.append(Tensor(f"{block}gate_inp.weight", (embd, n_experts)))
        model.tensors.append(Tensor(f"{block}gate_inp_shexp.weight", (embd,), type=gate_type, data=b"\xcd\x3d" * embd))
    return model


def mamba(n_embd=32, n_inner=64, n_state=16, n_rank=2, n_layers=2):
    """A recurrent model: its memory is one state, which cannot be cut back."""
    model = TinyModel()
    tensors = [t for t in model.tensors if t.name.startswith(("token_embd", "output"))]
    for layer in range(n_layers):
        for name, shape in (
            ("attn_norm.weight", (n_embd,)),
            ("ssm_in.weight", (n_embd, 2 * n_inner)),
            ("ssm_conv1d.weight", (4, n_inner)),
            ("ssm_conv1d.bias", (n_inner,)),
            ("ssm_x.weight", (n_inner, n_rank + 2 * n_state)),
            ("ssm_dt.weight", (n_rank, n_inner)),
            ("ssm_dt.bias", (n_inner,)),
            ("ssm_a", (n_state, n_inner)),
            ("ssm_d", (n_inner,)),
            ("ssm_out.weight", (n_inner, n_embd)),
        ):
            data = np.full(n_state * n_inner, -0.5, np.float32).tobytes() if name == "ssm_a" else None
            tensors.append(Tensor(f"blk.{layer}.{name}", shape, data=data))
    metadata = {key: value for key, value in model.metadata.items() if key.startswith("tokenizer")}
    metadata |= {
        "general.architecture": string("mamba"),
        "mamba.context_length": u32(256),
        "mamba.embedding_length": u32(n_embd),
        "mamba.feed_forward_length": u32(0),
        "mamba.attention.head_count": u32(0),
        "mamba.block_count": u32(n_layers),
        "mamba.ssm.conv_kernel": u32(4),
        "mamba.ssm.inner_size": u32(n_inner),
        "mamba.ssm.state_size": u32(n_state),
        "mamba.ssm.time_step_rank": u32(n_rank),
        "mamba.attention.layer_norm_rms_epsilon": f32(1e-5),
    }
    model.metadata, model.tensors = metadata, tensors
    return model


def sliding_window(window=16, n_layers=2):
    """A Gemma 2: every other layer sees only the last `window` tokens, and forgets the rest unless told not to."""
    model = TinyModel(scale=0.3, n_layers=n_layers)
    norms = [
        Tensor(f"blk.{layer}.{name}.weight", (model.n_embd,))
        for layer in range(n_layers)
        for name in ("post_attention_norm", "post_ffw_norm")
    ]
    model.tensors = [t for t in model.tensors if t.name != "output.weight"] + norms
    model.metadata = {key.replace("llama.", "gemma2."): value for key, value in model.metadata.items()} | {
        "general.architecture": string("gemma2"),
        "gemma2.attention.sliding_window": u32(window),
        "gemma2.attention.key_length": u32(model.n_embd // model.n_heads),
        "gemma2.attention.value_length": u32(model.n_embd // model.n_heads),
        "gemma2.attn_logit_softcapping": f32(50.0),
        "gemma2.final_logit_softcapping": f32(30.0),
    }
    return model


def hybrid(n_embd=32, n_layers=3, n_cache=3):
    """An LFM2: attention in its middle layer, and convolutions that remember a few tokens, which cannot be cut back."""
    model = renamed(TinyModel(scale=0.3, n_embd=n_embd, n_layers=n_layers), "lfm2")
    kinds = ["attention" if layer == n_layers // 2 else "convolution" for layer in range(n_layers)]
    heads = [model.n_heads_kv if kind == "attention" else 0 for kind in kinds]
    model.metadata |= {"lfm2.attention.head_count_kv": numbers(I32, heads), "lfm2.shortconv.l_cache": u32(n_cache)}
    tensors = [model.tensor("token_embd.weight"), Tensor("token_embd_norm.weight", (n_embd,))]
    for layer, kind in enumerate(kinds):
        block = f"blk.{layer}."
        own = [tensor for tensor in model.tensors if tensor.name.startswith(block)]
        if kind == "attention":
            width = n_embd // model.n_heads
            own += [Tensor(f"{block}attn_{name}_norm.weight", (width,)) for name in "qk"]
        else:
            own = [tensor for tensor in own if "ffn" in tensor.name or "attn_norm" in tensor.name]
            for name, shape in (
                ("conv", (n_cache, n_embd)),
                ("in_proj", (n_embd, 3 * n_embd)),
                ("out_proj", (n_embd, n_embd)),
            ):
                own.append(Tensor(f"{block}shortconv.{name}.weight", shape))
        tensors += own
    model.tensors = tensors
    return model


def renamed(model: TinyModel, architecture: str) -> TinyModel:
    """`model` with its hyperparameters under another architecture's name."""
    model.metadata = {
        architecture + key.removeprefix("llama") if key.startswith("llama.") else key: value
        for key, value in model.metadata.items()
    }
    model.metadata["general.architecture"] = string(architecture)
    return model
