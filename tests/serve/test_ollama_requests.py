"""What Ollama's requests mean: names, durations, options, messages."""

import math
from types import SimpleNamespace

import pytest

from edge_wsd.decoding.options import Options
from edge_wsd.errors import OptionError
from edge_wsd.prompts.messages import Message
from edge_wsd.serve.durations import keep_alive_seconds, nanoseconds
from edge_wsd.serve.ollama.conversation import messages_of_chat, messages_of_prompt
from edge_wsd.serve.ollama.details import parameter_size
from edge_wsd.serve.ollama.names import tagged_name
from edge_wsd.serve.ollama.options import OllamaOptions
from edge_wsd.serve.ollama.parameters import OllamaWishes
from edge_wsd.serve.ollama.wire import OllamaChatRequest, OllamaGenerateRequest
from edge_wsd.serve.served_models import Served


def options(**fields):
    """Of the library, for a request with these fields."""
    served = Served("demo", SimpleNamespace(options=Options()), "wsd")
    return OllamaWishes.of(OllamaChatRequest(model="demo", **fields)).question(served, ()).options


@pytest.mark.parametrize(("name", "listed"), [("demo", "demo:latest"), ("demo:base", "demo:base")])
def test_a_listed_name_always_has_a_tag(name, listed):
    assert tagged_name(name) == listed


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("5m", 300), ("1h30m", 5400), ("1.5h", 5400), ("300", 300), (60, 60), (0, 0), ("0", 0), ("250ms", 0.25),
        (-1, math.inf), ("-1", math.inf), ("-1m", math.inf),
    ],
)  # fmt: skip
def test_a_duration_is_read_as_go_writes_it(given, seconds):
    assert keep_alive_seconds(given) == pytest.approx(seconds)


@pytest.mark.parametrize("given", ["", "a while", "5 parsecs", "5m now", float("nan")])
def test_anything_else_is_no_duration(given):
    with pytest.raises(OptionError, match="keep_alive"):
        keep_alive_seconds(given)


def test_a_duration_is_never_nothing_since_clients_divide_by_it():
    assert nanoseconds(0) == 1
    assert nanoseconds(0.25) == 250_000_000


def test_options_are_those_of_the_library():
    given = OllamaOptions(
        num_predict=7, temperature=0.5, top_k=3, top_p=0.9, min_p=0.1, seed=4, stop=["a", "b"], repeat_penalty=1.2,
        repeat_last_n=-1, presence_penalty=0.3, frequency_penalty=0.4,
    )  # fmt: skip
    assert options(options=given) == Options(
        max_tokens=7, temperature=0.5, top_k=3, top_p=0.9, min_p=0.1, seed=4, stop=("a", "b"), repeat_penalty=1.2,
        repeat_last_n=-1, presence_penalty=0.3, frequency_penalty=0.4,
    )  # fmt: skip


@pytest.mark.parametrize("most", [None, -1, -2])
def test_without_a_limit_an_answer_may_fill_the_context(most):
    assert options(options=OllamaOptions(num_predict=most)).max_tokens > 100_000


def test_samplers_that_are_turned_off_are_no_error_and_others_are():
    assert options(options=OllamaOptions(mirostat=0, typical_p=1.0, tfs_z=1)) == options()
    for name in ("mirostat", "typical_p", "tfs_z"):
        with pytest.raises(OptionError, match=name):
            options(options=OllamaOptions(**{name: 2}))


def test_a_format_holds_from_the_first_token_on():
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    found = options(format=schema)
    assert found.grammar_from == "start"
    assert found.json_schema == Options(json_schema=schema).json_schema
    assert options(format="json").has_grammar
    assert not options(format="").has_grammar


def test_the_extension_comes_last():
    assert options(options=OllamaOptions(temperature=0.5), edge_wsd={"temperature": 0.7, "window": 9}) == Options(
        temperature=0.7, window=9, max_tokens=options().max_tokens
    )


def test_answers_of_tools_name_the_calls_in_their_order():
    asked = OllamaChatRequest.model_validate({
        "model": "demo",
        "messages": [
            {"role": "user", "content": "What time is it, and where?"},
            {
                "role": "assistant",
                "tool_calls": [{"function": {"name": "now", "arguments": {}}}, {"function": {"name": "place"}}],
            },
            {"role": "tool", "tool_name": "now", "content": "noon"},
            {"role": "tool", "tool_name": "place", "content": "here"},
        ],
    })  # fmt: skip
    _, calls, first, second = messages_of_chat(asked.messages)
    assert [call.id for call in calls.tool_calls] == [first.tool_call_id, second.tool_call_id]
    assert calls.content == ""


def test_a_prompt_follows_its_system_prompt():
    asked = OllamaGenerateRequest(model="demo", prompt="Hello", system="Be brief.")
    assert messages_of_prompt(asked) == (Message("system", "Be brief."), Message("user", "Hello"))


@pytest.mark.parametrize(
    ("count", "text"), [(8_030_261_248, "8.0B"), (134_515_008, "134.52M"), (4_132_096, "4.13M"), (999, "999")]
)
def test_sizes_are_written_as_ollama_writes_them(count, text):
    assert parameter_size(count) == text
