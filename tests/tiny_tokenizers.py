"""Small tokenizers of the structure that each family's published tokenizer.json or tokenizer.model has.

>>> BUILDERS["gemma, tokenizer.json alone"](folder)     # writes tokenizer files beside a checkpoint's weights
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

tokenizers = pytest.importorskip("tokenizers")
sentencepiece = pytest.importorskip("sentencepiece")

from edge_wsd.converters.tokenizers.pre_tokenizers import named  # noqa: E402
from edge_wsd.converters.verification.tokenizer_texts import tokenizer_test_texts  # noqa: E402

# Rows of the embeddings that checkpoints in these tests have; the tokenizers are smaller, as real ones often are.
N_ROWS = 1500
N_PIECES, N_SENTENCEPIECES = 900, 1400
TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
SPACE = "\u2581"


def texts() -> list[str]:
    """What the tokenizers are trained on: a part of the corpus that they are compared over."""
    return [text for text in tokenizer_test_texts()[::2] if "\0" not in text]


def save_config(folder: Path, **values: Any) -> None:
    """Writes tokenizer_config.json."""
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE, **values}), "utf-8")


def added(token: int, text: str, *, special: bool = True, **flags: bool) -> dict[str, Any]:
    """One entry of added_tokens."""
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": token, "content": text, "special": special, **plain, **flags}


def byte_level_state(
    pre: str, specials: Mapping[str, bool], *, normalizer: str | None = None, ignore_merges: bool | None = None
) -> dict[str, Any]:
    """A trained byte-level BPE as tokenizer.json has it; `specials` maps the texts of added tokens to special or not.

    The added tokens stand behind the vocabulary, as in Llama 3 and Qwen.
    """
    known = named(pre)
    state = json.loads(tokenizers.Tokenizer(tokenizers.models.BPE()).to_str())
    state["pre_tokenizer"] = with_offsets(known.definition)
    state["normalizer"] = {"type": normalizer} if normalizer else None
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(state))
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=N_PIECES, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts(), trainer)
    state = json.loads(tokenizer.to_str())
    state["decoder"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    state["model"]["ignore_merges"] = known.ignores_merges if ignore_merges is None else ignore_merges
    vocab = state["model"]["vocab"]
    if state["model"]["ignore_merges"]:  # such vocabularies have words that no merges make
        words = (word for word in ("McDonald", "iPhone", "\u0120squared") if word not in vocab)
        vocab.update({word: len(vocab) + at for at, word in enumerate(words)})
    n = len(vocab)
    state["added_tokens"] = [added(n + at, text, special=kind) for at, (text, kind) in enumerate(specials.items())]
    return state


def with_offsets(definition: Any) -> Any:
    """The definition as tokenizers wants to read it: every byte-level step says trim_offsets."""
    if isinstance(definition, dict):
        whole = {key: with_offsets(value) for key, value in definition.items()}
        return {**whole, "trim_offsets": True} if definition.get("type") == "ByteLevel" else whole
    return [with_offsets(item) for item in definition] if isinstance(definition, list) else definition


def bos_template(text: str, token: int) -> dict[str, Any]:
    """A post-processor that puts one token in front."""
    piece, first = {"SpecialToken": {"id": text, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
    second = {"Sequence": {"id": "B", "type_id": 1}}
    return {
        "type": "TemplateProcessing", "single": [piece, first], "pair": [piece, first, second],
        "special_tokens": {text: {"id": text, "ids": [token], "tokens": [text]}},
    }  # fmt: skip


def write(folder: Path, state: Mapping[str, Any]) -> None:
    (folder / "tokenizer.json").write_text(json.dumps(state), "utf-8")


def llama3(folder: Path) -> None:
    reserved = {f"<|reserved_special_token_{number}|>": True for number in range(20)}
    turns = dict.fromkeys(("<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>"), True)
    state = byte_level_state("llama-bpe", {"<|begin_of_text|>": True, "<|end_of_text|>": True, **reserved, **turns})
    bos = state["added_tokens"][0]["id"]
    byte_level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
    processors = [byte_level, bos_template("<|begin_of_text|>", bos)]
    write(folder, {**state, "post_processor": {"type": "Sequence", "processors": processors}})
    save_config(folder, bos_token="<|begin_of_text|>", eos_token="<|eot_id|>")


def qwen(folder: Path) -> None:
    control = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|vision_pad|>")
    plain = ("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<think>", "</think>")
    specials = {**dict.fromkeys(control, True), **dict.fromkeys(plain, False)}
    state = byte_level_state("qwen2", specials, normalizer="NFC")
    processor = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    write(folder, {**state, "post_processor": processor})
    save_config(
        folder, bos_token=None, eos_token="<|im_end|>", pad_token="<|endoftext|>", add_bos_token=False,
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
    )  # fmt: skip


def plain_byte_level(pre: str) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        write(folder, byte_level_state(pre, {"<|endoftext|>": True, "<|im_start|>": True, "<|im_end|>": True}))
        save_config(folder, bos_token="<|endoftext|>", eos_token="<|im_end|>")

    return save


def gpt2(folder: Path) -> None:
    """Old files do not say that the byte-level step cuts."""
    state = byte_level_state("gpt-2", {"<|endoftext|>": True})
    del state["pre_tokenizer"]["use_regex"]
    write(folder, state)
    save_config(folder, bos_token="<|endoftext|>", eos_token="<|endoftext|>")


def phi4(folder: Path) -> None:
    """The words of Llama 3, merges never skipped, the pattern kept where others cut at it."""
    state = byte_level_state("dbrx", {"<|endoftext|>": True, "<|im_start|>": True, "<|im_end|>": True})
    state["pre_tokenizer"]["pretokenizers"][0].update(behavior="Removed", invert=True)
    write(folder, state)
    save_config(folder, bos_token="<|endoftext|>", eos_token="<|im_end|>")


def tekken(folder: Path) -> None:
    control = {"<unk>": True, "<s>": True, "</s>": True, "[INST]": True, "[/INST]": True, "[TOOL_CALLS]": True}
    state = byte_level_state("tekken", {**control, **{f"<SPECIAL_{number}>": True for number in range(20, 40)}})
    bos = state["added_tokens"][1]["id"]
    write(folder, {**state, "post_processor": bos_template("<s>", bos)})
    save_config(folder, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def sentencepiece_model(folder: Path, kind: str = "bpe", **options: Any) -> None:
    """Trains tokenizer.model. `options` go to the trainer."""
    wanted: dict[str, Any] = {
        "model_type": kind, "vocab_size": N_SENTENCEPIECES, "byte_fallback": True, "split_digits": True,
        "normalization_rule_name": "identity", "remove_extra_whitespaces": False, "allow_whitespace_only_pieces": True,
        "character_coverage": 0.98, "minloglevel": 2, "hard_vocab_limit": False, **options,
    }  # fmt: skip
    lines = [line for text in texts() for line in text.split("\n") if line.strip() and SPACE not in line]
    with (folder / "tokenizer.model").open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=file, **wanted)


def sentencepiece_state(folder: Path, *, tab: bool = False) -> dict[str, Any]:
    """The pieces of tokenizer.model with every way to merge them, as transformers writes tokenizer.json.

    `tab`: the byte token of the tab is written as the character, as for Gemma.
    """
    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    size = range(model.get_piece_size())
    ids = {("\t" if tab and model.id_to_piece(at) == "<0x09>" else model.id_to_piece(at)): at for at in size}
    fixed = [at for at in size if model.is_control(at) or model.is_unknown(at)]
    ways = [
        (model.get_score(token), len(text[:cut]), len(text[cut:]), text[:cut], text[cut:])
        for text, token in ids.items() if token not in fixed and not model.is_byte(token)
        for cut in range(1, len(text)) if text[:cut] in ids and text[cut:] in ids
    ]  # fmt: skip
    ways.sort(key=lambda way: way[:3], reverse=True)
    merges = [list(way[3:]) for way in ways]
    unknown = model.id_to_piece(model.unk_id())
    bpe = {
        "type": "BPE", "dropout": None, "unk_token": unknown, "continuing_subword_prefix": None,
        "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False, "vocab": ids,
        "merges": merges,
    }  # fmt: skip
    return {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "pre_tokenizer": None,
        "added_tokens": [added(at, model.id_to_piece(at)) for at in fixed], "post_processor": None, "decoder": None,
        "model": bpe,
    }  # fmt: skip


def replaced(*before: dict[str, Any]) -> dict[str, Any]:
    """The normalizer that writes spaces as SentencePiece does."""
    step = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    return {"type": "Sequence", "normalizers": [*before, step]} if before else step


PREPEND = {"type": "Prepend", "prepend": SPACE}


def metaspace(scheme: str) -> dict[str, Any]:
    return {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": scheme, "split": False}


def llama2_model(folder: Path) -> None:
    sentencepiece_model(folder)
    save_config(folder, bos_token="<s>", eos_token="</s>", unk_token="<unk>", add_bos_token=True, add_eos_token=False)


def llama2(folder: Path) -> None:
    """Both files; a fine-tune added chat tokens behind the vocabulary."""
    llama2_model(folder)
    state = sentencepiece_state(folder)
    n = len(state["model"]["vocab"])
    state["added_tokens"] += [added(n, "<|im_start|>"), added(n + 1, "<|im_end|>", special=False)]
    write(folder, {**state, "normalizer": replaced(PREPEND), "post_processor": bos_template("<s>", 1)})


def mistral(scheme: str) -> Callable[[Path], None]:
    """Mistral 0.3: control tokens in the model, the space in front of a text only."""

    def save(folder: Path) -> None:
        sentencepiece_model(folder, control_symbols=["[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]"])
        state = sentencepiece_state(folder)
        write(folder, {**state, "pre_tokenizer": metaspace(scheme), "post_processor": bos_template("<s>", 1)})
        (folder / "tokenizer.model").unlink()
        save_config(folder, bos_token="<s>", eos_token="</s>", unk_token="<unk>", add_bos_token=True)

    return save


def phi3(folder: Path) -> None:
    """Llama's pieces with added tokens that take the white space behind them along."""
    sentencepiece_model(folder)
    state = sentencepiece_state(folder)
    n = len(state["model"]["vocab"])
    turns = ("<|assistant|>", "<|placeholder1|>", "<|system|>", "<|end|>", "<|user|>")
    state["added_tokens"] = [added(0, "<unk>"), added(1, "<s>"), added(2, "</s>", special=False, rstrip=True)]
    state["added_tokens"].append(added(n, "<|endoftext|>"))
    state["added_tokens"] += [added(n + 1 + at, text, rstrip=True) for at, text in enumerate(turns)]
    write(folder, {**state, "normalizer": replaced(PREPEND)})
    save_config(
        folder, bos_token="<s>", eos_token="<|endoftext|>", unk_token="<unk>", pad_token="<|endoftext|>",
        add_bos_token=False, add_eos_token=False,
    )  # fmt: skip


GEMMA_TAGS = ("<start_of_turn>", "<end_of_turn>", "<table>", "<h1>", "</h1>")


def _gemma_user_defined() -> Iterator[str]:
    yield from (f"<unused{number}>" for number in range(30))
    yield from GEMMA_TAGS
    yield from ("\n" * n for n in range(1, 32))
    yield from (SPACE * n for n in range(2, 32))


def gemma_model(folder: Path) -> None:
    sentencepiece_model(
        folder, add_dummy_prefix=False, pad_id=0, eos_id=1, bos_id=2, unk_id=3, pad_piece="<pad>", eos_piece="<eos>",
        bos_piece="<bos>", user_defined_symbols=["<mask>", *_gemma_user_defined()],
    )  # fmt: skip
    save_config(
        folder, bos_token="<bos>", eos_token="<eos>", unk_token="<unk>", pad_token="<pad>", add_bos_token=True,
        add_eos_token=False, tokenizer_class="GemmaTokenizer",
    )  # fmt: skip


def gemma(folder: Path) -> None:
    """tokenizer.json alone, as Gemma 3 has it."""
    gemma_model(folder)
    state = sentencepiece_state(folder, tab=True)
    ids = state["model"]["vocab"]
    control = ("<start_of_turn>", "<end_of_turn>")
    listed = ("<mask>", *_gemma_user_defined())
    state["added_tokens"] += [added(ids[text], text, special=text in control) for text in listed]
    cut = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
    state.update(normalizer=replaced(), pre_tokenizer=cut, post_processor=bos_template("<bos>", 2))
    write(folder, state)
    (folder / "tokenizer.model").unlink()


BUILDERS: Mapping[str, Callable[[Path], None]] = {
    "llama 3": llama3, "qwen": qwen, "gpt-2, old file": gpt2, "smollm": plain_byte_level("smollm"), "phi 4": phi4,
    "tekken": tekken, "gpt-4o": plain_byte_level("gpt-4o"), "deepseek-llm": plain_byte_level("deepseek-llm"),
    "deepseek-coder": plain_byte_level("deepseek-coder"), "deepseek-v3": plain_byte_level("deepseek-v3"),
    "qwen35": plain_byte_level("qwen35"), "seed-coder": plain_byte_level("seed-coder"),
    "llama 2, tokenizer.model alone": llama2_model, "llama 2, both files": llama2,
    "mistral 0.3": mistral("first"), "metaspace everywhere": mistral("always"), "metaspace never": mistral("never"),
    "phi 3": phi3, "gemma, tokenizer.model alone": gemma_model, "gemma, tokenizer.json alone": gemma,
}  # fmt: skip
