"""Which template a model is prompted with: `chat` (its own), `plain`, or a Jinja file.

>>> base_template("plain", None, bos="<s>", eos="</s>").name
'plain'
"""

from __future__ import annotations

from pathlib import Path

from edge_wsd import checks
from edge_wsd.errors import TemplateError
from edge_wsd.prompts.chat_template import ChatTemplate
from edge_wsd.prompts.plain_template import PlainTemplate
from edge_wsd.prompts.renderer import shared_renderer
from edge_wsd.prompts.template import Template
from edge_wsd.reading import read_bounded

_MAX_FILE_BYTES = 1 << 20


def drafter_template(choice: str, model_template: str | None, bos: str, eos: str) -> Template:
    """`model_template` is what the drafter's file holds. Raises `TemplateError` if that is nothing and asked for."""
    return _choose("drafter", choice, model_template, bos, eos)


def base_template(choice: str, model_template: str | None, bos: str, eos: str) -> Template:
    """The same for the base."""
    return _choose("base", choice, model_template, bos, eos)


def _choose(model: str, choice: str, model_template: str | None, bos: str, eos: str) -> Template:
    named = isinstance(choice, str | Path)  # a number would be read as an open file
    checks.require(named, f"{model}_template", "chat, plain or the name of a Jinja file", choice)
    choice = str(choice)
    if choice == "plain":
        return PlainTemplate()
    shared_renderer().start()  # ready by the time the weights are loaded
    if choice != "chat":
        return ChatTemplate(_read(model, choice), bos=bos, eos=eos, name=choice)
    if not model_template or not model_template.strip():
        raise TemplateError(
            f"the {model} has no chat template in its file; use --{model}-template plain or "
            f"--{model}-template FILE with a Jinja template"
        )
    return ChatTemplate(model_template, bos=bos, eos=eos, name=f"chat template of the {model}")


def _read(model: str, choice: str) -> str:
    expected = f"--{model}-template takes chat, plain or the name of a Jinja file"
    try:
        return read_bounded(choice, _MAX_FILE_BYTES).decode().removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise TemplateError(f"template {choice!r} is not UTF-8 text; {expected}") from None
    except OSError as error:
        raise TemplateError(f"template {choice!r} cannot be read: {error.strerror or error}; {expected}") from error
