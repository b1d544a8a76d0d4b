"""Where prompts, beginnings and chunks end on a boundary of a batch, or one token beside it, nothing changes."""

import pytest

from edge_wsd import Message, ModelSettings, Options, Pair
from tests.devices import rounds_alike

pytestmark = rounds_alike

EXACT = {"threads": 1, "kv_type": "f32", "flash_attention": "off", "context_length": 1280, "cache_ram": 0}
BATCHES = (8, 16, 512)
WHOLE = 1280  # everything is one batch: what the others are compared with
GREEDY = {"max_tokens": 10}
SAMPLED = {"max_tokens": 10, "temperature": 1.0, "seed": 11}
SHAPES = {
    "usual": {},
    "never confident": {"threshold": 1.0, "max_draft": 5},
    "confident at once": {"threshold": 0.0, "window": 2},
    "a window longer than a small batch": {"threshold": 0.0, "window": 20, "max_tokens": 30},
    "forced": {"switch_at": 3},
    "chunks as long as a small batch": {"chunk": 16, "threshold": 1.0, "max_draft": 20, "max_tokens": 30},
    "base alone": {"mode": "base"},
}


@pytest.fixture(scope="module", params=["drafter", "other"])
def pairs(request, files):
    """By batch size, over the same models; with `other` the hand-over goes through text."""
    opened = {}
    try:
        for batch in (*BATCHES, WHOLE):
            settings = ModelSettings(batch=batch, **EXACT)
            opened[batch] = Pair.load(
                files[request.param], files["base"], drafter_settings=settings, base_settings=settings
            )
        yield opened
    finally:
        for pair in opened.values():
            pair.close()


def conversation(pair, n_opening):
    """A conversation whose given beginning has `n_opening` tokens of the base; none for 0."""
    question = [{"role": "user", "content": "hello"}]
    if not n_opening:
        return question
    n_words = n_opening
    while True:
        messages = [*question, {"role": "assistant", "content": "q" * n_words}]
        found = len(pair.base.encode(pair.session(messages=messages).messages).opening)
        if found == n_opening:
            return messages
        n_words += n_opening - found


def around(batch):
    if batch == 512:  # each costs a pass over so many tokens
        return [503, 504, 508, 511, 512, 513, 1023]
    return [n for multiple in (batch, 2 * batch) for n in range(max(1, multiple - 9), multiple + 3)]


def ids(pair, messages, options):
    pair.drafter.context.wipe()
    pair.base.context.wipe()
    return [token.id for token in pair.generate(messages, options).tokens]


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("drawing", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_a_given_beginning_may_end_anywhere_in_a_batch(pairs, batch, drawing):
    """Of 11 beginnings of 502 to 512 tokens 9 raised "these logits are gone" when tokens were drawn."""
    for n_opening in around(batch):
        messages = conversation(pairs[batch], n_opening)
        options = Options(threshold=0.0, **drawing)  # so that the base takes over right behind the beginning
        assert ids(pairs[batch], messages, options) == ids(pairs[WHOLE], messages, options), n_opening


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("drawing", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_chunks_and_windows_may_end_anywhere_in_a_batch(pairs, shape, drawing):
    options = Options(**{**drawing, **SHAPES[shape]})
    for n_opening in (0, 1, 7, 8, 9, 14, 15, 16, 17, 23):
        messages = conversation(pairs[WHOLE], n_opening)
        expected = ids(pairs[WHOLE], messages, options)
        for batch in (8, 16):
            assert ids(pairs[batch], messages, options) == expected, (n_opening, batch)


@pytest.mark.parametrize("drawing", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize(("batch", "lengths"), [(8, range(17)), (16, range(8, 25)), (512, (510, 511, 512, 513))])
def test_a_prompt_may_end_anywhere_in_a_batch(pairs, batch, lengths, drawing):
    options = Options(**drawing)
    n_frame = len(pairs[WHOLE].base.encode([Message("user", "q")]).tokens) - 1
    for n in lengths:
        prompt = "q" * ((n - n_frame) % batch or batch)
        n_prompt = len(pairs[batch].base.encode([Message("user", prompt)]).tokens)
        assert (n_prompt - n) % batch == 0
        assert ids(pairs[batch], prompt, options) == ids(pairs[WHOLE], prompt, options), n
