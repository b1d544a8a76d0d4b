"""What the documents promise of the events of every reply, whether a real pair writes them or one that is played."""

from edge_wsd.decoding.events import Dropped, Finished, Reading, Scored, Switched, Token


def assert_promised(events):
    """Holds for a reply over one vocabulary: over two of them, positions may come again."""
    *before, finished = events
    reply = finished.reply
    assert isinstance(finished, Finished) and not any(isinstance(event, Finished) for event in before)
    assert all(isinstance(event, Token | Scored | Switched | Dropped | Reading) for event in before)
    tokens = [event for event in before if isinstance(event, Token)]
    assert "".join(token.text for token in tokens) == reply.text == "".join(token.text for token in reply.tokens)
    assert [token.position for token in reply.tokens] == list(range(len(reply.tokens)))
    assert len(reply.confidences) == len(reply.tokens) == reply.stats.n_tokens
    assert {token.position: token.id for token in tokens} == {token.position: token.id for token in reply.tokens}

    switches = [event for event in before if isinstance(event, Switched)]
    assert switches == ([reply.switch] if reply.switch else [])
    drafted = [token for token in reply.tokens if token.source == "drafter"]
    assert list(reply.tokens[: len(drafted)]) == drafted, "a drafted token behind one of the base"
    assert reply.stats.n_draft == len(drafted) <= reply.stats.n_accepted <= reply.stats.n_drafted

    # Scores come in order, once for each drafted token, and only of those that are kept.
    scored = [event for event in before if isinstance(event, Scored)]
    logprobs = [value for event in scored for value in event.logprobs]
    confidences = [value for event in scored for value in event.confidences]
    repeated = [value for event in scored for value in event.repeated]
    assert [event.first for event in scored] == [
        sum(len(event.logprobs) for event in scored[:i]) for i in range(len(scored))
    ]
    assert len(logprobs) == len(confidences) <= len(drafted)
    assert logprobs == [token.logprob for token in drafted[: len(logprobs)]]
    assert confidences == list(reply.confidences[: len(confidences)])
    assert (repeated or [None] * len(logprobs)) == [token.repeated for token in drafted[: len(logprobs)]]
    assert reply.stop is None or reply.finish_reason == "stop"
    assert all(value <= 0 for value in logprobs) and all(value is None or 0 <= value <= 1 for value in confidences)
    if reply.switch:
        assert len(logprobs) == len(drafted) == reply.switch.index + 1
        assert before.index(reply.switch) > max((before.index(event) for event in scored), default=-1)
