"""Warnings of the library that a person must hear: each is one line on stderr."""

from __future__ import annotations

import logging

import click

from edge_wsd.cli.terminal import neutralise

# llama.cpp's own warnings are for those who ask for its log.
_HEARD = ("edge_wsd.llama.kernels",)


class _Line(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"edge-wsd: warning: {neutralise(' '.join(record.getMessage().split()))}", err=True)


def hear_warnings() -> None:
    """Show them from now on. Calling twice does nothing."""
    for name in _HEARD:
        logger = logging.getLogger(name)
        if not any(isinstance(handler, _Line) for handler in logger.handlers):
            logger.addHandler(_Line(logging.WARNING))
