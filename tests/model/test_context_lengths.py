"""Contexts of any length that a person can ask for, over real llama.cpp contexts."""

import re
from pathlib import Path

import pytest

from edge_wsd.errors import ContextFullError, OptionError
from edge_wsd.llama.context import Context
from edge_wsd.llama.model import Model
from edge_wsd.llama.settings import ModelSettings
from edge_wsd.pair import Pair
from tests.other_architectures import gpt2
from tests.tiny_models import TinyModel


@pytest.mark.parametrize("n_ctx", [16, 17, 32, 255, 257, 300, 512, 513])
def test_a_context_of_any_length_is_filled_to_the_last_token_and_no_further(n_ctx: int, tmp_path: Path) -> None:
    # llama.cpp's batch is at most the context: 512 tokens at once ended the process where 300 were asked for
    path = TinyModel(n_ctx=512).write(tmp_path / "model.gguf")
    settings = ModelSettings(context_length=n_ctx)
    with Model.load(path, settings) as model, Context(model, settings) as context:
        assert context.n_ctx == n_ctx and context.batch_size == min(n_ctx, settings.batch)
        sequence = context.sequence()
        sequence.extend([5] * (n_ctx - 2))
        assert len(sequence.score([5], [6]).logprobs) == 1 and len(sequence.tokens) == n_ctx
        with pytest.raises(ContextFullError):
            sequence.extend([7])


@pytest.mark.parametrize("trained", [16, 300])
def test_a_model_trained_with_few_tokens_reads_as_many(trained: int, tmp_path: Path) -> None:
    path = TinyModel(n_ctx=trained).write(tmp_path / "model.gguf")
    with Model.load(path) as model, Context(model) as context:
        assert context.n_ctx == trained
        sequence = context.sequence()
        sequence.score([5] * (trained - 1), [6])
        assert len(sequence.tokens) == trained


def test_a_model_of_learned_positions_gets_no_more_than_it_has(tmp_path: Path) -> None:
    # looking for one more ended the process
    path = gpt2(n_ctx=64).write(tmp_path / "model.gguf")
    with Model.load(path) as model:
        with pytest.raises(OptionError, match=r"context_length must be at most 64 for model\.gguf, not 65"):
            Context(model, ModelSettings(context_length=65))
        with Context(model) as context:
            sequence = context.sequence()
            sequence.score([5] * 63, [6])
            assert len(sequence.tokens) == context.n_ctx == 64


@pytest.mark.parametrize("n_ctx", [16, 17, 32, 100, 260, 300, 320])
def test_a_pair_with_a_short_context_answers_or_says_what_is_short(n_ctx: int, tmp_path: Path) -> None:
    path = TinyModel(n_ctx=512).write(tmp_path / "model.gguf")
    settings = ModelSettings(context_length=n_ctx)
    with Pair.load(path, path, drafter_settings=settings, base_settings=settings, drafter_template="plain") as pair:
        assert pair.plan is not None and pair.plan.base.memory.n_ctx == n_ctx
        for n_words in (1, 20, n_ctx // 2, 2 * n_ctx):
            try:
                reply = pair.generate("the list " * n_words, max_tokens=8)
            except ContextFullError as error:
                assert n_words > 1 or n_ctx <= 32
                assert str(n_ctx) in re.findall(r"\d+", str(error)) and "--ctx" in str(error)
            else:
                assert reply.stats.n_tokens <= 8
