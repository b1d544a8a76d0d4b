"""Names of sessions, for a shell that completes them."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from edge_wsd.errors import EdgeWsdError
from edge_wsd.sessions.store import SessionStore


def complete_session(_ctx: click.Context, _param: click.Parameter, beginning: str) -> list[CompletionItem]:
    """Those that begin so."""
    try:
        return [CompletionItem(name) for name in SessionStore().names() if name.startswith(beginning)]
    except EdgeWsdError:  # which is told when the command runs
        return []
