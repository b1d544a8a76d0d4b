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


@pytest.mark.parametrize("given", ["", "a while", "5 parsecs", "5m now", float("nan"), "1m" * 500_000, "1" * 500_000])
def test_anything_else_is_no_duration(given):
    with pytest.raises(OptionError, match="keep_alive") as caught:
        keep_alive_seconds(given)
    assert len(str(caught.value)) < 200


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


@pytest.mark.parametrize("most", [None, 0, -1, -2])
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


def answered(calls, *told):
    """The ids of these calls, and those that these messages of tools are said to answer."""
    messages = [
        {"role": "user", "content": "What time is it, and where?"},
        {"role": "assistant", "tool_calls": calls},
        *({"role": "tool", "content": "noon", **each} for each in told),
    ]
    asked = OllamaChatRequest.model_validate({"model": "demo", "messages": messages})
    _, called, *answers = messages_of_chat(asked.messages)
    assert called.content == ""
    return [call.id for call in called.tool_calls], [answer.tool_call_id for answer in answers]


NOW, PLACE = {"function": {"name": "now", "arguments": {}}}, {"function": {"name": "place"}}


def test_answers_of_tools_name_the_calls_in_their_order():
    calls, answers = answered([NOW, NOW], {}, {"tool_name": "now"}, {"tool_name": "now"})
    assert answers[:2] == calls and len({*calls, *answers}) == 3


def test_the_name_of_the_tool_comes_before_the_order():
    (now, place), answers = answered([NOW, PLACE], {"tool_name": "place"}, {"tool_name": "now"})
    assert answers == [place, now]


def test_ids_that_a_client_gives_are_kept():
    given = [{**NOW, "id": "first"}, {**NOW, "id": "second"}]
    assert answered(given, {"tool_call_id": "second"}, {"tool_call_id": "first"}) == (
        ["first", "second"],
        ["second", "first"],
    )


def test_ids_that_are_made_up_are_such_as_every_template_takes():
    """Mistral's raise an error for others than nine letters and digits."""
    calls, answers = answered([NOW] * 12, *[{}] * 13)
    assert all(len(one) == 9 and one.isalnum() for one in (*calls, *answers))


def test_a_role_may_be_written_in_any_case():
    asked = OllamaChatRequest.model_validate({"messages": [{"role": "User", "content": "hello"}]})
    assert messages_of_chat(asked.messages) == (Message("user", "hello"),)


def test_a_prompt_follows_its_system_prompt():
    asked = OllamaGenerateRequest(model="demo", prompt="Hello", system="Be brief.")
    assert messages_of_prompt(asked) == (Message("system", "Be brief."), Message("user", "Hello"))


@pytest.mark.parametrize(
    ("count", "text"), [(8_030_261_248, "8.0B"), (134_515_008, "134.52M"), (4_132_096, "4.13M"), (999, "999")]
)
def test_sizes_are_written_as_ollama_writes_them(count, text):
    assert parameter_size(count) == text
