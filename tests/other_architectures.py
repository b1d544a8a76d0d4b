"""Tiny random models of architectures whose tensors the checker does not know."""

from __future__ import annotations

from tests.tiny_models import Tensor, TinyModel, f32, string, u32


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


def renamed(model: TinyModel, architecture: str) -> TinyModel:
    """`model` with its hyperparameters under another architecture's name."""
    model.metadata = {
        architecture + key.removeprefix("llama") if key.startswith("llama.") else key: value
        for key, value in model.metadata.items()
    }
    model.metadata["general.architecture"] = string(architecture)
    return model
