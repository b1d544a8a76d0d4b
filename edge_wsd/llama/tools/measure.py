"""What llama.cpp itself says it would allocate for a model and its context, without the weights being read.

>>> simulate("base.gguf", ModelSettings(gpu_layers=20)).compute
{'CUDA0': 540016640, 'CUDA_Host': 33570816}
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from pathlib import Path

from edge_wsd.llama import library
from edge_wsd.llama.context import Context
from edge_wsd.llama.model import Model
from edge_wsd.llama.new_context import most_texts
from edge_wsd.llama.settings import ModelSettings

_COMPUTE = re.compile(r"(\S+) compute buffer size = +([0-9.]+) MiB")
_KV_CACHE = re.compile(r"llama_kv_cache: size = +([0-9.]+) MiB")
_OUTPUT = re.compile(r"output buffer size = +([0-9.]+) MiB")
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Simulated:
    """Bytes, to a hundredth of a MiB. Buffers are named as llama.cpp names them: `CPU`, `CUDA0`, `CUDA_Host`."""

    compute: dict[str, int]
    kv_cache: int
    """Of all devices."""
    logits: int = 0
    """Of the output buffer as the context begins: a row for each of its sequences."""


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def simulate(path: str | Path, settings: ModelSettings) -> Simulated:
    """Buffers of the model at `path` under `settings`. Takes about as long as reading its vocabulary.

    Probe the file first (`edge_wsd.models.probe.trial`). Raises `ModelLoadError`.
    """
    listener, logger = _Lines(), library.logger
    settings = replace(settings, device_signal="off")  # it would be tried, and without weights nothing can be decoded
    with library.LOCK:
        before, propagates = logger.level, logger.propagate
        logger.addHandler(listener)
        logger.setLevel(logging.INFO if before == logging.NOTSET else min(before, logging.INFO))
        logger.propagate = False  # handlers further up do not look at this level
        try:
            with Model.load(path, settings, simulated=True) as model:
                Context(model, settings, n_sequences=most_texts(model, settings)).close()
        finally:
            logger.removeHandler(listener)
            logger.setLevel(before)
            logger.propagate = propagates
    return read_log(listener.lines)


def read_log(lines: list[str]) -> Simulated:
    """The sizes in llama.cpp's log."""
    text = "\n".join(lines)
    compute: dict[str, int] = {}
    for name, size in _COMPUTE.findall(text):
        compute[name] = compute.get(name, 0) + round(float(size) * _MIB)
    kv_cache, logits = (sum(round(float(size) * _MIB) for size in line.findall(text)) for line in (_KV_CACHE, _OUTPUT))
    return Simulated(compute, kv_cache, logits)
