"""Step `bench`: what the goals compare, for each pair, agreement and number of replies at once."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.gpu.build import programs
from scripts.gpu.pairs import AGREEMENTS, PairOfShapes, set_agreement
from scripts.gpu.workplace import ROOT, Workplace


@dataclass(frozen=True)
class Sizes:
    prompt: int
    answer: int
    replies: tuple[int, ...]
    repetitions: int
    gpu_layers: int


GPU_SIZES = Sizes(prompt=512, answer=256, replies=(1, 8), repetitions=3, gpu_layers=-1)
CPU_SIZES = Sizes(prompt=64, answer=48, replies=(1, 2), repetitions=1, gpu_layers=0)


def measure(place: Workplace, pairs: tuple[PairOfShapes, ...], folder: Path, sizes: Sizes) -> None:
    """What has been measured in this folder stays."""
    cells: dict[str, Any] = place.read("bench") or {}
    for pair in pairs:
        for goal in AGREEMENTS:
            for replies in sizes.replies:
                name = f"{pair.name} {goal} {replies}"
                if name in cells:
                    continue
                found = set_agreement(place, pair, folder, goal)
                cells[name] = {
                    "pair": pair.name,
                    "agreement": goal,
                    "measured_agreement": found["agreement"],
                    "replies": replies,
                    **_bench(place, folder / pair.name, sizes, replies),
                }
                place.write("bench", cells)
    _signal(place, pairs, folder, sizes)


def _signal(place: Workplace, pairs: tuple[PairOfShapes, ...], folder: Path, sizes: Sizes) -> None:
    """Passes with the scores computed on the device, and on the host."""
    if place.read("signal") is None:
        files = [folder / pair.name / f"{model}.gguf" for pair in pairs for model in ("drafter", "base")]
        script, log = ROOT / "scripts" / "bench_signal.py", "bench/signal.log"
        status = place.run([place.python, script, *files, "--gpu-layers", sizes.gpu_layers], log=log)
        text = (place.folder / log).read_text(encoding="utf-8")
        place.write("signal", f"{text}ended with status {status}: the numbers differ" if status else text)


def _output(place: Workplace, name: str, command: list[object]) -> str:
    log = f"bench/{name}.log"
    if status := place.run(command, log=log):
        sys.exit(f"{name} ended with status {status}: see {place.folder / log}")
    return (place.folder / log).read_text(encoding="utf-8")


def _bench(place: Workplace, folder: Path, sizes: Sizes, replies: int) -> dict[str, Any]:
    command: list[object] = [place.python, Path(__file__).with_name("answers.py")]
    command += [folder / "drafter.gguf", folder / "base.gguf", "--prompt", sizes.prompt, "--answer", sizes.answer]
    command += ["--replies", replies, "--repetitions", sizes.repetitions, "--gpu-layers", sizes.gpu_layers]
    peer = programs(place).get("llama-speculative-simple")
    if peer and replies == 1:  # it writes one at a time
        command += ["--peer", peer]
    found: dict[str, Any] = json.loads(_output(place, folder.name, command))
    return found
