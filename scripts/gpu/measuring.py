"""Steps `bench`, `overlap` and `signal`: what the goals compare, and what was left to be decided on a GPU."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.gpu.build import programs
from scripts.gpu.pairs import AGREEMENTS, PairOfShapes, set_agreement
from scripts.gpu.workplace import ROOT, Workplace

PEER = "llama-speculative-simple"
SWITCH_AT = 32
"""Forced: how confident a model of random weights is means nothing."""
OVERLAP_AGREEMENT = 0.8


@dataclass(frozen=True)
class Sizes:
    prompt: int
    answer: int
    at_once: tuple[int, ...]
    repetitions: int
    gpu_layers: int


GPU_SIZES = Sizes(prompt=512, answer=256, at_once=(1, 8), repetitions=3, gpu_layers=-1)
CPU_SIZES = Sizes(prompt=64, answer=48, at_once=(1, 2), repetitions=1, gpu_layers=0)


def measure(place: Workplace, pairs: tuple[PairOfShapes, ...], folder: Path, sizes: Sizes) -> None:
    """What has been measured in this workplace stays."""
    cells: dict[str, Any] = place.read("bench") or {}
    for pair in pairs:
        for goal in AGREEMENTS:
            if f"{pair.name} {goal} {sizes.at_once[-1]}" not in cells:
                found = set_agreement(place, pair, folder, goal)["agreement"]
                common = {"pair": pair.name, "agreement": goal, "measured_agreement": found}
                for cell in _bench(place, folder / pair.name, sizes):
                    cells[f"{pair.name} {goal} {cell['at_once']}"] = {**common, **cell}
                place.write("bench", cells)


def _bench(place: Workplace, folder: Path, sizes: Sizes) -> list[dict[str, Any]]:
    """A cell for each number of answers at once."""
    rows = _rows(place, folder, sizes, sizes.at_once, ["--gpu-layers", sizes.gpu_layers])
    cells = [cell_of(rows, at_once) for at_once in sizes.at_once]
    alone = next((cell for cell in cells if cell["at_once"] == 1), None)
    if alone is not None and (peer := programs(place).get(PEER)):  # it writes one answer at a time
        command = [
            place.python,
            Path(__file__).with_name("peer.py"),
            peer,
            folder / "drafter.gguf",
            folder / "base.gguf",
        ]
        command += ["--prompt", sizes.prompt, "--answer", sizes.answer, "--repetitions", sizes.repetitions]
        alone |= json.loads(_output(place, PEER, command))
    return cells


def cell_of(rows: list[dict[str, Any]], at_once: int) -> dict[str, Any]:
    """The figures that goals compare, of the rows of `edge-wsd bench --json` with so many answers at once."""
    of = {row["name"]: row for row in rows if row["at_once"] == at_once}
    wsd, base = of["wsd k=auto"], of["base"]["median"]
    rest_s = wsd["median"]["answer_s"] - wsd["median"]["ttft_s"]
    return {
        "at_once": at_once,
        "base_s": base["answer_s"],
        "plain_s": of["wsd k=0"]["median"]["answer_s"],
        "wsd_s": wsd["median"]["answer_s"],
        "answer_to_base": wsd["ratio"]["answer_to_base"],
        "wsd_first_s": wsd["median"]["ttft_s"],
        "first_to_drafter": wsd["ratio"]["ttft_to_drafter"],
        "wsd_tokens_per_s": wsd["median"]["n_tokens"] / rest_s,
        "accepted": wsd["median"]["accepted"],
        "device_mib": wsd["median"]["device_mib"],
    }


def overlap(place: Workplace, pairs: tuple[PairOfShapes, ...], folder: Path, sizes: Sizes) -> None:
    """Seconds of an answer with the drafter on the processor, computing in turns with the base and at the same time."""
    found: dict[str, Any] = place.read("overlap") or {}
    for pair in pairs:
        if pair.name not in found:
            set_agreement(place, pair, folder, OVERLAP_AGREEMENT)
            seconds = {}
            for how in ("off", "on"):
                layers = ["--drafter-gpu-layers", 0, "--base-gpu-layers", sizes.gpu_layers, "--overlap", how]
                rows = _rows(place, folder / pair.name, sizes, sizes.at_once[:1], layers)
                seconds[how] = cell_of(rows, sizes.at_once[0])["wsd_s"]
            found[pair.name] = seconds
            place.write("overlap", found)


def signal(place: Workplace, pairs: tuple[PairOfShapes, ...], folder: Path, sizes: Sizes) -> None:
    """Passes with the scores computed on the device, and on the host."""
    if place.read("signal") is None:
        files = [folder / pair.name / f"{model}.gguf" for pair in pairs for model in ("drafter", "base")]
        script, log = ROOT / "scripts" / "bench_signal.py", "bench/signal.log"
        status = place.run([place.python, script, *files, "--gpu-layers", sizes.gpu_layers], log=log)
        text = (place.folder / log).read_text(encoding="utf-8")
        place.write("signal", f"{text}ended with status {status}: the numbers differ" if status else text)


def _rows(
    place: Workplace, folder: Path, sizes: Sizes, at_once: tuple[int, ...], options: list[object]
) -> list[dict[str, Any]]:
    command = [place.python, "-m", "edge_wsd", "bench", folder, "--json", "--quiet", "--switch-at", SWITCH_AT]
    command += ["--prompt", sizes.prompt, "--answer", sizes.answer, "--at-once", ",".join(map(str, at_once))]
    text = _output(place, folder.name, [*command, "--repetitions", sizes.repetitions, *options])
    rows: list[dict[str, Any]] = json.loads(text)["rows"]
    return rows


def _output(place: Workplace, name: str, command: list[Any]) -> str:
    log = f"bench/{name}.log"
    if status := place.run(command, log=log):
        sys.exit(f"{name} ended with status {status}: see {place.folder / log}")
    return (place.folder / log).read_text(encoding="utf-8")
