"""Chat templates of a checkpoint and its GGUF file, compared without a model."""

from __future__ import annotations

from datetime import datetime
from types import SimpleNamespace

import pytest

from edge_wsd.converters.verification.template_agreement import CONVERSATIONS, template_agreement
from edge_wsd.prompts.chat_template import ChatTemplate
from edge_wsd.prompts.messages import Message
from tests.chat_templates import CHATML, DROPS_SYSTEM, FEATURES, GEMMA, LLAMA3, MISTRAL

PLAIN = "{% for message in messages %}{{ message.content }}{% endfor %}"
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}"


class Tokenizer:
    """Renders a template as transformers would, with what `render` makes of it."""

    def __init__(self, template, render):
        self.chat_template = template
        self.get_chat_template = lambda: template
        self.apply_chat_template = lambda conversation, **_: render(conversation)


def model_with(template):
    return SimpleNamespace(chat_template=template, vocab=SimpleNamespace(bos=None, eos=None))


def joined(conversation):
    return "".join(message["content"] for message in conversation)


def test_equal_prompts_are_equal():
    found = template_agreement(Tokenizer(PLAIN, joined), model_with(PLAIN))
    assert found.holds and found.n_refused == 0 and found.n_equal == len(CONVERSATIONS)


@pytest.mark.parametrize("in_gguf", [ENDLESS, PLAIN])
def test_a_template_that_never_ends_is_not_given_to_transformers_which_would_not_stop_it(in_gguf):
    one = {"one question": CONVERSATIONS["one question"]}
    tokenizer = Tokenizer(ENDLESS, lambda _: pytest.fail("rendered"))
    found = template_agreement(tokenizer, model_with(in_gguf), one)
    assert found.n_refused == (in_gguf == ENDLESS) and found.holds == (in_gguf == ENDLESS)
    assert in_gguf == ENDLESS or "was stopped" in str(found.first_difference)


@pytest.mark.parametrize("source", [LLAMA3, CHATML, GEMMA, MISTRAL, DROPS_SYSTEM, *FEATURES.values()])
def test_a_template_renders_as_transformers_renders_it(source: str) -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    messages = [Message("user", "Is 2 <b>?"), Message("assistant", "It's é."), Message("user", " More?\n")]
    now = datetime.now().astimezone()
    template = ChatTemplate(source, bos="<s>", eos="</s>", name="test", now=lambda: now)
    (expected,), _ = render_jinja_template(
        [[{"role": message.role, "content": message.content} for message in messages]],
        chat_template=source,
        add_generation_prompt=True,
        bos_token="<s>",
        eos_token="</s>",
    )
    assert template.render_as_given(messages) == expected
