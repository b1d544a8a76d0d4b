"""Whether a GGUF file splits text as its checkpoint does.

>>> print(tokenizer_agreement(Path("my-model"), Path("my-model.gguf")))
1890 of 1890 texts split alike
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_wsd.llama.model import Model
from edge_wsd.llama.settings import ModelSettings
from edge_wsd.llama.vocab import Vocab
from edge_wsd.models.gguf.check import check_gguf
from edge_wsd.progress import Progress

from ..tokenizers.reference import Reference, read_reference
from .tokenizer_texts import tokenizer_test_texts

LEAST_SHARE = 0.999
"""Share of texts that must be split alike for a tokenizer to be right."""
_BEFORE, _AFTER = 2, 6
_EXCERPT_CHARACTERS = 60


@dataclass(frozen=True)
class Difference:
    """Where two token lists part: `expected` and `found` begin at token `start`; `position` differs first."""

    text: str
    excerpt: str
    position: int
    start: int
    expected: tuple[int, ...]
    found: tuple[int, ...]
    expected_tokens: tuple[str, ...]
    found_tokens: tuple[str, ...]

    def __str__(self) -> str:
        expected, found = _spelled(self.expected, self.expected_tokens), _spelled(self.found, self.found_tokens)
        return (
            f"{self.excerpt} differs at token {self.position}: from token {self.start} on the checkpoint has "
            f"[{expected}], the GGUF has [{found}]"
        )


@dataclass(frozen=True)
class Agreement:
    """How many of `n_texts` both sides split into the same ids, BOS, EOS and special tokens included.

    `n_only_normalized` of the others agree once they are composed (NFC), which the checkpoint's tokenizer does by
    itself and llama.cpp does not. `first_difference` is one without this explanation, if there is any.
    """

    n_texts: int
    n_equal: int
    first_difference: Difference | None
    n_only_normalized: int = 0

    @property
    def share(self) -> float:
        """From 0 to 1; 1 without texts."""
        return self.n_equal / self.n_texts if self.n_texts else 1.0

    @property
    def n_alike(self) -> int:
        """Texts split alike, or as alike as llama.cpp can: it never composes characters (NFC)."""
        return self.n_equal + self.n_only_normalized

    @property
    def holds(self) -> bool:
        """Whether `n_alike` is LEAST_SHARE of all texts or more."""
        return self.n_alike >= LEAST_SHARE * self.n_texts

    def __str__(self) -> str:
        line = f"{self.n_equal} of {self.n_texts} texts split alike"
        if self.n_only_normalized:
            line += f"; {self.n_only_normalized} more do once they are composed (NFC), which llama.cpp does not do"
        return f"{line}; {self.first_difference}" if self.first_difference else line


def tokenizer_agreement(
    checkpoint: Path, gguf: Path, texts: Sequence[str] | None = None, *, progress: Progress | None = None
) -> Agreement:
    """Compares the tokenizer in the folder `checkpoint` with the one in the file `gguf`, text by text.

    Without `texts` it takes `tokenizer_test_texts` with every special token of the checkpoint. `progress(done, total)`
    counts texts. Code of the checkpoint is never run. Raises VerificationError where the checkpoint's tokenizer cannot
    be loaded, ModelFileError or ModelLoadError where the GGUF file cannot.
    """
    check_gguf(gguf, need_weights=False)
    reference = read_reference(checkpoint)
    with Model.load(gguf, ModelSettings(gpu_layers=0), vocab_only=True) as model:
        if texts is None:  # a token without an embedding is in no file
            special = [text for text, token in reference.special_tokens.items() if token < model.vocab.n_tokens]
            texts = tokenizer_test_texts(special)
        texts = [_encodable(text) for text in texts]
        return _compare(reference, model.vocab, texts, progress)


def gguf_ids(vocab: Vocab, text: str) -> list[int]:
    """Ids as llama.cpp makes them of a prompt: special tokens are read, BOS and EOS added where the file says so."""
    ids = vocab.tokenize(text, special=True, bos=vocab.add_bos)
    return [*ids, vocab.eos] if vocab.add_eos and vocab.eos is not None else ids


def _compare(reference: Reference, vocab: Vocab, texts: Sequence[str], progress: Progress | None) -> Agreement:
    unexplained: list[Difference] = []
    normalized: list[Difference] = []
    for done, (text, expected) in enumerate(zip(texts, reference.ids(texts), strict=True), 1):
        found = gguf_ids(vocab, text)
        if found != expected:
            agrees = gguf_ids(vocab, unicodedata.normalize("NFC", text)) == expected
            (normalized if agrees else unexplained).append(_difference(vocab, text, expected, found))
        if progress:
            progress(done, len(texts))
    different = unexplained + normalized
    first = different[0] if different else None
    return Agreement(len(texts), len(texts) - len(different), first, len(normalized))


def _difference(vocab: Vocab, text: str, expected: list[int], found: list[int]) -> Difference:
    shorter = min(len(expected), len(found))
    position = next((at for at in range(shorter) if expected[at] != found[at]), shorter)
    start, end = max(0, position - _BEFORE), position + _AFTER
    sides = tuple(expected[start:end]), tuple(found[start:end])
    spelled = [tuple(_token_text(vocab, token) for token in side) for side in sides]
    excerpt = _excerpt(text, _characters(vocab, found[:position]))
    return Difference(text, excerpt, position, start, *sides, *spelled)


def _excerpt(text: str, at: int) -> str:
    """The text around character `at`, quoted, with dots where something is left out."""
    begin = max(0, min(at, len(text)) - _EXCERPT_CHARACTERS // 2)
    end = begin + _EXCERPT_CHARACTERS
    return f"{'…' if begin else ''}{text[begin:end]!r}{'…' if end < len(text) else ''}"


def _characters(vocab: Vocab, tokens: Iterable[int]) -> int:
    """About how many characters of a text `tokens` stand for."""
    raw = b"".join(vocab.piece(token) or vocab.text(token).encode() for token in tokens)
    return len(raw.decode(errors="ignore"))


def _token_text(vocab: Vocab, token: int) -> str:
    return vocab.text(token) if 0 <= token < vocab.n_tokens else "outside the vocabulary"


def _spelled(tokens: Iterable[int], texts: Iterable[str]) -> str:
    return ", ".join(f"{token} {text!r}" for token, text in zip(tokens, texts, strict=True))


def _encodable(text: str) -> str:
    """Lone surrogates have no UTF-8 form; both sides get the same question mark for them."""
    return text.encode(errors="replace").decode()
