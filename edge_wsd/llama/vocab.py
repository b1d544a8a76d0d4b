"""A model's vocabulary: texts to token ids, and back."""

from __future__ import annotations

import ctypes
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_wsd import _native
from edge_wsd.errors import VocabularyError
from edge_wsd.llama import library
from edge_wsd.llama.binding import llama_cpp
from edge_wsd.llama.deep_stack import MAX_STACK_BYTES, call_with_stack
from edge_wsd.llama.digit_runs import BY_THREES, cut_runs, may_be_cut
from edge_wsd.llama.handle import Handle
from edge_wsd.llama.joins import Joins
from edge_wsd.llama.pre_tokenizers import BYTES_PER_CHARACTER, ITERATIVE, SHALLOW_CHARACTERS, longest_match
from edge_wsd.llama.space_prefix import KEY, SCHEMES, SpacePrefix
from edge_wsd.llama.special_texts import SpecialTexts

_TYPES = ("none", "spm", "bpe", "wpm", "ugm", "rwkv", "plamo2")
_BYTE_WISE = ("spm", "bpe", "rwkv")
"""Kinds whose tokens together are the bytes of the text: nothing of it is left out or written in another way."""
_PRE = b"tokenizer.ggml.pre"
CONTROL = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_UNKNOWN
"""Attributes of tokens that stand for no text."""
_SPECIAL = CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED
_STRIPPING = llama_cpp.LLAMA_TOKEN_ATTR_LSTRIP | llama_cpp.LLAMA_TOKEN_ATTR_RSTRIP


class Vocab:
    """Token ids and their texts. Lives as long as its model: `Model.vocab`."""

    def __init__(self, model: Handle, path: Path) -> None:
        """Of the model behind a handle, which is that of the file at `path`."""
        self._model = model
        self._path = path
        self._pieces: dict[int, bytes] = {}
        self.ignores_ends = False
        """Whether texts go on behind their ends, as benchmarks of a certain length want it."""
        self.n_tokens: int = llama_cpp.llama_vocab_n_tokens(self._handle)
        kind = llama_cpp.llama_vocab_type(self._handle)
        self.type: str = _TYPES[kind] if 0 <= kind < len(_TYPES) else f"type {kind}"
        self.add_bos: bool = bool(llama_cpp.llama_vocab_get_add_bos(self._handle))
        self.add_eos: bool = bool(llama_cpp.llama_vocab_get_add_eos(self._handle))
        self.bos = self._special(llama_cpp.llama_vocab_bos)
        self.eos = self._special(llama_cpp.llama_vocab_eos)
        self.eot = self._special(llama_cpp.llama_vocab_eot)
        pre = self._metadata(_PRE) if self.type == "bpe" else None
        self._recurses = self.type == "bpe" and pre not in ITERATIVE
        self._cuts_runs = pre in BY_THREES and may_be_cut(self.text(token) for token in self._tokens_with(_SPECIAL))
        self._space_prefix = self._read_space_prefix()

    @property
    def _handle(self) -> int:
        return llama_cpp.llama_model_get_vocab(self._model.pointer)  # type: ignore[no-any-return]

    def _special(self, get: object) -> int | None:
        token = get(self._handle)  # type: ignore[operator]
        return token if 0 <= token < self.n_tokens else None

    # Texts to tokens

    def tokenize(self, text: str, *, special: bool = False, bos: bool = False, mark: str | None = None) -> list[int]:
        """Token ids of `text`. `special` reads the texts of control tokens as those tokens; `bos` puts BOS first.

        Those that `special_texts.broken` has put the `mark` into stay text; marks are left out. Raises
        `VocabularyError` for a line so long that this machine has no stack for it.
        """
        if self._space_prefix is not None:
            tokens = self._space_prefix.tokenize(self.special_texts.split(text, mark) if special else [text])
        elif special and mark is not None and mark in text:
            parts = self.special_texts.split(text, mark)
            tokens = [token for part in parts for token in (self._raw(part) if isinstance(part, str) else [part])]
        else:
            tokens = self._raw(text, special)
        return [self.bos, *tokens] if bos and self.bos is not None else tokens

    def _raw(self, text: str, special: bool = False) -> list[int]:
        """What llama.cpp makes of `text`."""
        if not self._cuts_runs:
            return self._whole(text, special)
        return [token for part in cut_runs(text) for token in self._whole(part, special)]

    def _whole(self, text: str, special: bool) -> list[int]:
        """The same, in one call on a stack that is deep enough."""
        if not self._recurses or len(text) <= SHALLOW_CHARACTERS or (n := longest_match(text)) <= SHALLOW_CHARACTERS:
            return self._call(text, special)
        n_bytes = n * BYTES_PER_CHARACTER
        try:
            if n_bytes > MAX_STACK_BYTES:
                raise MemoryError(f"more than {MAX_STACK_BYTES >> 20} MiB of stack would be needed")
            return call_with_stack(n_bytes, lambda: self._call(text, special))
        except MemoryError as error:
            raise VocabularyError(
                f"a line of about {n} characters is too long for the tokenizer of {self._path.name} ({error}); "
                "break it into shorter lines"
            ) from error

    def _call(self, text: str, special: bool) -> list[int]:
        data = text.encode("utf-8", errors="replace")  # lone surrogates have no UTF-8 form
        size = 1 << (len(data) + 2).bit_length()  # few sizes, since ctypes makes a type for each
        while True:
            buffer = (ctypes.c_int32 * size)()
            n = llama_cpp.llama_tokenize(self._handle, data, len(data), buffer, size, False, special)
            if n >= 0:
                return buffer[:n]
            size = -n

    def fewest_tokens(self, text: str) -> int:
        """A bound from below on the tokens of `text`, without tokenising it; 0 where nothing is known."""
        if self.type not in _BYTE_WISE:
            return 0
        spellings = {text, text.replace("\u2581", " ")}  # the same to SentencePiece
        return min(int(_byte_counts(spelling) @ self._shares) for spelling in spellings)

    @cached_property
    def _shares(self) -> NDArray[np.float64]:
        """For each byte 1 over the length of the longest token with it: over the bytes of a token at most 1 in all."""
        longest = np.zeros(256)
        texts = self.all_texts()
        pieces = [*self.all_pieces(), *(texts[token] for token in self._tokens_with(_SPECIAL))]
        lengths = np.fromiter(map(len, pieces), np.int64)
        np.maximum.at(longest, np.frombuffer(b"".join(pieces), np.uint8), np.repeat(lengths, lengths))
        shares = np.divide(1.0, longest, out=np.zeros(256), where=longest > 0)
        if self._tokens_with(_STRIPPING):
            shares[list(b" \t\n\v\f\r")] = 0.0  # a special token swallows any number of them
        return shares

    @cached_property
    def special_texts(self) -> SpecialTexts:
        """The texts of control tokens."""
        ids = {self.text(token): token for token in self._tokens_with(CONTROL)}
        ids.pop("", None)
        return SpecialTexts(
            ids,
            lstrip=frozenset(self._tokens_with(llama_cpp.LLAMA_TOKEN_ATTR_LSTRIP)),
            rstrip=frozenset(self._tokens_with(llama_cpp.LLAMA_TOKEN_ATTR_RSTRIP)),
        )

    def _metadata(self, key: bytes) -> str | None:
        buffer = ctypes.create_string_buffer(64)
        n = llama_cpp.llama_model_meta_val_str(self._model.pointer, key, buffer, len(buffer))
        return None if n < 0 else buffer.value.decode(errors="replace")

    def _read_space_prefix(self) -> SpacePrefix | None:
        """What the file says beyond llama.cpp's own rule of where a space is put in front."""
        scheme = self._metadata(KEY.encode())
        if scheme not in SCHEMES:
            return None
        user_defined = self._tokens_with(llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED)
        found = SpacePrefix(scheme, self._raw, {self.text(token): token for token in user_defined})
        return found if found.works else None

    # Tokens to texts

    def piece(self, token: int) -> bytes:
        """Bytes that `token` stands for; empty for control tokens. They need not be whole UTF-8 characters."""
        found = self._pieces.get(token)
        if found is None:
            found = self._pieces[token] = self._read_piece(self._checked(token))
        return found

    def _read_piece(self, token: int) -> bytes:
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            n = llama_cpp.llama_token_to_piece(self._handle, token, buffer, size, 0, False)
            if n >= 0:
                return buffer.raw[:n]
            size = -n

    def text(self, token: int) -> str:
        """The vocabulary's own spelling of `token`, such as `Ġhello` or `<|eot_id|>`."""
        raw = llama_cpp.llama_vocab_get_text(self._handle, self._checked(token))
        return (raw or b"").decode("utf-8", errors="replace")

    def attributes(self, token: int) -> int:
        """llama.cpp's attribute bits of `token` (normal, control, byte, user-defined, unused, ...)."""
        return int(llama_cpp.llama_vocab_get_attr(self._handle, self._checked(token)))

    def all_texts(self) -> list[bytes]:
        """`text` of every token, as bytes."""
        return _native.all_texts(library.address_of("llama_vocab_get_text"), self._handle, self.n_tokens)

    def all_pieces(self) -> list[bytes]:
        """`piece` of every token."""
        return _native.all_pieces(library.address_of("llama_token_to_piece"), self._handle, self.n_tokens)

    @cached_property
    def by_length(self) -> NDArray[np.int32]:
        """All tokens, int32 [n_tokens], those of the shortest pieces first."""
        lengths = np.fromiter(map(len, self.all_pieces()), np.int64, self.n_tokens)
        return np.argsort(lengths, kind="stable").astype(np.int32)

    @cached_property
    def all_attributes(self) -> NDArray[np.int32]:
        """`attributes` of every token, of shape (n_tokens,)."""
        return _native.all_attributes(library.address_of("llama_vocab_get_attr"), self._handle, self.n_tokens)

    def _tokens_with(self, bits: int) -> list[int]:
        """Tokens that have one of these attributes."""
        found: list[int] = np.flatnonzero(self.all_attributes & bits).tolist()
        return found

    def can_join(self, left: str, right: str) -> bool:
        """Whether a token may reach from the character `left` into `right`, which follows it."""
        return self._joins.can_join(left, right)

    @cached_property
    def _joins(self) -> Joins:
        return Joins(self.all_pieces())

    def is_end(self, token: int) -> bool:
        """Whether `token` ends a text or a turn."""
        return bool(llama_cpp.llama_vocab_is_eog(self._handle, self._checked(token))) and not self.ignores_ends

    def _checked(self, token: int) -> int:
        # llama.cpp aborts the process on an id outside the vocabulary.
        if not 0 <= token < self.n_tokens:
            raise VocabularyError(f"token id {token} is outside the vocabulary of {self.n_tokens} tokens")
        return token


def _byte_counts(text: str) -> NDArray[np.int64]:
    return np.bincount(np.frombuffer(text.encode("utf-8", errors="replace"), np.uint8), minlength=256)
