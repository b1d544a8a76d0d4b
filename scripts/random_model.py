"""A Llama of random weights, also one inside a larger one: what it says does not change by what is around it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gguf
import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[Any]
CONTEXT_LENGTH = 8192
BOS, EOS = 257, 258
_EPSILON = 1e-5
_ROWS_AT_ONCE = 1024
_STRIDE = 7919  # a prime: no two layers have the same rows in the same places


@dataclass(frozen=True)
class Shape:
    """Layers, and the widths inside each."""

    n_layers: int
    embd: int
    n_ff: int
    n_heads: int
    n_kv_heads: int
    head_dim: int

    @classmethod
    def of_width(cls, embd: int, n_layers: int) -> Shape:
        """Proportions as in small models, with heads of 64."""
        n_heads = embd // 64
        return cls(n_layers, embd, embd * 11 // 4, n_heads, max(1, n_heads // 8), 64)

    def holds(self, inner: Shape) -> bool:
        """Whether a model of this shape can have one of the `inner` shape inside."""
        return (
            self.head_dim == inner.head_dim
            and min(self.n_layers - inner.n_layers, self.embd - inner.embd, self.n_ff - inner.n_ff) >= 0
            and min(self.n_kv_heads - inner.n_kv_heads, self.group - inner.group) >= 0
        )

    @property
    def group(self) -> int:
        """Heads that share a key."""
        return self.n_heads // self.n_kv_heads

    def places_of_heads(self, inner: Shape) -> NDArray[np.int64]:
        """Where the heads of `inner` are among these, so that heads that share a key still do."""
        heads = np.arange(inner.n_heads)
        return heads // inner.group * self.group + heads % inner.group


class Tensor(NamedTuple):
    name: str
    rows: int
    columns: int | None
    """None for a vector."""
    make: Callable[[], Matrix]


class RandomModel:
    """Writes models that say the same: one of the shape `inner`, and larger ones with that one inside.

    A larger one has the inner one's widths in front of its own, in the first layers: what is beside these adds
    nothing, nor do the layers behind, but all is read and multiplied like any other weights. The feed-forward parts of
    the layers behind add something unrelated as soon as the weights of their norms are not 0. A layer has the same rows
    as the others in other places, so no more than one is in memory.
    """

    def __init__(self, inner: Shape, n_vocab: int, type_name: str, peak: float) -> None:
        self.inner = inner
        self.n_vocab = n_vocab
        self.peak = peak
        self.type = gguf.GGMLQuantizationType[type_name]
        self._made: dict[str, Matrix] = {}

    def write(self, path: Path, shape: Shape, vocabulary: Callable[[gguf.GGUFWriter], None] | None = None) -> None:
        """Write the model in this shape. `vocabulary` writes another one of as many entries."""
        if not shape.holds(self.inner):
            raise ValueError(f"{shape} cannot have {self.inner} inside")
        partial_path = path.with_name(path.name + ".part")
        writer = gguf.GGUFWriter(str(partial_path), "llama")
        self._describe(writer, shape)
        (vocabulary or partial(write_vocabulary, n_vocab=self.n_vocab))(writer)
        tensors = [*self._ends(shape), *(one for layer in range(shape.n_layers) for one in self._layer(shape, layer))]
        for one in tensors:
            self._announce(writer, one)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for one in tensors:
            writer.write_tensor_data(one.make())
        writer.close()
        self._made.clear()
        partial_path.replace(path)

    def _describe(self, writer: gguf.GGUFWriter, shape: Shape) -> None:
        writer.add_context_length(CONTEXT_LENGTH)
        writer.add_embedding_length(shape.embd)
        writer.add_block_count(shape.n_layers)
        writer.add_feed_forward_length(shape.n_ff)
        writer.add_head_count(shape.n_heads)
        writer.add_head_count_kv(shape.n_kv_heads)
        writer.add_key_length(shape.head_dim)
        writer.add_value_length(shape.head_dim)
        writer.add_layer_norm_rms_eps(_EPSILON * self.inner.embd / shape.embd)
        writer.add_rope_dimension_count(shape.head_dim)
        writer.add_rope_freq_base(10_000.0)
        writer.add_vocab_size(self.n_vocab)

    def _announce(self, writer: gguf.GGUFWriter, tensor: Tensor) -> None:
        if tensor.columns is None:
            writer.add_tensor_info(tensor.name, (tensor.rows,), np.dtype(np.float32), 4 * tensor.rows)
            return
        row = self._empty(1, tensor.columns)
        of_bytes = (tensor.rows, row.shape[1])
        writer.add_tensor_info(tensor.name, of_bytes, row.dtype, tensor.rows * row.nbytes, raw_dtype=self.type)

    def _ends(self, shape: Shape) -> Iterator[Tensor]:
        """The embedding, nothing beside the inner one's, and the output."""
        inner = self.inner

        def embedding() -> Matrix:
            made = self._empty(self.n_vocab, shape.embd)
            small = self._random("embedding", self.n_vocab, inner.embd, 1.0)
            made[:, : small.shape[1]] = small
            return made

        def output() -> Matrix:
            made = small = self._random("output", self.n_vocab, inner.embd, self.peak / inner.embd**0.5)
            if shape.embd != inner.embd:
                made = self._random("wide output", self.n_vocab, shape.embd, self.peak / shape.embd**0.5)
                made[:, : small.shape[1]] = small
            made[[BOS, EOS]] = 0  # never the most probable token: an answer does not end by itself
            return made

        yield Tensor("token_embd.weight", self.n_vocab, shape.embd, embedding)
        yield Tensor("output.weight", self.n_vocab, shape.embd, output)
        yield Tensor("output_norm.weight", shape.embd, None, partial(self._norm, shape, 1.0))

    def _layer(self, shape: Shape, layer: int) -> Iterator[Tensor]:
        adds = layer < self.inner.n_layers
        for name, size in (("attn_norm", 1.0), ("ffn_norm", float(adds))):
            yield Tensor(f"blk.{layer}.{name}.weight", shape.embd, None, partial(self._norm, shape, size))
        own, wide = _matrices(self.inner), _matrices(shape)
        for name, (rows, columns) in wide.items():
            make = partial(self._matrix, name, own[name], (rows, columns), layer, shape)
            yield Tensor(f"blk.{layer}.{name}.weight", rows, columns, make)

    def _norm(self, shape: Shape, size: float) -> Matrix:
        """Beside the inner widths is 0, so the mean that a norm divides by is smaller than the inner model's."""
        return np.full(shape.embd, size * (self.inner.embd / shape.embd) ** 0.5, dtype=np.float32)

    def _matrix(self, name: str, small: tuple[int, int], wide: tuple[int, int], layer: int, shape: Shape) -> Matrix:
        """Of one layer. What leads back into the stream leads nothing there but what the inner model's would."""
        is_inner = layer < self.inner.n_layers
        if is_inner and wide == small:
            return self._of_layer(name, small, layer)
        adds_nothing = name in ("attn_output", "ffn_down") if is_inner else name == "attn_output"
        if adds_nothing:
            made = self._empty(*wide)
        else:
            made = self._of_layer(name if wide == small else f"wide {name}", wide, layer)
        if is_inner:
            self._place(name, self._of_layer(name, small, layer), made, shape)
        return made

    def _place(self, name: str, inner: Matrix, into: Matrix, shape: Shape) -> None:
        """Put a matrix of the inner model where its inputs and outputs are in the larger one."""
        heads, n_heads = shape.places_of_heads(self.inner), self.inner.n_heads
        if name == "attn_output":
            by_head = into.reshape(len(into), shape.n_heads, -1)
            by_head[: len(inner), heads] = inner.reshape(len(inner), n_heads, -1)
        elif name == "attn_q":
            by_head = into.reshape(shape.n_heads, shape.head_dim, -1)
            by_head[heads, :, : inner.shape[1]] = inner.reshape(n_heads, shape.head_dim, -1)
        else:
            into[: len(inner), : inner.shape[1]] = inner

    def _of_layer(self, name: str, size: tuple[int, int], layer: int) -> Matrix:
        if name not in self._made:
            self._made[name] = self._random(name, *size, size[1] ** -0.5)
        return np.roll(self._made[name], _STRIDE * layer, axis=0)

    def _random(self, name: str, rows: int, columns: int, spread: float) -> Matrix:
        """Random rows; with a spread of 1 / sqrt(columns) they keep the size of a vector."""

        def some(first: int) -> Matrix:
            source = np.random.default_rng([first, *name.encode()])
            n = min(_ROWS_AT_ONCE, rows - first)
            values = source.standard_normal((n, columns), dtype=np.float32) * np.float32(spread)
            return gguf.quants.quantize(values, self.type)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return np.concatenate(list(pool.map(some, range(0, rows, _ROWS_AT_ONCE))))

    def _empty(self, rows: int, columns: int) -> Matrix:
        """Zeros, which are zero bytes in each of the types."""
        row = gguf.quants.quantize(np.zeros((1, columns), dtype=np.float32), self.type)
        return np.zeros((rows, row.shape[1]), dtype=row.dtype)


def _matrices(shape: Shape) -> dict[str, tuple[int, int]]:
    """Rows and columns of the matrices of a layer."""
    heads, keys = shape.n_heads * shape.head_dim, shape.n_kv_heads * shape.head_dim
    return {
        "attn_q": (heads, shape.embd),
        "attn_k": (keys, shape.embd),
        "attn_v": (keys, shape.embd),
        "attn_output": (shape.embd, heads),
        "ffn_gate": (shape.n_ff, shape.embd),
        "ffn_up": (shape.n_ff, shape.embd),
        "ffn_down": (shape.embd, shape.n_ff),
    }


def write_vocabulary(writer: gguf.GGUFWriter, n_vocab: int) -> None:
    """A byte-level vocabulary: the 256 bytes, two special tokens, and words that no text is cut into."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    spare = iter(range(0x100, 0x200))
    tokens = [chr(byte) if byte in printable else chr(next(spare)) for byte in range(256)]
    tokens += ["\u0120t", "<|begin|>", "<|end|>"]
    types = [gguf.TokenType.NORMAL] * 257 + [gguf.TokenType.CONTROL] * 2
    n_words = n_vocab - len(tokens)
    tokens += [f"\u0120word{index}" for index in range(n_words)]
    types += [gguf.TokenType.NORMAL] * n_words
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(["\u0120 t"])
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(EOS)
    writer.add_add_bos_token(True)
