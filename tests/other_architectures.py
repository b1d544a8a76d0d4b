"""Tiny random models of architectures whose tensors the checker does not know."""

from __future__ import annotations

from tests.tiny_models import Tensor, TinyModel, f32, string


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


def renamed(model: TinyModel, architecture: str) -> TinyModel:
    """`model` with its hyperparameters under another architecture's name."""
    model.metadata = {
        architecture + key.removeprefix("llama") if key.startswith("llama.") else key: value
        for key, value in model.metadata.items()
    }
    model.metadata["general.architecture"] = string(architecture)
    return model
