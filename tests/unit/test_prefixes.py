"""What a context holds is used again: taken over where it is idle, shared where somebody writes on."""

import random

import pytest

from edge_wsd.engine.prefixes import Prefixes
from edge_wsd.errors import DecodeError
from edge_wsd.llama.sequence_state import SequenceState
from tests.fake_contexts import FakeContext, FakeSequence, fail

TEXTS = [[n] * 60 for n in range(1, 9)]
SYSTEM = [1, 2, 3, 4, 5, 6, 7, 8, 1, 1, 2, 2]


def prefixes(n_sequences=3, **settings):
    context = FakeContext(1, common=1, n_sequences=n_sequences, **settings)
    return Prefixes(context, most_idle=n_sequences, most_saved_bytes=0)


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


@pytest.mark.parametrize("error", [DecodeError("no checkpoint"), MemoryError()], ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("begins", [SYSTEM, [8, 8, 8]], ids=["alike", "otherwise"])
def test_a_text_that_cannot_be_cut_back_is_read_again_and_no_place_is_lost(monkeypatch, begins, error):
    """The sequence was nobody's from then on; after as many as the context has, no reply was written any more."""
    memory, cut = prefixes(n_sequences=2), FakeSequence.cut
    for _ in range(5):
        memory.give_back(filled(memory, SYSTEM))
        with monkeypatch.context() as patch:
            patch.setattr(FakeSequence, "cut", lambda sequence, n: fail(error))
            sequence = memory.take([*begins, 4])
        assert sequence.tokens == [] and memory.used == [sequence] and sequence.cut == cut.__get__(sequence)
        memory.give_back(sequence)
    assert [len(filled(memory, [n] * 10).tokens) for n in range(2)] == [10] * 2


@pytest.mark.parametrize("can_cut", [True, False])
@pytest.mark.parametrize("n_sequences", [1, 2, 4])
@pytest.mark.parametrize("seed", range(10))
def test_whatever_fails_costs_no_more_than_reading_and_no_place(monkeypatch, seed, n_sequences, can_cut):
    """Without memory to save a text in, its sequence was nobody's any more."""
    rng, trouble = random.Random(seed), 0.0

    def failing(method):
        def called(sequence, *given):
            fail(rng.choice([DecodeError, MemoryError])("no"), at=rng.random() < trouble)
            return method(sequence, *given)

        return called

    for name in ("cut", "copy_to", "save", "restore", "_state_bytes"):
        monkeypatch.setattr(FakeSequence, name, failing(getattr(FakeSequence, name)))
    context = FakeContext(1, common=1, n_sequences=n_sequences, can_cut=can_cut, room=rng.choice([None, 200]))
    memory = Prefixes(context, most_idle=rng.randint(1, n_sequences), most_saved_bytes=rng.choice([2000, 1 << 20]))
    for _ in range(80):
        trouble = 0.2
        if memory.used and (len(memory.used) == n_sequences or rng.random() < 0.5):
            memory.give_back(rng.choice(memory.used))
        else:
            text = [rng.randint(1, 2) for _ in range(rng.randint(1, 40))]
            sequence = memory.take(text)
            assert sequence.tokens == text[: len(sequence.tokens)] and len(sequence.tokens) < len(text)
            sequence.tokens, trouble = [*text, 1, 2], 0.0
            sequence.checkpoint()
    while memory.used:
        memory.give_back(memory.used[0])
    assert len([filled(memory, [n] * 10) for n in range(n_sequences)]) == n_sequences


def test_what_is_given_back_behind_the_context_is_forgotten():
    memory = prefixes()
    sequence = memory.take([1, 2])
    memory.context.is_open = False
    memory.give_back(sequence)
    assert memory.used == [] and not memory.drop_idle()


@pytest.mark.parametrize("can_cut", [True, False])
def test_whatever_is_asked_for_the_sequence_holds_a_beginning_of_it(can_cut):
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
    memory = Prefixes(FakeContext(1, common=1, n_sequences=8), most_idle=2, most_saved_bytes=0)
    for first in range(1, 6):
        sequence = memory.take([first, 2, 3])
        sequence.tokens = [first, 2, 3]
        memory.give_back(sequence)
    kept = []
    for first in range(1, 6):
        sequence = memory.take([first, 2, 3, 4])
        kept += [first] if sequence.tokens else []
    assert kept == [4, 5]


class TestTextsThatHaveLeftTheContext:
    """A context with room for two idle texts: with three others in turns everything was read anew every time."""

    def memory(self, n_sequences=4, most_idle=2, most_saved_bytes=1 << 20, **settings):
        context = FakeContext(1, common=1, n_sequences=n_sequences, **settings)
        return Prefixes(context, most_idle=most_idle, most_saved_bytes=most_saved_bytes)

    def turns(self, memory, texts):
        """What is held of each text as it is taken; each is then written whole."""
        held = []
        for text in texts:
            sequence = memory.take([*text, 1])
            held.append(len(sequence.tokens))
            assert sequence.tokens == text[: held[-1]]
            sequence.tokens = list(text)
            memory.give_back(sequence)
        return held

    @pytest.mark.parametrize("can_cut", [True, False])
    @pytest.mark.parametrize("n_sequences", [1, 4])
    def test_come_back_when_a_new_one_begins_like_them(self, can_cut, n_sequences):
        memory = self.memory(can_cut=can_cut, n_sequences=n_sequences)
        assert self.turns(memory, TEXTS) == [0] * 8
        for _ in range(3):
            assert self.turns(memory, TEXTS) == [60] * 8
        assert len(memory.context.restored) == 3 * 8

    def test_are_in_one_place_only(self):
        memory = self.memory()
        for _ in range(3):
            self.turns(memory, TEXTS)
            assert len(memory._saved) == 6 and memory._saved.n_bytes == 6 * 600

    def test_take_no_more_than_their_bound_and_the_last_used_stay(self):
        memory = self.memory(most_saved_bytes=3 * 600)
        self.turns(memory, TEXTS)
        assert memory._saved.n_bytes == 3 * 600
        assert self.turns(memory, TEXTS[::-1]) == [60] * 5 + [0] * 3

    def test_of_which_one_is_larger_than_the_bound_costs_no_other_its_place(self):
        memory = self.memory(most_saved_bytes=3 * 600)
        self.turns(memory, [TEXTS[0], [9] * 500, TEXTS[1], TEXTS[2]])
        assert memory._saved.n_bytes == 600
        assert self.turns(memory, [TEXTS[0]]) == [60]

    def test_are_none_where_there_is_no_memory_for_them(self):
        memory = self.memory(most_saved_bytes=0)
        self.turns(memory, TEXTS)
        assert self.turns(memory, TEXTS) == [0] * 8 and not memory.context.restored

    def test_that_are_short_are_read_again(self):
        memory, short = self.memory(), [[n] * 15 for n in range(1, 9)]
        self.turns(memory, short)
        assert self.turns(memory, short) == [0] * 8 and len(memory._saved) == 0

    def test_of_which_little_is_shared_are_read_again(self):
        """To restore 2,000 tokens takes longer than to read 100 of them."""
        memory, long = self.memory(), [1] * 2000
        self.turns(memory, [long, *TEXTS[1:4]])
        assert self.turns(memory, [[1] * 249]) == [0]
        assert self.turns(memory, TEXTS[1:4]) == [60] * 3
        assert self.turns(memory, [[1] * 250]) == [250]

    def test_give_way_to_what_is_in_memory_where_they_have_hardly_more(self):
        memory = self.memory()
        self.turns(memory, [[1] * 75, *TEXTS[1:3], [1] * 60])
        memory.context.restored.clear()
        assert self.turns(memory, [[1] * 75]) == [60] and not memory.context.restored

    @pytest.mark.parametrize(("can_cut", "kept"), [(True, 100), (False, 0)])
    def test_serve_several_that_begin_alike(self, can_cut, kept):
        memory = self.memory(can_cut=can_cut)
        long = [1] * 100 + [2] * 20
        self.turns(memory, [long, *TEXTS[2:5]])
        assert self.turns(memory, [[1] * 100 + [n] * 30 for n in (3, 4)]) == [kept, kept]
        self.turns(memory, TEXTS[2:5])
        assert self.turns(memory, [long]) == [120]

    def test_are_not_kept_twice_where_one_is_the_beginning_of_another(self):
        memory = self.memory()
        self.turns(memory, [[1] * 60, *TEXTS[1:4]])
        saved, _ = memory._saved.longest([1] * 60)
        memory._saved.add(saved.state)
        assert len(memory._saved) == 2

    def test_go_one_by_one_to_make_room_and_are_saved(self):
        memory = self.memory()
        self.turns(memory, TEXTS[:2])
        assert memory.drop_idle() and memory.drop_idle() and not memory.drop_idle()
        assert self.turns(memory, TEXTS[:2]) == [60] * 2

    def test_have_idle_ones_make_room_for_them(self):
        memory = self.memory(room=150)
        self.turns(memory, TEXTS[:2])
        memory.drop_idle()
        used = filled(memory, [8] * 50)
        assert self.turns(memory, TEXTS[:1]) == [60]
        assert used.tokens == [8] * 50
        assert self.turns(memory, TEXTS[1:2]) == [60]

    def test_that_find_no_room_are_read_again_and_nobody_loses_anything(self):
        memory = self.memory(room=100)
        self.turns(memory, TEXTS[:1])
        memory.drop_idle()
        used = filled(memory, [8] * 50)
        assert memory.take([1] * 61).tokens == []
        assert used.tokens == [8] * 50
        memory.give_back(memory.used[-1])
        memory.give_back(used)
        assert [len(filled(memory, [n] * 10).tokens) for n in range(4)] == [10] * 4  # no place was lost

    def test_that_make_idle_ones_leave_in_vain_are_read_from_the_start(self):
        """What was in memory of the text was looked for before it had to leave as well."""
        memory = self.memory(room=130)
        used = filled(memory, [8] * 50)
        memory.give_back(filled(memory, [1] * 60))
        memory._saved.add(SequenceState(tuple([1] * 100), b""))
        sequence = memory.take([1] * 101)
        assert sequence.tokens == [] and memory.used == [used, sequence]
        assert memory._saved.longest([1] * 100)[1] == 100

    def test_that_cannot_be_restored_cost_no_other_its_place(self, monkeypatch):
        memory = self.memory()
        self.turns(memory, TEXTS[:4])

        def damaged(state):
            raise DecodeError("a saved sequence does not fit this context")

        monkeypatch.setattr(memory.context, "restore", damaged)
        assert self.turns(memory, TEXTS[:1]) == [0]
        assert self.turns(memory, TEXTS[3:4]) == [60]
        assert memory._n_left == 2 and memory._saved.longest(TEXTS[0])[1] == 0

    def test_that_cannot_be_copied_are_read_again(self, monkeypatch):
        memory = self.memory()
        filled(memory, TEXTS[0])

        def fails(sequence, other, n):
            raise MemoryError

        monkeypatch.setattr(FakeSequence, "copy_to", fails)
        assert memory.take([*TEXTS[0], 1]).tokens == []

    def test_that_cannot_be_saved_cost_nobody_anything(self, monkeypatch):
        memory = self.memory()
        for error in (MemoryError(), DecodeError("no")):
            monkeypatch.setattr(FakeSequence, "save", lambda self, error=error: (_ for _ in ()).throw(error))
            assert self.turns(memory, TEXTS) == [0] * 8

    def test_that_are_being_saved_when_another_thread_closes_are_nobodys_fault(self, monkeypatch):
        memory, save = self.memory(), FakeSequence.save

        def closing(sequence):
            memory.stop_saving()
            return save(sequence)

        self.turns(memory, TEXTS)
        monkeypatch.setattr(FakeSequence, "save", closing)
        self.turns(memory, TEXTS)
        assert len(memory._saved) == 0

    def test_are_freed_on_close_and_none_is_saved_behind_it(self):
        memory = self.memory()
        self.turns(memory, TEXTS)
        memory.close()
        assert (len(memory._saved), memory._saved.n_bytes) == (0, 0)
        self.turns(memory, TEXTS)
        assert len(memory._saved) == 0


class TestWhatCanReallyBeKept:
    """The longest common beginning was taken, also of a memory that could not be cut back to it, and so nothing."""

    def test_a_shorter_beginning_that_can_be_kept_is_better_than_a_longer_one_that_cannot(self):
        memory = prefixes(n_sequences=4, can_cut=False)
        longer, shorter = filled(memory, [*SYSTEM, 3, 4, 5]), filled(memory, SYSTEM)
        for sequence in (shorter, longer):
            memory.give_back(sequence)
        assert memory.take([*SYSTEM, 3, 4, 8]).tokens == SYSTEM

    def test_a_checkpoint_counts_for_what_is_before_it(self):
        memory = prefixes(n_sequences=4, can_cut=False)
        longer, shorter = filled(memory, SYSTEM[:10]), filled(memory, SYSTEM[:8])
        longer.checkpoint()
        longer.tokens = [*SYSTEM, 3, 4, 5]
        for sequence in (longer, shorter):
            memory.give_back(sequence)
        assert memory.take([*SYSTEM, 8]).tokens == SYSTEM[:10]

    def test_a_text_that_somebody_writes_on_is_shared_up_to_its_checkpoint(self):
        memory = prefixes(n_sequences=4, can_cut=False)
        used = filled(memory, SYSTEM)
        used.checkpoint()
        used.tokens += [3, 4]
        assert memory.take([*SYSTEM, 5, 6]).tokens == SYSTEM
        assert used.tokens == [*SYSTEM, 3, 4]

    @pytest.mark.parametrize("n_sequences", [1, 2, 4])
    def test_a_text_that_goes_on_stays_a_beginning_for_others(self, n_sequences):
        """Of a memory that cannot be cut it was lost as soon as the first of several went on."""
        context = FakeContext(1, common=1, n_sequences=n_sequences, can_cut=False)
        memory = Prefixes(context, most_idle=2, most_saved_bytes=1 << 20)
        parent = SYSTEM * 4
        memory.give_back(filled(memory, parent))
        for n in (3, 4, 5, 6):
            child = memory.take([*parent, n, n])
            assert child.tokens == parent
            child.tokens = [*parent, n, n, n]
            memory.give_back(child)
