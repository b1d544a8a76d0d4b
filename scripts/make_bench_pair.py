"""Writes a drafter and a base of random weights, so that speed can be measured without trained models.

    python scripts/make_bench_pair.py FOLDER [--layers 3 22] [--vocab 32000] [--embd 2048] [--type Q4_0] [--agreement 1]
    python scripts/make_bench_pair.py FOLDER --shapes 3B 70B [--agreement 0.8]

The base has the drafter inside: in its first layers, in front of its own widths. What is around that adds nothing to
the stream, but is read and multiplied like any other weights. So the base costs what a model of its shape costs, and
agrees with every proposal (of another width, but for rounding: with Q4_0 at 93 to 98 % of positions). The defaults are
the sizes of a model of 1.1 billion parameters. The text of such a pair is noise.

For less agreement the feed-forward parts of the additional layers add something unrelated to the text. How much is set
by the weights of their norms, and found by bisection: both models choose the most probable next token at the same 512
positions of random text, and the share of equal choices is the agreement. The last line is one JSON object: the
agreement that was reached, and the noise that makes it; --noise sets it again, --keep in the files that are there.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import gguf
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from edge_wsd.llama.context import Context
from edge_wsd.llama.model import Model
from edge_wsd.llama.settings import ModelSettings
from scripts.random_model import RandomModel, Shape

N_POSITIONS = 512
"""At which agreement is measured."""
CLOSE = 0.015
MOST_NOISE = 4.0
N_BISECTIONS = 14
SHAPES = {
    "3B": Shape(28, 3072, 8192, 24, 8, 128),
    "8B": Shape(32, 4096, 14336, 32, 8, 128),
    "70B": Shape(80, 8192, 28672, 64, 8, 128),
    "tiny": Shape(2, 256, 512, 4, 2, 64),
    "small": Shape(4, 512, 1024, 16, 4, 64),
}
"""Those of Llama 3, and some to try a program with."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, nargs=2, default=(3, 22), metavar=("DRAFTER", "BASE"))
    parser.add_argument("--vocab", type=int, default=32_000, help="entries of the vocabulary (32000)")
    parser.add_argument("--embd", type=int, default=2048, help="width, a multiple of 256 (2048)")
    parser.add_argument("--shapes", nargs=2, choices=SHAPES, metavar=("DRAFTER", "BASE"), help=f"{', '.join(SHAPES)}")
    parser.add_argument("--type", default="Q4_0", choices=("Q4_0", "Q8_0", "F16", "F32"), help="type of the weights")
    parser.add_argument("--peak", type=float, default=8.0, help="spread of the logits: larger is more confident (8)")
    parser.add_argument("--agreement", type=float, default=1.0, help="share of equal choices, 0.02 to 1 (1)")
    parser.add_argument("--noise", type=float, help="what the additional layers add, if it is known")
    parser.add_argument("--keep", action="store_true", help="use the files that are there, of the same shapes")
    arguments = parser.parse_args()
    drafter, base = shapes(parser, arguments)
    paths = [arguments.folder / f"{name}.gguf" for name in ("drafter", "base")]
    if not (arguments.keep and all(path.is_file() for path in paths)):
        arguments.folder.mkdir(parents=True, exist_ok=True)
        model = RandomModel(drafter, arguments.vocab, arguments.type, arguments.peak)
        for path, shape in zip(paths, (drafter, base), strict=True):
            model.write(path, shape)
            print(f"{path}: {shape.n_layers} layers, {path.stat().st_size / 2**20:.0f} MiB", file=sys.stderr)
    if arguments.noise is None:
        found = find_noise(*paths, drafter.n_layers, arguments.agreement)
        print(f"{paths[1]}: agrees at {100 * found['agreement']:.1f} % of {N_POSITIONS} positions", file=sys.stderr)
    else:
        set_noise(paths[1], drafter.n_layers, arguments.noise)
        found = {"noise": arguments.noise}
    print(json.dumps(found))


def shapes(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> tuple[Shape, Shape]:
    """Those of the drafter and the base that were asked for."""
    if arguments.shapes:
        drafter, base = (SHAPES[name] for name in arguments.shapes)
    else:
        least = min(arguments.layers)
        if least < 1 or arguments.embd % 256 or arguments.embd < 256:
            parser.error("needs at least 1 layer, and a width in steps of 256")
        drafter, base = (Shape.of_width(arguments.embd, n) for n in arguments.layers)
    if not base.holds(drafter):
        parser.error("the base needs at least the layers and widths of the drafter, and heads of the same size")
    if arguments.vocab < 512 or not 0.02 <= arguments.agreement <= 1:
        parser.error("needs at least 512 vocabulary entries, and an agreement of 0.02 to 1")
    if drafter.n_layers == base.n_layers and (arguments.agreement < 1 or arguments.noise):
        parser.error("an agreement less than 1 needs a base of more layers than the drafter")
    return drafter, base


def find_noise(drafter: Path, base: Path, n_shared: int, goal: float) -> dict[str, float]:
    """Set the noise of the layers of `base` behind the first `n_shared`; returns it and the agreement with it."""
    expected = choices(drafter)
    low, high, noise = 0.0, MOST_NOISE, 0.0
    for _ in range(N_BISECTIONS):
        set_noise(base, n_shared, noise)
        reached = sum(a == b for a, b in zip(choices(base), expected, strict=True)) / len(expected)
        if abs(reached - goal) < CLOSE or (noise == 0 and reached <= goal):
            break
        low, high = (noise, high) if reached > goal else (low, noise)
        noise = (low + high) / 2
    return {"noise": noise, "agreement": reached}


def choices(path: Path) -> list[int]:
    """The most probable token behind each of `N_POSITIONS` tokens of random text."""
    tokens = np.random.default_rng(0).integers(259, 512, N_POSITIONS).tolist()
    settings = ModelSettings(context_length=N_POSITIONS + 16, batch=N_POSITIONS)
    with Model.load(path, settings) as model, Context(model, settings) as context:
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


if __name__ == "__main__":
    main()
