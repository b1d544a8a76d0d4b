"""Writes complete, tiny, random models in GGUF format, so that tests need no trained weights.

The values and tensors are plain lists that a test may change before `write`, and each can be broken on purpose:

>>> model = TinyModel(n_layers=2)
>>> model.metadata["llama.block_count"] = u32(3)
>>> model.write(tmp_path / "broken.gguf")
"""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

U16, U32, I32, F32, BOOL, STRING, ARRAY = 2, 4, 5, 6, 7, 8, 9
_CODES = {U16: "H", U32: "I", I32: "i", F32: "f", BOOL: "?"}
NORMAL, CONTROL, BYTE = 1, 3, 6
TENSOR_F32, TENSOR_F16 = 0, 1
DEFAULT_WORDS = ("the", "in", "list", "file", "size", "hello", "you", "is", "er", "re")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL_TOKENS = ("<|bos|>", "<|eos|>", "<|im_start|>", "<|im_end|>")


@dataclass
class Value:
    """A metadata value as raw bytes behind its type."""

    type: int
    raw: bytes

    def encoded(self) -> bytes:
        return struct.pack("<I", self.type) + self.raw


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def string(value: str) -> Value:
    return Value(STRING, text(value))


def u16(value: int) -> Value:
    return Value(U16, struct.pack("<H", value))


def u32(value: int) -> Value:
    return Value(U32, struct.pack("<I", value))


def i32(value: int) -> Value:
    return Value(I32, struct.pack("<i", value))


def f32(value: float) -> Value:
    return Value(F32, struct.pack("<f", value))


def boolean(value: bool) -> Value:
    return Value(BOOL, struct.pack("<?", value))


def strings(values: list[str]) -> Value:
    return Value(ARRAY, struct.pack("<IQ", STRING, len(values)) + b"".join(map(text, values)))


def numbers(type_: int, values: list[float] | list[int]) -> Value:
    return Value(ARRAY, struct.pack(f"<IQ{len(values)}{_CODES[type_]}", type_, len(values), *values))


@dataclass
class Tensor:
    """`shape` begins with the row length. `offset` None: where it belongs."""

    name: str
    shape: tuple[int, ...]
    type: int = TENSOR_F32
    offset: int | None = None
    data: bytes | None = None

    @property
    def n_elements(self) -> int:
        product = 1
        for size in self.shape:
            product *= size
        return product


def byte_characters() -> list[str]:
    """The printable stand-ins of the 256 bytes in a byte-level vocabulary, in order of the bytes."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    spare = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(spare)) for byte in range(256)]


def byte_level_vocabulary(words: tuple[str, ...] = DEFAULT_WORDS) -> tuple[list[str], list[str]]:
    """Tokens (the 256 bytes, then what the merges make) and merges that build each word and " " + word."""
    tokens, merges = byte_characters(), []
    for word in words:
        for spelling in (word, "Ġ" + word):
            left = spelling[0]
            for character in spelling[1:]:
                if left + character not in tokens:
                    tokens.append(left + character)
                    merges.append(f"{left} {character}")
                left += character
    return tokens, merges


@dataclass
class TinyModel:
    """A Llama of a few hundred kilobytes with a byte-level vocabulary. Change anything before `write`."""

    n_embd: int = 32
    n_layers: int = 2
    n_heads: int = 4
    n_heads_kv: int = 2
    n_ff: int = 64
    n_ctx: int = 256
    seed: int = 0
    words: tuple[str, ...] = DEFAULT_WORDS
    special_tokens: tuple[str, ...] = SPECIAL_TOKENS
    chat_template: str | None = CHAT_TEMPLATE
    scale: float = 0.2
    metadata: dict[str, Value] = field(default_factory=dict)
    tensors: list[Tensor] = field(default_factory=list)
    alignment: int = 32
    version: int = 3

    def __post_init__(self) -> None:
        tokens, merges = byte_level_vocabulary(self.words)
        self.special_ids = {name: len(tokens) + index for index, name in enumerate(self.special_tokens)}
        tokens += self.special_tokens
        self.tokens = tokens
        self.metadata = {**self._hyperparameters(), **self._tokenizer(tokens, merges), **self.metadata}
        self.tensors = self.tensors or self._tensors(len(tokens))

    def _hyperparameters(self) -> dict[str, Value]:
        return {
            "general.architecture": string("llama"),
            "general.name": string("tiny random model"),
            "llama.context_length": u32(self.n_ctx),
            "llama.embedding_length": u32(self.n_embd),
            "llama.block_count": u32(self.n_layers),
            "llama.feed_forward_length": u32(self.n_ff),
            "llama.attention.head_count": u32(self.n_heads),
            "llama.attention.head_count_kv": u32(self.n_heads_kv),
            "llama.attention.layer_norm_rms_epsilon": f32(1e-5),
            "llama.rope.dimension_count": u32(self.n_embd // self.n_heads),
            "llama.rope.freq_base": f32(10000.0),
            "llama.vocab_size": u32(0),  # filled in with the tokenizer
        }

    def _tokenizer(self, tokens: list[str], merges: list[str]) -> dict[str, Value]:
        types = [CONTROL if token in self.special_ids else NORMAL for token in tokens]
        first = self.special_ids[self.special_tokens[0]]
        values = {
            "llama.vocab_size": u32(len(tokens)),
            "tokenizer.ggml.model": string("gpt2"),
            "tokenizer.ggml.pre": string("gpt-2"),
            "tokenizer.ggml.tokens": strings(tokens),
            "tokenizer.ggml.token_type": numbers(I32, types),
            "tokenizer.ggml.merges": strings(merges),
            "tokenizer.ggml.bos_token_id": u32(first),
            "tokenizer.ggml.eos_token_id": u32(first + 1),
            "tokenizer.ggml.add_bos_token": boolean(True),
        }
        if self.chat_template is not None:
            values["tokenizer.chat_template"] = string(self.chat_template)
        return values

    def _tensors(self, n_tokens: int) -> list[Tensor]:
        embd, kv = self.n_embd, self.n_embd // self.n_heads * self.n_heads_kv
        tensors = [
            Tensor("token_embd.weight", (embd, n_tokens)),
            Tensor("output.weight", (embd, n_tokens)),
            Tensor("output_norm.weight", (embd,)),
        ]
        for layer in range(self.n_layers):
            for name, shape in (
                ("attn_norm", (embd,)),
                ("attn_q", (embd, embd)),
                ("attn_k", (embd, kv)),
                ("attn_v", (embd, kv)),
                ("attn_output", (embd, embd)),
                ("ffn_norm", (embd,)),
                ("ffn_gate", (embd, self.n_ff)),
                ("ffn_up", (embd, self.n_ff)),
                ("ffn_down", (self.n_ff, embd)),
            ):
                tensors.append(Tensor(f"blk.{layer}.{name}.weight", shape))
        return tensors

    def tensor(self, name: str) -> Tensor:
        return next(tensor for tensor in self.tensors if tensor.name == name)

    def header(self) -> bytes:
        """The bytes up to the (aligned) data section."""
        parts = [b"GGUF", struct.pack("<IQQ", self.version, len(self.tensors), len(self.metadata))]
        parts += [text(key) + value.encoded() for key, value in self.metadata.items()]
        offset = 0
        for tensor in self.tensors:
            place = offset if tensor.offset is None else tensor.offset
            shape = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
            parts.append(text(tensor.name) + shape + struct.pack("<IQ", tensor.type, place))
            offset += len(self._padded(self._data(tensor)))
        header = b"".join(parts)
        return self._padded(header) if self.tensors else header

    def to_bytes(self) -> bytes:
        return self.header() + b"".join(self._padded(self._data(tensor)) for tensor in self.tensors)

    def write(self, path: Path) -> Path:
        path.write_bytes(self.to_bytes())
        return path

    def _padded(self, raw: bytes) -> bytes:
        return raw + bytes(-len(raw) % self.alignment)

    def _data(self, tensor: Tensor) -> bytes:
        if tensor.data is not None:
            return tensor.data
        return random_data(tensor.name, tensor.n_elements, self.seed, self.scale, len(tensor.shape) == 1)


@cache
def random_data(name: str, n_elements: int, seed: int, scale: float, is_norm: bool) -> bytes:
    """F32 numbers that depend on the name and the seed alone; about 1 for the vectors, which are norms."""
    source = random.Random(f"{seed} {name}")
    centre = 1.0 if is_norm else 0.0
    return struct.pack(f"<{n_elements}f", *(source.gauss(centre, scale) for _ in range(n_elements)))


def sentencepiece_tokenizer() -> dict[str, Value]:
    """Metadata of a SentencePiece-like vocabulary with byte fall-back and as many tokens as `TinyModel` has."""
    n_tokens = len(TinyModel().tokens)
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokens += [f"▁w{index}" for index in range(n_tokens - len(tokens))]
    types = [2, CONTROL, CONTROL, *[BYTE] * 256]
    types += [NORMAL] * (n_tokens - len(types))
    return {
        "tokenizer.ggml.model": string("llama"),
        "tokenizer.ggml.tokens": strings(tokens),
        "tokenizer.ggml.scores": numbers(F32, [-float(index) for index in range(n_tokens)]),
        "tokenizer.ggml.token_type": numbers(I32, types),
        "tokenizer.ggml.bos_token_id": u32(1),
        "tokenizer.ggml.eos_token_id": u32(2),
    }


class Chanting(TinyModel):
    """Says "XY" and then "abcd " for ever."""

    def write(self, path: Path) -> Path:
        say_after(self, itertools.pairwise(b"\nXYabcd a"))  # the first tokens are the bytes
        return super().write(path)


class Saying(TinyModel):
    """Says one text, behind a line break, and ends."""

    def __init__(self, text: str, **more: Any) -> None:
        pieces = [text[at : at + 6] for at in range(0, len(text), 6)]
        assert len(set(pieces)) == len(pieces), "every piece is followed by the same one"
        self.pieces = ["".join(byte_characters()[byte] for byte in piece.encode()) for piece in pieces]
        super().__init__(words=tuple(self.pieces), **{"n_embd": 128, "n_ctx": 2048, **more})

    def write(self, path: Path) -> Path:
        said = [self.tokens.index(piece) for piece in self.pieces]
        say_after(self, itertools.pairwise([ord("\n"), *said, self.special_ids["<|eos|>"]]), strength=2)
        return super().write(path)


def say_after(model: TinyModel, pairs: Iterable[tuple[int, int]], strength: float = 1.0) -> None:
    """Makes `model` say the second token of each pair after the first: its layers add nothing, and each token's
    output is one other token."""
    import numpy as np

    rows = np.random.default_rng(1).standard_normal((len(model.tokens), model.n_embd)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    output = np.zeros_like(rows)
    for before, after in pairs:
        output[after] += strength * rows[before]
    model.tensor("token_embd.weight").data = rows.tobytes()
    model.tensor("output.weight").data = output.tobytes()
    model.tensor("output_norm.weight").data = np.ones(model.n_embd, np.float32).tobytes()
    for tensor in model.tensors:
        if "attn_output" in tensor.name or "ffn_down" in tensor.name:
            tensor.data = bytes(4 * tensor.n_elements)
