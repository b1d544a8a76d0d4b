"""The lookup proposes what followed before: the longest match, the latest, as far as it can be trusted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_wsd.decoding.ngram import _FIRST_PRECISION, _LONGEST, NgramLookup
from tests.fakes import END, FakeVocabulary, drive

WORDS = FakeVocabulary([b"", *(bytes([b]) for b in range(65, 91))])
TOKENS = st.lists(st.integers(1, 4), max_size=60)


def asked(lookup, reply, n, **given):
    """The proposal; the lookup needs no pass and tells of no event."""
    writing = drive(lookup.propose(reply, n, **given))
    with pytest.raises(StopIteration) as end:
        next(writing)
    return end.value.value


def slow(text, n):
    """The longest match of the last tokens, and the latest of these, by looking at every place."""
    for length in range(min(_LONGEST, len(text)), 0, -1):
        for at in range(len(text) - 1, length - 1, -1):
            if text[at - length : at] == text[-length:]:
                whole = list(text)
                for i in range(n):
                    whole.append(whole[at + i])
                return whole[len(text) :]
    return []


@given(TOKENS, TOKENS, st.integers(0, 12), st.lists(st.integers(1, 7)))
def test_it_proposes_what_followed_the_latest_of_the_longest_matches(prompt, reply, n, sizes):
    lookup, end = NgramLookup(prompt, WORDS), 0
    for size in [*sizes, len(reply)]:
        end += size
        proposal = asked(lookup, reply[:end], n)
        assert proposal.tokens == slow(prompt + reply[:end], n)
        assert proposal.proposer == "ngram" and len(proposal.chances) == len(proposal.tokens)


def test_a_text_that_repeats_itself_goes_on_beyond_its_end():
    assert asked(NgramLookup([9], WORDS), [1, 2, 3, 1, 2, 3], 7).tokens == [1, 2, 3, 1, 2, 3, 1]


def test_the_end_of_a_text_is_never_proposed():
    """The prompt's turns end with such tokens; nothing behind one is part of a reply."""
    assert asked(NgramLookup([1, 2, END, 5, 6], WORDS), [1], 4).tokens == [2]


def test_longer_matches_are_trusted_more_and_a_proposal_stops_where_it_is_not_trusted():
    lookup = NgramLookup([1, 2, 3, 4, 5, 6, 7, 8], WORDS)
    assert asked(lookup, [3], 6).chances == [*_FIRST_PRECISION, _FIRST_PRECISION[-1]]
    assert asked(lookup, [3], 6, stop_below=_FIRST_PRECISION[0] + 0.01).tokens == []
    assert asked(lookup, [3], 6, stop_below=_FIRST_PRECISION[0] + 0.01).unsure
    trusted = asked(lookup, [3, 4, 5], 6, stop_below=_FIRST_PRECISION[0] + 0.01)
    assert trusted.tokens[0] == 6 and not trusted.unsure, "its text ends"


def test_what_it_is_trusted_with_follows_what_was_right_whether_proposed_or_not():
    """Without that, a length that was wrong a few times would never be tried again."""
    right, wrong = NgramLookup([1, 2, 3, 4] * 10, WORDS), NgramLookup([1, 2, 3, 4] * 10, WORDS)
    asked(right, [1, 2, 3, 4] * 10, 0)
    asked(wrong, [1, 3], 0)
    assert right.precision[-1] > _FIRST_PRECISION[-1]
    assert wrong.precision[-1] < _FIRST_PRECISION[-1]


def test_the_cost_of_a_token_does_not_grow_with_the_text():
    lookup, reply, sizes = NgramLookup([], WORDS), [], []
    for i in range(400):
        reply.append(1 + i * i % 23)
        before = len(lookup._behind)
        asked(lookup, reply, 4)
        sizes.append(len(lookup._behind) - before)
    assert max(sizes) <= _LONGEST
