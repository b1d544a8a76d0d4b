"""Damaged tokenizer files: each ends in one line that names the file and the fault; nothing is written."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_wsd.converters import convert
from edge_wsd.converters.checkpoint import json_files
from edge_wsd.converters.tokenizers import sentencepiece_file
from edge_wsd.converters.tokenizers.pre_tokenizers import KNOWN, patterns, recognise
from edge_wsd.converters.tokenizers.spm_merges import token_ranks
from edge_wsd.errors import ConversionError
from tests.tiny_llama import save_llama_folder
from tests.tiny_models import byte_characters

N_ROWS = 300
State = dict[str, Any]


def byte_level() -> State:
    vocab = {letter: token for token, letter in enumerate([*byte_characters(), "th"])}
    return {
        "added_tokens": [{"id": 257, "content": "<s>", "special": True}], "normalizer": None, "post_processor": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False},
        "model": {"type": "BPE", "vocab": vocab, "merges": ["t h"]},
    }  # fmt: skip


def sentencepiece_like() -> State:
    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", "t", "h", "th"]
    return {
        "added_tokens": [{"id": 0, "content": "<unk>", "special": True}], "post_processor": None,
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}, "pre_tokenizer": None,
        "model": {
            "type": "BPE", "byte_fallback": True, "unk_token": "<unk>", "merges": [["t", "h"]],
            "vocab": {word: token for token, word in enumerate(words)},
        },
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    save_llama_folder(tmp_path / "model", N_ROWS)
    return tmp_path / "model"


def save(folder: Path, name: str, values: Any) -> None:
    (folder / name).write_text(json.dumps(values), "utf-8")


def refusal(folder: Path, **options: Any) -> str:
    with pytest.raises(ConversionError) as caught:
        convert(folder, folder.parent / "out.gguf", type="F16", **options)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 2500
    assert list(folder.parent.iterdir()) == [folder]
    return str(caught.value)


@pytest.mark.parametrize("state", [byte_level, sentencepiece_like])
def test_the_unchanged_tokenizers_convert(state: Callable[[], State], folder: Path) -> None:
    save(folder, "tokenizer.json", state())
    assert convert(folder, folder.parent / "out.gguf", type="F16").n_bytes


def put(*path: str, value: Any) -> Callable[[State], None]:
    """Sets the value at `path` of a state."""

    def change(state: State) -> None:
        for key in path[:-1]:
            state = state[key]
        state[path[-1]] = value

    return change


FAULTS: dict[str, tuple[Callable[[State], None], str]] = {
    "vocab as a list": (put("model", "vocab", value=["a"]), "not an object of token ids"),
    "id as text": (put("model", "vocab", "t", value="7"), "not an object of token ids"),
    "id as truth": (put("model", "vocab", "t", value=True), "not an object of token ids"),
    "negative id": (put("model", "vocab", "t", value=-1), "the id -1"),
    "huge id": (put("model", "vocab", "t", value=10**30), "only 300 embeddings"),
    "one id twice": (put("model", "vocab", "t", value=0), "share the id 0"),
    "merge of three": (put("model", "merges", value=["t h e"]), "merge 0 is 't h e'"),
    "merge of a number": (put("model", "merges", value=[5]), "merge 0 is 5"),
    "merge to nothing known": (put("model", "merges", value=["t t"]), "makes no token of the vocabulary"),
    "merges as an object": (put("model", "merges", value={}), "merges is not a list"),
    "added tokens as an object": (put("added_tokens", value={"a": 1}), "added_tokens is not a list"),
    "added token as text": (put("added_tokens", value=["<s>"]), "has no id or no content"),
    "added token without text": (put("added_tokens", value=[{"id": 299, "content": ""}]), "has no id or no content"),
    "added token beyond": (put("added_tokens", value=[{"id": 10**9, "content": "<x>"}]), "only 300 embeddings"),
    "added tokens of one id": (
        put("added_tokens", value=[{"id": 299, "content": "<x>"}, {"id": 299, "content": "<y>"}]), "share the id 299",
    ),
    "post-processor as text": (put("post_processor", value="ByteLevel!"), "post_processor 'ByteLevel!'"),
    "post-processor of a list": (
        put("post_processor", value={"type": "Sequence", "processors": {"a": 1}}), "processors is not a list",
    ),
    "template of numbers": (
        put("post_processor", value={"type": "TemplateProcessing", "single": [1, 2]}), "the post-processor adds",
    ),
    "normalizer as a number": (put("normalizer", value=7), "normalizer"),
    "normalizers as a number": (put("normalizer", value={"type": "Sequence", "normalizers": 7}), "normalizer"),
    "model as text": (put("model", value="BPE"), "neither a tokenizer.json with a model"),
    "model of another kind": (put("model", "type", value=["BPE"]), "is not supported"),
}  # fmt: skip


@pytest.mark.parametrize("kind", [byte_level, sentencepiece_like])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_tokenizer_json_is_named(fault: str, kind: Callable[[], State], folder: Path) -> None:
    change, message = FAULTS[fault]
    state = kind()
    change(state)
    save(folder, "tokenizer.json", state)
    assert message in refusal(folder)


@pytest.mark.parametrize(
    "definition",
    [
        None, 5, "ByteLevel", [], {"type": "Sequence"}, {"type": "Sequence", "pretokenizers": [None]},
        {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"String": "a"}}]},
        {"type": "ByteLevel"}, {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True},
        {"type": "Split", "pattern": {"Regex": "a"}, "behavior": "Isolated", "invert": False},
    ],
)  # fmt: skip
def test_any_other_pre_tokenizer_is_not_recognised(definition: Any, folder: Path) -> None:
    assert recognise(definition) is None
    save(folder, "tokenizer.json", {**byte_level(), "pre_tokenizer": definition})
    assert "is not recognised; known are gpt-2" in refusal(folder)


def test_definitions_in_the_table_differ_unless_merges_tell_them_apart() -> None:
    keys = [(patterns(known.definition), known.ignores_merges) for known in KNOWN]
    assert len(set(keys)) == len(KNOWN) and None not in dict(keys)
    for known in KNOWN:
        assert recognise(known.definition, known.ignores_merges) is known


def test_a_missing_byte_is_refused_as_llama_cpp_would_end_the_process(folder: Path) -> None:
    state = sentencepiece_like()
    state["model"]["vocab"]["<other>"] = state["model"]["vocab"].pop("<0xE4>")
    save(folder, "tokenizer.json", state)
    assert "no token <0xE4> for that byte" in refusal(folder)


def test_merges_that_are_no_sentencepiece_are_refused(folder: Path) -> None:
    state = sentencepiece_like()
    vocab = state["model"]["vocab"]
    vocab.update({"hi": len(vocab), "thi": len(vocab) + 1})
    state["model"]["merges"] = [["t", "h"], ["th", "\u2581"]]
    vocab["th\u2581"] = len(vocab)
    state["model"]["merges"] = [["t", "h"], ["h", "\u2581"], ["th", "\u2581"]]
    vocab["h\u2581"] = len(vocab)
    save(folder, "tokenizer.json", state)
    assert "may not be made of" in refusal(folder)


def test_only_runs_of_one_character_may_rank_alike() -> None:
    ids = {text: token for token, text in enumerate(("a", "aa", "aaa", "aaaa", "b", "ab", "ba"))}
    runs = [("aaa", "a"), ("aa", "aa"), ("aa", "a"), ("a", "aaa"), ("a", "aa"), ("a", "a")]
    ranks = token_ranks(ids, [*runs, ("a", "b"), ("b", "a")], frozenset())
    assert ranks == {"aaaa": 0, "aaa": 0, "aa": 5, "ab": 6, "ba": 7}
    with pytest.raises(ConversionError, match="are not next to each other"):
        token_ranks(ids, [("aa", "a"), ("a", "b"), ("a", "aa")], frozenset())
    assert token_ranks(ids, [("aa", "a"), ("a", "b"), ("a", "aa")], frozenset({"aaa"})) == {"ab": 0}


@pytest.mark.parametrize("value", [5, {"content": 5}, "<nowhere>", "", {"content": ""}, None])
@pytest.mark.parametrize("kind", ["bos", "eos", "unk", "pad"])
def test_a_special_token_that_is_none_is_passed_over(value: Any, kind: str, folder: Path) -> None:
    """An empty text, and one that the vocabulary lacks, stopped the conversion."""
    save(folder, "tokenizer.json", byte_level())
    save(folder, "tokenizer_config.json", {f"{kind}_token": value})
    notes = convert(folder, folder.parent / "out.gguf", type="F16").notes
    assert any("'<nowhere>' is not in the tokenizer; it has id 258" in note for note in notes) is (value == "<nowhere>")


def full(state: State) -> State:
    """As many tokens as the model has embeddings."""
    vocab = state["model"]["vocab"]
    vocab.update({f"word{token}": token for token in range(len(vocab), N_ROWS - 1)})
    state["added_tokens"] = [{"id": N_ROWS - 1, "content": "<s>", "special": True}]
    return state


def test_padding_beyond_the_embeddings_is_left_out_and_what_is_needed_is_not(folder: Path) -> None:
    """Fine-tunes add a token for padding that the model has no embedding for."""
    state = full(byte_level())
    state["added_tokens"].append({"id": N_ROWS, "content": "[PAD]", "special": True})
    save(folder, "tokenizer.json", state)
    assert "only 300 embeddings" in refusal(folder)
    save(folder, "tokenizer_config.json", {"pad_token": "[PAD]", "unk_token": "<nowhere>"})
    notes = convert(folder, folder.parent / "out.gguf", type="F16").notes
    assert any(note.startswith("token '[PAD]' has no embedding") for note in notes)
    assert any("'<nowhere>' is not in the tokenizer and has no embedding" in note for note in notes)
    (folder.parent / "out.gguf").unlink()
    save(folder, "tokenizer_config.json", {"pad_token": "[PAD]", "eos_token": "<nowhere>"})
    assert "'<nowhere>' the id 301" in refusal(folder)


@pytest.mark.parametrize("value", [5, [5], [{"name": "a"}], {"a": 1}])
def test_a_chat_template_that_is_none_is_named(value: Any, folder: Path) -> None:
    save(folder, "tokenizer.json", byte_level())
    save(folder, "tokenizer_config.json", {"chat_template": value})
    assert "neither text nor a list of named templates" in refusal(folder)


def test_gigantic_files_are_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(folder, "tokenizer.json", byte_level())
    monkeypatch.setattr(json_files, "_MOST_BYTES", 2**20)
    (folder / "tokenizer.json").write_bytes(b" " * (2**20 + 1))
    assert "tokenizer.json cannot be read: it is larger than 1 MiB" in refusal(folder)
    (folder / "tokenizer.json").unlink()
    monkeypatch.setattr(sentencepiece_file, "MOST_BYTES", 2**20)
    (folder / "tokenizer.model").write_bytes(bytes(2**20 + 1))
    assert "tokenizer.model cannot be read: it is larger than 1 MiB" in refusal(folder)


def piece(text: bytes, score: float = 0.0, kind: int = 1) -> bytes:
    body = b"\x0a" + bytes([len(text)]) + text + b"\x15" + struct.pack("<f", score) + b"\x18" + bytes([kind])
    return b"\x0a" + bytes([len(body)]) + body


@pytest.mark.parametrize("data", [piece(b"a", float("nan")), piece(b"a", kind=0), piece(b"a", kind=99), piece(b"\xff")])
def test_pieces_with_impossible_values_are_refused(data: bytes, folder: Path) -> None:
    (folder / "tokenizer.model").write_bytes(data)
    assert "tokenizer.model is not a SentencePiece model" in refusal(folder)


def test_added_tokens_of_a_slow_tokenizer_are_checked(folder: Path) -> None:
    (folder / "tokenizer.model").write_bytes(piece(b"a") + b"\x12\x02\x18\x02")
    save(folder, "added_tokens.json", {"<x>": "300"})
    assert "has no id or no content" in refusal(folder)
    save(folder, "tokenizer_config.json", {"added_tokens_decoder": {"999": {"content": "<x>"}}})
    assert "only 300 embeddings" in refusal(folder)


@pytest.mark.parametrize("name", ["tokenizer_config.json", "chat_template.json"])
def test_half_a_character_is_no_text(name: str, folder: Path) -> None:
    save(folder, "tokenizer.json", byte_level())
    save(folder, name, {"chat_template": "one \ud800 two"})
    assert f"{name} is not valid JSON" in refusal(folder) and "half a character" in refusal(folder)
    save(folder, name, {"chat_template": "one \U0001f600 two"})  # written as two halves
    assert convert(folder, folder.parent / "out.gguf", type="F16").n_bytes
