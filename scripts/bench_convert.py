"""Measures converting and quantizing: peak memory against the largest tensor, and throughput against the disk.

    python -m scripts.bench_convert memory [--folder FOLDER]
    python -m scripts.bench_convert speed [--folder FOLDER] [--rounds 3] [--threads 2]

Checkpoints of random weights are written to FOLDER (a temporary folder) and deleted afterwards: about 2 GB at a time.

memory: one tensor of about 500 MB in BF16 for each way of handling one (as it is, rows rearranged, values computed,
fused), converted in a process of its own. The figure is the growth of its resident memory since its imports, which
counts the mapped pages of the checkpoint too, divided by the bytes of that tensor.

speed: copying the source file with fsync, converting and quantizing in turns; medians in MB of the source per second.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from edge_wsd.converters import convert, quantize
from edge_wsd.converters.checkpoint.config import Config
from edge_wsd.converters.conversion import family_of
from tests.checkpoint_tokenizers import save_bpe

_SHARED: Mapping[str, Any] = {
    "vocab_size": 800, "max_position_embeddings": 512, "num_hidden_layers": 1, "tie_word_embeddings": True,
    "bos_token_id": 0, "eos_token_id": 1, "intermediate_size": 64, "num_key_value_heads": 1,
}  # fmt: skip
_WIDE = {"hidden_size": 16384, "num_attention_heads": 128}
_LARGE_TENSORS: Mapping[str, Mapping[str, Any]] = {
    "llama, queries (rows rearranged)": {"architectures": ["LlamaForCausalLM"], **_WIDE},
    "qwen2, queries (as they are)": {"architectures": ["Qwen2ForCausalLM"], **_WIDE},
    "gemma2, queries (computed)": {
        "architectures": ["Gemma2ForCausalLM"], "hidden_size": 16384, "num_attention_heads": 64, "head_dim": 256,
        "query_pre_attn_scalar": 100,
    },
    "phi3, gate and up (fused)": {
        "architectures": ["Phi3ForCausalLM"], "hidden_size": 4096, "num_attention_heads": 32, "intermediate_size": 32000
    },
}  # fmt: skip
_MODEL = {
    "architectures": ["LlamaForCausalLM"], "hidden_size": 2048, "num_attention_heads": 16, "num_key_value_heads": 4,
    "intermediate_size": 8192, "num_hidden_layers": 6,
}  # fmt: skip
_MEASURED_CHILD = """
import resource, sys
from edge_wsd.converters import convert, conversion as registry
from edge_wsd.converters.families import gemma2, llama, phi3, qwen2
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
convert(sys.argv[1], sys.argv[2], type=sys.argv[3], force=True)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("memory", "speed"))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="bench-convert-") as folder:
        if arguments.what == "memory":
            memory(Path(folder))
        else:
            speed(Path(folder), arguments.rounds, arguments.threads)


def memory(folder: Path) -> None:
    for name, config in _LARGE_TENSORS.items():
        largest = write_checkpoint(folder / "model", {**_SHARED, **config}, "BF16")
        ratios = []
        for type_name in ("F16", "Q8_0"):
            child = [sys.executable, "-c", _MEASURED_CHILD, str(folder / "model"), str(folder / "out.gguf"), type_name]
            done = subprocess.run(child, capture_output=True, text=True, check=True)
            ratios.append(f"{type_name} {int(done.stdout) / largest:.2f}")
        print(f"{name}: largest tensor {largest / 1e6:.0f} MB; peak memory / largest: {', '.join(ratios)}", flush=True)


def speed(folder: Path, rounds: int, threads: int) -> None:
    half, brain, target = folder / "half", folder / "brain", folder / "out.gguf"
    write_checkpoint(half, {**_SHARED, **_MODEL}, "F16")
    write_checkpoint(brain, {**_SHARED, **_MODEL}, "BF16")
    source = folder / "half.gguf"
    convert(half, source, type="F16")
    jobs: dict[str, Callable[[], object]] = {
        "copy": lambda: _copy(source, target),
        "convert F16 to F16": lambda: convert(half, target, type="F16", force=True),
        "convert BF16 to Q8_0": lambda: convert(brain, target, type="Q8_0", force=True),
        "quantize F16 to Q8_0": lambda: quantize(source, target, "Q8_0", threads=threads, force=True),
        "quantize F16 to Q4_K_M": lambda: quantize(source, target, "Q4_K_M", threads=threads, force=True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            target.unlink(missing_ok=True)
            begin = time.perf_counter()
            job()
            seconds[name].append(time.perf_counter() - begin)
    n_bytes, copy = source.stat().st_size, statistics.median(seconds["copy"])
    print(f"{n_bytes / 1e6:.0f} MB, {rounds} rounds, {threads} threads for quantizing; medians")
    for name, measured in seconds.items():
        middle = statistics.median(measured)
        print(f"{name:24} {middle:7.2f} s {n_bytes / 1e6 / middle:7.0f} MB/s  {copy / middle:5.0%} of the copy's")


def write_checkpoint(folder: Path, config: Mapping[str, Any], dtype: str) -> int:
    """A checkpoint of the family of `config`, with 16-bit weights; returns the bytes of its largest tensor."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_bpe(folder)
    shapes = {weight.name: weight.shape for weight in _family(config).weights()}
    header, end = {}, 0
    for name, shape in shapes.items():
        n_bytes = 2 * int(np.prod(shape))
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + n_bytes]}
        end += n_bytes
    head = json.dumps(header).encode()
    block = _weights(dtype)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(head)) + head)
        for first in range(0, end, len(block)):
            file.write(block[: end - first])
    return max(2 * int(np.prod(shape)) for shape in shapes.values())


def _family(config: Mapping[str, Any]) -> Any:
    checkpoint: Any = SimpleNamespace(config=Config(config, "config.json"))
    return family_of(checkpoint)


def _weights(dtype: str) -> bytes:
    """2 MB of small random numbers, which are repeated: how long anything takes does not depend on them."""
    values = (np.random.default_rng(0).standard_normal(1 << 20) * 0.05).astype(np.float32)
    return (values.astype("<f2") if dtype == "F16" else (values.view(np.uint32) >> 16).astype("<u2")).tobytes()


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as read, target.open("wb") as written:
        shutil.copyfileobj(read, written, 1 << 22)
        written.flush()
        os.fsync(written.fileno())


if __name__ == "__main__":
    main()
