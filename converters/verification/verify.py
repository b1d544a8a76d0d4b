"""Holds a converted GGUF file against the checkpoint that it was made from.

>>> result = verify("my-model", "my-model.gguf")
>>> result.holds, result.logits.max_delta
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edge_wsd._native import CancelFlag
from edge_wsd.errors import VerificationError
from edge_wsd.llama.model import Model
from edge_wsd.llama.settings import ModelSettings
from edge_wsd.models.probe.trial import probe_model
from edge_wsd.progress import StageProgress, no_progress

from ..checkpoint.folder import Checkpoint
from ..conversion import family_of
from ..lora import read_adapters
from ..tokenizers.reference import read_reference
from .checkpoint_logits import CheckpointLogits, require_transformers
from .comparison import Comparison
from .evaluation_texts import evaluation_texts
from .gguf_facts import GgufFacts, read_facts
from .logits import GgufLogits, gguf_settings, measure
from .template_agreement import TemplateAgreement, read_chat_tokenizer, template_agreement
from .text_windows import Window, cut_windows, window_length
from .tokenizer_agreement import LEAST_SHARE, Agreement, tokenizer_agreement

F32_LIMIT = 1e-3
"""Largest difference of a log-probability where both sides hold the same 32-bit floats.

Rounding alone makes 4e-4 in the random model of 12 layers that the tests have; a wrong epsilon of its norms makes 4e-2.
"""
GELU_LIMIT = 1e-2
"""The same for a model with GELU, which llama.cpp looks up in a table of half-precision numbers on the CPU."""
_GELU = frozenset({"gemma", "gemma2", "gemma3"})


@dataclass(frozen=True, slots=True)
class Verification:
    """A GGUF file against its checkpoint, in three parts. `logits_limit` is None for a type that is not exact."""

    checkpoint: Path
    gguf: Path
    architecture: str
    type: str
    logits: Comparison
    logits_limit: float | None
    tokenizer: Agreement
    template: TemplateAgreement

    @property
    def logits_hold(self) -> bool:
        return self.logits_limit is None or self.logits.max_delta <= self.logits_limit

    @property
    def tokenizer_share(self) -> float:
        """Of texts split alike as far as llama.cpp can; 1 without texts."""
        return self.tokenizer.n_alike / self.tokenizer.n_texts if self.tokenizer.n_texts else 1.0

    @property
    def tokenizer_holds(self) -> bool:
        return self.tokenizer.holds

    @property
    def template_holds(self) -> bool:
        return self.template.holds

    @property
    def holds(self) -> bool:
        return not self.failures

    @property
    def failures(self) -> list[str]:
        """What does not hold, part by part; empty if the conversion is right."""
        found = []
        if not self.logits_hold:
            found.append(f"logits: max |Δ log-probability| {self.logits.max_delta:.2e}, limit {self.logits_limit:.0e}")
        if not self.tokenizer_holds:
            found.append(f"tokenizer: {self.tokenizer_share:.2%} of texts split alike, limit {LEAST_SHARE:.1%}")
        if self.template.missing in ("checkpoint", "gguf"):
            where = "checkpoint" if self.template.missing == "checkpoint" else "GGUF"
            found.append(f"chat template: the {where} has none")
        elif not self.template_holds:
            found.append(f"chat template: {self.template.n_equal} of {self.template.n_conversations} rendered alike")
        return found


def verify(
    checkpoint: str | Path,
    gguf: str | Path,
    *,
    lora: str | Path | Sequence[str | Path] = (),
    texts: Sequence[str] | None = None,
    context_length: int | None = None,
    max_tokens: int | None = None,
    threads: int | None = None,
    progress: StageProgress | None = None,
    cancel: CancelFlag | None = None,
) -> Verification:
    """Compares logits, tokenizer and chat template of `gguf` with those of the folder `checkpoint`.

    `lora` names the folders of the adapters that `gguf` was converted with.

    Logits are compared over `texts` (the built-in ones by default), cut into windows of `context_length` tokens
    (512, or what the model was trained with), at most `max_tokens` of them. Both sides read the ids that the
    checkpoint's tokenizer makes, on the CPU, the checkpoint in 32-bit floats. Beside the weights of both this takes
    the memory of one window's logits (0.5 GiB for 262,144 tokens).

    A difference is a result, not an error. Raises ConversionError for what is no checkpoint, ModelFileError for what
    is no GGUF, VerificationError for two that cannot be compared, Cancelled once `cancel` is set.
    """
    source, target = Path(checkpoint), Path(gguf)
    folder = Checkpoint(source)
    facts = read_facts(target)
    _require_same_shape(folder, facts)
    adapters = read_adapters(lora, family_of(folder))
    require_transformers()
    probe_model(target, header=facts.header, settings=gguf_settings(threads=threads))
    report = progress or no_progress
    agreement = tokenizer_agreement(source, target, progress=partial(report, "tokenizer"))
    report("chat template", 0, 1)
    with Model.load(target, ModelSettings(gpu_layers=0), vocab_only=True) as model:
        template = template_agreement(read_chat_tokenizer(folder), model)
        windows = _windows(source, model, facts, texts, context_length, max_tokens)
    report("loading", 0, 1)
    length = max(map(len, windows))
    with (
        GgufLogits(target, length=length, threads=threads, cancel=cancel) as converted,
        CheckpointLogits(source, adapters=adapters, cancel=cancel) as reference,
    ):
        logits = measure(reference, converted, windows, partial(report, "logits"))
    return Verification(
        source, target, facts.architecture, facts.type, logits, logits_limit(facts), agreement, template
    )


def logits_limit(facts: GgufFacts) -> float | None:
    """How far a log-probability may be off; None for a file that does not hold the checkpoint's own numbers."""
    if facts.tensor_types != {"F32"}:
        return None
    return GELU_LIMIT if facts.architecture in _GELU else F32_LIMIT


def _require_same_shape(checkpoint: Checkpoint, facts: GgufFacts) -> None:
    family = family_of(checkpoint)
    if family.architecture != facts.architecture:
        raise VerificationError(
            f"{facts.path} is a {facts.architecture} model, {checkpoint.folder} a {family.architecture} model; "
            "give the checkpoint that the file was made from"
        )
    if family.n_vocab != facts.n_vocab:
        raise VerificationError(
            f"{facts.path} has {facts.n_vocab} tokens, {checkpoint.folder} has {family.n_vocab}; "
            "give the checkpoint that the file was made from"
        )


def _windows(
    source: Path,
    model: Model,
    facts: GgufFacts,
    texts: Sequence[str] | None,
    context_length: int | None,
    max_tokens: int | None,
) -> list[Window]:
    trained = int(facts.header.metadata[f"{facts.architecture}.context_length"])
    length = window_length(context_length, trained, facts.path)
    ids = read_reference(source).ids(list(evaluation_texts() if texts is None else texts))
    largest = max((max(tokens) for tokens in ids if tokens), default=0)
    if largest >= facts.n_vocab:
        raise VerificationError(
            f"the tokenizer of {source} makes the id {largest}, the model has only {facts.n_vocab} tokens"
        )
    # Every window begins as the checkpoint's tokenizer begins a text.
    bos = model.vocab.bos
    with_bos = bos is not None and all(tokens[0] == bos for tokens in ids if tokens)
    bare = [tokens[1:] for tokens in ids] if with_bos else ids
    return cut_windows(bare, length=length, bos=bos if with_bos else None, most=max_tokens)
