"""The hand-over through text with tokenizers of every kind: right, early, and never more held back than a bound."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping

import pytest

pytest.importorskip("transformers")

from edge_wsd.converters import convert
from edge_wsd.converters.verification.tokenizer_texts import tokenizer_test_texts
from edge_wsd.decoding.bridge import ThroughText
from edge_wsd.decoding.recut import LONGEST_HOLD, Recut, tokenize_after
from edge_wsd.llama.model import Model
from edge_wsd.llama.vocab import Vocab
from tests import tiny_tokenizers as tiny
from tests.tiny_llama import save_llama_folder

KINDS = (
    "llama 3", "qwen", "tekken", "deepseek-v3", "deepseek-coder", "smollm", "llama 2, both files", "mistral 0.3",
    "metaspace everywhere", "gemma, tokenizer.json alone", "phi 3",
)  # fmt: skip
WITHOUT_SPACES = {
    "Japanese": "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。何でも薄暗いじめじめした所で",
    "Chinese": "人工智能是计算机科学的一个分支，它企图了解智能的实质，并生产出一种新的能以人类智能相似的方式",
    "Thai": "ประเทศไทยเป็นประเทศที่ตั้งอยู่ในเอเชียตะวันออกเฉียงใต้มีกรุงเทพมหานครเป็นเมืองหลวง",
    "code": "result[key.value()].append(x*2+y[0]);return{k:sum(v)for(k,v)in(result.items())if'__init__'not(in(k))}",
}
RUNS = ["1" * 300, "a" * 300, " " * 200 + "x", "x\n" + "\n" * 200 + "y", "あ" * 200, "0123456789" * 30, "😀" * 80]


@pytest.fixture(scope="module")
def vocabularies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Vocab]]:
    models = {}
    for kind in KINDS:
        folder = tmp_path_factory.mktemp("model")
        save_llama_folder(folder, tiny.N_ROWS)
        tiny.BUILDERS[kind](folder)
        convert(folder, folder / "model.gguf", type="F16")
        models[kind] = Model.load(folder / "model.gguf", vocab_only=True)
    yield {kind: model.vocab for kind, model in models.items()}
    for model in models.values():
        model.close()


class Writing:
    """Texts that come in pieces of a few bytes, as a drafter writes them."""

    def __init__(self, vocab: Vocab, text: str, seed: int = 0) -> None:
        self.recut, self.most_held, self.was_wrong = Recut(vocab, "\n", strip=True), 0, False
        self.expected = tokenize_after(vocab, "\n", text.strip()) if text.strip() else []
        data, draw = text.encode(), random.Random(seed)
        while data:
            size = draw.randint(1, 6)
            self.recut.add(data[:size])
            data = data[size:]
            self.most_held = max(self.most_held, len(self.recut._held))
            handed_over = self.recut.tokens
            self.was_wrong |= handed_over != self.expected[: len(handed_over)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_tokens_are_those_of_the_whole_text_cut_at_once(vocabularies: Mapping[str, Vocab], kind: str) -> None:
    texts = [text for text in tokenizer_test_texts()[::11] if text.strip()]
    mixed = ["".join(random.Random(seed).sample(texts, 8)) for seed in range(24)]
    n_wrong = 0
    for text in [*texts, *mixed, *WITHOUT_SPACES.values(), *RUNS]:
        written = Writing(vocabularies[kind], text, seed=len(text))
        assert written.most_held <= 2 * LONGEST_HOLD + 6
        n_wrong += written.was_wrong
        written.recut.settle()
        handed_over = list(written.recut.tokens)
        assert handed_over == written.expected[: len(handed_over)]
        written.recut.flush()
        assert written.recut.tokens == written.expected, text
    assert n_wrong <= 5, "what was handed over had to be corrected too often"


@pytest.mark.parametrize("language", WITHOUT_SPACES)
@pytest.mark.parametrize("kind", KINDS)
def test_languages_without_spaces_are_handed_over_as_they_are_written(
    vocabularies: Mapping[str, Vocab], kind: str, language: str
) -> None:
    """All of it was held back up to the first space, which such a text may not have."""
    written = Writing(vocabularies[kind], WITHOUT_SPACES[language])
    assert written.most_held < LONGEST_HOLD and not written.was_wrong


@pytest.mark.parametrize("kind", ["llama 3", "mistral 0.3"])
def test_the_work_for_a_token_does_not_grow_with_the_draft(
    vocabularies: Mapping[str, Vocab], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of the draft was tokenised for every token: 0.1 s for 512 of them, 6.5 s for 4,096."""
    drafter, base = vocabularies["qwen"], vocabularies[kind]
    tokens = drafter.tokenize("The quick brown fox doesn't jump over 12345 lazy dogs; 吾輩は猫である。\n" * 60)
    n_characters = 0
    tokenize = Vocab.tokenize

    def counted(self: Vocab, text: str, **options: bool) -> list[int]:
        nonlocal n_characters
        n_characters += len(text)
        return tokenize(self, text, **options)  # type: ignore[arg-type]

    bridge = ThroughText(drafter, base)
    draft, echo = bridge.draft("\n", strip=True), bridge.echo("\n")
    monkeypatch.setattr(Vocab, "tokenize", counted)
    for token in tokens:
        draft.push(token)
        echo.tokens(list(draft.tokens))
    assert n_characters < 300 * len(tokens)
