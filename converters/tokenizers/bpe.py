"""Byte-level BPE from tokenizer.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from edge_wsd.errors import ConversionError

from ..checkpoint.folder import Checkpoint
from .pre_tokenizers import PreTokenizer, named, patterns, recognise
from .special_tokens import chat_template, default_ends, mark_special, special_ids, stop_notes
from .tokenizer_json import added_tokens, edge_tokens, numbered, strip_notes
from .unknown_pre_tokenizer import unrecognised
from .vocabulary import CONTROL, NORMAL, USER_DEFINED, GgufVocabulary, TokenTable

# llama.cpp normalizes nothing for BPE; text that is composed already (nearly all) is not changed by NFC.
_HARMLESS_NORMALIZERS = {"NFC"}
# Far above real ones, which are runs of spaces; splitting one takes time that grows with its square.
_LONGEST_TOKEN = 4096


def read_bpe(
    checkpoint: Checkpoint, tokenizer: Mapping[str, Any], n_vocab: int, pre_tokenizer: str | None
) -> GgufVocabulary:
    """The vocabulary of a byte-level BPE tokenizer.json. Raises ConversionError if llama.cpp would differ."""
    model = tokenizer["model"]
    pre = _pre_tokenizer(checkpoint, tokenizer, pre_tokenizer)
    notes = [*_normalizer_notes(tokenizer.get("normalizer")), *_pre_tokenizer_notes(tokenizer, pre)]
    ids, merges = bpe_vocab(model), bpe_merges(model)
    table = TokenTable(n_vocab)
    for text, token in ids.items():
        table.put(token, text, NORMAL)
    for added in numbered(checkpoint, added_tokens(tokenizer), ids, table, notes):
        table.put(added.id, added.text, CONTROL if added.special else USER_DEFINED)
    index = table.index()
    notes.extend(strip_notes(tokenizer))
    _require_same_words(pre, model, ids, merges)
    special = special_ids(checkpoint, index)
    mark_special(checkpoint, table, index)
    add_bos, add_eos = edge_tokens(checkpoint, tokenizer, index, special, notes)
    notes.extend([*default_ends(table, special), *stop_notes(checkpoint, table, special)])
    return GgufVocabulary(
        "gpt2", pre.name, table, special, add_bos, add_eos, [" ".join(pair) for pair in merges],
        chat_template=chat_template(checkpoint), notes=tuple(notes), add_space_prefix=_add_space_prefix(checkpoint),
    )  # fmt: skip


def _add_space_prefix(checkpoint: Checkpoint) -> bool | None:
    """False where the checkpoint says so: llama.cpp's default for such tokenizers, but other tools read the key."""
    stated = (checkpoint.json("tokenizer_config.json") or {}).get("add_prefix_space")
    return False if stated is False else None


def _pre_tokenizer(checkpoint: Checkpoint, tokenizer: Mapping[str, Any], name: str | None) -> PreTokenizer:
    if name:
        return named(name)
    definition = tokenizer.get("pre_tokenizer")
    found = recognise(definition, bool(tokenizer["model"].get("ignore_merges")))
    if found is None:
        raise unrecognised(checkpoint, definition)
    return found


def _pre_tokenizer_notes(tokenizer: Mapping[str, Any], pre: PreTokenizer) -> Iterator[str]:
    if pre.note:
        yield f"pre-tokenizer {pre.name}: {pre.note}"
    if pre.definition is None or patterns(pre.definition) != patterns(tokenizer.get("pre_tokenizer")):
        yield f"pre-tokenizer {pre.name} was named, not recognised: let edge-wsd verify compare the two tokenizers"


def bpe_vocab(model: Mapping[str, Any]) -> dict[str, int]:
    """Ids by token text. Raises ConversionError for options of the model that llama.cpp does not have."""
    vocab = model.get("vocab")
    if not isinstance(vocab, dict) or not all(type(token) is int for token in vocab.values()):
        raise ConversionError("tokenizer.json: model.vocab is not an object of token ids")
    if len(set(vocab.values())) != len(vocab):
        seen: dict[int, str] = {}
        for text, token in vocab.items():
            if seen.setdefault(token, text) != text:
                raise ConversionError(f"tokenizer.json: {seen[token]!r:.60} and {text!r:.60} share the id {token}")
    longest = max(vocab, key=len, default="")
    if len(longest) > _LONGEST_TOKEN:
        raise ConversionError(f"tokenizer.json: token {longest[:40]!r}... has more than {_LONGEST_TOKEN} characters")
    for option in ("continuing_subword_prefix", "end_of_word_suffix", "dropout"):
        if model.get(option):
            raise ConversionError(f"tokenizer.json: model.{option} is set, which llama.cpp's BPE cannot do")
    return vocab


def bpe_merges(model: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The merges in order, from either form: "a b" or ["a", "b"]. Each makes a token of the vocabulary."""
    pairs = []
    listed, vocab = model.get("merges"), model.get("vocab", {})
    if not isinstance(listed, list):
        raise ConversionError("tokenizer.json: model.merges is not a list")
    for position, item in enumerate(listed):
        pair = item.split(" ") if isinstance(item, str) else item
        whole = isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair)
        if not whole or not all(part and " " not in part for part in pair):
            raise ConversionError(f"tokenizer.json: merge {position} is {item!r:.80}, expected two tokens")
        if pair[0] + pair[1] not in vocab:
            raise ConversionError(f"tokenizer.json: merge {position}, {item!r:.80}, makes no token of the vocabulary")
        pairs.append((pair[0], pair[1]))
    return pairs


def _normalizer_notes(normalizer: Any) -> tuple[str, ...]:
    if normalizer is None:
        return ()
    kind = normalizer.get("type") if isinstance(normalizer, dict) else normalizer
    if kind == "Sequence":
        steps = normalizer.get("normalizers")
        if not isinstance(steps, list) or len(steps) > 1:
            raise ConversionError("tokenizer.json: a sequence of normalizers is not supported for byte-level BPE")
        return _normalizer_notes(steps[0] if steps else None)
    if not isinstance(kind, str) or kind not in _HARMLESS_NORMALIZERS:
        raise ConversionError(f"tokenizer.json: normalizer {kind!r:.80} is not supported for byte-level BPE")
    return (
        f"the tokenizer composes text ({kind}) before it splits it, llama.cpp does not: text with decomposed "
        "characters (a letter and its accent apart) splits differently unless it is composed first",
    )


def _require_same_words(
    pre: PreTokenizer, model: Mapping[str, Any], ids: Mapping[str, int], merges: list[tuple[str, str]]
) -> None:
    """Where one side looks whole words up and the other merges, every token must be what its merges make."""
    if pre.ignores_merges == bool(model.get("ignore_merges")):
        return
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    for text in ids:
        if len(merge_word(text, ranks)) != 1:
            raise ConversionError(
                f"tokenizer.json: ignore_merges differs from what {pre.name} does, and merging does not make "
                f"token {text!r}; texts with it would be split differently"
            )


def merge_word(word: str, ranks: Mapping[tuple[str, str], int]) -> list[str]:
    """The tokens that the merges make of one word, the lowest rank first."""
    parts = list(word)
    while len(parts) > 1:
        rank, place = min((ranks.get(pair, len(ranks)), at) for at, pair in enumerate(pairwise(parts)))
        if rank == len(ranks):
            break
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return parts
