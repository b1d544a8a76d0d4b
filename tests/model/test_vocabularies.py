"""Which vocabularies are the same, and what a pair does with tokens that only one of its models has."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_wsd import ModelSettings, Options, Pair, Proposers
from edge_wsd.llama.model import Model
from edge_wsd.llama.vocab import Vocab
from edge_wsd.llama.vocabulary_verdict import compare_vocabularies
from tests.tiny_models import CONTROL, I32, NORMAL, TinyModel, numbers, strings, u32

SETTINGS = ModelSettings(context_length=512, threads=1)
USER_DEFINED, UNUSED = 4, 5
NORMAL_TAIL = [(f"real{index}", NORMAL) for index in range(600)]
CONTROL_TAIL = [(f"<|tool_{index}|>", CONTROL) for index in range(600)]


def with_tail(tail: list[tuple[str, int]], **options: object) -> TinyModel:
    """A tiny model with these tokens behind the usual ones, given with their types."""
    model = TinyModel(**options)  # type: ignore[arg-type]
    n = len(model.tokens)
    tokens = [*model.tokens, *(text for text, _ in tail)]
    types = [CONTROL if token in model.special_ids else NORMAL for token in model.tokens]
    model.metadata["tokenizer.ggml.tokens"] = strings(tokens)
    model.metadata["tokenizer.ggml.token_type"] = numbers(I32, [*types, *(type_ for _, type_ in tail)])
    model.metadata["llama.vocab_size"] = u32(len(tokens))
    for name in ("token_embd.weight", "output.weight"):
        tensor = model.tensor(name)
        assert tensor.shape[1] == n
        tensor.shape = (tensor.shape[0], len(tokens))
    return model


@pytest.mark.parametrize(
    ("tail", "verdict"),
    [
        ([], "identical"),
        (CONTROL_TAIL, "padded"),
        ([("[PAD300]", NORMAL), ("<unused7>", NORMAL), ("dummy00012", NORMAL)], "padded"),
        ([("whatever", UNUSED)], "padded"),
        ([("[PAD300]", NORMAL), ("real", NORMAL)], "different"),
        ([("<tool_call>", USER_DEFINED)], "different"),
        (NORMAL_TAIL, "different"),
    ],
)
def test_only_tokens_that_stand_for_nothing_are_padding(
    tmp_path: Path, tail: list[tuple[str, int]], verdict: str
) -> None:
    """Any tail was called padding, also 16,384 tokens of text."""
    short, long = TinyModel().write(tmp_path / "short.gguf"), with_tail(tail).write(tmp_path / "long.gguf")
    with Model.load(short, vocab_only=True) as a, Model.load(long, vocab_only=True) as b:
        for pair in ((a.vocab, b.vocab), (b.vocab, a.vocab)):
            found = compare_vocabularies(*pair)
            assert (found.verdict, found.same) == (verdict, verdict != "different")
        if verdict == "different":
            real = next(index for index, (text, _) in enumerate(tail) if not text.startswith("[PAD"))
            assert f"'{tail[real][0]}' (token {a.vocab.n_tokens + real})" in found.reason


def test_a_difference_is_named_by_its_first_token(tmp_path: Path) -> None:
    one, other = TinyModel(), TinyModel(words=("the", "in", "lift"))
    with (
        Model.load(one.write(tmp_path / "one.gguf"), vocab_only=True) as a,
        Model.load(other.write(tmp_path / "other.gguf"), vocab_only=True) as b,
    ):
        token = next(i for i, pair in enumerate(zip(one.tokens, other.tokens, strict=False)) if pair[0] != pair[1])
        found = compare_vocabularies(a.vocab, b.vocab)
        assert found.verdict == "different"
        assert found.reason.startswith(f"token {token} is {one.tokens[token]!r} in the drafter, ")


def test_a_difference_in_kind_is_one(tmp_path: Path) -> None:
    one, other = TinyModel(), with_tail([])
    other.metadata["tokenizer.ggml.token_type"] = numbers(I32, [NORMAL] * len(other.tokens))
    with (
        Model.load(one.write(tmp_path / "one.gguf"), vocab_only=True) as a,
        Model.load(other.write(tmp_path / "other.gguf"), vocab_only=True) as b,
    ):
        found = compare_vocabularies(a.vocab, b.vocab)
        assert found.verdict == "different" and "'<|bos|>') has attributes" in found.reason


def test_all_at_once_is_what_each_token_says_by_itself(files: dict[str, Path]) -> None:
    with Model.load(files["other"], vocab_only=True) as model:
        vocab, ids = model.vocab, range(model.vocab.n_tokens)
        assert [text.decode() for text in vocab.all_texts()] == [vocab.text(token) for token in ids]
        assert vocab.all_pieces() == [vocab.piece(token) for token in ids]
        assert vocab.all_attributes.tolist() == [vocab.attributes(token) for token in ids]


@pytest.mark.parametrize("proposers", ["drafter", "ngram", "both"])
def test_what_is_proposed_through_text_changes_no_token(proposers: Proposers) -> None:
    """The base's own greedy text: a proposal only says what may be read in one pass (arXiv 2502.05202)."""
    exact = ModelSettings(context_length=512, threads=1, exact=True)
    options = Options(max_tokens=60, switch_at=5, stop_loops=False)
    with Pair.demo(other_vocabulary=True, drafter_settings=exact, base_settings=exact) as pair:
        n_accepted = 0
        for question in ("How do I list files by size?", "delete the folder old", "Wie geht es dir, 東京?"):
            plain = pair.generate(question, options, speculation=False)
            for chunk in (1, 4, 16):
                reply = pair.generate(question, options, chunk=chunk, proposers=proposers)
                assert [token.id for token in reply.tokens] == [token.id for token in plain.tokens]
                n_accepted += sum(reply.stats.n_proposed_accepted.values())
        assert n_accepted or proposers == "ngram"


@pytest.mark.parametrize("longer", ["drafter", "base"])
@pytest.mark.parametrize("tail", [CONTROL_TAIL, NORMAL_TAIL], ids=["padded", "different"])
def test_tokens_that_only_one_model_has_end_no_reply(
    tmp_path: Path, longer: str, tail: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A base with more tokens than the drafter crashed in mid-answer; a drafter's own token ended its draft."""
    files = {
        role: with_tail(tail if role == longer else [], seed=seed, scale=0.6).write(tmp_path / f"{role}.gguf")
        for seed, role in enumerate(("drafter", "base"))
    }
    # Tokens that end a text would end these replies too soon: random models write them like any other.
    monkeypatch.setattr(Vocab, "is_end", lambda *_: False)
    options = Options(max_tokens=120, threshold=1.0, max_draft=15, chunk=4)
    with Pair.load(**files, drafter_settings=SETTINGS, base_settings=SETTINGS) as pair:
        assert pair.vocabulary.verdict == ("padded" if tail is CONTROL_TAIL else "different")
        replies = [pair.generate("hello", options, speculation=speculation) for speculation in (True, False)]
        n_common = min(pair.drafter.model.vocab.n_tokens, pair.base.model.vocab.n_tokens)
        for reply in replies:
            assert len(reply.tokens) == 120 and reply.finish_reason == "length"
            drafted = [token.id for token in reply.tokens if token.source == "drafter"]
            assert reply.switch is not None and reply.switch.reason == "draft_limit"
            assert drafted and (tail is NORMAL_TAIL or max(drafted) < n_common)
        assert replies[0].text == replies[1].text
        if longer == "base":
            assert max(token.id for token in replies[0].tokens) >= n_common, "no token of the tail was written"
