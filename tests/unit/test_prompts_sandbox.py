"""A hostile chat template gets neither out of the sandbox nor endless time nor all memory."""

import pytest

from edge_wsd.errors import TemplateError
from edge_wsd.prompts.chat_template import ChatTemplate
from edge_wsd.prompts.messages import Message

GROW = "{% set n = namespace(x='ab') %}{% for i in range(60) %}"
THRICE = "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}"
NOTHING = "{% for a in messages * 99999 if a is none %}{% endfor %}"


def render(source: str, content: str = "Hello") -> str:
    return ChatTemplate(source, bos="<s>", eos="</s>", name="hostile").render([Message("user", content)])


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ ''['__class__'] }}",
        "{{ ''|attr('__class__') }}{{ ''|attr('__class__')|attr('__mro__') }}",
        "{{ raise_exception.__globals__ }}",
        "{{ strftime_now.__globals__['__builtins__'] }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{{ '{0.__class__.__init__.__globals__}'.format(messages) }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'role': 'system'}) }}",
        "{{ self._TemplateReference__context.environment }}",
        "{{ lipsum.__globals__ }}",
    ],
)
def test_the_insides_of_python_stay_out_of_reach(source: str) -> None:
    with pytest.raises(TemplateError):
        render(source)


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(999999999) %}x{% endfor %}",
        THRICE + "{% endfor %}" * 3,
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% for a in messages recursive %}{{ loop(messages) }}{{ loop(messages) }}{% endfor %}",
        "{% for a in range(9999) if not range(99999)|sum %}{% endfor %}",
        NOTHING * 3,
        "{% macro f() %}{{ caller() }}{% endmacro %}{% for a in range(999) %}{% for b in messages * 999 %}"
        "{% call f() %}{% endcall %}{% endfor %}{% endfor %}",
    ],
)
def test_endless_loops_are_cut_short(source: str) -> None:
    with pytest.raises(TemplateError):
        render(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ 9 ** 99999999 }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '%*d' % (999999999, 1) }}",
        "{{ '{:999999999}'.format(1) }}",
        "{{ '{:{w}}'.format(1, w=999999999) }}",
        "{{ '{x:999999999}'.format_map({'x': 1}) }}",
        "{{ 'a'.ljust(999999999) }}",
        "{{ 'a'.zfill(999999999) }}",
        "{{ 'a'|center(999999999) }}",
        "{{ 'a\nb'|indent(999999999) }}",
        "{{ messages|tojson(indent=999999999) }}",
    ],
)
def test_a_number_too_large_is_refused_before_anything_is_made_with_it(source: str) -> None:
    with pytest.raises(TemplateError, match=r"too large a|No filter named 'center'"):
        render(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'a' * 999999999 }}",
        "{{ 999999999 * 'a' }}",
        "{{ [0] * 999999999 }}",
        GROW + "{% set n.x = n.x + n.x %}{% endfor %}",
        GROW + "{% set n.x = n.x ~ n.x %}{% endfor %}",
        GROW + "{% set n.x %}{{ n.x }}{{ n.x }}{% endset %}{% endfor %}",
        GROW + "{% set n.x = n.x.replace('a', n.x) %}{% endfor %}",
        GROW + "{% set n.x = n.x|replace('a', n.x) %}{% endfor %}",
        GROW + "{% set n.x = n.x.join([n.x, n.x, n.x]) %}{% endfor %}",
        GROW + "{% set n.x = [n.x, n.x]|join(n.x) %}{% endfor %}",
        "{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
        "{% set n = namespace(x=2) %}{% for i in range(60) %}{% set n.x = n.x * n.x %}{% endfor %}",
        "{% set b = 'a' * 60000 %}{% for i in range(99999) %}{{ b }}{% endfor %}",
        "{% set b = 'a' * 60000 %}{% set c %}{% for i in range(99999) %}{{ b }}{% endfor %}{% endset %}",
    ],
)
def test_memory_is_bounded(source: str) -> None:
    with pytest.raises(TemplateError, match=r"too much text|too large a number"):
        render(source)


def test_a_long_conversation_is_no_attack() -> None:
    source = "{% for m in messages %}{{ '<' + m.role ~ '>' + m.content.strip().replace('\n', ' ') }}{% endfor %}"
    template = ChatTemplate(source, bos="", eos="", name="honest")
    text = "word\n" * 2000
    messages = [Message("user", text), Message("assistant", text)] * 200 + [Message("user", "last")]
    assert template.render(messages).endswith("<user>last")


def test_what_one_rendering_spends_is_not_missing_in_the_next() -> None:
    template = ChatTemplate("{{ 'a' * 40000000 }}", bos="", eos="", name="large")
    for _ in range(3):
        with pytest.raises(TemplateError):  # the text is counted when made and when written
            template.render([Message("user", "x")])
    template = ChatTemplate("{{ 'a' * 10000000 }}", bos="", eos="", name="medium")
    for _ in range(8):
        assert len(template.render([Message("user", "x")])) == 10_000_000
