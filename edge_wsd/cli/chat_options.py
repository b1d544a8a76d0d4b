"""Options as `/set` reads and shows them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin

from edge_wsd.cli.options import REPLY_FLAGS, field_type
from edge_wsd.decoding.options import Options
from edge_wsd.errors import OptionError

NOTHING = ("none", "off", "default")
SWITCHES = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False}


def parsed(name: str, value: str, defaults: Options) -> Any:
    """The value of an option from its text; `none` and `default` give the default. Raises `OptionError`."""
    kind, several = field_type(Options, name)
    value = value if several else unquoted(value)
    default = getattr(defaults, name)
    if value.lower() == "default" or (value.lower() in NOTHING and (default is None or several)):
        return default
    if several:
        return _strings(name, value)
    if kind is bool:
        if value.lower() not in SWITCHES:
            raise OptionError(f"{name} must be on or off, not {value!r}")
        return SWITCHES[value.lower()]
    if get_origin(kind) is Literal:
        return value  # `Options` knows which ones there are
    try:
        return kind(value)
    except ValueError as error:
        expected = "a whole number" if kind is int else "a number"
        raise OptionError(f"{name} must be {expected}, not {value!r}") from error


def unquoted(text: str) -> str:
    """A text without the quotes that somebody put around the whole of it."""
    quote = text[:1]
    whole = len(text) > 1 and quote in ("'", '"') and text.endswith(quote) and quote not in text[1:-1]
    return text[1:-1].strip() if whole else text


def _strings(name: str, value: str) -> tuple[str, ...]:
    """Several texts, quoted as in a shell: `END "two words" '\\n\\n'`. `\\n` is a line break."""
    lexer = shlex.shlex(value, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters, lexer.escape = True, "", ""
    try:
        return tuple(part.replace("\\n", "\n") for part in lexer)
    except ValueError as error:
        raise OptionError(
            f"{name} has an open quote in {value!r}; close it, or quote it with the other kind"
        ) from error


def values_of(name: str) -> Iterable[str]:
    """What an option's value may be, where that can be listed."""
    kind, _ = field_type(Options, name)
    return ("on", "off") if kind is bool else get_args(kind) if get_origin(kind) is Literal else ()


def option_rows(options: Options) -> list[tuple[str, str]]:
    """Every option with its value and what it means."""
    return [
        (f"{name} {value_text(getattr(options, name))}", REPLY_FLAGS[name][1])
        for name in (field.name for field in fields(options))
    ]


def changed_options(options: Options, defaults: Options) -> str:
    """Those that are not at their defaults; empty if all are."""
    values = {field.name: getattr(options, field.name) for field in fields(Options)}
    return ", ".join(
        f"{name} {value_text(value)}" for name, value in values.items() if value != getattr(defaults, name)
    )


def value_text(value: Any) -> str:
    """A value as `/set` takes it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is None or value == ():
        return "none"
    return " ".join(_part(part) for part in value) if isinstance(value, tuple) else str(value)


def _part(value: Any) -> str:
    """One of several values: a text in quotes, or TOKEN=BIAS."""
    if not isinstance(value, tuple):
        return repr(value)
    token, bias = value
    return f"{token}={bias:g}" if isinstance(token, int) else shlex.quote(f'"{token}"={bias:g}')
