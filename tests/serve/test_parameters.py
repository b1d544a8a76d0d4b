"""What the parameters of a request mean as options."""

import pytest

from edge_wsd import Options
from edge_wsd.errors import OptionError
from edge_wsd.serve.openai.parameters import Parameters

UNBOUNDED = 2**31 - 1


def options(default=None, **given):
    return Parameters(**given).options(default or Options(), "wsd")


@pytest.mark.parametrize(
    ("given", "name", "expected"),
    [
        ({}, "max_tokens", UNBOUNDED),
        ({"max_tokens": -1}, "max_tokens", UNBOUNDED),
        ({"max_tokens": 7}, "max_tokens", 7),
        ({"max_tokens": 7, "max_completion_tokens": 9}, "max_tokens", 9),
        ({"edge_wsd": {"max_tokens": 5}, "max_tokens": 7}, "max_tokens", 5),
        ({"seed": -1}, "seed", None),
        ({"seed": 2**63}, "seed", 2**63 % (2**32 - 1)),
        ({"seed": -7}, "seed", 2**32 - 8),
        ({"stop": "x"}, "stop", ("x",)),
        ({"stop": []}, "stop", ()),
        ({"temperature": None}, "temperature", 0.0),
        ({"logit_bias": {"12": -5, "Sure": 2, '"12"': 1}}, "logit_bias", ((12, -5.0), ("Sure", 2.0), ("12", 1.0))),
        ({"edge_wsd": {"logit_bias": {"12": -5}}}, "logit_bias", ((12, -5.0),)),
        ({"edge_wsd": {"mode": "base"}}, "mode", "base"),
        ({"edge_wsd": {"temperature": None}, "temperature": 0.5}, "temperature", 0.5),
        ({"grammar": 'root ::= "x"'}, "grammar", 'root ::= "x"'),
        ({"grammar": 'root ::= "x"'}, "grammar_from", "start"),
        ({"json_schema": {"type": "integer"}}, "json_schema", '{"type": "integer"}'),
        ({"json_schema": {"type": "integer"}}, "grammar_from", "start"),
        ({"grammar": ""}, "grammar", None),
    ],
)
def test_a_parameter_means_an_option(given, name, expected):
    assert getattr(options(**given), name) == expected


def test_a_top_p_of_zero_keeps_the_likeliest_token_alone():
    assert 0 < options(top_p=0.0).top_p < 1e-3


def test_what_is_absent_is_what_the_pair_is_set_to():
    default = Options(threshold=0.7, temperature=0.4, max_tokens=99, stop="END")
    assert options(default) == default
    assert options(default, temperature=0.9).threshold == 0.7


def test_an_unknown_option_is_named():
    with pytest.raises(OptionError, match="unknown option 'treshold'"):
        options(edge_wsd={"treshold": 0.5})


def test_two_forms_of_an_answer_are_not_asked_for_at_once():
    """A schema at the top once took the place of response_format's without a word."""
    given = Parameters(json_schema={"type": "integer"})
    with pytest.raises(OptionError, match="json_schema cannot be used together with response_format"):
        given.options(Options(), "wsd", json_schema='{"type": "string"}')
