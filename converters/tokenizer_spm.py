"""SentencePiece BPE: from tokenizer.model, or from a tokenizer.json that was made from one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from edge_wsd.errors import ConversionError

from .checkpoint import Checkpoint
from .sentencepiece_file import parse_sentencepiece
from .special_tokens import chat_template, special_ids
from .tokenizer_bpe import bpe_merges, bpe_vocab
from .tokenizer_json import added_tokens, edge_tokens, strip_notes
from .vocabulary import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED, AddedToken, TokenTable, Vocabulary

_FILE = "tokenizer.model"
_SPACE = "\u2581"
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_METASPACE_NOTE = (
    "the tokenizer adds no space where a text begins with a space or follows a special token; llama.cpp does"
)


def read_spm(checkpoint: Checkpoint, tokenizer: Mapping[str, Any], n_vocab: int) -> Vocabulary:
    """The vocabulary of a SentencePiece BPE tokenizer; `tokenizer` is tokenizer.json, or empty without one.

    Raises ConversionError where llama.cpp would split text differently.
    """
    table, notes = TokenTable(n_vocab), list[str]()
    if (checkpoint.folder / _FILE).is_file():
        prefix = _fill_from_model(checkpoint, table, notes)
    else:
        prefix = _fill_from_json(tokenizer, table, notes)
    for added in _added(checkpoint, tokenizer):
        _put_added(table, added)
    index = table.index()
    notes.extend(strip_notes(tokenizer))
    special = special_ids(checkpoint, index)
    add_bos, add_eos = edge_tokens(checkpoint, tokenizer, index, special)
    config = checkpoint.json("tokenizer_config.json") or {}
    if not tokenizer and not isinstance(config.get("add_bos_token"), bool):
        # Without a tokenizer.json nothing else says so: the Llama tokenizer class adds BOS by itself.
        add_bos = "bos" in special
    if isinstance(config.get("add_prefix_space"), bool):
        prefix = config["add_prefix_space"]
    return Vocabulary(
        "llama", "default", table, special, add_bos, add_eos,
        add_space_prefix=prefix, chat_template=chat_template(checkpoint), notes=tuple(notes),
    )  # fmt: skip


def _fill_from_model(checkpoint: Checkpoint, table: TokenTable, notes: list[str]) -> bool:
    """Puts the pieces of tokenizer.model into `table`; returns whether a text gets a space in front."""
    model = parse_sentencepiece((checkpoint.folder / _FILE).read_bytes(), _FILE)
    if model.kind != "bpe":
        raise ConversionError(f"{_FILE} is a {model.kind} model, expected bpe, the kind that Llama uses")
    if model.normalizes:
        notes.append(f"{_FILE} normalizes text before it is split; llama.cpp takes it as it is")
    for token, piece in enumerate(model.pieces):
        table.put(token, piece.text, piece.type, piece.score)
    return model.add_dummy_prefix


def _fill_from_json(tokenizer: Mapping[str, Any], table: TokenTable, notes: list[str]) -> bool:
    """The same from tokenizer.json: the rank of a token's merge stands for its score."""
    model = tokenizer["model"]
    ids, merges = bpe_vocab(model), bpe_merges(model)
    ranks = _token_ranks(ids, merges)
    for text, token in ids.items():
        kind = UNKNOWN if text == model.get("unk_token") else BYTE if _BYTE.fullmatch(text) else NORMAL
        table.put(token, text, kind, -float(ranks.get(text, len(merges))) if kind == NORMAL else 0.0)
    return _space_prefix(tokenizer, notes)


def _token_ranks(ids: Mapping[str, int], merges: list[tuple[str, str]]) -> dict[str, int]:
    """The rank of each merged token.

    llama.cpp joins any two neighbours that make a token, so every way to make one must be among the merges,
    and all ways of one token must rank alike against other tokens.
    """
    ranks: dict[str, int] = {}
    latest = ""
    for rank, (left, right) in enumerate(merges):
        text = left + right
        if text in ranks and text != latest:
            raise ConversionError(f"tokenizer.json: the merges that make {text!r} do not stand together")
        ranks.setdefault(text, rank)
        latest = text
    known = set(merges)
    for text in ids:
        if _BYTE.fullmatch(text) or text not in ranks:
            continue
        for cut in range(1, len(text)):
            pair = (text[:cut], text[cut:])
            if pair[0] in ids and pair[1] in ids and pair not in known:
                raise ConversionError(
                    f"tokenizer.json: {text!r} may not be made of {pair[0]!r} and {pair[1]!r}, but llama.cpp "
                    "would; it is not a tokenizer made from SentencePiece"
                )
    return ranks


def _space_prefix(tokenizer: Mapping[str, Any], notes: list[str]) -> bool:
    """Whether a text gets a space in front; beyond that, only spaces may be replaced."""
    normalizer, pre = tokenizer.get("normalizer"), tokenizer.get("pre_tokenizer")
    steps = normalizer.get("normalizers", [normalizer]) if normalizer else []
    replaces = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
    if pre is None and steps and steps[-1] == replaces:
        if len(steps) == 1:
            return False
        if steps[:-1] == [{"type": "Prepend", "prepend": _SPACE}]:
            return True
    if not steps and isinstance(pre, dict):
        scheme = pre.get("prepend_scheme")
        if pre == {"type": "Metaspace", "replacement": _SPACE, "prepend_scheme": scheme, "split": False}:
            if scheme != "never":
                notes.append(_METASPACE_NOTE)
            return bool(scheme != "never")
    raise ConversionError(
        f"tokenizer.json: normalizer {normalizer!r:.100} with pre_tokenizer {pre!r:.100} is not what "
        "SentencePiece does; supported are Prepend and Replace, or Metaspace without split"
    )


def _added(checkpoint: Checkpoint, tokenizer: Mapping[str, Any]) -> list[AddedToken]:
    if tokenizer:
        return added_tokens(tokenizer)
    decoder = (checkpoint.json("tokenizer_config.json") or {}).get("added_tokens_decoder")
    if isinstance(decoder, dict) and decoder:
        listed = [{**entry, "id": int(key)} for key, entry in decoder.items() if key.isdecimal()]
        return added_tokens({"added_tokens": listed})
    plain = checkpoint.json("added_tokens.json") or {}
    return added_tokens({"added_tokens": [{"id": token, "content": text} for text, token in plain.items()]})


def _put_added(table: TokenTable, added: AddedToken) -> None:
    """A token of the model that is listed again keeps the type and score it has there."""
    known = added.id < table.size and table.tokens[added.id] == added.text
    if known and table.types[added.id] in (UNKNOWN, CONTROL, BYTE):
        return
    if added.special:
        table.put(added.id, added.text, CONTROL)
    else:
        # Matched against the text as it is written, where a space is still a space.
        table.put(added.id, added.text.replace(_SPACE, " "), USER_DEFINED)
