"""What the log has for a person: each warning, of the library or of another one, is one line on stderr."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from edge_wsd.cli.ui.guard import drawing_on
from edge_wsd.cli.ui.terminal import can_draw, one_line
from edge_wsd.redaction import redacted

F = TypeVar("F", bound=Callable[..., Any])

# The commands tell what matters of our own; llama.cpp's warnings are for those who ask for its log. The server tells
# what goes wrong in it, and uvicorn tells the same again.
_PACKAGE = "edge_wsd"
_QUIET = (_PACKAGE, "uvicorn")
_HEARD = ("edge_wsd.llama.kernels", "edge_wsd.llama.signal_check", "edge_wsd.serve")


class _Line(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            if can_draw(sys.stderr):
                drawing_on(sys.stderr).write("\r\x1b[K")  # a line that says what is waited for may stand there
            click.echo(f"edge-wsd: warning: {one_line(redacted(record.getMessage()))}", err=True)
        except Exception:
            self.handleError(record)

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.name.startswith(_QUIET) or record.name.startswith(_HEARD)


def hear_warnings() -> None:
    """Show them from now on. Calling twice does nothing."""
    if not _lines():
        logging.getLogger().addHandler(_Line(logging.WARNING))


def quiet_option(function: F) -> F:
    """Adds `-q`: only errors are heard."""

    def hush(_context: click.Context, _param: click.Parameter, quiet: bool) -> bool:
        # What is told once is not told where nobody hears it.
        logging.getLogger(_PACKAGE).setLevel(logging.ERROR if quiet else logging.NOTSET)
        for handler in _lines():
            handler.setLevel(logging.ERROR if quiet else logging.WARNING)
        return quiet

    return click.option("-q", "--quiet", is_flag=True, callback=hush, help="Nothing on stderr but errors.")(function)


def _lines() -> list[_Line]:
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, _Line)]
