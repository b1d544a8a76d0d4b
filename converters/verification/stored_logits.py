"""A model's predictions on disk, so that many others can be compared with it while only one is in memory.

>>> with StoredLogits.of(parent, windows, n_vocab, folder) as stored:
...     measure(stored.reader(), model, windows)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from types import TracebackType

import numpy as np

from edge_wsd.errors import VerificationError
from edge_wsd.progress import Progress

from ..writing.target import require_space
from .comparison import Logits
from .logits import CHUNK, LogitsSource, require_finite
from .text_windows import Window, n_predictions

_FLOAT_BYTES = 4
_ADVICE = "free some space, name another folder in TMPDIR or compare fewer tokens (--max-tokens)"


class StoredLogits:
    """Rows of 32-bit floats in a file inside `folder`: 4 bytes for each position and token of the vocabulary."""

    def __init__(self, path: Path, name: str, n_vocab: int) -> None:
        self._path, self._name, self._n_vocab = path, name, n_vocab

    @classmethod
    def of(
        cls, source: LogitsSource, windows: Sequence[Window], n_vocab: int, folder: Path,
        progress: Progress | None = None,
    ) -> StoredLogits:  # fmt: skip
        """Lets `source` predict all `windows`. `folder` is a temporary one of the caller, who deletes it.

        Raises VerificationError for too little disk, NaN or a failed write.
        """
        total = n_predictions(windows)
        require_space(folder, total * n_vocab * _FLOAT_BYTES, VerificationError, _ADVICE)
        path, done = folder / "parent.logits", 0
        try:
            with path.open("wb") as file:
                for window in windows:
                    for rows in source.rows(window):
                        require_finite(source.name, rows, done)
                        file.write(rows.data)
                        done += len(rows)
                        if progress:
                            progress(done, total)
        except OSError as error:
            raise VerificationError(f"cannot write {path}: {error.strerror or error}") from error
        return cls(path, source.name, n_vocab)

    def reader(self) -> _StoredRows:
        """A source that gives the rows of all windows once more, in the order in which they were stored."""
        return _StoredRows(self._path.open("rb"), self._name, self._n_vocab)

    def __enter__(self) -> StoredLogits:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._path.unlink(missing_ok=True)


class _StoredRows:
    def __init__(self, file: BufferedReader, name: str, n_vocab: int) -> None:
        self.name = name
        self._file = file
        self._buffer = np.empty((CHUNK, n_vocab), np.float32)

    def rows(self, window: Window) -> Iterator[Logits]:
        for first in range(0, len(window) - 1, CHUNK):
            rows = self._buffer[: len(window) - 1 - first]
            if self._file.readinto(rows.data.cast("B")) != rows.nbytes:
                raise VerificationError(f"the stored predictions of {self.name} have been cut short; try again")
            yield rows

    def __enter__(self) -> _StoredRows:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._file.close()
