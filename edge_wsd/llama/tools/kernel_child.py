"""Runs llama.cpp's kernels in a process of its own, as models will run them. Started by `kernels`.

A line of JSON goes to stdout before each step and one behind it, so that the parent knows what a crash belongs to.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edge_wsd.child_process import keep_crashes_quiet, write_report
from edge_wsd.llama.kernels import LAST_STEP

if TYPE_CHECKING:
    from edge_wsd.llama.settings import ModelSettings

BATCHES = (1, 8, 64)
"""Tokens decoded at once, one batch behind the other: one by one, a few proposed ones, a prompt."""
_MOST_THREADS = 4  # enough to share each product out; more would wait for each other longer than they work
_SEED = 1


def main(arguments: list[str]) -> None:
    """`arguments`: "on" or "off" for extra buffer types, and a folder to write to."""
    extra_buffers, folder = arguments
    keep_crashes_quiet()
    write_report(begin="the start of llama.cpp")
    for facts in steps(extra_buffers == "on", Path(folder)):
        write_report(**facts)


def steps(extra_buffers: bool, folder: Path) -> Iterator[dict[str, object]]:
    """What happens, step by step. Whatever touches llama.cpp is imported only here."""
    from edge_wsd.llama import library
    from edge_wsd.llama.repacking import extra_buffer_names
    from edge_wsd.llama.settings import ModelSettings
    from edge_wsd.llama.threads import usable_cores
    from edge_wsd.llama.tools.kernel_model import TYPES

    library.start()
    yield {"end": "the start of llama.cpp", "buffers": extra_buffer_names() if extra_buffers else []}
    settings = ModelSettings(
        extra_buffers="on" if extra_buffers else "off",
        gpu_layers=0,
        threads=min(_MOST_THREADS, usable_cores()),
        batch=max(BATCHES),
    )
    for type_name in TYPES:
        yield from _run_type(type_name, settings, folder / f"{type_name}.gguf")
    yield {"begin": LAST_STEP}


def _run_type(type_name: str, settings: ModelSettings, path: Path) -> Iterator[dict[str, object]]:
    import numpy as np

    from edge_wsd.llama.context import Context
    from edge_wsd.llama.model import Model
    from edge_wsd.llama.tools.kernel_model import N_VOCAB, KernelModel, relative_error

    yield {"begin": f"loading {type_name} weights"}
    expected = KernelModel(type_name)
    expected.write(path)
    tokens = np.random.default_rng(_SEED).integers(0, N_VOCAB, sum(BATCHES))
    rows, start = expected.logits(tokens), 0
    with Model.load(path, settings, host_only=True) as model, Context(model, settings) as context:
        sequence = context.sequence()
        for n_tokens in BATCHES:
            step = f"{type_name} weights, {n_tokens} token{'s' if n_tokens > 1 else ''} at once"
            yield {"begin": step}
            end = start + n_tokens
            error = relative_error(sequence.logits(tokens[start:end].tolist()), rows[start:end])
            yield {"end": step, "error": error if np.isfinite(error) else None}
            start = end
    path.unlink()
