"""Compares the planned memory of models with what a process really holds, for five shapes, with and without mmap.

    python scripts/bench_plan.py [FOLDER] [--json]

Each model of random weights (scripts/make_bench_pair.py) is loaded in a process of its own. It reads a full batch with
logits for every token, at the end of a full context where attention needs room for it (without flash attention), and
then one more token. Measured is what this added to the resident memory of the process since its imports: anonymous
pages and pages of files.

Of a mapped file those pages count that are in use: loading also touches weights that are rearranged into memory of
their own and not looked at in the file again, so the mapping's pages are given back before the passes (the system's
cache keeps them). The rows of the input embedding, of which a pass touches only its own tokens', are all read once.
Linux only.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import mmap
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_MIB = 1 << 20


@dataclass(frozen=True)
class Case:
    """Arguments of make_bench_pair.py, and settings."""

    name: str
    layers: int
    vocab: int
    embd: int
    type: str
    settings: dict[str, Any]


CASES = (
    Case("small, large vocabulary", 8, 128_256, 512, "Q8_0", {"context_length": 2048}),
    Case("wide, long context", 12, 32_000, 2048, "Q4_0", {"context_length": 8192}),
    Case("deep, 8-bit cache", 40, 16_000, 1024, "Q8_0", {"context_length": 8192, "kv_type": "q8_0"}),
    Case("16-bit weights, small batch", 10, 64_000, 1536, "F16", {"context_length": 4096, "batch": 128}),
    Case(
        "32-bit cache, no flash attention",
        12,
        8_000,
        1024,
        "F16",
        {"context_length": 2048, "kv_type": "f32", "flash_attention": "off"},
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="where the models are made (a temporary folder)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--measure", nargs=2, metavar=("FILE", "SETTINGS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure[0], json.loads(arguments.measure[1]))))
        return
    with tempfile.TemporaryDirectory() as temporary:
        rows = [row for case in CASES for row in compare(case, arguments.folder or Path(temporary))]
    if arguments.json:
        print(json.dumps(rows))
        return
    print(f"{'shape':34}{'mmap':6}{'file MiB':>9}{'planned':>9}{'measured':>10}{'error':>8}")
    for row in rows:
        print(
            f"{row['shape']:34}{'yes' if row['mmap'] else 'no':6}{row['file_mib']:9.0f}{row['planned_mib']:9.0f}"
            f"{row['measured_mib']:10.0f}{100 * row['error']:+7.1f}%"
        )
    print(f"worst: {100 * max(abs(row['error']) for row in rows):.1f} %")


def compare(case: Case, folder: Path) -> list[dict[str, Any]]:
    """One row with mmap and one without."""
    sys.path[:0] = [str(ROOT)]
    from edge_wsd.llama.repacking import repacked_types
    from edge_wsd.llama.settings import ModelSettings
    from edge_wsd.models.gguf.shape import shape_of_file
    from edge_wsd.models.plan.memory import placed_memory
    from edge_wsd.models.plan.placement import place
    from scripts.random_model import RandomModel, Shape

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{case.name.replace(' ', '-').replace(',', '')}.gguf"
    drafter, base = (Shape.of_width(case.embd, n_layers) for n_layers in (2, case.layers))
    RandomModel(drafter, case.vocab, case.type, 8.0).write(path, base)
    shape, rows = shape_of_file(path), []
    for mapped in (True, False):
        given = {**case.settings, "mmap": mapped, "gpu_layers": 0, "threads": 1}
        settings = ModelSettings(**given)
        everywhere = place(shape.n_layers, 0, [])
        memory = placed_memory(shape, settings, everywhere, repacked=repacked_types(settings), n_scored=settings.batch)
        command = [sys.executable, __file__, "--measure", str(path), json.dumps(given)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        measured = json.loads(done.stdout)
        planned = memory.host.total
        rows.append(
            {
                "shape": case.name,
                "mmap": mapped,
                "file_mib": path.stat().st_size / _MIB,
                "planned_mib": planned / _MIB,
                "measured_mib": measured["resident"] / _MIB,
                "error": planned / measured["resident"] - 1,
                **{key: value / _MIB for key, value in measured.items() if key != "resident"},
            }
        )
    path.unlink()
    return rows


def measure(path: str, given: dict[str, Any]) -> dict[str, int]:
    """Bytes that the model and its context added to this process."""
    from edge_wsd.llama.context import Context
    from edge_wsd.llama.model import Model
    from edge_wsd.llama.settings import ModelSettings

    settings = ModelSettings(**given)
    before = _resident()
    with Model.load(path, settings) as model, Context(model, settings) as context:
        give_back_pages_of(path)
        touch_embedding(path)
        text = context.sequence()
        if settings.flash_attention == "off":
            text.extend([index % 256 for index in range(context.n_ctx - settings.batch - 1)])
        text.logits([index % 256 for index in range(settings.batch)])
        text.extend([1])
        after = _resident()
    return {"resident": sum(after.values()) - sum(before.values()), **{key: after[key] - before[key] for key in after}}


def _resident() -> dict[str, int]:
    lines = Path("/proc/self/status").read_text().splitlines()
    return {
        key: int(value.split()[0]) * 1024
        for key, _, value in (line.partition(":") for line in lines)
        if key in ("RssAnon", "RssFile")
    }


def give_back_pages_of(path: str) -> None:
    """Drop the pages of a mapped file from this process; they stay in the system's cache and come back when touched."""
    advise = ctypes.CDLL(None, use_errno=True).madvise
    for start, end, _ in _mappings(path):
        if advise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED):
            raise OSError(ctypes.get_errno(), "madvise", path)


def touch_embedding(path: str) -> None:
    """Read each page of a mapped file's input embedding."""
    from edge_wsd.models.gguf.header import read_header

    header = read_header(path)
    tensor = next(tensor for tensor in header.tensors if tensor.name == "token_embd.weight")
    first = header.data_offset + tensor.offset
    for start, end, offset in _mappings(path):
        for place in range(max(first, offset), min(first + tensor.n_bytes, offset + end - start), mmap.PAGESIZE):
            ctypes.c_ubyte.from_address(start + place - offset).value  # noqa: B018


def _mappings(path: str) -> list[tuple[int, int, int]]:
    """Where the file is mapped: first address, the one behind the last, and the offset in the file."""
    found = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith(os.path.realpath(path)):
            addresses, _, offset = line.split()[:3]
            start, end = (int(part, 16) for part in addresses.split("-"))
            found.append((start, end, int(offset, 16)))
    return found


if __name__ == "__main__":
    main()
