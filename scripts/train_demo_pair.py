"""Train the demonstration pair from the knowledge table in edge_wsd/demo/tasks: a demonstration, not an assistant.

    python scripts/train_demo_pair.py            # two CPU cores are enough

Stages: vocabulary, drafter, other, early, finish-1 to finish-5, base, convert. The drafters learn beside each other,
the base (early, then finished five times, then averaged) in two processes that share each batch. A stage whose result
exists is skipped, and training goes on from its last checkpoint. Everything is seeded.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from demo_pair.corpus import BaseCorpus, DrafterCorpus, Source, known_tasks  # noqa: E402
from demo_pair.recipes import FINISHES, OUTSIDE_SHARES, RECIPES, SEED, VOCABULARIES, WORKERS  # noqa: E402
from demo_pair.training import CONTEXT_LENGTH, Worker, train  # noqa: E402
from demo_pair.vocabulary import save_tokenizer, train_tokenizer  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

from edge_wsd.demo.tasks import Task, load_tasks  # noqa: E402

OF_THE_BASE = ("early", *FINISHES)
TRAINED = ("drafter", "other", *OF_THE_BASE)
STAGES = ("vocabulary", *TRAINED, "base", "convert")


def main() -> None:
    options = parse_arguments()
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    tasks = load_tasks()
    if "vocabulary" in options.stages:
        make_vocabularies(tasks, options.out)
    trained = [stage for stage in TRAINED if stage in options.stages]
    if options.worker is not None:
        train_one(trained[0], tasks, options)
    elif trained:
        train_all(trained, options)
    if "base" in options.stages:
        average([options.out / name for name in FINISHES], options.out / "base")
    if "convert" in options.stages:
        convert_all(options.out, options.target or options.out, options.type)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo-pair"), help="folder of checkpoints (demo-pair)")
    parser.add_argument("--target", type=Path, help="folder of the GGUF files (the same as --out)")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES, metavar="STAGE")
    parser.add_argument("--type", default="Q8_0", choices=("Q8_0", "F32"), help="type of the GGUF weights (Q8_0)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (2)")
    return parser.parse_args()


def make_source(name: str, tasks: tuple[Task, ...]) -> Source:
    share = OUTSIDE_SHARES[name]
    if name in OF_THE_BASE:
        return BaseCorpus(tasks, SEED, share)
    return DrafterCorpus(tasks, known_tasks(tasks, SEED), share)


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


def train_all(stages: list[str], options: argparse.Namespace) -> None:
    """The drafters beside each other, then the base in two processes: these do more than one of two threads."""
    began = time.monotonic()
    run_together([["--stages", stage, "--worker", "0"] for stage in stages if stage not in OF_THE_BASE], options)
    for stage in (stage for stage in OF_THE_BASE if stage in stages):
        (options.out / "meeting").unlink(missing_ok=True)
        run_together([["--stages", stage, "--worker", str(index)] for index in range(WORKERS)], options)
    print(f"trained for {(time.monotonic() - began) / 60:.0f} minutes", file=sys.stderr)


def run_together(commands: list[list[str]], options: argparse.Namespace) -> None:
    threads = str(max(1, options.threads // WORKERS))
    common = [sys.executable, __file__, "--out", str(options.out), "--device", options.device, "--threads", threads]
    runs = [subprocess.Popen([*common, *command]) for command in commands]
    try:
        if any([run.wait() for run in runs]):
            raise SystemExit("training was stopped; the same command goes on where it was")
    finally:
        for run in runs:
            run.terminate()


def train_one(name: str, tasks: tuple[Task, ...], options: argparse.Namespace) -> None:
    tokenizer = Tokenizer.from_file(str(options.out / ("other.json" if name == "other" else "shared.json")))
    folder = options.out / name
    worker = Worker(options.worker, WORKERS) if name in OF_THE_BASE else Worker()
    if worker.count > 1:
        meeting = f"file://{(options.out / 'meeting').resolve()}"
        torch.distributed.init_process_group("gloo", init_method=meeting, rank=worker.index, world_size=worker.count)
    train(RECIPES[name], make_source(name, tasks), tokenizer, folder, options.device, worker)
    if not worker.index:
        save_tokenizer(tokenizer, folder, chat=name not in OF_THE_BASE, context_length=CONTEXT_LENGTH)


def average(folders: list[Path], target: Path) -> None:
    """The mean of the weights of models that began as one; what else their folders hold is the same in all."""
    shutil.copytree(folders[0], target, dirs_exist_ok=True)
    models = [load_file(folder / "model.safetensors") for folder in folders]
    means = {name: torch.stack([model[name] for model in models]).mean(0) for name in models[0]}
    save_file(means, target / "model.safetensors", metadata={"format": "pt"})


def convert_all(out: Path, target: Path, kind: str) -> None:
    from edge_wsd.converters import convert

    target.mkdir(parents=True, exist_ok=True)
    for name, file in (("base", "base.gguf"), ("drafter", "drafter.gguf"), ("other", "drafter-other.gguf")):
        convert(out / name, target / file, type=kind, force=True)
        print(f"{target / file}: {(target / file).stat().st_size / 1e6:.1f} MB", file=sys.stderr)


if __name__ == "__main__":
    main()
