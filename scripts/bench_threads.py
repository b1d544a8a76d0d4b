"""Speed of decoding beside other busy programs, for several ways in which threads may wait for each other.

    python scripts/bench_threads.py MODEL.gguf [--busy 0 1 2] [--runs 5] [--seconds 1.0] [--threads 1 2] [--spins ...]

Every way is a process of its own, since OpenMP reads its environment when it is loaded. All of them hold the model; one
at a time decodes token after token for SECONDS, beside as many busy processes as `--busy` says, in turns so that a
drifting machine hits all alike. Prints the medians in tokens per second, and as its last line one JSON object.

A way is a number of threads and how often one of them looks before it sleeps (GOMP_SPINCOUNT; `passive` is
OMP_WAIT_POLICY=passive; `default` what edge-wsd sets). Only GNU's OpenMP listens to it. 0 threads are as many as
edge-wsd chooses from pass to pass.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_N_PROMPT = 64
_LONGEST_S = 300.0
_BUSY = "import sys, time\nend = time.monotonic() + float(sys.argv[1])\nwhile time.monotonic() < end:\n    pass"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2], help="numbers of busy processes (0 1 2)")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of decoding each time (1)")
    parser.add_argument("--threads", type=int, nargs="+", default=[0, 1, 2], help="numbers of threads (0 1 2)")
    parser.add_argument("--spins", nargs="+", default=["300000", "passive", "default"], help="ways to wait")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker is not None:
        work(arguments.model, arguments.worker)
        return
    found = measure(arguments)
    print(f"{'threads, waiting':28}" + "".join(f"{f'{n} busy':>12}" for n in arguments.busy))
    medians = {}
    for name, rates in found.items():
        medians[name] = [statistics.median(row) for row in rates.values()]
        print(f"{name:28}" + "".join(f"{rate:12.1f}" for rate in medians[name]))
    print(json.dumps({"arguments": vars(arguments), "tokens_per_second": medians}))


def measure(arguments: argparse.Namespace) -> dict[str, dict[int, list[float]]]:
    """Tokens per second by way and number of busy processes, one entry per run."""
    found: dict[str, dict[int, list[float]]] = {}
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(worker(arguments.model, threads, spins))
            for name, threads, spins in ways(arguments.threads, arguments.spins)
        }
        for one in workers.values():
            ask(one, 0.3)  # warms the caches up
        for _ in range(arguments.runs):
            for n_busy in arguments.busy:
                with busy_processes(n_busy):
                    for name, one in workers.items():
                        rates = found.setdefault(name, {}).setdefault(n_busy, [])
                        rates.append(ask(one, arguments.seconds))
    return found


def ways(threads: list[int], spins: list[str]) -> Iterator[tuple[str, int, str]]:
    """Name, threads and way to wait. One thread waits for nobody."""
    for n in threads:
        for spin in spins if n > 1 else ["default"]:
            yield f"{n}, {spin}" if n > 1 else str(n or "chosen"), n, spin


@contextmanager
def worker(model: str, threads: int, spins: str) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the model and decodes when it is asked to."""
    environment = {key: value for key, value in os.environ.items() if key not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [environment.get("PYTHONPATH")])])
    if spins == "passive":
        environment["OMP_WAIT_POLICY"] = spins
    elif spins != "default":
        environment["GOMP_SPINCOUNT"] = spins
    command = [sys.executable, __file__, model, "--worker", str(threads)]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.terminate()


def ask(process: subprocess.Popen[str], seconds: float) -> float:
    """Tokens per second of decoding for so long."""
    assert process.stdin is not None and process.stdout is not None
    print(seconds, file=process.stdin, flush=True)
    answer = process.stdout.readline()
    if not answer:
        raise SystemExit(f"a worker ended with code {process.wait()}")
    return float(answer)


@contextmanager
def busy_processes(n: int) -> Iterator[None]:
    """So many processes that do nothing but compute; they end with the block, and by themselves if need be."""
    command = [sys.executable, "-c", _BUSY, str(_LONGEST_S)]
    processes = [subprocess.Popen(command) for _ in range(n)]
    try:
        time.sleep(0.2 if n else 0.0)
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def work(path: str, threads: int) -> None:
    """Decode for as many seconds as each line of stdin says; answer with tokens per second."""
    from edge_wsd.llama.context import Context
    from edge_wsd.llama.model import Model
    from edge_wsd.llama.settings import ModelSettings

    settings = ModelSettings(threads=threads or None, gpu_layers=0, context_length=1024)
    with Model.load(path, settings) as model, Context(model, settings) as context:
        text = context.sequence()
        text.extend([index % 200 for index in range(_N_PROMPT)])
        for line in sys.stdin:
            n, start, end = 0, time.perf_counter(), time.perf_counter() + float(line)
            while time.perf_counter() < end:
                text.extend([n % 200])
                text.cut(_N_PROMPT + n % 64)
                n += 1
            print(n / (time.perf_counter() - start), flush=True)
            text.cut(_N_PROMPT)


if __name__ == "__main__":
    main()
