"""Small tokenizers, trained here and saved as the checkpoints of each family save theirs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

tokenizers = pytest.importorskip("tokenizers")
transformers = pytest.importorskip("transformers")

from edge_wsd.converters.tokenizers.pre_tokenizers import KNOWN, PreTokenizer, named  # noqa: E402

N_VOCAB = 800
SPECIALS = ["<|begin|>", "<|end|>", "<|im_end|>", "<|im_start|>"]
TEMPLATE = "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
CORPUS = [
    "How do I list files by size?  Use `ls -lS`, or du -sh * | sort -h.",
    "   leading, trailing   \t tabs\t\tand\n\n\nnewlines \r\n mixed   ",
    "1 12 123 1234 12345 3.14159 1,000,000 0x1F 2024-02-29 ½ Ⅷ ٣٤٥ १२३",
    "it's I'm you'll they'D WE'VE don't 'quoted' ''double''",
    "emoji 😀👩‍👩‍👧‍👦🏳️‍🌈 flags 🇩🇪🇯🇵 and ❤️ text",
    "漢字とかな、カタカナ。中文字符，标点！한국어 문장입니다.",
    "שלום עולם مرحبا بالعالم \u200fRTL\u200e marks",
    "def f(x):\n    if x > 0:\n\t\treturn x**2  # squared\n    return {'a': [1, 2, {}]}",
    "for (int i=0;i<n;++i){ a[i]+=b[i]&0xff; }//x",
    "naïve café Ångström ǅ ß ﬁ e\u0301 combining \u200b zero \ufeff width \u00a0 nbsp \u2003 em",
    "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n",
    "a<|im_end|>b <|im_end|> c<|end|>",
    "https://example.org/a?b=c&d=%20#frag user@host ~/path/to/file.tar.gz $HOME",
    "____ ---- ==== ...... !!!??? (((( )))) \\\\ // ``` ~~~",
    "Ελληνικά Кириллица հայերեն ไทย हिन्दी தமிழ் ქართული",
    "\u0000 control \u0007 bytes \u001b[31m and \U0001f9ff \U00020000 planes",
    "",
    " ",
    "\n",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
]


def save_tokenizer(folder: Path, family: str) -> None:
    """Saves a tokenizer of the kind that `family` has; its special tokens have the ids of SPECIAL_IDS."""
    if family == "llama":
        save_bpe(folder, named("llama-bpe"), bos=True)
    elif family in ("qwen2", "qwen3"):
        save_bpe(folder, named("qwen2"))
    elif family in ("gemma2", "gemma3"):
        save_gemma(folder)
    else:
        save_sentencepiece(folder)
        _save_tokenizer_config(folder, "LlamaTokenizer", "<s>", "</s>")


# Ids by family of what save_tokenizer saves, as config.json names them.
BPE_IDS = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None}
SENTENCEPIECE_IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None}
GEMMA_IDS = {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}


def save_bpe(folder: Path, pre: PreTokenizer = KNOWN[0], *, bos: bool = False) -> None:
    """Trains a small byte-level BPE and saves it as transformers does."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(ignore_merges=pre.ignores_merges))
    state = json.loads(tokenizer.to_str())
    state["pre_tokenizer"] = _with_offsets(pre.definition)
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(state))
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=N_VOCAB - 8,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=SPECIALS,
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS * 2, trainer)
    if bos:
        tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
            single="<|begin|> $A", pair="<|begin|> $A $B", special_tokens=[("<|begin|>", 0)]
        )
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|begin|>", eos_token="<|end|>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)


def _with_offsets(definition: object) -> object:
    """The definition as tokenizers wants to read it: every byte-level step says trim_offsets."""
    if isinstance(definition, dict):
        whole = {key: _with_offsets(value) for key, value in definition.items()}
        return {**whole, "trim_offsets": True} if definition.get("type") == "ByteLevel" else whole
    return [_with_offsets(item) for item in definition] if isinstance(definition, list) else definition


def save_sentencepiece(folder: Path, kind: str = "bpe", **options: object) -> None:
    """Trains tokenizer.model, as Llama 2 has it. `options` go to the trainer."""
    sentencepiece = pytest.importorskip("sentencepiece")
    (folder / "corpus.txt").write_text("\n".join(text for text in CORPUS if "\0" not in text), encoding="utf-8")
    wanted: dict[str, object] = {
        "model_type": kind, "vocab_size": 600 if kind == "bpe" else 480, "byte_fallback": True,
        "split_digits": True, "normalization_rule_name": "identity", "remove_extra_whitespaces": False,
        "minloglevel": 2, **options,
    }  # fmt: skip
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "corpus.txt"), model_prefix=str(folder / "tokenizer"), **wanted
    )
    (folder / "corpus.txt").unlink()
    (folder / "tokenizer.vocab").unlink()


def save_gemma(folder: Path) -> None:
    """tokenizer.model as Gemma has it: no space in front, padding first, turns and line breaks kept whole."""
    save_sentencepiece(
        folder, add_dummy_prefix=False, pad_id=0, eos_id=1, bos_id=2, unk_id=3,
        pad_piece="<pad>", eos_piece="<eos>", bos_piece="<bos>",
        user_defined_symbols=["<start_of_turn>", "<end_of_turn>", "\n", "\n\n", "▁▁", "▁▁▁▁"],
    )  # fmt: skip
    _save_tokenizer_config(folder, "GemmaTokenizer", "<bos>", "<eos>", pad_token="<pad>")


def _save_tokenizer_config(folder: Path, name: str, bos: str, eos: str, **more: object) -> None:
    config = {
        "tokenizer_class": name, "bos_token": bos, "eos_token": eos, "unk_token": "<unk>", "add_bos_token": True,
        "add_eos_token": False, "chat_template": TEMPLATE, **more,
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
