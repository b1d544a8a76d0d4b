"""Options refuse what they cannot mean, and say what they expected."""

import math
from dataclasses import fields
from decimal import Decimal
from typing import get_type_hints

import numpy as np
import pytest

from edge_wsd.decoding.options import OptionChanges, Options
from edge_wsd.errors import OptionError
from edge_wsd.llama.settings import ModelSettings


class Odd:
    def __repr__(self):
        return "an odd thing " * 100


HALF_CHARACTER = "\ud83d"
NO_NUMBERS = [None, "8", b"8", [8], {}, 8j, Decimal(8), True, np.bool_(True), np.array([8, 8]), Odd(), object]
NO_WHOLE_NUMBERS = [*NO_NUMBERS, 8.0, 0.5, math.nan, math.inf, np.float64(8), np.int64(8), 2**31, 2**32 + 64, 10**5000]
MAY_BE_NONE = {"switch_at", "chunk", "propose", "seed", "main_gpu", "threads", "context_length"}
WRONG_OPTIONS = {
    "mode": ["both", None, ["wsd"], 1],
    "speculation": [None, "no", 1, np.bool_(True)],
    "proposers": [None, "none", ["ngram"], 1],
    "stop": [("",), None, 5, b"END", ["END", 5], HALF_CHARACTER],
    "chunk": [0, 129, *NO_WHOLE_NUMBERS],
    "propose": [-1, 129, *NO_WHOLE_NUMBERS],
    "seed": [-1, 2**32 - 1, True, "1", 1.0],
    "switch_at": [-1, *NO_WHOLE_NUMBERS],
    "top_k": [-1, *NO_WHOLE_NUMBERS],
    "threshold": [1.1, math.nan, *NO_NUMBERS],
    "temperature": [-0.1, math.inf, 10**5000, *NO_NUMBERS],
    "top_p": [0.0, math.nan, *NO_NUMBERS],
    "min_p": [1.0, -math.inf, *NO_NUMBERS],
    "repeat_penalty": [0.0, 1e-50, -1.0, 101.0, math.nan, *NO_NUMBERS],
    "repeat_last_n": [-2, *NO_WHOLE_NUMBERS],
    "presence_penalty": [100.5, math.nan, -math.inf, *NO_NUMBERS],
    "frequency_penalty": [-100.5, math.nan, math.inf, *NO_NUMBERS],
    "grammar": [5, b"root ::= ", ["root"]],
    "json_schema": [5, "", "[]", "{", ["x"], {1: {2}}, b"{}"],
    "grammar_from": [None, "draft", 1],
    "logit_bias": [
        None,
        5,
        b"1=2",
        "5",
        ["5=x"],
        [(1,)],
        {1: "2"},
        {-1: 2},
        {True: 1},
        {"": 1},
        {HALF_CHARACTER: 1},
        {1: math.nan},
    ],
    **{name: [0, *NO_WHOLE_NUMBERS] for name in ("max_tokens", "window", "max_draft")},
}
WRONG_SETTINGS = {
    "gpu_layers": [-2, "all", *NO_WHOLE_NUMBERS],
    "main_gpu": [-1, *NO_WHOLE_NUMBERS],
    "threads": [0, 513, *NO_WHOLE_NUMBERS],
    "kv_type": ["f64", None, ["f16"]],
    "flash_attention": [True, None, "maybe"],
    "device_signal": [True, None, "maybe"],
    "context_length": [1, *NO_WHOLE_NUMBERS],
    "batch": [7, *NO_WHOLE_NUMBERS],
    "mmap": [None, "no", 1],
    "memory_check": [None, 0],
}


@pytest.mark.parametrize("name", WRONG_OPTIONS)
def test_a_value_of_another_type_or_out_of_range_is_named_with_what_was_expected(name):
    """None, strings and numbers of other kinds were once compared, which raised Python's own TypeError, or let pass;
    llama.cpp would have read 2**32 + 64 as 64."""
    for value in WRONG_OPTIONS[name]:
        if value is None and name in MAY_BE_NONE:
            continue
        for make in (Options, Options().with_changes):
            with pytest.raises(OptionError, match=f"^{name} must be .*, not ") as caught:
                make(**{name: value})
            assert len(str(caught.value)) < 200


def test_an_unknown_option_is_an_error_that_lists_the_known_ones():
    with pytest.raises(OptionError, match=r"unknown option 'treshold'; .*threshold"):
        Options().with_changes(treshold=0.5)


def test_changed_options_are_checked_too():
    with pytest.raises(OptionError, match="window"):
        Options().with_changes(window=0)


@pytest.mark.parametrize("name", WRONG_SETTINGS)
def test_a_model_setting_of_another_type_or_out_of_range_is_named(name):
    for value in WRONG_SETTINGS[name]:
        if value is None and name in MAY_BE_NONE:
            continue
        with pytest.raises(OptionError, match=f"^{name} must be .*, not "):
            ModelSettings(**{name: value})


def test_every_option_and_setting_is_checked():
    """A field that is new but not checked would take anything."""
    for kind in (Options, ModelSettings):
        for field in fields(kind):
            with pytest.raises(OptionError, match=f"^{field.name} must be"):
                kind(**{field.name: Odd()})


def test_the_changes_that_can_be_given_are_the_fields_of_the_options():
    assert [field.name for field in fields(Options)] == list(OptionChanges.__annotations__)
    hints, changes = get_type_hints(Options), get_type_hints(OptionChanges)
    for name in ("stop", "logit_bias", "json_schema"):  # more than the form that is kept is taken
        assert hints.pop(name) and changes.pop(name)
    assert hints == changes


def test_a_single_stop_string_is_one_stop_string():
    assert Options(stop="END").stop == ("END",)
    assert Options(stop=["a", "b"]).stop == ("a", "b")
