"""Models with one defect each, and what the check must say of it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from edge_wsd.errors import ModelFileError
from edge_wsd.models.gguf.check import check_gguf
from tests.tiny_models import (
    BYTE,
    F32,
    I32,
    TENSOR_F16,
    TinyModel,
    Value,
    boolean,
    f32,
    i32,
    numbers,
    string,
    strings,
    u32,
)

N_TOKENS = len(TinyModel().tokens)


def refusal(path: Path) -> str:
    with pytest.raises(ModelFileError) as caught:
        check_gguf(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    assert ";" in message  # what is wrong; what to do
    return message


def setter(**values: Value | None) -> Callable[[TinyModel], None]:
    """Sets metadata: `__` stands for a dot, None removes."""

    def change(model: TinyModel) -> None:
        for name, value in values.items():
            key = name.replace("__", ".")
            if value is None:
                del model.metadata[key]
            else:
                model.metadata[key] = value

    return change


def tensor(which: str, /, **changes: object) -> Callable[[TinyModel], None]:
    def change(model: TinyModel) -> None:
        changed = model.tensor(which)
        for key, value in changes.items():
            setattr(changed, key, value)

    return change


def without(name: str) -> Callable[[TinyModel], None]:
    return lambda model: model.tensors.remove(model.tensor(name))


def doubled(model: TinyModel) -> None:
    model.tensors.append(model.tensor("output.weight"))


def nul_twin(model: TinyModel) -> None:
    """llama.cpp reads texts up to the first NUL, where two of these tokens become the same."""
    tokens = list(model.tokens)
    tokens[-1] = tokens[-2] + "\0x"
    model.metadata["tokenizer.ggml.tokens"] = strings(tokens)


DEFECTS: dict[str, tuple[Callable[[TinyModel], None], str]] = {
    "no architecture": (setter(general__architecture=None), "general.architecture is missing"),
    "architecture is a number": (setter(general__architecture=u32(3)), "must be a string"),
    "image encoder": (setter(general__architecture=string("clip")), "image encoder"),
    "adapter": (setter(general__type=string("adapter")), "LoRA adapter"),
    "control vector": (setter(general__architecture=string("controlvector")), "it is a control vector"),
    "importance matrix": (setter(general__type=string("imatrix")), "it is an importance matrix"),
    "projector": (setter(general__type=string("mmproj")), "it is an image projector"),
    "no tokenizer": (setter(tokenizer__ggml__model=None), "no tokenizer"),
    "tokenizer none": (setter(tokenizer__ggml__model=string("none")), "no tokenizer"),
    "tokenizer unknown": (setter(tokenizer__ggml__model=string("gpt9")), "'gpt9' is unknown"),
    "no tokens": (setter(tokenizer__ggml__tokens=None), "tokens is missing"),
    "empty tokens": (setter(tokenizer__ggml__tokens=strings([])), "tokens is missing or empty"),
    "tokens are numbers": (setter(tokenizer__ggml__tokens=numbers(I32, [1])), "must be an array of string"),
    "tokens are a string": (setter(tokenizer__ggml__tokens=string("a")), "not a string"),
    "tokens twice": (setter(tokenizer__ggml__tokens=strings(["a", "b", "a"])), "tokens 0 and 2 are the same"),
    "tokens twice behind NUL": (nul_twin, "are the same text"),
    "no merges": (setter(tokenizer__ggml__merges=None), "merges is missing"),
    "merge without a space": (setter(tokenizer__ggml__merges=strings(["ab"])), "merge 0 is 'ab'"),
    "merge of nothing": (setter(tokenizer__ggml__merges=strings(["a "])), "merge 0 is 'a '"),
    "merge of two spaces": (setter(tokenizer__ggml__merges=strings(["a b c", "ab"])), "merge 0 ('a b c') makes"),
    "merge that begins with a space": (setter(tokenizer__ggml__merges=strings([" ab"])), "merge 0 is ' ab'"),
    "merge with a NUL": (setter(tokenizer__ggml__merges=strings(["t h", "h\0 e"])), "holds a NUL byte"),
    "merge into no token": (setter(tokenizer__ggml__merges=strings(["q z"])), "is not a token"),
    "types too few": (setter(tokenizer__ggml__token_type=numbers(I32, [1])), f"1 elements for {N_TOKENS} tokens"),
    "types as floats": (setter(tokenizer__ggml__token_type=numbers(F32, [1.0])), "must be an array of int32"),
    "types unknown": (setter(tokenizer__ggml__token_type=numbers(I32, [9] * N_TOKENS)), "unknown types"),
    "byte without a byte": (setter(tokenizer__ggml__token_type=numbers(I32, [BYTE] * N_TOKENS)), "marked as a byte"),
    "scores too few": (setter(tokenizer__ggml__scores=numbers(F32, [0.0])), "scores has 1 elements"),
    "scores not finite": (setter(tokenizer__ggml__scores=numbers(F32, [float("nan")] * N_TOKENS)), "not finite"),
    "bos out of range": (setter(tokenizer__ggml__bos_token_id=u32(N_TOKENS)), f"only {N_TOKENS} tokens"),
    "eos far out of range": (setter(tokenizer__ggml__eos_token_id=u32(2**32 - 1)), "eos_token_id is 4294967295"),
    "bos added and unknown": (setter(tokenizer__ggml__bos_token_id=None), "there is no bos_token_id"),
    "template is a flag": (setter(tokenizer__chat_template=boolean(True)), "must be a string, not a bool"),
    "no context": (setter(llama__context_length=None), "context_length is missing"),
    "context of nothing": (setter(llama__context_length=u32(0)), "context_length is 0"),
    "layers as int": (setter(llama__block_count=i32(2)), "must be a uint32, not a int32"),
    "no layers": (setter(llama__block_count=u32(0)), "block_count is 0"),
    "too many layers": (setter(llama__block_count=u32(513)), "block_count is 513"),
    "one layer more": (setter(llama__block_count=u32(3)), "blk.2.attn_norm.weight is missing"),
    "no heads": (setter(llama__attention__head_count=u32(0)), "0 attention heads"),
    "no key-value heads": (setter(llama__attention__head_count_kv=u32(0)), "0 key-value heads"),
    "heads that do not divide": (setter(llama__attention__head_count_kv=u32(3)), "3 key-value heads"),
    "heads per layer too few": (setter(llama__attention__head_count=numbers(I32, [4])), "1 elements for 2 layers"),
    "no width": (setter(llama__embedding_length=u32(0)), "embedding_length is 0"),
    "another width": (setter(llama__embedding_length=u32(64)), "expected three times the same"),
    "rotation of another width": (setter(llama__rope__dimension_count=u32(4)), "expected three times the same"),
    "another inner width": (setter(llama__feed_forward_length=u32(65)), "hyperparameters say [32, 65]"),
    "no inner width": (setter(llama__feed_forward_length=None), "feed_forward_length is missing"),
    "norm without epsilon": (setter(llama__attention__layer_norm_rms_epsilon=None), "epsilon is None"),
    "epsilon not a number": (setter(llama__attention__layer_norm_rms_epsilon=f32(float("nan"))), "nan"),
    "rope base of nothing": (setter(llama__rope__freq_base=f32(0.0)), "freq_base is 0.0"),
    "rope scaling unknown": (setter(llama__rope__scaling__type=string("twist")), "'twist'"),
    "experts nobody uses": (setter(llama__expert_count=u32(4)), "do not fit together"),
    "experts used, none there": (setter(llama__expert_used_count=u32(1)), "do not fit together"),
    "too many predicted layers": (setter(llama__nextn_predict_layers=u32(9)), "nextn_predict_layers is 9"),
    "alignment of 33": (setter(general__alignment=u32(33)), "expected a power of two"),
    "alignment of 16": (setter(general__alignment=u32(16)), "expected a power of two from 32"),
    "alignment of 0": (setter(general__alignment=u32(0)), "expected a power of two"),
    "alignment beyond the file": (setter(general__alignment=u32(1 << 30)), "to the size of the file"),
    "alignment as a string": (setter(general__alignment=string("32")), "must be a uint32"),
    "tensor missing": (without("blk.1.attn_k.weight"), "blk.1.attn_k.weight is missing"),
    "norm missing": (without("output_norm.weight"), "output_norm.weight is missing"),
    "tensor twice": (doubled, "output.weight appears twice"),
    "tensor turned": (tensor("blk.0.ffn_down.weight", shape=(32, 64)), "has the shape [32, 64]"),
    "vocabulary of another size": (tensor("token_embd.weight", shape=(32, 7)), "has the shape [32, 7]"),
    "tensor type unknown": (tensor("output.weight", type=99), "has the type 99"),
    "tensor type removed": (tensor("output.weight", type=4), "has the type 4"),
    "tensor of integers": (tensor("output.weight", type=26), "not a type for weights"),
    "norm of halves": (tensor("output_norm.weight", type=TENSOR_F16, data=bytes(64)), "vector of type F16"),
    "norm of halves that calls itself a matrix": (
        tensor("output_norm.weight", type=TENSOR_F16, shape=(32, 1), data=bytes(64)),
        "vector of type F16",
    ),
    "rows that fill no block": (tensor("output.weight", type=12), "Q4_K needs multiples of 256"),
    "tensor without dimensions": (tensor("output.weight", shape=()), "0 dimensions"),
    "tensor of five dimensions": (tensor("output.weight", shape=(1, 1, 1, 1, 1), data=bytes(4)), "5 dimensions"),
    "tensor with an empty side": (tensor("output.weight", shape=(32, 0)), "is empty"),
    "shape that wraps around": (tensor("output.weight", shape=(2**62, 2**62), data=b""), "larger than the file"),
    "tensors that overlap": (tensor("output_norm.weight", offset=32), "overlaps the one before"),
    "tensor behind a gap": (tensor("output_norm.weight", offset=1 << 40), "leaves a gap"),
    "offset off the alignment": (tensor("output.weight", offset=39809), "expected 39808"),
    "name too long": (tensor("output.weight", name="n" * 64), "name of 64 bytes"),
}
