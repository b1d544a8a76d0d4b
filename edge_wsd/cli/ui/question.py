"""A question that a person answers with yes or no."""

from __future__ import annotations

import sys

import click

from edge_wsd.cli.ui.terminal import is_terminal
from edge_wsd.cli.ui.terminal_state import keys_seen


def can_be_asked() -> bool:
    """Whether a person sits there."""
    return is_terminal(sys.stdin) and is_terminal(sys.stderr)


def agrees(question: str) -> bool:
    """What the person says; no if nothing. Raises `click.Abort` for Ctrl-C and Ctrl-D."""
    try:
        with keys_seen():
            return click.confirm(question, err=True)
    except click.Abort:  # the cursor is still behind the question
        click.echo(err=True)
        raise
