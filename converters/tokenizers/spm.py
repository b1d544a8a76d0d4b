"""SentencePiece BPE: from tokenizer.model, or from a tokenizer.json that was made from one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from edge_wsd.errors import ConversionError
from edge_wsd.llama.space_prefix import ALWAYS, FIRST

from ..checkpoint.folder import Checkpoint
from .bpe import bpe_merges, bpe_vocab
from .sentencepiece_file import SentencePieceModel, read_sentencepiece
from .special_tokens import chat_template, mark_special, special_ids, stop_notes
from .spm_merges import bytes_complete, token_ranks
from .tokenizer_json import added_tokens, edge_tokens, numbered, strip_notes, tokens_beside_model
from .vocabulary import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED, AddedToken, GgufVocabulary, TokenTable

_FILE = "tokenizer.model"
_SPACE = "\u2581"
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
# What llama.cpp does by itself; tokenizer.json says it with a Prepend normalizer.
_EVERYWHERE, _NEVER = "everywhere", "never"
_METASPACE_NOTE = (
    "the tokenizer puts a space in front of a text {where}, and not before a space; llama.cpp puts one behind "
    "special tokens and before spaces too. The file says so and edge-wsd follows it; other programs do not"
)
_WHERE = {FIRST: "only", ALWAYS: "and behind special tokens"}


def read_spm(checkpoint: Checkpoint, tokenizer: Mapping[str, Any], n_vocab: int) -> GgufVocabulary:
    """The vocabulary of a SentencePiece BPE tokenizer; `tokenizer` is tokenizer.json, or empty without one.

    Raises ConversionError where llama.cpp would split text differently.
    """
    table, notes = TokenTable(n_vocab), list[str]()
    added = added_tokens(tokenizer) if tokenizer else tokens_beside_model(checkpoint.folder)
    ids, scheme = _fill(checkpoint, tokenizer, table, added, notes)
    # A slow tokenizer puts added tokens where they are listed, even in the place of a piece.
    for token in numbered(checkpoint, added, ids, table, notes) if tokenizer else added:
        _put_added(table, token)
    index = table.index()
    special = special_ids(checkpoint, index)
    mark_special(checkpoint, table, index)
    bytes_complete(index)
    add_bos, add_eos = edge_tokens(checkpoint, tokenizer, index, special, notes)
    config = checkpoint.json("tokenizer_config.json") or {}
    if not tokenizer and not isinstance(config.get("add_bos_token"), bool):
        # Without a tokenizer.json nothing else says so: the Llama tokenizer class adds BOS by itself.
        add_bos = "bos" in special
    absorbs = table.absorbs_as_phi3([token.text for token in added if token.absorbs])
    notes.extend([*(() if absorbs else strip_notes(tokenizer)), *stop_notes(checkpoint, table, special)])
    if scheme in _WHERE:
        notes.append(_METASPACE_NOTE.format(where=_WHERE[scheme]))
    return GgufVocabulary(
        "llama", "default", table, special, add_bos, add_eos, add_space_prefix=scheme != _NEVER,
        chat_template=chat_template(checkpoint), notes=tuple(notes),
        space_prefix=scheme if scheme in _WHERE else None, absorbs=absorbs,
    )  # fmt: skip


def _fill(
    checkpoint: Checkpoint, tokenizer: Mapping[str, Any], table: TokenTable, added: list[AddedToken], notes: list[str]
) -> tuple[Mapping[str, int], str]:
    """Puts the pieces into `table`; their ids, and where a space is put in front.

    A tokenizer.json that differs from tokenizer.model goes first, as transformers reads that one.
    """
    model = read_sentencepiece(checkpoint.folder, _FILE)
    if model is not None and model.kind != "bpe":
        raise ConversionError(f"{_FILE} is a {model.kind} model, expected bpe, the kind that Llama uses")
    if not tokenizer:
        if model is None:
            raise ConversionError(f"{checkpoint.folder} has no {_FILE}")
        ids, scheme = _fill_from_model(model, table, notes), _model_scheme(checkpoint, model)
        whole = [piece.text for piece in model.pieces if piece.type == USER_DEFINED]
        if whole and scheme == _EVERYWHERE:
            notes.append(f"a text that begins with {whole[0]!r} gets a space in front, which llama.cpp leaves out")
        return ids, scheme
    scheme = _json_scheme(tokenizer)
    if model is not None and _same(model, bpe_vocab(tokenizer["model"])):
        return _fill_from_model(model, table, notes), scheme
    if model is not None:
        notes.append(f"{_FILE} and tokenizer.json differ; tokenizer.json was taken")
    return _fill_from_json(tokenizer, table, added), scheme


def _same(model: SentencePieceModel, ids: Mapping[str, int]) -> bool:
    texts = {token: text for text, token in ids.items()}
    # Gemma's tokenizer.json writes the tab as itself.
    return len(texts) >= len(model.pieces) and all(
        texts.get(token) in (piece.text, "\t" if piece.text == "<0x09>" else piece.text)
        for token, piece in enumerate(model.pieces)
    )


def _fill_from_model(model: SentencePieceModel, table: TokenTable, notes: list[str]) -> dict[str, int]:
    if model.normalizes:
        notes.append(f"{_FILE} normalizes text before it is split; llama.cpp takes it as it is")
    for token, piece in enumerate(model.pieces):
        # Matched against the text as it is written, where a space is still a space.
        text = piece.text.replace(_SPACE, " ") if piece.type == USER_DEFINED else piece.text
        table.put(token, text, piece.type, piece.score)
    return {piece.text: token for token, piece in enumerate(model.pieces)}


def _model_scheme(checkpoint: Checkpoint, model: SentencePieceModel) -> str:
    stated = (checkpoint.json("tokenizer_config.json") or {}).get("add_prefix_space")
    prefix = stated if isinstance(stated, bool) else model.add_dummy_prefix
    return _EVERYWHERE if prefix else _NEVER


def _fill_from_json(tokenizer: Mapping[str, Any], table: TokenTable, added: list[AddedToken]) -> dict[str, int]:
    """The same from tokenizer.json: the rank of a token's merge stands for its score."""
    model = tokenizer["model"]
    ids, merges = bpe_vocab(model), bpe_merges(model)
    ranks = token_ranks(ids, merges, frozenset(token.text for token in added))
    for text, token in ids.items():
        kind = UNKNOWN if text == model.get("unk_token") else BYTE if _BYTE.fullmatch(text) else NORMAL
        table.put(token, text, kind, -float(ranks.get(text, len(merges))) if kind == NORMAL else 0.0)
    return dict(ids)


def _json_scheme(tokenizer: Mapping[str, Any]) -> str:
    """Where a space is put in front; beyond that, only spaces may be replaced."""
    normalizer, pre = tokenizer.get("normalizer"), tokenizer.get("pre_tokenizer")
    steps = normalizer.get("normalizers", [normalizer]) if isinstance(normalizer, dict) else []
    replaces = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
    # Gemma cuts at spaces when none is left.
    cuts_nothing = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
    if pre in (None, cuts_nothing) and steps == [replaces]:
        return _NEVER
    if pre is None and steps == [{"type": "Prepend", "prepend": _SPACE}, replaces]:
        return _EVERYWHERE
    if normalizer is None and isinstance(pre, dict):
        scheme = pre.get("prepend_scheme")
        plain = {"type": "Metaspace", "replacement": _SPACE, "prepend_scheme": scheme, "split": False}
        if pre == plain and scheme in (FIRST, ALWAYS, _NEVER):
            return str(scheme)
    raise ConversionError(
        f"tokenizer.json: normalizer {normalizer!r:.100} with pre_tokenizer {pre!r:.100} is not what "
        "SentencePiece does; supported are Prepend and Replace, Replace alone, or Metaspace without split"
    )


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
