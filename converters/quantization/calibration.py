"""Collects an importance matrix: runs a model over a text and adds up what flows into each of its weights.

>>> collected = collect_imatrix("model-F16.gguf")
>>> write_imatrix("imatrix.gguf", collected.imatrix)
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from edge_wsd._native import CancelFlag
from edge_wsd.errors import Cancelled, EdgeWsdError, OptionError, QuantizationError
from edge_wsd.llama.context import Context
from edge_wsd.llama.model import Model
from edge_wsd.llama.settings import ModelSettings
from edge_wsd.llama.tools.tap import Sums, Tap
from edge_wsd.llama.vocab import Vocab
from edge_wsd.models.gguf.check import check_gguf, n_parts, part_paths
from edge_wsd.models.gguf.header import TensorInfo, read_header
from edge_wsd.models.probe.trial import probe_model
from edge_wsd.progress import Progress
from edge_wsd.reading import read_bounded
from edge_wsd.units import counted

from ..writing.target import require_space
from .imatrix import Activations, Imatrix
from .imatrix_progress import Keeper, Measured, identity_of
from .importance import n_columns

CHUNK_TOKENS = 512
"""Tokens per chunk unless told otherwise; what llama.cpp's own tool uses."""
SMALLEST_CHUNK, LARGEST_CHUNK = 16, 8192
MOST_TEXT_BYTES = 256 << 20
BUILT_IN_DATASET = "edge-wsd calibration text"
_TEXT = Path(__file__).with_name("calibration.txt")
_LAYERS, _OUTPUT = "blk.", "output.weight"
_SUM_BYTES = 8
_PROGRESS_COPIES = 3
"""On disk at one time: the kept sums, those that replace them, and the matrix."""


@dataclass(frozen=True, eq=False)
class Collection:
    """A collected importance matrix and how it was come by."""

    imatrix: Imatrix
    n_tokens: int
    seconds: float
    """Time of the passes alone, without loading the model."""
    perplexity: float
    """Of the second half of each chunk, given all before it: the figure that llama.cpp's tools show."""
    n_unused: int
    """Experts that no token was sent to. Their columns all count the same."""
    n_tokens_before: int = 0
    """Of `n_tokens`, those that an earlier run had measured."""


def calibration_text() -> str:
    """The text that comes with this package: prose in many languages, dialogue, code, mathematics, data."""
    return _TEXT.read_text(encoding="utf-8")


def read_calibration_text(path: str | Path) -> str:
    """A text of the user's own. Raises `QuantizationError` if it is not UTF-8 text."""
    try:
        return read_bounded(path, MOST_TEXT_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise QuantizationError(
            f"{path}: is not UTF-8 text (byte {error.start} is {error.object[error.start]:#04x}); save it as UTF-8"
        ) from error
    except OSError as error:
        raise QuantizationError(f"{path}: cannot be read: {error.strerror or error}; check its name") from error


def collect_imatrix(
    gguf: str | Path,
    text: str | None = None,
    *,
    dataset: str | None = None,
    chunk_tokens: int = CHUNK_TOKENS,
    max_chunks: int | None = None,
    process_output: bool = False,
    settings: ModelSettings | None = None,
    progress: Progress | None = None,
    cancel: CancelFlag | None = None,
    progress_file: str | Path | None = None,
) -> Collection:
    """Runs the model at `gguf` over `text` (None: the built-in one) in chunks of `chunk_tokens`, each on its own.

    A last chunk that is not full is left out. `dataset` is the name of the text that the matrix keeps.
    `process_output` includes the output matrix, which llama.cpp's tool leaves out as well unless told otherwise.
    Of `settings`, the context and batch size follow from the chunks. `progress(done, total)` counts chunks.
    What is measured is kept in `progress_file` as it goes, and a later run of the same goes on from there; remove it
    once the matrix is written. Raises `ModelFileError`, `ModelLoadError`, `OptionError`, `QuantizationError` for a text
    that is too short or a disk that is full, and `Cancelled` once `cancel` is set.
    """
    _check_options(chunk_tokens, max_chunks)
    path = Path(gguf)
    settings = replace(settings or ModelSettings(), context_length=chunk_tokens, batch=chunk_tokens)
    weights = _weights(path, process_output, settings)
    if progress_file is not None:
        require_space(Path(progress_file).absolute().parent, _PROGRESS_COPIES * _n_bytes(weights), QuantizationError)
    dataset = dataset or (BUILT_IN_DATASET if text is None else "text")

    def stop_if_cancelled(_share: float) -> None:
        if cancel is not None and cancel.is_set:
            raise Cancelled("the measurement was stopped")

    with Model.load(path, settings, progress=stop_if_cancelled) as model:
        chunks = _chunks(model, calibration_text() if text is None else text, chunk_tokens, max_chunks)
        keeper = None
        if progress_file is not None:
            keeper = Keeper(Path(progress_file), _identity(path, weights, settings), chunks)
        measured = keeper.taken_up() if keeper is not None else Measured()
        n_before = measured.n_chunks
        tap = Tap(set(weights), measured.sums)
        with Context(model, settings, tap=tap) as context:
            if cancel is not None:
                context.watch(cancel)
            began = time.perf_counter()
            for _ in _measuring(context, tap, chunks, measured, progress):
                if keeper is not None:
                    keeper.keep(measured, now=measured.n_chunks == len(chunks))
            seconds = time.perf_counter() - began
    if not tap.sums:
        raise QuantizationError(f"{path}: none of its weights was used while it computed; no matrix can be made")
    imatrix = Imatrix(_activations(tap.sums), len(chunks), chunk_tokens, (dataset,))
    n_unused = sum(int(np.count_nonzero(found.counts == 0)) for found in imatrix.activations.values())
    perplexity = math.exp(min(measured.loss / measured.n_losses, 700.0))
    n_tokens = len(chunks) * chunk_tokens
    return Collection(imatrix, n_tokens, seconds, perplexity, n_unused, n_before * chunk_tokens)


def _check_options(chunk_tokens: int, max_chunks: int | None) -> None:
    if not SMALLEST_CHUNK <= chunk_tokens <= LARGEST_CHUNK:
        raise OptionError(f"chunk_tokens must be {SMALLEST_CHUNK} to {LARGEST_CHUNK}, not {chunk_tokens}")
    if max_chunks is not None and max_chunks < 1:
        raise OptionError(f"max_chunks must be at least 1, not {max_chunks}")


def _weights(path: Path, process_output: bool, settings: ModelSettings) -> dict[str, TensorInfo]:
    """The tensors to look at, by name. Makes sure that llama.cpp can use the file."""
    header = check_gguf(path)
    probe_model(path, header=header, settings=settings)
    files = part_paths(path, n_parts(header))
    tensors = {tensor.name: tensor for file in files for tensor in read_header(file).tensors}
    return {
        name: tensor
        for name, tensor in tensors.items()
        if name.startswith(_LAYERS) or (process_output and name == _OUTPUT)
    }


def _n_bytes(weights: Mapping[str, TensorInfo]) -> int:
    """About the size of the sums: vectors, such as norms, have none."""
    matrices = [tensor for tensor in weights.values() if len(tensor.shape) > 1]
    return sum(_SUM_BYTES * n_columns(tensor) for tensor in matrices)


def _identity(path: Path, weights: Mapping[str, TensorInfo], settings: ModelSettings) -> str:
    """What is measured; how many threads do it is all the same."""
    files = part_paths(path, n_parts(read_header(path)))
    how = {name: value for name, value in asdict(settings).items() if name != "threads"}
    return identity_of(
        files, {"weights": sorted(weights), "settings": {name: repr(value) for name, value in how.items()}}
    )


def _chunks(model: Model, text: str, chunk_tokens: int, max_chunks: int | None) -> list[list[int]]:
    if model.n_ctx_train and chunk_tokens > model.n_ctx_train:
        raise OptionError(
            f"chunk_tokens must be at most {model.n_ctx_train}, the context that {model.path} was trained with, "
            f"not {chunk_tokens}"
        )
    vocab = model.vocab
    tokens = vocab.tokenize(text, bos=vocab.add_bos)
    n_chunks = len(tokens) // chunk_tokens
    if not n_chunks:
        raise QuantizationError(
            f"the text has only {counted(len(tokens), 'tokens')}, less than one chunk of {chunk_tokens}; "
            "give a longer text or smaller chunks"
        )
    n_chunks = min(n_chunks, max_chunks or n_chunks)
    return [_with_bos(tokens[index * chunk_tokens :][:chunk_tokens], vocab) for index in range(n_chunks)]


def _with_bos(chunk: list[int], vocab: Vocab) -> list[int]:
    """BOS takes the place of the first token, as in llama.cpp's own tool, so that both see the same text."""
    return [vocab.bos, *chunk[1:]] if vocab.add_bos and vocab.bos is not None else chunk


def _measuring(
    context: Context, tap: Tap, chunks: list[list[int]], measured: Measured, progress: Progress | None
) -> Iterator[None]:
    """Lets the model read the chunks that are not `measured` yet; yields whenever another one is."""
    sequence = context.sequence()
    for chunk in chunks[measured.n_chunks :]:
        if progress is not None:
            progress(measured.n_chunks, len(chunks))
        sequence.clear()
        context.raise_if_cancelled()
        try:
            scores = sequence.score(chunk[:1], chunk[1:])  # logits everywhere, else the last layer computes less
        except EdgeWsdError:
            tap.raise_failure()  # a pass that broke off has no logits either
            raise
        tap.raise_failure()
        losses = [-logprob for logprob in scores.logprobs[len(chunk) // 2 :]]
        measured.loss, measured.n_losses = sum(losses, measured.loss), measured.n_losses + len(losses)
        measured.n_chunks += 1
        yield
    if progress is not None:
        progress(len(chunks), len(chunks))


def _activations(sums: dict[str, Sums]) -> dict[str, Activations]:
    return {
        name: Activations(found.values.astype(np.float32).reshape(len(found.counts), -1), found.counts)
        for name, found in sums.items()
    }
