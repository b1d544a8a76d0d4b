"""Whether the tokenizer inside a GGUF is whole and agrees with itself.

llama.cpp asserts or reads past an array on some of these defects, which ends the process; others it passes over,
and text silently disappears.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from edge_wsd.models.gguf.fields import Fields
from edge_wsd.models.gguf.types import ValueType

_PREFIX = "tokenizer.ggml."
_SENTENCEPIECE = frozenset({"llama"})
_BYTE_PAIRS = frozenset({"gpt2", "gemma4", "hybriddna", "whitespace"})
_WORD_PIECES = "bert"
_OTHERS = frozenset({_WORD_PIECES, "t5", "rwkv", "plamo2"})
_NONE = frozenset({"none", "no_vocab"})
_DROPS_SPACES = "whitespace"
"""A tokenizer and its pre-tokenizer, which only go together."""
_WITHOUT_MERGES = frozenset({"kimi-k2"})
_SPECIAL_IDS = ("bos", "eos", "eot", "eom", "unknown")
"""Those that decoding uses. Others (padding, fill-in-the-middle) are out of range in some files that work well."""
_BYTE_TYPE = 6
_LAST_TYPE = 6
_ESCAPE = re.compile(rb"\\(?:x([0-9a-f]{2})|([^x]))", re.DOTALL)
_ESCAPED = {b"t": b"\t", b"n": b"\n", b"r": b"\r"}
_MAX_TOKEN_CHARACTERS = 1 << 13
"""The longest in use have 1,024. Some tokenizers of llama.cpp take memory for every part of a token's text."""
_MAX_TEMPLATE_CHARACTERS = 1 << 20
_BYTE_TEXT = re.compile(r"<0x[0-9A-Fa-f]{2}>")


def check_tokenizer(fields: Fields) -> int:
    """Number of tokens. Raises `ModelFileError` for the first defect."""
    kind = fields.scalar(_PREFIX + "model", ValueType.STRING)
    if kind is None:
        raise fields.error(f"{_PREFIX}model is missing, so the file has no tokenizer")
    if kind in _NONE:
        raise fields.error("the file has no tokenizer", "use a model that comes with one")
    if kind not in _SENTENCEPIECE | _BYTE_PAIRS | _OTHERS:
        raise fields.error(f"tokenizer {kind!r} is unknown", "a newer llama-cpp-python may know it")
    pre = fields.scalar(_PREFIX + "pre", ValueType.STRING)
    if pre == _DROPS_SPACES and kind in _BYTE_PAIRS - {_DROPS_SPACES}:  # it asserts that no spaces are left
        raise fields.error(f"{_PREFIX}pre is {pre!r}, which tokenizer {kind!r} cannot split spaces with")
    template = fields.scalar("tokenizer.chat_template", ValueType.STRING)
    if template is not None and len(template) > _MAX_TEMPLATE_CHARACTERS:
        raise fields.error(
            f"its chat template has {len(template)} characters, expected at most {_MAX_TEMPLATE_CHARACTERS}"
        )
    tokens = fields.array(_PREFIX + "tokens", ValueType.STRING)
    if not tokens:
        raise fields.error(f"{_PREFIX}tokens is missing or empty")
    known = _check_texts(fields, tokens)
    _check_scores(fields, len(tokens))
    _check_types(fields, tokens, has_bytes=kind != _WORD_PIECES)
    if kind in _SENTENCEPIECE:
        _check_bytes(fields, known)
    if kind == "rwkv":
        _check_first_bytes(fields, known)
    if kind in _BYTE_PAIRS:
        _check_merges(fields, known)
    _check_special_ids(fields, len(tokens), has_default_bos=kind in _SENTENCEPIECE)
    return len(tokens)


def _check_texts(fields: Fields, tokens: Sequence[str]) -> set[str]:
    if max(map(len, tokens)) > _MAX_TOKEN_CHARACTERS:
        longest = max(tokens, key=len)
        raise fields.error(
            f"a token has {len(longest)} characters, expected at most {_MAX_TOKEN_CHARACTERS}: {longest[:40]!r}"
        )
    if "\0" in "".join(tokens):
        tokens = [text.partition("\0")[0] for text in tokens]  # llama.cpp reads them as C strings
    known = set(tokens)
    if "" in known:  # llama.cpp gives these a name of its own
        known.discard("")
        known.update(f"[EMPTY_{index}]" for index, text in enumerate(tokens) if not text)
    if len(known) != len(tokens):
        seen: dict[str, int] = {}
        for index, text in enumerate(tokens):
            if text and seen.setdefault(text, index) != index:
                raise fields.error(f"tokens {seen[text]} and {index} are the same text {text!r}")
        raise fields.error("two tokens are the same text")
    return known


def _check_scores(fields: Fields, n_tokens: int) -> None:
    key = _PREFIX + "scores"
    scores = fields.array(key, ValueType.FLOAT32, ValueType.INT32)
    if scores is None:
        return
    if len(scores) != n_tokens:
        raise fields.error(f"{key} has {len(scores)} elements for {n_tokens} tokens")
    if not np.isfinite(scores).all():
        raise fields.error(f"{key} holds a value that is not finite")


def _check_types(fields: Fields, tokens: Sequence[str], *, has_bytes: bool) -> None:
    key = _PREFIX + "token_type"
    types = fields.array(key, ValueType.INT32)
    if types is None:
        return
    if len(types) != len(tokens):
        raise fields.error(f"{key} has {len(types)} elements for {len(tokens)} tokens")
    codes = np.asarray(types)
    unknown = np.unique(codes[(codes < 0) | (codes > _LAST_TYPE)])
    if unknown.size:
        raise fields.error(f"{key} holds the unknown types {unknown[:3].tolist()}")
    byte_tokens = np.flatnonzero(codes == _BYTE_TYPE).tolist()
    if byte_tokens and not has_bytes:  # llama.cpp ends the process when it shows one
        raise fields.error(f"token {byte_tokens[0]} is marked as a byte, and tokenizer {_WORD_PIECES!r} has none")
    for index in byte_tokens:
        if not _BYTE_TEXT.fullmatch(tokens[index]):
            raise fields.error(f"token {index} is marked as a byte, but its text is {tokens[index]!r}")


def _check_bytes(fields: Fields, known: set[str]) -> None:
    """Without a token for a byte, llama.cpp ends the process when a text holds that byte."""
    for byte in range(256):
        if f"<0x{byte:02X}>" not in known and not (byte < 128 and chr(byte) in known):
            raise fields.error(f"the tokenizer has no token <0x{byte:02X}> for that byte")


def _check_first_bytes(fields: Fields, known: set[str]) -> None:
    """Where a token begins but none ends, llama.cpp looks for the next one at the same place, until memory is full."""
    texts = {_ESCAPE.sub(_unescaped, text.encode()) for text in known}
    for text in sorted(texts):
        if text and text[:1] not in texts:
            raise fields.error(f"the tokenizer has no token for the byte {text[0]:#04x}, with which others begin")


def _unescaped(escape: re.Match[bytes]) -> bytes:
    code, character = escape.groups()
    return bytes.fromhex(code.decode()) if code else _ESCAPED.get(character, character)


def _check_merges(fields: Fields, known: set[str]) -> None:
    key = _PREFIX + "merges"
    merges = fields.array(key, ValueType.STRING)
    if merges is None:
        if fields.scalar(_PREFIX + "pre", ValueType.STRING) in _WITHOUT_MERGES:
            return
        raise fields.error(f"{key} is missing")
    if _certainly_sound(merges, known):
        return
    for index, merge in enumerate(merges):
        if "\0" in merge:
            raise fields.error(f"merge {index} is {merge[:40]!r} and holds a NUL byte")
        space = merge.find(" ", 1)
        if space < 0 or space == len(merge) - 1:
            raise fields.error(f"merge {index} is {merge[:40]!r}, not two texts with a space between them")
        # llama.cpp would merge all the same and then drop the text for want of a token
        if merge[:space] + merge[space + 1 :] not in known:
            raise fields.error(f"merge {index} ({merge[:40]!r}) makes a text that is not a token")


def _certainly_sound(merges: Sequence[str], known: set[str]) -> bool:
    """Whether each is two texts, with the only space between them, that make a token. Merges by the hundred thousand.

    One that is not may be sound all the same: a text may hold a space itself.
    """
    whole = "\0".join([*merges, ""])
    raw = np.frombuffer(whole.encode(), np.uint8)
    marks = np.flatnonzero((raw == ord(" ")) | (raw == 0))
    return (
        len(marks) == 2 * len(merges)
        and bool((raw[marks[::2]] == ord(" ")).all() and (raw[marks[1::2]] == 0).all())
        and bool((np.diff(marks, prepend=-1) > 1).all())  # no text is empty
        and known.issuperset(whole.replace(" ", "").split("\0")[:-1])
    )


def _check_special_ids(fields: Fields, n_tokens: int, *, has_default_bos: bool) -> None:
    for name in _SPECIAL_IDS:
        key = f"{_PREFIX}{name}_token_id"
        value = fields.scalar(key, ValueType.UINT32)
        if value is not None and value >= n_tokens:
            raise fields.error(f"{key} is {value}, but there are only {n_tokens} tokens")
    for name in ("bos", "eos"):
        adds = fields.scalar(f"{_PREFIX}add_{name}_token", ValueType.BOOL)
        if adds and not has_default_bos and f"{_PREFIX}{name}_token_id" not in fields:
            raise fields.error(f"{_PREFIX}add_{name}_token is set, but there is no {name}_token_id")
