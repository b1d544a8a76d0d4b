"""Writes a drafter and a base of random weights, so that speed can be measured without trained models.

    python scripts/make_bench_pair.py FOLDER [--layers 3 22] [--vocab 32000] [--embd 2048] [--type Q4_0] [--agreement 1]

The base has the drafter's layers and behind them layers that add nothing to the stream, but are read and multiplied
like any others. So the base costs what a model of its depth costs, and agrees with every proposal. The defaults are the
sizes of a model of 1.1 billion parameters. The text of such a pair is noise.

For less agreement the feed-forward parts of the additional layers add something unrelated to the text. How much is set
by the weights of their norms, and found by bisection: both models choose the most probable next token at the same 512
positions of random text, and the share of equal choices is the agreement.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from edge_wsd.llama.context import Context
from edge_wsd.llama.model import Model
from edge_wsd.llama.settings import ModelSettings

HEAD_DIM = 64
N_POSITIONS = 512
"""At which agreement is measured."""
CLOSE = 0.015
N_BISECTIONS = 12
Matrix = NDArray[Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, nargs=2, default=(3, 22), metavar=("DRAFTER", "BASE"))
    parser.add_argument("--vocab", type=int, default=32_000, help="entries of the vocabulary (32000)")
    parser.add_argument("--embd", type=int, default=2048, help="width, a multiple of 256 (2048)")
    parser.add_argument("--type", default="Q4_0", choices=("Q4_0", "Q8_0", "F16", "F32"), help="type of the weights")
    parser.add_argument("--peak", type=float, default=8.0, help="spread of the logits: larger is more confident (8)")
    parser.add_argument("--agreement", type=float, default=1.0, help="share of equal choices, 0.02 to 1 (1)")
    arguments = parser.parse_args()
    drafter, base = arguments.layers
    if not 1 <= drafter <= base or arguments.embd % 256 or arguments.embd < 256 or arguments.vocab < 512:
        parser.error("needs 1 <= DRAFTER <= BASE layers, a width in steps of 256, and at least 512 vocabulary entries")
    if not 0.02 <= arguments.agreement <= 1 or (arguments.agreement < 1 and drafter == base):
        parser.error("an agreement is 0.02 to 1, and less than 1 needs a base of more layers than the drafter")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    model = RandomModel(arguments.embd, arguments.vocab, arguments.type, arguments.peak, n_active=drafter)
    for name, n_layers in (("drafter", drafter), ("base", base)):
        path = arguments.folder / f"{name}.gguf"
        model.write(path, n_layers)
        print(f"{path}: {n_layers} layers, {path.stat().st_size / 2**20:.0f} MiB", file=sys.stderr)
    if arguments.agreement < 1:
        reached = make_agree(arguments.folder / "drafter.gguf", path, drafter, arguments.agreement)
        print(f"{path}: agrees at {100 * reached:.1f} % of {N_POSITIONS} positions", file=sys.stderr)


def make_agree(drafter: Path, base: Path, n_shared: int, goal: float) -> float:
    """Set the noise of the layers of `base` behind the first `n_shared`; returns the agreement that was reached."""
    tokens = np.random.default_rng(0).integers(259, 512, N_POSITIONS).tolist()
    expected, low, high, reached = choices(drafter, tokens), 0.0, 4.0, 1.0
    for _ in range(N_BISECTIONS):
        noise = (low + high) / 2
        set_noise(base, n_shared, noise)
        chosen = choices(base, tokens)
        reached = sum(a == b for a, b in zip(chosen, expected, strict=True)) / len(expected)
        if abs(reached - goal) < CLOSE:
            break
        low, high = (noise, high) if reached > goal else (low, noise)
    return reached


def choices(path: Path, tokens: list[int]) -> list[int]:
    """The most probable token behind each of `tokens`."""
    settings = ModelSettings(context_length=N_POSITIONS + 16, batch=N_POSITIONS)
    with Model.load(path) as model, Context(model, settings) as context:
        scores = context.sequence().score(tokens[:1], tokens[1:])
        return [scores.choose(row)[0] for row in range(scores.n_rows)]


def set_noise(path: Path, n_shared: int, noise: float) -> None:
    """Overwrite the weights of the feed-forward norms behind the first `n_shared` layers."""
    norms = [tensor for tensor in gguf.GGUFReader(path).tensors if tensor.name.endswith(".ffn_norm.weight")]
    places = [(int(one.data_offset), int(one.n_elements)) for one in norms if int(one.name.split(".")[1]) >= n_shared]
    with path.open("r+b") as file:
        for offset, n in places:
            file.seek(offset)
            file.write(np.full(n, noise, np.float32).tobytes())


class RandomModel:
    """A Llama of which the first `n_active` layers do something. Its matrices are made once and used for both files."""

    def __init__(self, embd: int, n_vocab: int, type_name: str, peak: float, n_active: int) -> None:
        self.embd = embd
        self.n_vocab = n_vocab
        self.n_ff = embd * 11 // 4
        self.n_heads = embd // HEAD_DIM
        self.n_kv_heads = max(1, self.n_heads // 8)
        self.n_active = n_active
        self.peak = peak
        self.type = gguf.GGMLQuantizationType[type_name]
        self.matrix = cache(self._matrix)  # type: ignore[method-assign]

    def write(self, path: Path, n_layers: int, vocabulary: Callable[[gguf.GGUFWriter], None] | None = None) -> None:
        """Write the model with this many layers. `vocabulary` writes another one of as many entries."""
        writer = gguf.GGUFWriter(str(path), "llama")
        self._describe(writer, n_layers)
        (vocabulary or partial(write_vocabulary, n_vocab=self.n_vocab))(writer)
        self._add(writer, "token_embd", self.matrix("embedding", self.n_vocab, self.embd, 1.0))
        self._add(writer, "output", self.matrix("output", self.n_vocab, self.embd, self.peak))
        writer.add_tensor("output_norm.weight", np.ones(self.embd, dtype=np.float32))
        for layer in range(n_layers):
            self._add_layer(writer, layer)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    def _describe(self, writer: gguf.GGUFWriter, n_layers: int) -> None:
        writer.add_context_length(8192)
        writer.add_embedding_length(self.embd)
        writer.add_block_count(n_layers)
        writer.add_feed_forward_length(self.n_ff)
        writer.add_head_count(self.n_heads)
        writer.add_head_count_kv(self.n_kv_heads)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_rope_dimension_count(HEAD_DIM)
        writer.add_rope_freq_base(10_000.0)
        writer.add_vocab_size(self.n_vocab)

    def _add_layer(self, writer: gguf.GGUFWriter, layer: int) -> None:
        embd, kv, ff = self.embd, self.n_kv_heads * HEAD_DIM, self.n_ff
        pattern = layer % self.n_active  # the weights of the other layers may be anybody's
        is_active = layer < self.n_active
        adds = 1.0 if is_active else 0.0
        writer.add_tensor(f"blk.{layer}.attn_norm.weight", np.ones(embd, dtype=np.float32))
        writer.add_tensor(f"blk.{layer}.ffn_norm.weight", np.full(embd, adds, dtype=np.float32))
        for name, rows, columns, scale in (
            ("attn_q", embd, embd, 1.0),
            ("attn_k", kv, embd, 1.0),
            ("attn_v", kv, embd, 1.0),
            ("attn_output", embd, embd, adds),
            ("ffn_gate", ff, embd, 1.0),
            ("ffn_up", ff, embd, 1.0),
            ("ffn_down", embd, ff, 1.0),  # of nothing, as the norm in front lets nothing through
        ):
            self._add(writer, f"blk.{layer}.{name}", self.matrix(f"{pattern} {name}", rows, columns, scale))

    def _matrix(self, name: str, rows: int, columns: int, scale: float) -> Matrix:
        """Random rows that keep the size of a vector and multiply it by `scale`; "embedding" has entries of size 1."""
        source = np.random.default_rng(list(name.encode()))
        spread = scale if name == "embedding" else scale / columns**0.5
        values = source.standard_normal((rows, columns), dtype=np.float32) * np.float32(spread)
        return gguf.quants.quantize(values, self.type)

    def _add(self, writer: gguf.GGUFWriter, name: str, matrix: Matrix) -> None:
        writer.add_tensor(f"{name}.weight", matrix, raw_dtype=self.type)


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
    writer.add_bos_token_id(257)
    writer.add_eos_token_id(258)
    writer.add_add_bos_token(True)


if __name__ == "__main__":
    main()
