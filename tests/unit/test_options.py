"""Options refuse what they cannot mean, and say what they expected."""

import math

import pytest

from edge_wsd.decoding.options import Options
from edge_wsd.errors import OptionError
from edge_wsd.llama.settings import ModelSettings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threshold", 1.1),
        ("threshold", math.nan),
        ("window", 0),
        ("max_tokens", 0),
        ("max_draft", 0),
        ("chunk", 0),
        ("chunk", 129),
        ("switch_at", -1),
        ("temperature", -0.1),
        ("temperature", math.inf),
        ("top_k", -1),
        ("top_p", 0.0),
        ("min_p", 1.0),
        ("seed", -1),
        ("seed", 2**32 - 1),
        ("max_tokens", "5"),
        ("window", 2.5),
        ("threshold", "high"),
        ("chunk", None),
        ("mode", "both"),
        ("stop", ("",)),
    ],
)
def test_a_value_out_of_range_is_named_with_its_range(name, value):
    with pytest.raises(OptionError, match=f"^{name} must be .*, not "):
        Options(**{name: value})


def test_an_unknown_option_is_an_error_that_lists_the_known_ones():
    with pytest.raises(OptionError, match=r"unknown option 'treshold'; .*threshold"):
        Options().with_changes(treshold=0.5)


def test_changed_options_are_checked_too():
    with pytest.raises(OptionError, match="window"):
        Options().with_changes(window=0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gpu_layers", -2),
        ("gpu_layers", "all"),
        ("threads", 0),
        ("kv_type", "f64"),
        ("context_length", 1),
        ("batch", 7),
    ],
)
def test_a_model_setting_out_of_range_is_named(name, value):
    with pytest.raises(OptionError, match=f"^{name} must be"):
        ModelSettings(**{name: value})


def test_a_single_stop_string_is_one_stop_string():
    assert Options(stop="END").stop == ("END",)
    assert Options(stop=["a", "b"]).stop == ("a", "b")
