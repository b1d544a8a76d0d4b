"""An answer as a stream of JSON lines, for programs: an event in each, written at once.

The last line is `finished`, or `error`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from typing import Any, TypeVar

import click

from edge_wsd.cli.main import explained
from edge_wsd.cli.sections import SectionCommand
from edge_wsd.cli.ui.guard import print_json
from edge_wsd.cli.ui.status import finite, reply_object
from edge_wsd.decoding.events import Dropped, Event, Finished, Reading, Scored, Switched, Token
from edge_wsd.redaction import redacted

F = TypeVar("F", bound=Callable[..., Any])

_FLAG = "--json-stream"
_NAMES: dict[type, str] = {
    Token: "token",
    Scored: "scored",
    Switched: "switched",
    Reading: "reading",
    Dropped: "dropped",
    Finished: "finished",
}


def event_object(event: Event) -> dict[str, Any]:
    """What the line of an event holds, as plain values: `event`, which says what it is, and the event's fields.

    `repeated` and `top` are there only if they were asked for.
    """
    if isinstance(event, Finished):
        return {"event": _NAMES[Finished], **reply_object(event.reply)}
    fields = {name: _plain(value) for name, value in asdict(event).items() if name != "piece"}
    absent = [name for name in ("repeated", "top") if fields.get(name) in (None, [])]
    return {"event": _NAMES[type(event)], **{name: fields[name] for name in fields if name not in absent}}


def _plain(value: Any) -> Any:
    """Without bytes, which JSON has no form for; they are in the texts."""
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items() if key != "piece"}
    return finite(value)


def json_stream_option(function: F) -> F:
    """Adds `--json-stream`; the command, an `EventCommand`, gets `as_stream`."""
    return click.option(
        _FLAG, "as_stream", is_flag=True, help="Print a JSON object for each event as it happens, one a line."
    )(function)


class EventCommand(SectionCommand):
    """Whatever ends it early, an option that is not understood among it, is told in a last line, too."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does it."""
        options = args[: args.index("--")] if "--" in args else args
        with _telling_errors() if _FLAG in options else nullcontext():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """As click does it."""
        with _telling_errors() if ctx.params["as_stream"] else nullcontext():
            return super().invoke(ctx)


@contextmanager
def _telling_errors() -> Iterator[None]:
    try:
        yield
    except (BrokenPipeError, click.exceptions.Exit):
        raise
    except KeyboardInterrupt:
        _tell("KeyboardInterrupt", "interrupted")
        raise
    except click.ClickException as error:
        _tell(type(error).__name__, error.format_message())
        raise
    except Exception as error:
        _tell(type(error).__name__, explained(error))
        raise


def _tell(kind: str, message: str) -> None:
    print_json({"event": "error", "type": kind, "message": redacted(message)})
