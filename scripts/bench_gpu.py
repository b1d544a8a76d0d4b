"""Builds, tests and benches edge-wsd on a bare Linux machine with an NVIDIA GPU, without a network, step by step.

    python scripts/bench_gpu.py pack SDIST carried.tar.xz [--wheels FOLDER]    # beforehand, where there is a network
    python scripts/bench_gpu.py run carried.tar.xz [--wheels FOLDER]           # there, again until it ends with 0

`pack` writes the part of llama-cpp-python's sdist that a build reads (5.5 of 70 MB) and, with --wheels, downloads the
Python packages that the machine may lack. `run` goes through its steps and ends with 75 when --minutes are over; the
same command then goes on where it stopped, also in the middle of compiling:

    build   llama-cpp-python with CUDA, llama.cpp's own programs over the same libraries, and this project
    test    the tests over real models and against the oracle, with all layers on the GPU
    pairs   pairs shaped like 3B + 8B and 3B + 70B (Q4_0) that agree at 100, 80 and 50 % of positions
    bench   `edge-wsd bench` of each: prompt 512, answer 256, 1 and 8 answers at once; llama-speculative-simple behind
            the same prompt
    overlap the drafter on the processor, in turns with the base on the GPU and overlapped
    signal  passes with scores computed on the device and on the host
    report  results/all.json, and results/section.md with the goals and whether each was met

It needs Python's own library alone, a C++ compiler and CUDA's toolkit; torch and transformers for the oracle. `--device
cpu` runs all of it without a GPU, over tiny models: that shows that it works, and nothing of speed.
"""

from __future__ import annotations

import argparse
import sys
import sysconfig
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.gpu.archive import pack
from scripts.gpu.build import build, download_wheels
from scripts.gpu.cuda import Cuda, find_cuda, graphics_card
from scripts.gpu.device_tests import run_tests
from scripts.gpu.measuring import CPU_SIZES, GPU_SIZES, measure, overlap, signal
from scripts.gpu.pairs import CPU_PAIRS, GPU_PAIRS, make_pairs
from scripts.gpu.report import report
from scripts.gpu.workplace import ROOT, Workplace

STEPS = ("build", "test", "pairs", "bench", "overlap", "signal", "report")
GPU_TESTS = ["tests/model", "tests/oracle"]
CPU_TESTS = ["tests/model/test_random_model.py", "tests/model/test_device_signal.py"]


def main() -> None:
    arguments = parse_arguments()
    if arguments.command == "pack":
        pack(arguments.sdist, arguments.archive, peers=arguments.peers)
        if arguments.wheels:
            download_wheels(arguments.wheels, arguments.python, arguments.there)
    else:
        run(arguments)


def run(arguments: argparse.Namespace) -> None:
    on_gpu = arguments.device == "cuda"
    card, cuda = "no GPU", Cuda()
    if on_gpu:
        card, architecture = graphics_card()
        packages = [Path(sysconfig.get_path("purelib")), *map(Path, sys.path)]
        cuda = find_cuda(arguments.architecture or architecture, packages, arguments.toolkit)
    place = Workplace(arguments.folder, arguments.minutes, cuda.library_folders)
    pairs = GPU_PAIRS if on_gpu else CPU_PAIRS
    if unknown := set(arguments.pair or ()) - {pair.name for pair in pairs}:
        sys.exit(f"--pair {', '.join(unknown)}: expected {' or '.join(pair.name for pair in pairs)}")
    pairs = tuple(pair for pair in pairs if pair.name in (arguments.pair or [pair.name]))
    folder = (arguments.pairs or place.folder / "pairs").resolve()
    sizes = GPU_SIZES if on_gpu else CPU_SIZES
    asked = {"repetitions": arguments.repetitions, "at_once": arguments.at_once}
    sizes = replace(sizes, **{name: value for name, value in asked.items() if value})
    steps = {
        "build": lambda: build(place, arguments.archive, cuda, arguments.wheels),
        "test": lambda: run_tests(place, arguments.tests or (GPU_TESTS if on_gpu else CPU_TESTS), on_gpu=on_gpu),
        "pairs": lambda: make_pairs(place, pairs, folder),
        "bench": lambda: measure(place, pairs, folder, sizes),
        "overlap": lambda: overlap(place, pairs, folder, sizes),
        "signal": lambda: signal(place, pairs, folder, sizes),
        "report": lambda: report(place, card),
    }
    for name, step in steps.items():
        if name in arguments.steps:
            print(f"== {name}", file=sys.stderr)
            step()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack", help="write the archive to carry")
    packing.add_argument("sdist", type=Path, help="llama-cpp-python's, or the folder it was unpacked to")
    packing.add_argument("archive", type=Path, help="to write: .tar.xz or .tar.gz")
    packing.add_argument("--no-peers", dest="peers", action="store_false", help="without llama.cpp's own programs")
    packing.add_argument("--wheels", type=Path, help="download Python packages to this folder as well")
    packing.add_argument("--python", default="3.12", help="of the machine that gets the packages (3.12)")
    packing.add_argument("--there", nargs="*", default=[], help="packages that the machine has, to be left out")
    running = commands.add_parser("run", help="build, test and bench")
    running.add_argument("archive", type=Path, help="written by pack, or the sdist itself")
    running.add_argument("--steps", type=steps_of, default=STEPS, help=f"some of {','.join(STEPS)} (all)")
    running.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a dry run over tiny models")
    running.add_argument("--folder", type=Path, default=ROOT / "build" / "gpu", help="for all that is made (build/gpu)")
    running.add_argument("--pairs", type=Path, help="folder for the pairs, 50 GB in all; /dev/shm is as good as a disk")
    running.add_argument("--pair", action="append", help="only this one, as in 3B+8B; several times for several")
    running.add_argument(
        "--repetitions", type=int, help="measurements of each (3, with --device cpu 1); what was measured before stays"
    )
    running.add_argument("--at-once", type=int, nargs="+", help="answers at once (1 8, with --device cpu 1 2)")
    running.add_argument("--tests", nargs="+", help=f"files or folders ({' '.join(GPU_TESTS)})")
    running.add_argument(
        "--wheels", type=Path, help="folder of Python packages that were carried; else pip's own index"
    )
    running.add_argument("--minutes", type=float, default=9.0, help="to run at most (9)")
    running.add_argument("--architecture", help="of the GPU, as in 90; else nvidia-smi tells")
    running.add_argument("--toolkit", type=Path, help="CUDA's folder, with bin/nvcc")
    return parser.parse_args()


def steps_of(text: str) -> list[str]:
    steps = text.split(",")
    if unknown := set(steps) - set(STEPS):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: expected some of {','.join(STEPS)}")
    return steps


if __name__ == "__main__":
    main()
