"""What is lost by quantizing: files of one model against their unquantized parent.

>>> table = compare_quants("model-F16.gguf", ["model-Q8_0.gguf", "Q4_K_M"])
>>> [(row.type, row.comparison.mean_kl) for row in table.rows]

One model is in memory at a time: the parent's predictions wait on disk, 4 bytes for each token of the vocabulary
at each position.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edge_wsd._native import CancelFlag
from edge_wsd.errors import Cancelled, ConversionError, VerificationError
from edge_wsd.files import scratch_folder
from edge_wsd.llama.model import Model
from edge_wsd.llama.settings import ModelSettings
from edge_wsd.llama.vocabulary_verdict import compare_vocabularies
from edge_wsd.models.gguf.file_types import find_type
from edge_wsd.models.probe.trial import probe_model
from edge_wsd.progress import StageProgress, no_progress

from ..quantization.quantize import quantize, require_imatrix
from .comparison import Comparison
from .evaluation_texts import evaluation_texts
from .gguf_facts import GgufFacts, read_facts
from .logits import GgufLogits, gguf_settings, measure
from .stored_logits import StoredLogits
from .text_windows import Window, cut_windows, window_length

_SAME = "compare files made from the parent"


@dataclass(frozen=True, slots=True)
class QuantRow:
    """One file against the parent. `name` is the file, or the type that was quantized for this alone."""

    name: str
    type: str
    n_bytes: int
    bits_per_weight: float
    comparison: Comparison


@dataclass(frozen=True, slots=True)
class QuantTable:
    """The parent, and its quantized files in the order in which they were given."""

    parent: Path
    type: str
    n_bytes: int
    bits_per_weight: float
    rows: tuple[QuantRow, ...]

    @property
    def n_tokens(self) -> int:
        return self.rows[0].comparison.n_tokens

    @property
    def perplexity(self) -> float:
        return self.rows[0].comparison.reference_perplexity

    @property
    def perplexity_error(self) -> float | None:
        return self.rows[0].comparison.reference_perplexity_error


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A file, or a type to be made."""

    name: str
    facts: GgufFacts | None


@dataclass(frozen=True, slots=True)
class _Run:
    """How every model is run, and where its progress goes."""

    length: int
    gpu_layers: int
    threads: int | None
    report: StageProgress
    cancel: CancelFlag | None

    def open(self, path: Path) -> GgufLogits:
        return GgufLogits(
            path, length=self.length, gpu_layers=self.gpu_layers, threads=self.threads, cancel=self.cancel
        )

    def checked(self, what: str) -> Callable[[int, int], None]:
        """Progress of `what`; raises Cancelled once that is wanted."""

        def report(done: int, total: int) -> None:
            if self.cancel is not None and self.cancel.is_set:
                raise Cancelled("the comparison was stopped")
            self.report(what, done, total)

        return report


def compare_quants(
    parent: str | Path,
    candidates: Sequence[str | Path],
    *,
    texts: Sequence[str] | None = None,
    context_length: int | None = None,
    max_tokens: int | None = None,
    imatrix: str | Path | None = None,
    gpu_layers: int = 0,
    threads: int | None = None,
    progress: StageProgress | None = None,
    cancel: CancelFlag | None = None,
) -> QuantTable:
    """Compares each candidate with `parent`, a file of type F32, F16 or BF16.

    A candidate is a GGUF file, or the name of a type: then `parent` is quantized to it (with `imatrix`) in a
    temporary folder. That folder, which also takes the parent's predictions, is made beside the parent or in TMPDIR.
    `texts` (the built-in ones by default) are cut into windows of `context_length` tokens, at most `max_tokens` of
    them. Raises ModelFileError, VerificationError, QuantizationError, Cancelled once `cancel` is set.
    """
    if not candidates:
        raise VerificationError("there is nothing to compare with the parent; give files or names of types")
    facts = read_facts(parent)
    if not facts.is_float:
        raise VerificationError(f"{facts.path} is {facts.type}, itself quantized; give the F16, BF16 or F32 file")
    chosen = [_candidate(str(candidate), imatrix) for candidate in candidates]
    for each in (facts, *(candidate.facts for candidate in chosen if candidate.facts)):
        probe_model(each.path, header=each.header, settings=gguf_settings(gpu_layers=gpu_layers))
    windows = _windows(facts, chosen, texts, context_length, max_tokens)
    run = _Run(max(map(len, windows)), gpu_layers, threads, progress or no_progress, cancel)
    with _work_folder(facts.path) as folder:
        with run.open(facts.path) as source:
            stored = StoredLogits.of(source, windows, facts.n_vocab, folder, partial(run.report, facts.path.name))
        with stored:
            rows = []
            for candidate in chosen:
                with _file_of(candidate, facts.path, folder, imatrix, run) as file:
                    rows.append(_row(candidate.name, file, stored, windows, run))
    return QuantTable(facts.path, facts.type, facts.n_bytes, facts.bits_per_weight, tuple(rows))


@contextmanager
def _file_of(
    candidate: _Candidate, parent: Path, folder: Path, imatrix: str | Path | None, run: _Run
) -> Iterator[GgufFacts]:
    """The candidate's file. One that is made of the parent only lasts as long as the block."""
    if candidate.facts is not None:
        yield candidate.facts
        return
    made = folder / f"{candidate.name}.gguf"
    try:
        quantize(
            parent, made, candidate.name, imatrix=None if imatrix is None else Path(imatrix), threads=run.threads,
            progress=run.checked(f"{candidate.name}: quantizing"),
        )  # fmt: skip
        yield read_facts(made)
    finally:
        made.unlink(missing_ok=True)


def _row(name: str, file: GgufFacts, stored: StoredLogits, windows: Sequence[Window], run: _Run) -> QuantRow:
    with stored.reader() as reference, run.open(file.path) as model:
        comparison = measure(reference, model, windows, partial(run.report, name))
    return QuantRow(name, file.type, file.n_bytes, file.bits_per_weight, comparison)


def _candidate(name: str, imatrix: str | Path | None) -> _Candidate:
    """A file goes before a type of the same name."""
    if Path(name).exists():
        return _Candidate(name, read_facts(name))
    try:
        wanted = find_type(name)
    except ConversionError as error:
        if Path(name).name != name or name.lower().endswith(".gguf"):
            raise VerificationError(f"{name}: no such file; check the name") from error
        raise VerificationError(f"{name}: no such file, and as a {error}") from error
    require_imatrix(wanted, imatrix)
    return _Candidate(wanted.name, None)


def _windows(
    parent: GgufFacts,
    candidates: Sequence[_Candidate],
    texts: Sequence[str] | None,
    context_length: int | None,
    max_tokens: int | None,
) -> list[Window]:
    """The texts in the parent's tokens. Raises VerificationError for a candidate with another vocabulary."""
    trained = int(parent.header.metadata[f"{parent.architecture}.context_length"])
    length = window_length(context_length, trained, parent.path)
    settings = ModelSettings(gpu_layers=0)
    with Model.load(parent.path, settings, vocab_only=True) as model:
        for facts in (candidate.facts for candidate in candidates if candidate.facts):
            if facts.architecture != parent.architecture:
                raise VerificationError(
                    f"{facts.path} is a {facts.architecture} model, {parent.path} a {parent.architecture} one; {_SAME}"
                )
            with Model.load(facts.path, settings, vocab_only=True) as other:
                verdict = compare_vocabularies(model.vocab, other.vocab, names=("parent", "file"))
            if verdict.verdict != "identical":
                raise VerificationError(
                    f"{facts.path} has another vocabulary than {parent.path}: {verdict.reason}; {_SAME}"
                )
        vocab = model.vocab
        ids = [vocab.tokenize(text) for text in (evaluation_texts() if texts is None else texts)]
        bos = vocab.bos if vocab.add_bos else None
    return cut_windows(ids, length=length, bos=bos, most=max_tokens)


@contextmanager
def _work_folder(parent: Path) -> Iterator[Path]:
    """Beside the parent, where there is room for models; a system's usual place for such things is often memory."""
    place = Path(os.environ.get("TMPDIR") or parent.absolute().parent)
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(scratch_folder(place))
        except OSError as error:
            raise VerificationError(
                f"no folder can be made in {place}: {error.strerror or error}; name another one in TMPDIR"
            ) from error
        yield folder
