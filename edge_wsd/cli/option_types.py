"""Values of options that click has no type for."""

from __future__ import annotations

import math
from typing import Any

import click

from edge_wsd.decoding.options import parse_bias
from edge_wsd.errors import OptionError
from edge_wsd.llama.settings import AUTO
from edge_wsd.reading import read_bounded
from edge_wsd.serve.durations import keep_alive_seconds

_MOST_BYTES = 4 << 20


class LayersType(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic in newer versions of click
    """A number of layers, or `auto`."""

    name = f"N|{AUTO}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == AUTO or isinstance(value, int):
            return value
        try:
            return int(value)
        except ValueError:
            self.fail(f"{value!r} is neither a number nor {AUTO!r}.", param, ctx)


class BiasType(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic in newer versions of click
    """A token and what is added to its logit."""

    name = "TOKEN=BIAS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return parse_bias(value) if isinstance(value, str) else value
        except OptionError as error:
            self.fail(f"{str(error).removeprefix('logit_bias ')}.", param, ctx)


class WorkersType(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Addresses with commas between; `ModelSettings` takes them apart."""

    name = "HOST:PORT,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value


class TextOrFile(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A text, or the content of the file that is named behind an @."""

    name = "TEXT|@FILE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str) or not value.startswith("@"):
            return value
        try:
            return read_bounded(value[1:], _MOST_BYTES).decode("utf-8-sig")
        except OSError as error:
            self.fail(f"{value[1:]} cannot be read ({error.strerror}).", param, ctx)
        except UnicodeDecodeError:
            self.fail(f"{value[1:]} is not UTF-8 text.", param, ctx)


class ListType(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Numbers of one kind with commas between; their range is for who takes them to check."""

    def __init__(self, kind: type[int] | type[float]) -> None:
        self._kind = kind
        self.name = "N,..." if kind is int else "X,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return tuple(self._kind(word) for word in value.split(","))
        except ValueError:
            kind = "whole numbers" if self._kind is int else "numbers"
            self.fail(f"{value!r} is not a list of {kind} with commas between.", param, ctx)


class DurationType(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Seconds, or a time such as 5m; None of a negative one, which is for ever."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            seconds = keep_alive_seconds(value)
        except OptionError as error:
            self.fail(f"{str(error).removeprefix('keep_alive ')}.", param, ctx)
        return None if seconds == math.inf else seconds
