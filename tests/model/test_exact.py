"""Exact models: numbers, and so texts, do not depend on what is computed together or was in memory before."""

import random

import numpy as np
import pytest

from edge_wsd import Message, ModelSettings, Options, Pair
from edge_wsd.converters import quantize
from edge_wsd.errors import OptionError
from edge_wsd.llama.context import Context
from edge_wsd.llama.model import Model
from edge_wsd.llama.passes import BLOCK
from tests.devices import GPU_LAYERS
from tests.other_architectures import mamba, sliding_window
from tests.tiny_models import TinyModel

TOKENS = [3 + (7 * i) % 240 for i in range(300)]  # behind 256 llama.cpp looks at another piece of its memory
WIDE = {"n_embd": 256, "n_ff": 256, "n_ctx": 512, "scale": 0.1}
KINDS = ("F32", "Q8_0", "Q4_0", "Q4_K_M", "sliding window", "recurrent")
SIZES = (1, 1, 1, 2, 3, 4, 5, 6, 8, 9, 13, 40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("exact")


def file_of(kind, folder):
    odd = {"sliding window": sliding_window, "recurrent": mamba}
    return odd[kind]().write(folder / f"{kind}.gguf") if kind in odd else stored_as(kind, folder, seed=1)


def stored_as(kind, folder, seed, **shape):
    whole = TinyModel(seed=seed, **{**WIDE, **shape}).write(folder / f"{seed}-F32.gguf")
    if kind == "F32":
        return whole
    made = folder / f"{seed}-{kind}.gguf"
    quantize(whole, made, kind, force=True)
    return made


def rows_in_random_passes(sequence, n_tokens, chance):
    """Rows by the number of tokens they follow, read in pieces, with proposals that are taken back and read again."""
    sequence.cut(chance.randrange(len(sequence.tokens) + 1))
    found = {}
    while (n := len(sequence.tokens)) < n_tokens:
        piece = TOKENS[n : min(n_tokens, n + chance.choice(SIZES))]
        if chance.random() < 0.3:
            sequence.extend(piece)
        else:
            rows = sequence.logits(piece + [11] * chance.choice((0, 0, 1, 3)))
            found |= {n + 1 + i: rows[i] for i in range(len(piece))}
        sequence.cut(max(0, n + len(piece) - (chance.randrange(6) if chance.random() < 0.2 else 0)))
    return found


@pytest.mark.parametrize(
    "kind, settings",
    [
        *[(kind, {}) for kind in KINDS],
        *[(kind, {"flash_attention": "on", "threads": 2}) for kind in KINDS if kind != "recurrent"],
        ("Q4_K_M", {"kv_type": "q8_0"}),
        ("Q4_0", {"extra_buffers": "off", "batch": 64}),
    ],
)
def test_logits_are_a_function_of_the_text_to_the_last_bit(folder, kind, settings):
    """Passes of one token and of several gave log-probabilities up to 0.19 apart."""
    common = {"gpu_layers": GPU_LAYERS, "threads": 1, "context_length": 512, "exact": True}
    settings = ModelSettings(**{**common, **settings})
    chance = random.Random(0)
    with Model.load(file_of(kind, folder), settings) as model, Context(model, settings) as context:
        assert context.block == (BLOCK if model.can_cut else 1)
        n_tokens = len(TOKENS) if model.can_cut and model.n_ctx_train > len(TOKENS) else 100
        sequence, n_compared = context.sequence(), 0
        seen = rows_in_random_passes(sequence, n_tokens, chance)
        for _ in range(3):
            for length, row in rows_in_random_passes(sequence, n_tokens, chance).items():
                n_compared += length in seen
                assert np.array_equal(row, seen.setdefault(length, row)), length
        assert n_compared > n_tokens // 2


def test_scores_and_draws_are_those_of_the_logits(folder):
    """Rows of a block lie behind each other, and those asked for rarely begin at the first."""
    settings = ModelSettings(gpu_layers=GPU_LAYERS, threads=1, context_length=512, exact=True)
    with Model.load(stored_as("Q4_0", folder, seed=1), settings) as model, Context(model, settings, n_sequences=2) as c:
        plain, scored = c.sequence(), c.sequence()
        for n in range(1, 12):
            plain.clear()
            scored.clear()
            plain.extend(TOKENS[:n])
            logits = plain.logits(TOKENS[n : n + 7]).astype(np.float64)
            logprobs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
            scored.extend(TOKENS[: n - 1])
            scores = scored.score(TOKENS[n - 1 : n], TOKENS[n : n + 7])
            assert scores.logprobs[1:] == pytest.approx([logprobs[i, TOKENS[n + i + 1]] for i in range(6)], abs=1e-5)
            assert [scores.choose(i + 1)[0] for i in range(7)] == logprobs.argmax(1).tolist()
            assert scored.tokens == TOKENS[: n + 7]


@pytest.mark.parametrize("n_ctx", [16, 17, 254, 256])
def test_a_context_can_be_filled_to_its_last_token(folder, n_ctx):
    settings = ModelSettings(gpu_layers=GPU_LAYERS, threads=1, context_length=n_ctx, batch=10, exact=True)
    with Model.load(stored_as("Q4_0", folder, seed=1), settings) as model, Context(model, settings) as context:
        sequence = context.sequence()
        sequence.extend(TOKENS[: n_ctx - 4])
        sequence.score(TOKENS[n_ctx - 4 : n_ctx - 3], TOKENS[n_ctx - 3 : n_ctx])
        assert sequence.tokens == TOKENS[:n_ctx]
        with pytest.raises(OptionError, match=f"1 to {context.most_rows}"):
            sequence.logits(TOKENS[: context.most_rows + 1])


@pytest.fixture(scope="module", params=["Q4_0", "Q4_K_M"])
def pairs(request, folder):
    """Exact pairs of a quantized base, with a drafter of its vocabulary and of another; batches of two sizes."""
    base = stored_as(request.param, folder, seed=2)
    drafters = stored_as("Q8_0", folder, seed=1), stored_as("Q8_0", folder, seed=3, words=("he", "lp", "ful"))
    opened = {}
    try:
        for name, drafter in zip(("same", "other"), drafters, strict=True):
            for batch in (8, 512):
                settings = ModelSettings(threads=1, context_length=512, batch=batch, exact=True)
                opened[name, batch] = Pair.load(drafter, base, drafter_settings=settings, base_settings=settings)
        yield opened
    finally:
        for pair in opened.values():
            pair.close()


def told(reply):
    return reply.text, reply.switch, [(token.id, token.source, token.logprob) for token in reply.tokens]


def conversation(pair, options):
    """Several turns, one written again, one taken back and asked anew."""
    chat = pair.session(options=options, system="Be kind.")
    replies = [chat.ask("hello you"), chat.ask("list the file")]
    replies += [event.reply for event in chat.regenerate() if hasattr(event, "reply")]
    chat = pair.session(options=options, system="Be kind.", messages=chat.messages[:2])
    replies += [chat.ask("size"), chat.ask("in the file")]
    return [told(reply) for reply in replies]


@pytest.mark.parametrize("vocabulary", ["same", "other"])
@pytest.mark.parametrize("drawing", [{}, {"temperature": 0.9, "seed": 7}], ids=["greedy", "sampled"])
@pytest.mark.parametrize("switching", [{"threshold": 0.0}, {"threshold": 1.0, "max_draft": 9}, {"switch_at": 3}])
def test_a_conversation_is_the_same_with_speculation_and_without(pairs, vocabulary, drawing, switching):
    """What was proposed and taken back, and what an earlier reply left in memory, once showed in later texts."""
    options = Options(max_tokens=24, **drawing, **switching)
    expected = conversation(pairs[vocabulary, 512], options.with_changes(speculation=False))
    assert conversation(pairs[vocabulary, 512], options) == expected
    assert conversation(pairs[vocabulary, 8], options) == expected


def test_a_reply_does_not_depend_on_what_is_in_memory_nor_on_chunks(pairs):
    pair, options = pairs["same", 512], Options(max_tokens=24, switch_at=5)
    pair.drafter.context.wipe()
    pair.base.context.wipe()
    expected = told(pair.generate("hello the file", options))
    for chunk in (1, 2, 5, 16):
        pair.generate([Message("user", "hello the"), Message("assistant", "list")], options)
        assert told(pair.generate("hello the file", options, chunk=chunk)) == expected
