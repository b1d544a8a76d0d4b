"""Chat templates of a checkpoint and its GGUF file, compared without a model."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from edge_wsd.converters.template_agreement import CONVERSATIONS, template_agreement

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
    assert in_gguf == ENDLESS or "loops too long" in str(found.first_difference)
