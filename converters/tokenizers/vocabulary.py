"""A vocabulary as GGUF stores it, whatever tokenizer it came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gguf

from edge_wsd.errors import ConversionError
from edge_wsd.llama.space_prefix import KEY

from .vocabulary_names import absorbs_as_phi3, set_name

NORMAL = int(gguf.TokenType.NORMAL)
UNKNOWN = int(gguf.TokenType.UNKNOWN)
CONTROL = int(gguf.TokenType.CONTROL)
USER_DEFINED = int(gguf.TokenType.USER_DEFINED)
UNUSED = int(gguf.TokenType.UNUSED)
BYTE = int(gguf.TokenType.BYTE)
_SPECIAL = frozenset({CONTROL, UNKNOWN, USER_DEFINED})
# All other names are those of the keys.
_ID_KEYS = {"unk": "tokenizer.ggml.unknown_token_id", "pad": "tokenizer.ggml.padding_token_id"}


@dataclass(frozen=True)
class AddedToken:
    """A token that tokenizer.json keeps whole. `special` ones are never part of ordinary text.

    `absorbs`: it takes the white space behind it along.
    """

    id: int
    text: str
    special: bool
    absorbs: bool = False


@dataclass
class TokenTable:
    """Tokens by id for a model of `size` rows; ids nobody claims stay unused padding."""

    size: int
    tokens: list[str] = field(default_factory=list)
    types: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tokens = [f"[PAD{index}]" for index in range(self.size)]
        self.types = [UNUSED] * self.size
        self.scores = [-10_000.0] * self.size

    def put(self, index: int, text: str, kind: int, score: float = -1000.0) -> None:
        """Raises ConversionError for an id that the model has no embedding for."""
        self.require(index, text)
        self.tokens[index], self.types[index], self.scores[index] = text, kind, score

    def require(self, index: int, text: str) -> None:
        """Raises ConversionError where the model has no embedding for token `index`, whose text is `text`."""
        if not 0 <= index < self.size:
            raise ConversionError(
                f"the tokenizer gives {text!r:.80} the id {index}, the model has only {self.size} embeddings; "
                "resize the model's embeddings and save it again"
            )

    def index(self) -> dict[str, int]:
        """Ids by text. Raises ConversionError when two ids have the same text or one has none."""
        found: dict[str, int] = {}
        for index, text in enumerate(self.tokens):
            if not text:
                raise ConversionError(f"token {index} of the tokenizer is empty")
            if text in found:
                raise ConversionError(f"tokens {found[text]} and {index} of the tokenizer are both {text!r}")
            found[text] = index
        return found

    def absorbs_as_phi3(self, absorbing: Iterable[str]) -> bool:
        """Whether a file called Phi-3 makes exactly the tokens in `absorbing` take white space along."""
        special = (text for text, kind in zip(self.tokens, self.types, strict=True) if kind in _SPECIAL)
        return absorbs_as_phi3(self.tokens, special, absorbing)


@dataclass(frozen=True)
class GgufVocabulary:
    """`model` is GGUF's tokenizer model ("gpt2", "llama"); `special` maps names like "bos" to ids."""

    model: str
    pre: str
    table: TokenTable
    special: Mapping[str, int]
    add_bos: bool
    add_eos: bool
    merges: Sequence[str] | None = None
    add_space_prefix: bool | None = None
    chat_template: str | Sequence[Mapping[str, str]] | None = None
    notes: tuple[str, ...] = ()
    space_prefix: str | None = None
    """Where the space goes if not where llama.cpp puts it: see `edge_wsd.llama.space_prefix`."""
    absorbs: bool = False
    """Whether special tokens take the white space behind them along, as those of Phi-3 do."""

    def write(self, writer: Any) -> None:
        """Adds everything to a GGUFWriter's metadata; the model's name may change, as llama.cpp reads it."""
        set_name(writer, self.absorbs)
        writer.add_tokenizer_model(self.model)
        writer.add_tokenizer_pre(self.pre)
        writer.add_token_list(self.table.tokens)
        writer.add_token_types(self.table.types)
        if self.merges is None:
            writer.add_token_scores(self.table.scores)
        elif self.merges:
            writer.add_token_merges(self.merges)
        for name, index in self.special.items():
            writer.add_uint32(_ID_KEYS.get(name, f"tokenizer.ggml.{name}_token_id"), index)
        writer.add_add_bos_token(self.add_bos)
        writer.add_add_eos_token(self.add_eos)
        if self.add_space_prefix is not None:
            writer.add_add_space_prefix(self.add_space_prefix)
        if self.space_prefix is not None:
            writer.add_string(KEY, self.space_prefix)
        if self.chat_template is not None:
            writer.add_chat_template(self.chat_template)
