"""What a context holds is used again: taken over where it is idle, shared where somebody writes on."""

import pytest

from edge_wsd.engine.prefixes import Prefixes
from tests.fake_contexts import FakeContext

SYSTEM = [1, 2, 3, 4, 5, 6, 7, 8, 1, 1, 2, 2]


def prefixes(n_sequences=3, **settings):
    return Prefixes(FakeContext(1, common=1, n_sequences=n_sequences, **settings))


def filled(memory, text):
    sequence = memory.take(text)
    sequence.tokens = list(text)
    return sequence


def test_a_new_text_begins_empty():
    assert prefixes().take([1, 2, 3]).tokens == []


def test_the_next_turn_goes_on_in_the_sequence_of_the_last_one():
    memory = prefixes()
    first = filled(memory, [*SYSTEM, 3, 4])
    memory.give_back(first)
    second = memory.take([*SYSTEM, 3, 4, 5, 6])
    assert second is first and second.tokens == [*SYSTEM, 3, 4]


def test_the_last_token_of_a_text_is_always_left_to_be_read():
    memory = prefixes()
    memory.give_back(filled(memory, SYSTEM))
    assert memory.take(SYSTEM).tokens == SYSTEM[:-1]


def test_the_end_of_an_idle_reply_that_was_cut_into_other_tokens_is_no_loss():
    memory = prefixes()
    first = filled(memory, [*SYSTEM, 3, 4, 5])
    memory.give_back(first)
    second = memory.take([*SYSTEM, 8, 8, 8])
    assert second is first and second.tokens == SYSTEM


def test_an_idle_text_that_goes_on_otherwise_stays_beside_the_new_one():
    memory = prefixes()
    first = filled(memory, SYSTEM + [3] * 50)
    memory.give_back(first)
    second = memory.take([*SYSTEM, 4])
    assert second is not first and second.tokens == SYSTEM
    assert first.tokens == SYSTEM + [3] * 50
    assert memory.take(SYSTEM + [3] * 60) is first


def test_what_somebody_uses_is_shared_and_not_taken():
    memory = prefixes()
    first = filled(memory, [*SYSTEM, 3])
    second = memory.take([*SYSTEM, 4])
    assert second is not first
    assert (first.tokens, second.tokens) == ([*SYSTEM, 3], SYSTEM)
    second.tokens.append(4)
    assert first.tokens == [*SYSTEM, 3]


def test_the_longest_part_that_is_there_is_taken_wherever_it_is():
    memory = prefixes(n_sequences=4)
    used, short = filled(memory, [*SYSTEM, 3, 4, 5]), filled(memory, SYSTEM[:4])
    memory.give_back(short)
    assert memory.take([*SYSTEM, 3, 4, 8]).tokens == [*SYSTEM, 3, 4]
    assert used.tokens == [*SYSTEM, 3, 4, 5]


def test_the_least_recently_used_text_makes_room_for_a_new_one():
    memory = prefixes(n_sequences=3)
    texts = [[n] * 20 for n in (1, 2, 3)]
    sequences = [filled(memory, text) for text in texts]
    for sequence in (sequences[1], sequences[0], sequences[2]):
        memory.give_back(sequence)
    memory.take([4] * 20)
    assert memory.take([*texts[0], 1]) is sequences[0]
    assert memory.take([*texts[2], 1]) is sequences[2]


def test_the_text_that_a_new_one_begins_with_is_not_the_one_that_makes_room():
    memory = prefixes(n_sequences=2)
    for text in (SYSTEM + [3] * 50, [7] * 20):
        memory.give_back(filled(memory, text))
    assert memory.take([*SYSTEM, 4]).tokens == SYSTEM


def test_with_no_place_left_an_idle_text_is_taken_over_and_cut():
    memory = prefixes(n_sequences=2)
    used = filled(memory, [7] * 20)
    memory.give_back(filled(memory, SYSTEM + [3] * 50))
    assert memory.take([*SYSTEM, 4]).tokens == SYSTEM
    assert used.tokens == [7] * 20


def test_as_many_as_the_context_has_can_be_in_use_again_and_again():
    memory = prefixes(n_sequences=5)
    for turn in range(20):
        taken = [filled(memory, [*SYSTEM[: turn % 12], n, turn % 7]) for n in range(5)]
        assert len({sequence.index for sequence in taken}) == 5 and memory.used == taken
        for sequence in taken[turn % 5 :] + taken[: turn % 5]:
            memory.give_back(sequence)
    assert memory.used == []


def test_idle_texts_are_dropped_one_by_one_and_their_places_are_free():
    memory = prefixes(n_sequences=3)
    used = filled(memory, SYSTEM)
    for text in ([1] * 20, [2] * 20):
        memory.give_back(filled(memory, text))
    assert memory.take([1] * 21).tokens == [1] * 20
    memory.give_back(memory.used[-1])
    assert memory.drop_idle()
    assert memory.take([2] * 21).tokens == []
    assert memory.drop_idle() and not memory.drop_idle()
    assert used.tokens == SYSTEM and len(memory.take([*SYSTEM, 1]).tokens) == len(SYSTEM)


def test_an_empty_idle_text_is_nothing_to_drop():
    memory = prefixes()
    memory.give_back(memory.take([1, 2]))
    assert not memory.drop_idle()


class TestMemoriesThatCannotBeCut:
    def test_a_text_is_shared_whole_or_not_at_all(self):
        memory = prefixes(can_cut=False)
        filled(memory, SYSTEM)
        assert memory.take([*SYSTEM, 4]).tokens == SYSTEM
        other = prefixes(can_cut=False)
        filled(other, [*SYSTEM, 3])
        assert other.take([*SYSTEM, 4]).tokens == []

    def test_an_idle_text_goes_back_to_its_checkpoint(self):
        memory = prefixes(can_cut=False)
        sequence = filled(memory, SYSTEM)
        sequence.checkpoint()
        sequence.tokens += [3, 4]
        memory.give_back(sequence)
        assert memory.take([*SYSTEM, 8]).tokens == SYSTEM

    def test_or_begins_anew(self):
        memory = prefixes(can_cut=False)
        memory.give_back(filled(memory, [*SYSTEM, 3, 4]))
        assert memory.take([*SYSTEM, 8]).tokens == []


def test_what_is_given_back_behind_the_context_is_forgotten():
    memory = prefixes()
    sequence = memory.take([1, 2])
    memory.context.is_open = False
    memory.give_back(sequence)
    assert memory.used == [] and not memory.drop_idle()


@pytest.mark.parametrize("can_cut", [True, False])
def test_whatever_is_asked_for_the_sequence_holds_a_beginning_of_it(can_cut):
    import random

    rng = random.Random(1)
    memory = prefixes(n_sequences=4, can_cut=can_cut)
    for _ in range(500):
        if len(memory.used) == 4 or (memory.used and rng.random() < 0.5):
            memory.give_back(rng.choice(memory.used))
        else:
            text = [rng.randint(1, 2) for _ in range(rng.randint(1, 12))]
            held = {id(sequence): sequence.tokens[:] for sequence in memory.used}
            sequence = memory.take(text)
            assert sequence.tokens == text[: len(sequence.tokens)] and len(sequence.tokens) < len(text)
            assert all(one.tokens == held[id(one)] for one in memory.used if one is not sequence)
            sequence.tokens = text + [rng.randint(1, 2) for _ in range(rng.randint(0, 5))]
            if rng.random() < 0.3:
                sequence.checkpoint()


def test_no_more_idle_texts_stay_than_was_said_and_the_last_used_are_those():
    """Sixteen once stayed behind a file of questions, and made every token of the next many times slower."""
    memory = Prefixes(FakeContext(1, common=1, n_sequences=8), most_idle=2)
    for first in range(1, 6):
        sequence = memory.take([first, 2, 3])
        sequence.tokens = [first, 2, 3]
        memory.give_back(sequence)
    kept = []
    for first in range(1, 6):
        sequence = memory.take([first, 2, 3, 4])
        kept += [first] if sequence.tokens else []
    assert kept == [4, 5]
