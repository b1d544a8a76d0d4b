"""A model's vocabulary, and whether two of them are the same."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import llama_cpp

from edge_wsd.errors import VocabularyError
from edge_wsd.llama.space_prefix import KEY, SCHEMES, SpacePrefix

if TYPE_CHECKING:
    from edge_wsd.llama.model import Model

_TYPES = ("none", "spm", "bpe", "wpm", "ugm", "rwkv", "plamo2")


class Vocab:
    """Token ids and their texts. Lives as long as its model: `Model.vocab`."""

    def __init__(self, model: Model) -> None:
        self._model = model  # keeps the memory behind the handle alive
        self._pieces: dict[int, bytes] = {}
        self.n_tokens: int = llama_cpp.llama_vocab_n_tokens(self._handle)
        kind = llama_cpp.llama_vocab_type(self._handle)
        self.type: str = _TYPES[kind] if 0 <= kind < len(_TYPES) else f"type {kind}"
        self.add_bos: bool = bool(llama_cpp.llama_vocab_get_add_bos(self._handle))
        self.add_eos: bool = bool(llama_cpp.llama_vocab_get_add_eos(self._handle))
        self.bos = self._special(llama_cpp.llama_vocab_bos)
        self.eos = self._special(llama_cpp.llama_vocab_eos)
        self.eot = self._special(llama_cpp.llama_vocab_eot)
        self._space_prefix = self._read_space_prefix()

    @property
    def _handle(self) -> int:
        return llama_cpp.llama_model_get_vocab(self._model.handle)  # type: ignore[no-any-return]

    def _special(self, get: object) -> int | None:
        token = get(self._handle)  # type: ignore[operator]
        return token if 0 <= token < self.n_tokens else None

    def tokenize(self, text: str, *, special: bool = False, bos: bool = False) -> list[int]:
        """Token ids of `text`. `special` reads the texts of control tokens as those tokens; `bos` puts BOS first."""
        tokens = self._space_prefix.tokenize(text, special) if self._space_prefix else self._tokenize(text, special)
        return [self.bos, *tokens] if bos and self.bos is not None else tokens

    def _tokenize(self, text: str, special: bool = False) -> list[int]:
        data = text.encode("utf-8", errors="replace")  # lone surrogates have no UTF-8 form
        size = len(data) + 2
        while True:
            buffer = (ctypes.c_int32 * size)()
            n = llama_cpp.llama_tokenize(self._handle, data, len(data), buffer, size, False, special)
            if n >= 0:
                return list(buffer[:n])
            size = -n

    def _read_space_prefix(self) -> SpacePrefix | None:
        """What the file says beyond llama.cpp's own rule of where a space is put in front."""
        buffer = ctypes.create_string_buffer(16)
        if llama_cpp.llama_model_meta_val_str(self._model.handle, KEY.encode(), buffer, len(buffer)) < 0:
            return None
        scheme = buffer.value.decode(errors="replace")
        if scheme not in SCHEMES:
            return None
        kinds: dict[int, dict[str, int]] = {llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED: {}, 0: {}}
        control = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_UNKNOWN
        for token in range(self.n_tokens):
            attributes = self.attributes(token)
            user_defined = attributes & llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED
            if user_defined or attributes & control:
                kinds[user_defined][self.text(token)] = token
        found = SpacePrefix(scheme, self._tokenize, kinds[0], kinds[max(kinds)])
        return found if found.works else None

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

    def is_end(self, token: int) -> bool:
        """Whether `token` ends a text or a turn."""
        return bool(llama_cpp.llama_vocab_is_eog(self._handle, self._checked(token)))

    def _checked(self, token: int) -> int:
        # llama.cpp aborts the process on an id outside the vocabulary.
        if not 0 <= token < self.n_tokens:
            raise VocabularyError(f"token id {token} is outside the vocabulary of {self.n_tokens} tokens")
        return token


@dataclass(frozen=True, slots=True)
class VocabularyVerdict:
    """How two vocabularies relate. `reason` names the first difference, or says what is the same."""

    verdict: Literal["identical", "padded", "different"]
    reason: str
    notes: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether token ids can be handed over as they are."""
        return self.verdict != "different"


def compare_vocabularies(
    drafter: Vocab, base: Vocab, *, names: tuple[str, str] = ("drafter", "base")
) -> VocabularyVerdict:
    """Compare token by token: texts and attributes of every id both have, then the tails. `names` are for the reason.

    Sizes alone prove nothing. A tail of extra ids on one side is padding and does no harm. That the two models end
    a text with different tokens is usual (an instruct model and its base) and only noted.
    """
    first, second = names
    notes = tuple(
        f"{name} differs: {first} {_named(drafter, mine)}, {second} {_named(base, other)}"
        for name, mine, other in (("BOS", drafter.bos, base.bos), ("EOS", drafter.eos, base.eos))
        if mine != other
    )
    if drafter.type != base.type:
        return VocabularyVerdict("different", f"{first}'s type is {drafter.type}, {second}'s is {base.type}", notes)
    common = min(drafter.n_tokens, base.n_tokens)
    for token in range(common):
        mine, other = drafter.text(token), base.text(token)
        if mine != other:
            return VocabularyVerdict(
                "different", f"token {token} is {mine!r} in the {first}, {other!r} in the {second}", notes
            )
        if (a := drafter.attributes(token)) != (b := base.attributes(token)):
            reason = f"token {token} ({mine!r}) has attributes {a:#x} in the {first}, {b:#x} in the {second}"
            return VocabularyVerdict("different", reason, notes)
    if drafter.n_tokens == base.n_tokens:
        return VocabularyVerdict("identical", f"all {common} tokens are the same", notes)
    longer, n = (first, drafter.n_tokens) if drafter.n_tokens > common else (second, base.n_tokens)
    return VocabularyVerdict(
        "padded", f"the first {common} tokens are the same; the {longer} has {n - common} more", notes
    )


def _named(vocab: Vocab, token: int | None) -> str:
    return "none" if token is None else f"{vocab.text(token)} ({token})"
