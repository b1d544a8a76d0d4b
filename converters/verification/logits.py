"""Reads what models predict, a few rows at a time, and holds one model against another.

>>> with GgufLogits("a.gguf") as reference, GgufLogits("b.gguf") as model:
...     measure(reference, model, windows).mean_kl

At no time are more than `CHUNK` rows of each side in memory, besides what a source itself keeps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np

from edge_wsd._native import CancelFlag
from edge_wsd.errors import Cancelled, VerificationError
from edge_wsd.llama.context import Context
from edge_wsd.llama.model import Model
from edge_wsd.llama.settings import ModelSettings
from edge_wsd.progress import Progress

from .comparison import Comparison, Logits, Tally
from .text_windows import DEFAULT_LENGTH, Window, n_predictions

CHUNK = 64
"""Rows of logits handed on at once: 64 MiB for a vocabulary of 262,144 tokens."""


class LogitsSource(Protocol):
    """Whatever predicts: a GGUF file, a checkpoint, predictions stored before."""

    name: str

    def rows(self, window: Window) -> Iterator[Logits]:
        """What follows each token of `window` but the last, in chunks of CHUNK rows; each only holds until the next."""
        ...


def gguf_settings(length: int = DEFAULT_LENGTH, gpu_layers: int = 0, threads: int | None = None) -> ModelSettings:
    """How a GGUF file is put into memory for windows of up to `length` tokens: a KV cache of 32-bit floats, so that
    only the weights make a difference."""
    return ModelSettings(
        gpu_layers=gpu_layers, threads=threads, kv_type="f32", flash_attention="off", batch=CHUNK,
        context_length=max(length, CHUNK),
    )  # fmt: skip


class GgufLogits:
    """A GGUF file in memory, as `gguf_settings` says."""

    def __init__(
        self,
        path: str | Path,
        *,
        length: int = DEFAULT_LENGTH,
        gpu_layers: int = 0,
        threads: int | None = None,
        cancel: CancelFlag | None = None,
    ) -> None:
        """`length` is that of the longest window. Check the file first (`edge_wsd.models.probe.trial`).

        Raises ModelLoadError, and Cancelled once `cancel` is set; so does `rows`.
        """
        self.name = str(path)
        settings = gguf_settings(length, gpu_layers, threads)

        def stop_if_cancelled(_share: float) -> None:
            if cancel is not None and cancel.is_set:
                raise Cancelled("the comparison was stopped")

        with ExitStack() as stack:
            self.model = stack.enter_context(Model.load(path, settings, progress=stop_if_cancelled))
            context = stack.enter_context(Context(self.model, settings))
            if cancel is not None:
                context.watch(cancel)
            self._sequence = context.sequence()
            self._owned = stack.pop_all()

    def rows(self, window: Window) -> Iterator[Logits]:
        self._sequence.clear()
        read = window[:-1].tolist()
        for first in range(0, len(read), CHUNK):
            yield self._sequence.logits(read[first : first + CHUNK])

    def __enter__(self) -> GgufLogits:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._owned.close()


def measure(
    reference: LogitsSource, model: LogitsSource, windows: Sequence[Window], progress: Progress | None = None
) -> Comparison:
    """How far `model` is from `reference` on `windows`. Raises VerificationError where one predicts NaN."""
    tally, done, total = Tally(), 0, n_predictions(windows)
    for window in windows:
        at = 0
        for expected, rows in zip(reference.rows(window), model.rows(window), strict=True):
            for source, values in ((reference, expected), (model, rows)):
                require_finite(source.name, values, done)
            tally.add(expected, rows, window[at + 1 : at + 1 + len(rows)])
            at, done = at + len(rows), done + len(rows)
            if progress:
                progress(done, total)
    return tally.result()


def require_finite(name: str, rows: Logits, position: int) -> None:
    """`position` is that of the first row among all positions, for the message."""
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        position += int(finite.argmin()) + 1
        raise VerificationError(
            f"{name}: the prediction at position {position} holds NaN or infinity; "
            "its weights are damaged, or overflow in their type"
        )
