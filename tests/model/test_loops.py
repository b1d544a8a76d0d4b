"""Models that fall into a loop: where the reply ends, and what is said of it."""

from __future__ import annotations

import pytest

from edge_wsd import Options, Pair


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
def test_a_loop_is_stopped_whoever_wrote_it_and_nothing_before_it_is_changed(chanting: Pair, options: Options) -> None:
    options = options.with_changes(max_tokens=300)
    whole = chanting.generate("hello", options, stop_loops=False)
    reply = chanting.generate("hello", options)
    assert (whole.finish_reason, whole.note) == ("length", None)
    assert (reply.text, reply.finish_reason, reply.stop) == ("XY" + "abcd " * 24, "stop", None)
    assert reply.note == "stopped in a loop: the same 5 tokens came 24 times in a row"
    assert [token.id for token in reply.tokens] == [token.id for token in whole.tokens[: len(reply.tokens)]]


def test_speculation_and_chunks_do_not_change_where_a_reply_stops(chanting: Pair) -> None:
    replies = {
        (reply.text, reply.note, len(reply.tokens))
        for chunk in (1, 3, 16)
        for speculation in (True, False)
        for reply in [
            chanting.generate("hello", Options(max_tokens=300, switch_at=6, chunk=chunk, speculation=speculation))
        ]
    }
    assert len(replies) == 1


def test_a_conversation_keeps_what_was_shown_and_goes_on(chanting: Pair) -> None:
    chat = chanting.session(options=Options(max_tokens=300, mode="base"))
    reply = chat.ask("hello")
    assert reply.note is not None and chat.messages[-1].content == reply.text
    assert chat.ask("and now?").tokens
