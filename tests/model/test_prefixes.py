"""Texts that come, go, are shared, saved and restored over a real context: each has the numbers that it has alone."""

import random

import pytest

from edge_wsd.engine.prefixes import Prefixes
from edge_wsd.llama.context import Context
from edge_wsd.llama.model import Model
from edge_wsd.llama.settings import ModelSettings
from tests.devices import CLOSE
from tests.other_architectures import hybrid, mamba, sliding_window
from tests.tiny_models import TinyModel

MAKERS = {"attention": lambda: TinyModel(scale=0.5), "window": sliding_window, "recurrent": mamba, "hybrid": hybrid}
STEMS = [[260, *range(5 + 40 * n, 45 + 40 * n)] for n in range(4)]


@pytest.fixture(scope="module", params=list(MAKERS))
def model(request, tmp_path_factory):
    path = MAKERS[request.param]().write(tmp_path_factory.mktemp("model") / f"{request.param}.gguf")
    with Model.load(path) as loaded:
        yield loaded


@pytest.mark.parametrize("exact", [False, True], ids=["shared", "exact"])
@pytest.mark.parametrize("n_sequences", [1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_a_text_has_its_own_numbers_wherever_its_beginning_came_from(model, n_sequences, exact, seed):
    rng, known = random.Random(seed), {}
    settings = ModelSettings(
        context_length=256, batch=32, kv_type="f32", threads=1, flash_attention="off", exact=exact, parallel=n_sequences
    )
    n_reused = 0
    with Context(model, settings) as fresh, Context(model, settings, n_sequences=n_sequences) as context:
        reference = fresh.sequence()

        def expected(text):
            if tuple(text) not in known:
                reference.clear()
                known[tuple(text)] = reference.score(text, [7, 99]).logprobs
            return known[tuple(text)]

        memory = Prefixes(context, most_idle=1, most_saved_bytes=1 << 20)
        for _ in range(60):
            if len(memory.used) == n_sequences or (memory.used and rng.random() < 0.6):
                memory.give_back(rng.choice(memory.used))
                continue
            text = rng.choice(STEMS) + [rng.randint(1, 2) for _ in range(rng.randint(0, 30))]
            sequence = memory.take(text)
            n_held = len(sequence.tokens)
            n_reused += n_held
            assert sequence.tokens == text[:n_held] and n_held < len(text)
            if rng.random() < 0.5:
                sequence.extend(text[n_held:-1])
                sequence.checkpoint()
            rest = text[len(sequence.tokens) :]
            assert sequence.score(rest, [7, 99]).logprobs == pytest.approx(expected(text), abs=CLOSE)
            if rng.random() < 0.5:
                sequence.cut(len(text) + 1)
    assert n_reused > 40
