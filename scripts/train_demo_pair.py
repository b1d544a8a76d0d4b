"""Train the demonstration pair from the knowledge table in edge_wsd/demo/tasks: a demonstration, not an assistant.

    python scripts/train_demo_pair.py            # two CPU cores are enough; a GPU is used if there is one

Stages: vocabulary, drafter, other, base, finished (the base's second pass), convert. A stage whose result
exists is skipped, and training goes on from its last checkpoint. Everything is seeded.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from demo_pair.corpus import BaseCorpus, DrafterCorpus, Source, known_tasks  # noqa: E402
from demo_pair.recipes import RECIPES, SEED, VOCABULARIES  # noqa: E402
from demo_pair.training import CONTEXT_LENGTH, train  # noqa: E402
from demo_pair.vocabulary import save_tokenizer, train_tokenizer  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

from edge_wsd.demo.tasks import Task, load_tasks  # noqa: E402

STAGES = ("vocabulary", "drafter", "other", "base", "finished", "convert")


def main() -> None:
    options = parse_arguments()
    torch.set_num_threads(options.threads)
    tasks = load_tasks()
    for stage in options.stages:
        if stage == "vocabulary":
            make_vocabularies(tasks, options.out)
        elif stage == "convert":
            convert_all(options.out, options.target or options.out, options.type)
        else:
            train_one(stage, tasks, options)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo-pair"), help="folder of checkpoints (demo-pair)")
    parser.add_argument("--target", type=Path, help="folder of the GGUF files (the same as --out)")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES, metavar="STAGE")
    parser.add_argument("--type", default="Q8_0", choices=("Q8_0", "F32"), help="type of the GGUF weights (Q8_0)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (2)")
    return parser.parse_args()


def make_source(name: str, tasks: tuple[Task, ...]) -> Source:
    if name == "base":
        return BaseCorpus(tasks, SEED)
    if name == "finished":
        return BaseCorpus(tasks, SEED, good=0.33, invented_share=0.20)
    return DrafterCorpus(tasks, known_tasks(tasks, SEED))


def make_vocabularies(tasks: tuple[Task, ...], out: Path) -> None:
    for name, (size, splitter) in VOCABULARIES.items():
        path = out / f"{name}.json"
        if path.exists():
            continue
        rng = random.Random(f"{SEED}/{name}")
        sources = [make_source("base", tasks), make_source("drafter", tasks)]
        texts = [rng.choice(sources)(rng).text for _ in range(20_000)]
        out.mkdir(parents=True, exist_ok=True)
        tokenizer = train_tokenizer(texts, size, splitter)
        tokenizer.save(str(path))
        print(f"vocabulary {name}: {tokenizer.get_vocab_size()} entries", file=sys.stderr, flush=True)


def train_one(name: str, tasks: tuple[Task, ...], options: argparse.Namespace) -> None:
    tokenizer = Tokenizer.from_file(str(options.out / ("other.json" if name == "other" else "shared.json")))
    folder = options.out / name
    train(RECIPES[name], make_source(name, tasks), tokenizer, folder, options.device)
    save_tokenizer(tokenizer, folder, chat=name in ("drafter", "other"), context_length=CONTEXT_LENGTH)


def convert_all(out: Path, target: Path, kind: str) -> None:
    from edge_wsd.converters import convert

    target.mkdir(parents=True, exist_ok=True)
    for name, file in (("finished", "base.gguf"), ("drafter", "drafter.gguf"), ("other", "drafter-other.gguf")):
        convert(out / name, target / file, type=kind, force=True)
        print(f"{target / file}: {(target / file).stat().st_size / 1e6:.1f} MB", file=sys.stderr)


if __name__ == "__main__":
    main()
