"""The tokenizer of a checkpoint folder, run by the library that it was made for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from edge_wsd.errors import VerificationError
from edge_wsd.reading import read_bounded

from ..checkpoint.json_files import read_json
from .sentencepiece_file import MOST_BYTES
from .sentencepiece_file import parse_sentencepiece as parse
from .tokenizer_json import tokens_beside_model
from .vocabulary import USER_DEFINED

_INSTALL = 'pip install "edge-wsd[convert]"'


class Reference(Protocol):
    """What a comparison asks of a checkpoint's tokenizer."""

    special_tokens: Mapping[str, int]
    """Ids by their texts."""

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text with what the tokenizer adds by itself; texts of special tokens are those tokens."""
        ...


def read_reference(folder: Path) -> Reference:
    """tokenizer.json as transformers reads it; without one, tokenizer.model as sentencepiece does.

    The file decides, not the Python class that the checkpoint names: some classes put another pre-tokenizer in its
    place. Code of the folder is never run. Raises VerificationError, ConversionError for a damaged file.
    """
    if (folder / "tokenizer.json").is_file():
        return _Transformers(folder)
    if (folder / "tokenizer.model").is_file():
        return _SentencePiece(folder)
    raise VerificationError(f"{folder} has neither a tokenizer.json nor a tokenizer.model to compare with")


class _Transformers:
    def __init__(self, folder: Path) -> None:
        try:
            from transformers import PreTrainedTokenizerFast
        except ImportError:
            raise VerificationError(f"transformers is not installed; {_INSTALL}") from None
        load: Callable[..., Any] = PreTrainedTokenizerFast.from_pretrained
        try:
            self._tokenizer = load(
                str(folder), local_files_only=True, trust_remote_code=False, split_special_tokens=False
            )
        except Exception as error:  # the tokenizers library raises plain Exception
            line = " ".join(str(error).split())
            raise VerificationError(f"transformers cannot load the tokenizer of {folder}: {line:.300}") from error
        added: dict[str, int] = self._tokenizer.get_added_vocab()
        self.special_tokens: Mapping[str, int] = {_as_written(text): token for text, token in added.items()}

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        found: list[list[int]] = self._tokenizer(list(texts), verbose=False)["input_ids"]
        return found


class _SentencePiece:
    """Ordinary text goes through sentencepiece; what it would never make of text is cut out before."""

    def __init__(self, folder: Path) -> None:
        try:
            from sentencepiece import SentencePieceProcessor
        except ImportError:
            raise VerificationError(f"sentencepiece is not installed; {_INSTALL}") from None
        name = "tokenizer.model"
        try:
            data = read_bounded(folder / name, MOST_BYTES)
            self._model: Any = SentencePieceProcessor(model_proto=data)
        except (RuntimeError, OSError) as error:
            line = " ".join(str(error).split())
            raise VerificationError(f"sentencepiece cannot load {folder / 'tokenizer.model'}: {line:.300}") from error
        config = read_json(folder, "tokenizer_config.json") or {}
        self._special = {**self._pieces(), **{token.text: token.id for token in tokens_beside_model(folder)}}
        pieces = enumerate(parse(data, name).pieces)
        user_defined = {_as_written(piece.text): token for token, piece in pieces if piece.type == USER_DEFINED}
        self.special_tokens: Mapping[str, int] = {**user_defined, **self._special}
        longest_first = sorted(map(re.escape, self._special), key=len, reverse=True)
        self._cut = re.compile(f"({'|'.join(longest_first)})" if longest_first else "(?!)")
        # The Llama class of transformers adds BOS, and no EOS, unless the configuration says otherwise.
        self._before = self._edge(config, "bos", self._model.bos_id(), True)
        self._after = self._edge(config, "eos", self._model.eos_id(), False)

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        return [[*self._before, *self._inner(text), *self._after] for text in texts]

    def _inner(self, text: str) -> list[int]:
        found: list[int] = []
        for part in self._cut.split(text):
            if part in self._special:
                found.append(self._special[part])
            elif part:
                found.extend(self._model.encode(part))
        return found

    def _pieces(self) -> dict[str, int]:
        model = self._model
        ids = range(model.get_piece_size())
        return {model.id_to_piece(token): token for token in ids if model.is_control(token) or model.is_unknown(token)}

    def _edge(self, config: dict[str, Any], kind: str, default: int, added: bool) -> list[int]:
        stated = config.get(f"{kind}_token")
        text = stated.get("content") if isinstance(stated, dict) else stated
        token = self._special.get(text, default) if isinstance(text, str) else default
        wanted = config.get(f"add_{kind}_token")
        return [token] if token >= 0 and (wanted if isinstance(wanted, bool) else added) else []


def _as_written(token: str) -> str:
    """Runs of spaces are listed in SentencePiece's spelling, which no text has."""
    return token.replace("\u2581", " ") if not token.strip("\u2581") else token
