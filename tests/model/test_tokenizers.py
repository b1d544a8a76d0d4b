"""Tokenizers of every family: the GGUF file splits the hard corpus as the checkpoint does, special tokens included."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import pytest

pytest.importorskip("transformers")

from edge_wsd.converters import convert
from edge_wsd.converters.tokenizers import pre_tokenizers as table
from edge_wsd.converters.tokenizers import spm
from edge_wsd.converters.tokenizers.pre_tokenizer_names import LLAMA_CPP_NAMES
from edge_wsd.converters.tokenizers.reference import read_reference
from edge_wsd.converters.verification.tokenizer_agreement import Agreement, gguf_ids, tokenizer_agreement
from edge_wsd.converters.verification.tokenizer_texts import tokenizer_test_texts
from edge_wsd.errors import ConversionError, ModelLoadError, VerificationError
from edge_wsd.llama.model import Model
from edge_wsd.llama.space_prefix import KEY
from tests import tiny_tokenizers as tiny
from tests.tiny_llama import save_llama_folder
from tests.tiny_models import TinyModel, string

REQUIRED = 0.999
# llama.cpp's own approximation of the pattern; the conversion says so.
NEAR = {"tekken": 0.96, "gpt-4o": 0.96}
NFC = ("qwen",)


class Converted:
    """A checkpoint folder with a tokenizer of one kind, and the GGUF file made of it."""

    def __init__(self, folder: Path, kind: str | None = None, **config: object) -> None:
        self.folder, self.gguf = folder / "model", folder / "out.gguf"
        self.folder.mkdir()
        save_llama_folder(self.folder, tiny.N_ROWS, **config)
        self.notes: tuple[str, ...] = ()
        if kind:
            tiny.BUILDERS[kind](self.folder)

    def convert(self, **options: Any) -> Converted:
        self.notes = convert(self.folder, self.gguf, type="F16", force=True, **options).notes
        return self

    def agreement(self, texts: list[str] | None = None) -> Agreement:
        return tokenizer_agreement(self.folder, self.gguf, texts)

    def edit(self, change: Callable[[dict[str, Any]], object], name: str = "tokenizer.json") -> Converted:
        state = json.loads((self.folder / name).read_text("utf-8"))
        change(state)
        (self.folder / name).write_text(json.dumps(state), "utf-8")
        return self

    def field(self, key: str) -> Any:
        found = gguf.GGUFReader(self.gguf).fields.get(key)
        return found.contents() if found else None


@pytest.mark.parametrize("kind", tiny.BUILDERS)
def test_every_kind_splits_the_hard_corpus_as_its_checkpoint_does(kind: str, tmp_path: Path) -> None:
    made = Converted(tmp_path, kind).convert()
    found = made.agreement()
    assert found.n_texts >= 1000
    if kind in NFC:
        assert found.n_only_normalized > 0 and any("NFC" in note for note in made.notes)
    if kind in NEAR:
        assert any("upper from lower case" in note for note in made.notes)
    share = (found.n_equal + found.n_only_normalized) / found.n_texts
    assert share >= NEAR.get(kind, REQUIRED), str(found)


def test_the_corpus_is_large_and_always_the_same() -> None:
    texts = tokenizer_test_texts(["<|im_start|>"])
    assert texts == tokenizer_test_texts(["<|im_start|>"]) and len(set(texts)) == len(texts) >= 1000
    assert {"<|im_start|>", "a <|im_start|> b", ""} <= set(texts)
    assert all(text.encode().decode() == text for text in texts)


# Rules broken on purpose: what the comparison is there to find.


def test_another_pre_tokenizer_is_found_out(tmp_path: Path) -> None:
    found = Converted(tmp_path, "qwen").convert(pre_tokenizer="gpt-2").agreement()
    assert found.share < REQUIRED
    difference = found.first_difference
    assert difference is not None and difference.expected != difference.found
    assert "differs at token" in str(difference) and "the GGUF has" in str(difference)


def test_a_space_in_front_at_other_places_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, scheme in (("mistral 0.3", "everywhere"), ("mistral 0.3", "never"), ("llama 2, both files", "never")):
        folder = tmp_path / f"{kind} {scheme}"
        folder.mkdir()
        with monkeypatch.context() as patch:
            patch.setattr(spm, "_json_scheme", lambda _, scheme=scheme: scheme)
            assert Converted(folder, kind).convert().agreement().share < REQUIRED


def test_user_defined_tokens_of_another_type_are_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spm, "USER_DEFINED", spm.NORMAL)
    monkeypatch.setattr(spm, "CONTROL", spm.NORMAL)
    assert Converted(tmp_path, "gemma, tokenizer.json alone").convert().agreement().share < REQUIRED


def test_a_wrong_pattern_in_the_table_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mixed = tuple(replace(known, name="gpt-2") if known.name == "smollm" else known for known in table.KNOWN)
    monkeypatch.setattr(table, "KNOWN", mixed)
    made = Converted(tmp_path)
    tiny.write(made.folder, tiny.byte_level_state("deepseek-coder", {"<|endoftext|>": True}))
    made.edit(lambda state: state.update(pre_tokenizer=tiny.with_offsets(mixed[5].definition)))
    assert made.convert(pre_tokenizer="gpt-2").agreement().share < REQUIRED


def test_a_missing_bos_is_found_out(tmp_path: Path) -> None:
    made = Converted(tmp_path, "llama 3").convert()
    made.edit(lambda state: state.update(post_processor=None))
    assert made.agreement().n_equal == 0


# What is not recognised.


def test_an_unknown_pre_tokenizer_says_what_is_known_about_the_parent(tmp_path: Path) -> None:
    made = Converted(tmp_path, "llama 3", _name_or_path="someone/finetune")
    made.edit(lambda state: state.update(pre_tokenizer={"type": "Whitespace"}))
    made.edit(lambda config: config.update(vocab_size=128256), "config.json")
    made.edit(lambda config: config.update(tokenizer_class="PreTrainedTokenizerFast"), "tokenizer_config.json")
    from edge_wsd.converters.checkpoint.folder import Checkpoint
    from edge_wsd.converters.tokenizers.choose import read_vocabulary

    with pytest.raises(ConversionError) as caught:
        read_vocabulary(Checkpoint(made.folder), tiny.N_ROWS, None)
    message = str(caught.value)
    for part in (
        '{"type": "Whitespace"}', "LlamaForCausalLM", "128256", "someone/finetune", "PreTrainedTokenizerFast",
        "Llama 3 and its fine-tunes use llama-bpe", "--pre-tokenizer llama-bpe", "edge-wsd verify",
    ):  # fmt: skip
        assert part in message
    assert "\n" not in message


def test_a_named_pre_tokenizer_is_taken_with_a_word_about_it(tmp_path: Path) -> None:
    made = Converted(tmp_path, "llama 3")
    made.edit(lambda state: state["pre_tokenizer"]["pretokenizers"].insert(0, {"type": "UnicodeScripts"}))
    made.convert(pre_tokenizer="llama-bpe")
    assert made.field("tokenizer.ggml.pre") == "llama-bpe"
    assert any("was named, not recognised" in note for note in made.notes)


def test_a_name_that_llama_cpp_does_not_know_is_refused_with_all_it_knows(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"no pre-tokenizer 'llama-bep'; did you mean llama-bpe\? .*qwen2.*youtu"):
        Converted(tmp_path, "llama 3").convert(pre_tokenizer="llama-bep")
    with pytest.raises(ConversionError, match="a SentencePiece tokenizer has none"):
        (tmp_path / "sp").mkdir()
        Converted(tmp_path / "sp", "llama 2, both files").convert(pre_tokenizer="llama-bpe")


def test_llama_cpp_knows_every_listed_name_and_no_other(tmp_path: Path) -> None:
    for name in LLAMA_CPP_NAMES:
        path = TinyModel(metadata={"tokenizer.ggml.pre": string(name)}).write(tmp_path / "tiny.gguf")
        Model.load(path, vocab_only=True).close()
    path = TinyModel(metadata={"tokenizer.ggml.pre": string("nobody's")}).write(tmp_path / "tiny.gguf")
    with pytest.raises(ModelLoadError, match="unknown pre-tokenizer"):
        Model.load(path, vocab_only=True)


def test_a_unigram_model_is_refused_by_name(tmp_path: Path) -> None:
    made = Converted(tmp_path)
    tiny.sentencepiece_model(made.folder, "unigram", vocab_size=1300)
    with pytest.raises(ConversionError, match="unigram model, expected bpe"):
        made.convert()
    (made.folder / "tokenizer.json").write_text(json.dumps({"model": {"type": "Unigram", "vocab": []}}), "utf-8")
    with pytest.raises(ConversionError, match="unigram"):
        made.convert()


# Fine-tunes.


def test_added_tokens_get_the_ids_that_transformers_gives_them(tmp_path: Path) -> None:
    made = Converted(tmp_path, "qwen")

    def add(state: dict[str, Any]) -> None:
        state["added_tokens"] += [
            tiny.added(50, "<in the place of another>"), tiny.added(1400, "<behind a gap>"),
            tiny.added(1401, "the", special=False),
        ]  # fmt: skip

    found = made.edit(add).convert().agreement()
    assert found.n_equal + found.n_only_normalized == found.n_texts, str(found)
    assert sum("as in transformers" in note for note in made.notes) >= 2


def test_the_image_token_of_a_text_model_is_left_out(tmp_path: Path) -> None:
    made = Converted(tmp_path, "gemma, tokenizer.json alone")
    made.edit(lambda state: state["added_tokens"].append(tiny.added(tiny.N_ROWS, "<image_soft_token>")))
    assert any("<image_soft_token> has no embedding" in note for note in made.convert().notes)
    made.edit(lambda state: state["added_tokens"].append(tiny.added(tiny.N_ROWS + 1, "<other>")))
    with pytest.raises(ConversionError, match="resize the model's embeddings"):
        made.convert()


NEW = tiny.added(1400, "<more>")
DECODER = {"1400": {key: value for key, value in NEW.items() if key != "id"}}
# What people's tokenizer_config.json say that their tokenizer.json does not.
ODDITIES: dict[str, dict[str, Any]] = {
    "no BOS beside a post-processor that adds one": {"add_bos_token": False},
    "an EOS beside a post-processor that adds none": {"add_eos_token": True},
    "flags that are null": {"add_bos_token": None, "add_eos_token": None},
    "empty BOS": {"bos_token": ""},
    "empty EOS and padding": {"eos_token": "", "pad_token": ""},
    "BOS that is none": {"bos_token": None},
    "BOS that the vocabulary lacks": {"bos_token": "<nowhere>"},
    "padding that the vocabulary lacks": {"pad_token": "[PAD]"},
    "unknown that the vocabulary lacks": {"unk_token": "<nowhere>"},
    "several that the vocabulary lacks": {"mask_token": "<m>", "sep_token": "<s e p>", "cls_token": "<c>"},
    "padding with an ordinary token": {"pad_token": "!"},
    "further tokens": {"additional_special_tokens": ["<x1>", "<x2>"]},
    "further tokens by name": {"extra_special_tokens": {"image_token": "<img>"}},
    "a token by a name of its own": {"audio_token": "<audio>"},
    "an added token more": {"added_tokens_decoder": DECODER},
    "special tokens that are to be split": {"split_special_tokens": True},
}


@pytest.mark.parametrize("oddity", ODDITIES)
@pytest.mark.parametrize("kind", ["llama 3", "qwen", "llama 2, both files"])
def test_a_configuration_that_says_other_than_its_tokenizer_is_read_as_transformers_reads_it(
    kind: str, oddity: str, tmp_path: Path
) -> None:
    """Of `add_bos_token: false` beside a post-processor 0 of 1,837 texts agreed; others stopped the conversion."""
    made = Converted(tmp_path, kind).edit(lambda config: config.update(ODDITIES[oddity]), "tokenizer_config.json")
    found = made.convert().agreement()
    assert found.n_alike == found.n_texts, str(found)


def test_a_note_says_which_of_flag_and_post_processor_counts(tmp_path: Path) -> None:
    made = Converted(tmp_path, "llama 3").edit(
        lambda config: config.update(add_bos_token=False), "tokenizer_config.json"
    )
    assert any("add_bos_token is false, the post-processor" in note for note in made.convert().notes)
    assert made.field("tokenizer.ggml.add_bos_token") is True


def test_a_visible_character_that_pads_stays_visible(tmp_path: Path) -> None:
    made = Converted(tmp_path, "llama 3").edit(lambda config: config.update(pad_token="!"), "tokenizer_config.json")
    made.convert()
    index = made.field("tokenizer.ggml.tokens").index("!")
    assert made.field("tokenizer.ggml.token_type")[index] == gguf.TokenType.USER_DEFINED


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("special_tokens_map.json", {"pad_token": "<nowhere>", "bos_token": "<other>"}),
        ("added_tokens.json", {"<from a file>": 1300}),
    ],
)
def test_files_of_older_versions_are_read_too(name: str, values: dict[str, Any], tmp_path: Path) -> None:
    made = Converted(tmp_path, "llama 3")
    (made.folder / name).write_text(json.dumps(values), "utf-8")
    found = made.convert().agreement()
    assert found.n_alike == found.n_texts, str(found)


@pytest.mark.parametrize("inside", [False, True])
def test_a_template_adds_the_ids_that_it_names(inside: bool, tmp_path: Path) -> None:
    """Its names were taken for the texts of tokens, whatever ids stood beside them."""
    made = Converted(tmp_path, "llama 3")
    template = {
        "type": "TemplateProcessing", "pair": [{"Sequence": {"id": "B", "type_id": 1}}],
        "single": [{"SpecialToken": {"id": "first", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "special_tokens": {"first": {"id": "first", "ids": [905], "tokens": ["first"]}},
    }  # fmt: skip
    steps = {"type": "Sequence", "processors": [template]}
    made.edit(lambda state: state.update(post_processor=steps if inside else template))
    found = made.convert().agreement()
    assert found.n_alike == found.n_texts, str(found)
    assert made.field("tokenizer.ggml.bos_token_id") == 905


def test_padding_and_truncation_of_a_tokenizer_are_not_taken_for_its_tokens(tmp_path: Path) -> None:
    made = Converted(tmp_path, "llama 3")
    cut = {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}
    fill = {
        "strategy": {"Fixed": 20}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
        "pad_token": "[PAD]",
    }  # fmt: skip
    found = made.edit(lambda state: state.update(truncation=cut, padding=fill)).convert().agreement()
    assert found.n_alike == found.n_texts, str(found)


def test_a_changed_tokenizer_json_goes_before_tokenizer_model(tmp_path: Path) -> None:
    made = Converted(tmp_path, "llama 2, both files")

    def rename(state: dict[str, Any]) -> None:
        vocab, merges = state["model"]["vocab"], state["model"]["merges"]
        whole = next(text for text in reversed(vocab) if not any(text in (a, b) for a, b in merges) and len(text) > 2)
        vocab["<new>"] = vocab.pop(whole)
        state["model"]["merges"] = [[a, b] for a, b in merges if a + b != whole]
        state["added_tokens"].append(tiny.added(vocab["<new>"], "<new>"))

    found = made.edit(rename).convert().agreement()
    assert found.share >= REQUIRED, str(found)
    assert any("tokenizer.json was taken" in note for note in made.notes)


# Everything else a file says about its tokens.


def test_special_tokens_of_every_kind_arrive(tmp_path: Path) -> None:
    made = Converted(tmp_path, "qwen", eos_token_id=5).convert()
    tokens = made.field("tokenizer.ggml.tokens")
    for key, text in (("eos", "<|im_end|>"), ("padding", "<|endoftext|>"), ("fim_pre", "<|fim_prefix|>")):
        assert tokens[made.field(f"tokenizer.ggml.{key}_token_id")] == text
    assert made.field("tokenizer.ggml.add_bos_token") is False
    assert any("also stops at token 5" in note for note in made.notes)
    (tmp_path / "llama").mkdir()
    made = Converted(tmp_path / "llama", "llama 3", eos_token_id=[3, 4]).convert()
    tokens = made.field("tokenizer.ggml.tokens")
    assert tokens[made.field("tokenizer.ggml.eom_token_id")] == "<|eom_id|>"
    assert any("also stops at token 4" in note for note in made.notes)


def test_phi_3_keeps_its_name_and_nothing_else_has_it(tmp_path: Path) -> None:
    phi = Converted(tmp_path, "phi 3").convert()
    assert "phi-3" in phi.field("general.name").lower()
    (tmp_path / "other").mkdir()
    other = Converted(tmp_path / "other", "llama 2, both files")
    (other.folder / "README.md").write_text("---\nmodel_name: My-Phi-3-killer\n---\n", "utf-8")
    assert "phi-3" not in other.convert().field("general.name").lower()
    assert other.agreement().share >= REQUIRED


def test_templates_arrive_from_every_place(tmp_path: Path) -> None:
    made = Converted(tmp_path, "qwen").convert()
    assert made.field("tokenizer.chat_template") == tiny.TEMPLATE
    (made.folder / "chat_template.jinja").write_text("{{ 'file' }}", "utf-8")
    assert made.convert().field("tokenizer.chat_template") == "{{ 'file' }}"
    (made.folder / "additional_chat_templates").mkdir()
    (made.folder / "additional_chat_templates" / "tool_use.jinja").write_text("{{ 'tools' }}", "utf-8")
    assert made.convert().field("tokenizer.chat_template") == "{{ 'file' }}"
    assert made.field("tokenizer.chat_template.tool_use") == "{{ 'tools' }}"


def test_texts_of_the_user_are_compared_too(tmp_path: Path) -> None:
    made = Converted(tmp_path, "llama 3").convert()
    assert made.agreement(["one \udcff two", ""]).n_equal == 2
    assert made.agreement([]).share == 1.0


def test_gguf_ids_are_those_of_the_reference(tmp_path: Path) -> None:
    made = Converted(tmp_path, "mistral 0.3").convert()
    with Model.load(made.gguf, vocab_only=True) as model:
        for text in ("Hi", " Hi", "[INST] Hi[/INST]you", "a[INST]b", ""):
            assert gguf_ids(model.vocab, text) == read_reference(made.folder).ids([text])[0]


def test_a_folder_without_a_tokenizer_cannot_be_compared(tmp_path: Path) -> None:
    made = Converted(tmp_path, "llama 3").convert()
    (made.folder / "tokenizer.json").write_text("{}", "utf-8")
    with pytest.raises(VerificationError, match="transformers cannot load"):
        made.agreement()
    (made.folder / "tokenizer.json").unlink()
    with pytest.raises(VerificationError, match=r"neither a tokenizer\.json"):
        made.agreement()


@pytest.mark.parametrize("scheme", ["", "sometimes", "\u00e9" * 20])
def test_where_spaces_go_is_llama_cpps_affair_if_the_file_names_no_scheme(scheme: str, tmp_path: Path) -> None:
    plain, named = TinyModel(), TinyModel()
    named.metadata[KEY] = string(scheme)
    plain.write(tmp_path / "plain.gguf")
    named.write(tmp_path / "named.gguf")
    text = " a <|eos|> b"
    with Model.load(tmp_path / "plain.gguf", vocab_only=True) as one:
        expected = one.vocab.tokenize(text, special=True)
    with Model.load(tmp_path / "named.gguf", vocab_only=True) as other:
        assert other.vocab.tokenize(text, special=True) == expected


@pytest.mark.parametrize("entry", [{"content": 7}, {"id": 5}])
def test_damaged_added_tokens_of_a_checkpoint_are_named(entry: dict[str, int], tmp_path: Path) -> None:
    made = Converted(tmp_path, "llama 2, tokenizer.model alone").convert()
    made.edit(lambda state: state.update(added_tokens_decoder={"5": entry}), "tokenizer_config.json")
    with pytest.raises(ConversionError, match="has no id or no content"):
        made.agreement()
