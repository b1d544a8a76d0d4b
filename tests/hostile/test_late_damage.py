"""Files whose damage shows only in the middle of a conversation: one named error, and the conversation goes on."""

import struct
from pathlib import Path

import pytest

from edge_wsd import Finished, ModelSettings, Options, Pair
from edge_wsd.errors import LogitsError
from tests.tiny_models import TinyModel, boolean, random_data

OPTIONS = Options(max_tokens=8, switch_at=3)
GOOD, BAD = "list the files", "what is ~ in the list"


def with_one_bad_row(value: float) -> TinyModel:
    """All of it is sound but the embedding of one token, `~`, whose numbers are all `value`."""
    model = TinyModel()
    embedding = model.tensor("token_embd.weight")
    whole = bytearray(random_data(embedding.name, embedding.n_elements, model.seed, model.scale, False))
    row = 4 * model.n_embd
    place = row * model.tokens.index("~")
    whole[place : place + row] = struct.pack("<f", value) * model.n_embd
    embedding.data = bytes(whole)
    return model


@pytest.fixture(params=[float("nan"), float("inf"), float("-inf")], ids=str)
def damaged(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pair:
    """As if the base was too large to be used when it was tried."""
    monkeypatch.setattr("edge_wsd.loaded_pair.probe_models", lambda *_, **__: None)
    drafter = TinyModel(seed=1).write(tmp_path / "drafter.gguf")
    base = with_one_bad_row(request.param).write(tmp_path / "base.gguf")
    settings = ModelSettings(threads=1, context_length=512)
    with Pair.load(
        drafter, base, drafter_template="plain", drafter_settings=settings, base_settings=settings, parallel=4
    ) as pair:
        yield pair


def test_a_bad_row_in_the_middle_of_a_conversation_costs_that_answer_alone(damaged: Pair) -> None:
    session = damaged.session(options=OPTIONS)
    first = session.ask(GOOD).text
    kept = session.messages
    for _ in range(2):
        with pytest.raises(LogitsError, match=r"base\.gguf: .*NaN.*check the file") as caught:
            session.ask(BAD)
        assert "\n" not in str(caught.value)
        assert session.messages == kept
    again = session.ask(GOOD).text
    assert [message.content for message in session.messages] == [GOOD, first, GOOD, again]
    fresh = damaged.session(options=OPTIONS, messages=kept)
    assert fresh.ask(GOOD).text == again  # nothing of the failed answers is left in the memories


def test_a_bad_row_ends_no_reply_that_is_written_beside_it(damaged: Pair) -> None:
    """What it had left in memory was blamed on whoever was read next, and so ended an innocent reply."""
    good = Options(max_tokens=60, threshold=1.0, max_draft=60)
    expected = damaged.generate(GOOD, good).text
    bad = [BAD + " and the list" * n for n in (1, 12, 30)]  # read in one piece and in several
    streams = {prompt: damaged.session(options=OPTIONS).stream(prompt) for prompt in bad}
    assert damaged.generate(GOOD, good).text == expected
    for prompt in bad:
        stream, streams[prompt] = streams[prompt], damaged.session(options=OPTIONS).stream(prompt)
        with pytest.raises(LogitsError):
            stream.result()
    assert damaged.generate(GOOD, good).text == expected


def test_a_model_without_an_end_of_text_stops_at_the_bound(tmp_path: Path) -> None:
    model = TinyModel()
    for name in ("bos", "eos"):
        del model.metadata[f"tokenizer.ggml.{name}_token_id"]
    model.metadata["tokenizer.ggml.add_bos_token"] = boolean(False)
    path = model.write(tmp_path / "endless.gguf")
    with Pair.load(path, path, drafter_template="plain") as pair:
        events = list(pair.session(options=Options(max_tokens=50)).stream(GOOD))
    assert isinstance(events[-1], Finished)
    assert events[-1].reply.finish_reason == "length" and len(events[-1].reply.tokens) == 50
