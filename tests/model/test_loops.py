"""Models that fall into a loop: where the reply ends, and what is said of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_wsd import ModelSettings, Options, Pair
from tests.tiny_models import DEFAULT_WORDS, TinyModel

SETTINGS = ModelSettings(context_length=1024, threads=1)


class Chanting(TinyModel):
    """Says "XY" and then "abcd " for ever: its layers add nothing, and each token's output is one other token."""

    def write(self, path: Path) -> Path:
        rows = np.random.default_rng(1).standard_normal((len(self.tokens), self.n_embd)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        output = np.zeros_like(rows)
        for before, after in itertools.pairwise(b"\nXYabcd a"):  # the first tokens are the bytes
            output[after] += rows[before]
        self.tensor("token_embd.weight").data = rows.tobytes()
        self.tensor("output.weight").data = output.tobytes()
        self.tensor("output_norm.weight").data = np.ones(self.n_embd, np.float32).tobytes()
        for tensor in self.tensors:
            if "attn_output" in tensor.name or "ffn_down" in tensor.name:
                tensor.data = bytes(4 * tensor.n_elements)
        return super().write(path)


@pytest.fixture(scope="module", params=["same", "different"])
def looping(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("looping")
    words = ("he", "lp", "ful") if request.param == "different" else DEFAULT_WORDS
    drafter = Chanting(words=words, n_embd=64).write(folder / "drafter.gguf")
    base = Chanting(chat_template=None, n_embd=64).write(folder / "base.gguf")
    with Pair.load(drafter, base, drafter_settings=SETTINGS, base_settings=SETTINGS) as pair:
        assert pair.vocabulary.same == (request.param == "same")
        yield pair


@pytest.mark.parametrize(
    "options",
    [
        Options(mode="base"),
        Options(mode="drafter"),
        Options(switch_at=5),
        Options(switch_at=5, speculation=False),
        Options(switch_at=5, chunk=3),
        Options(threshold=1.0, max_draft=300),
        Options(threshold=1.0, max_draft=300, chunk=1),
        Options(switch_at=5, temperature=0.01, seed=1),
    ],
    ids=str,
)
def test_a_loop_is_stopped_whoever_wrote_it_and_nothing_before_it_is_changed(looping: Pair, options: Options) -> None:
    options = options.with_changes(max_tokens=300)
    whole = looping.generate("hello", options, stop_loops=False)
    reply = looping.generate("hello", options)
    assert (whole.finish_reason, whole.note) == ("length", None)
    assert (reply.text, reply.finish_reason, reply.stop) == ("XY" + "abcd " * 24, "stop", None)
    assert reply.note == "stopped in a loop: the same 5 tokens came 24 times in a row"
    assert [token.id for token in reply.tokens] == [token.id for token in whole.tokens[: len(reply.tokens)]]


def test_speculation_and_chunks_do_not_change_where_a_reply_stops(looping: Pair) -> None:
    replies = {
        (reply.text, reply.note, len(reply.tokens))
        for chunk in (1, 3, 16)
        for speculation in (True, False)
        for reply in [
            looping.generate("hello", Options(max_tokens=300, switch_at=6, chunk=chunk, speculation=speculation))
        ]
    }
    assert len(replies) == 1


def test_a_conversation_keeps_what_was_shown_and_goes_on(looping: Pair) -> None:
    chat = looping.session(options=Options(max_tokens=300, mode="base"))
    reply = chat.ask("hello")
    assert reply.note is not None and chat.messages[-1].content == reply.text
    assert chat.ask("and now?").tokens
