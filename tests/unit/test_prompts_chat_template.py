"""The drafter's chat template: rendering, continuing, system messages, errors."""

from datetime import datetime

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from edge_wsd.errors import TemplateError
from edge_wsd.prompts.chat_template import ChatTemplate, merge_system
from edge_wsd.prompts.messages import Message
from tests.chat_templates import CHATML, DROPS_SYSTEM, GEMMA, LLAMA3, MISTRAL

SYSTEM, USER = Message("system", "Be brief."), Message("user", "Hello")
ASSISTANT, MORE = Message("assistant", "Hi."), Message("user", "More?")


def template(source: str) -> ChatTemplate:
    return ChatTemplate(source, bos="<s>", eos="</s>", name="test", now=lambda: datetime(2025, 3, 9))


def test_a_llama3_template_shows_the_date_the_system_text_and_the_generation_prompt() -> None:
    assert template(LLAMA3).render([SYSTEM, USER]) == (
        "<s><|start_header_id|>system<|end_header_id|>\n\nToday: 09 Mar 2025\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def test_blocks_are_trimmed_as_chatml_templates_expect() -> None:
    assert template(CHATML).render([USER, ASSISTANT, MORE]) == (
        "<|im_start|>system\nYou are helpful.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n"
        "<|im_start|>assistant\nHi.<|im_end|>\n<|im_start|>user\nMore?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_mistral_template_needs_no_generation_prompt() -> None:
    assert template(MISTRAL).render([USER, ASSISTANT, MORE]) == "<s>[INST] Hello [/INST]Hi.</s>[INST] More? [/INST]"


@pytest.mark.parametrize("source", [GEMMA, MISTRAL, DROPS_SYSTEM])
def test_a_refused_or_dropped_system_text_goes_to_the_head_of_the_first_user_message(source: str) -> None:
    assert template(source).render([SYSTEM, USER]) == template(source).render([Message("user", "Be brief.\n\nHello")])


def test_a_system_text_that_the_template_takes_stays_where_it_is() -> None:
    assert template(CHATML).render([SYSTEM, USER]).startswith("<|im_start|>system\nBe brief.<|im_end|>\n")


def test_a_later_system_message_joins_the_user_message_that_follows() -> None:
    assert merge_system([USER, ASSISTANT, SYSTEM, MORE]) == (USER, ASSISTANT, Message("user", "Be brief.\n\nMore?"))


def test_a_last_system_message_joins_the_user_message_before_it() -> None:
    assert merge_system([USER, SYSTEM]) == (Message("user", "Hello\n\nBe brief."),)
    assert merge_system([SYSTEM]) == (Message("user", "Be brief."),)


@pytest.mark.parametrize("source", [LLAMA3, CHATML, GEMMA, MISTRAL, DROPS_SYSTEM])
def test_a_last_assistant_message_stays_open(source: str) -> None:
    prompt = template(source).render([USER, Message("assistant", "Sure, here ")])
    assert prompt.endswith("Sure, here ")
    assert prompt.count("Sure, here") == 1


def test_an_open_message_may_repeat_what_was_said_before() -> None:
    prompt = template(CHATML).render([USER, ASSISTANT, MORE, ASSISTANT])
    assert prompt.endswith("More?<|im_end|>\n<|im_start|>assistant\nHi.")


def test_an_open_message_may_be_empty() -> None:
    assert template(MISTRAL).render([USER, Message("assistant", "")]) == "<s>[INST] Hello [/INST]"


def test_an_open_message_that_is_shown_twice_is_continued_where_it_is_shown_last() -> None:
    source = "{{ messages[-1].content }}|{{ messages[-1].content }}</s>"
    assert template(source).render([USER, ASSISTANT]) == "Hi.|Hi."


def test_a_continued_conversation_is_rendered_without_a_generation_prompt() -> None:
    source = "{{ add_generation_prompt }} {{ messages[-1].content }}"
    assert template(source).render([USER, ASSISTANT]) == "False Hi."
    assert template(source).render([USER]) == "True Hello"


def test_a_template_without_the_last_message_cannot_be_continued() -> None:
    with pytest.raises(TemplateError, match="does not show the assistant's last message"):
        template("{{ messages[0].content }}").render([USER, ASSISTANT])


def test_a_refusal_names_the_line_the_reason_and_the_roles_given() -> None:
    source = "{{ bos_token }}\n{% if messages|length > 1 %}\n{{ raise_exception('Roles must\nalternate') }}{% endif %}"
    with pytest.raises(TemplateError) as caught:
        template(source).render([USER, MORE])
    assert "template 'test', line 3: Roles must alternate (roles given: user, user)" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_refusal_that_is_not_about_the_system_role_is_still_told() -> None:
    with pytest.raises(TemplateError, match="must alternate"):
        template(GEMMA).render([SYSTEM, USER, MORE])


def test_a_template_that_does_not_parse_is_refused_with_its_line() -> None:
    with pytest.raises(TemplateError, match=r"'test', line 2: .*endif"):
        template("a\n{% if x %}").render([USER])


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ missing.content }}", "'missing' is undefined"),
        ("{{ messages[0].content + 1 }}", "str"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
        ("{{ messages[7].content }}", "no element 7"),
        ("{% include 'other' %}", "no loader"),
        ("{{ '%d' % messages[0].content }}", "%d format"),
    ],
)
def test_a_template_that_fails_while_rendering_is_a_typed_error(source: str, reason: str) -> None:
    with pytest.raises(TemplateError, match=f"line 1: .*{reason}"):
        template(source).render([USER])


def test_deeply_nested_source_is_a_typed_error() -> None:
    with pytest.raises(TemplateError, match="does not compile"):
        template("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}").render([USER])


def test_json_is_written_plainly() -> None:
    assert template("{{ messages[0] | tojson }}").render([Message("user", "<é>")]) == (
        '{"role": "user", "content": "<é>"}'
    )


def test_tools_and_documents_are_defined_and_none() -> None:
    source = "{{ tools is defined and tools is none and documents is none }}"
    assert template(source).render([USER]) == "True"


@pytest.mark.parametrize("source", [LLAMA3, CHATML, GEMMA, MISTRAL])
def test_a_template_renders_as_in_jinja_without_a_budget(source: str) -> None:
    plain = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    source = source.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    conversation = [{"role": m.role, "content": m.content} for m in (USER, ASSISTANT, MORE)]
    expected = plain.from_string(source).render(
        messages=conversation,
        bos_token="<s>",
        eos_token="</s>",
        add_generation_prompt=True,
        tools=None,
        strftime_now=lambda pattern: "09 Mar 2025",
    )
    assert template(source).render([USER, ASSISTANT, MORE]) == expected


def test_loop_controls_work() -> None:
    source = "{% for m in messages %}{% if loop.index == 2 %}{% break %}{% endif %}{{ m.content }}{% endfor %}"
    assert template(source).render([USER, ASSISTANT, MORE]) == "Hello"


def test_no_messages_are_a_typed_error() -> None:
    with pytest.raises(TemplateError, match="no message"):
        template(CHATML).render([])


def test_a_template_is_compiled_when_first_used_and_then_kept() -> None:
    broken = template("{% if %}")  # no error yet
    with pytest.raises(TemplateError):
        broken.render([USER])
    good = template(CHATML)
    assert good.render([USER]) == good.render([USER])
