"""What looks like a control token in a text: split where it is one, kept a text where it is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_wsd.errors import TemplateError
from edge_wsd.llama.special_texts import SpecialTexts
from edge_wsd.prompts.mark import free_mark

IDS = {"<|end|>": 1, "<|end|><|end|>": 2, "<s>": 3, "§": 4, "|><|": 5, "[X]": 6}
SPECIALS = SpecialTexts(IDS, lstrip={3}, rstrip={6})
MARK = free_mark([])
TEXTS = st.lists(st.sampled_from([*IDS, "<", "|", "end", "|>", "a", " ", "\n", "é"]), max_size=12).map("".join)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", [""]),
        ("a<|end|>b", ["a", 1, "b"]),
        ("<|end|><|end|><|end|>", [2, 1]),
        ("a <s> b", ["a", 3, " b"]),
        ("a [X] b", ["a ", 6, "b"]),
        ("a \n<s>[X]\t ", ["a", 3, 6]),
        ("§§", [4, 4]),
    ],
)
def test_control_tokens_are_found_the_longest_first_with_the_white_space_they_swallow(text, parts):
    assert SPECIALS.split(text) == parts


@given(TEXTS)
def test_a_broken_text_stays_one_text_and_comes_back_as_it_was(text):
    assert SPECIALS.split(SPECIALS.broken(text, MARK), MARK) == [text]


@given(TEXTS)
def test_a_broken_text_leaves_the_tokens_around_it_whole(text):
    parts = SPECIALS.split("<s>" + SPECIALS.broken(text, MARK) + "<|end|>", MARK)
    assert parts == [3, text, 1] or (not text and parts == [3, 1])


def test_what_has_no_control_token_in_it_is_not_touched():
    assert SPECIALS.broken("a < b", MARK) == "a < b"


def test_a_mark_is_a_character_that_no_message_has():
    assert free_mark([MARK]) != MARK
    everything = "".join(map(chr, [*range(0xFDD0, 0xFDF0), *range(0xE000, 0xF900)]))
    assert free_mark([everything[:-1]]) == everything[-1]
    with pytest.raises(TemplateError, match="private use; leave some out"):
        free_mark([everything])
