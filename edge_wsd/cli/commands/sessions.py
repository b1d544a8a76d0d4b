"""`edge-wsd sessions`: the conversations that `chat --session NAME` keeps."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from edge_wsd.cli.chat_options import changed_options
from edge_wsd.cli.main import FAILED, AdvisingGroup, complain
from edge_wsd.cli.session_names import complete_session
from edge_wsd.cli.session_pair import loading_text
from edge_wsd.cli.ui.guard import drawing_on, print_json
from edge_wsd.cli.ui.paint import BOLD, RESET, Style, style_options
from edge_wsd.cli.ui.question import agrees, can_be_asked
from edge_wsd.cli.ui.rows import columns_of_stdout, table_lines, tell
from edge_wsd.cli.ui.terminal import colours_wanted, is_terminal, one_line
from edge_wsd.cli.ui.transcript import markdown, show_transcript
from edge_wsd.decoding.options import Options
from edge_wsd.errors import SessionError
from edge_wsd.files import write_atomically
from edge_wsd.json_text import json_line
from edge_wsd.sessions.store import SessionStore, SessionSummary
from edge_wsd.units import counted

F = TypeVar("F", bound=Callable[..., Any])
_SHOWN_CHARACTERS = 40


def _name_argument(function: F) -> F:
    return click.argument("name", shell_complete=complete_session)(function)


class _ListsSessions(AdvisingGroup):
    """A group whose bare call, with or without options, lists."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in (*ctx.help_option_names, "--debug")):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group("sessions", cls=_ListsSessions)
def command() -> None:
    """Conversations kept under a name: list, show, rename, remove, export.

    \b
    edge-wsd chat --session work       begins one, or goes on with it
    edge-wsd chat --continue           goes on with the one that was used last
    edge-wsd sessions show work
    edge-wsd sessions export work work.md

    Without a command the sessions are listed. EDGE_WSD_SESSIONS names another folder for them.
    """


@command.command("list")
@click.option("--json", "as_object", is_flag=True, help="Print one JSON object.")
@click.pass_context
def list_(context: click.Context, *, as_object: bool) -> None:
    """List the sessions, the last used first. One that cannot be read is told on stderr, and the exit code is 1."""
    store = SessionStore()
    summaries = store.summaries()
    if as_object:
        print_json({"folder": str(store.folder), "sessions": [_summary_object(one) for one in summaries]})
    elif not summaries:
        tell("no session has been kept yet; `edge-wsd chat --session NAME` begins one")
    else:
        rows = [("session", "messages", "pair", "last used", "begins with"), *map(_summary_row, summaries)]
        for line in table_lines(rows, columns_of_stdout(), words=(0, 2, 3, 4)):
            click.echo(line)
        tell(f"the sessions are in {store.folder}")
    problems = [one.problem for one in summaries if one.problem is not None]
    for problem in problems:
        complain(problem)
    if problems:
        context.exit(FAILED)


@command.command()
@_name_argument
@style_options
@click.option("--json", "as_object", is_flag=True, help="Print one JSON object: what a file of /save holds.")
def show(*, name: str, style: Style, as_object: bool) -> None:
    """Show what was said in the session NAME, in the two models' colours, and its settings on stderr."""
    kept = SessionStore().read(name)
    if as_object:
        print_json(kept.as_json())
        return
    is_seen = is_terminal(sys.stdout)
    out = drawing_on(sys.stdout)
    show_transcript(
        out,
        kept.messages,
        kept.written,
        style,
        n_columns=columns_of_stdout(),
        raw=not is_seen,
        bold=(lambda text: f"{BOLD}{text}{RESET}") if colours_wanted(sys.stdout) else str,
    )
    settings = changed_options(kept.options, Options())
    loading = loading_text(kept.loading)
    parts = [
        f"pair {kept.pair['name']}" if kept.pair.get("name") else "",
        f"loaded with {loading}" if loading else "",
        f"system: {kept.system}" if kept.system else "",
    ]
    tell("; ".join(filter(None, [counted(len(kept.messages), "messages"), *parts, settings])))


@command.command()
@click.argument("old", shell_complete=complete_session)
@click.argument("new")
def rename(*, old: str, new: str) -> None:
    """Give the session OLD the name NEW."""
    SessionStore().rename(old, new)
    tell(f"{old} is called {new} now; `edge-wsd chat --session {new}` goes on with it")


@command.command()
@_name_argument
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def rm(*, name: str, yes: bool) -> None:
    """Delete the session NAME: the conversation, and what was kept of the models' memory."""
    store = SessionStore()
    n_messages = len(store.read(name).messages) if _is_readable(store, name) else 0
    if not yes:
        if not can_be_asked():
            raise SessionError(f"cannot ask whether to delete {name}; use --yes")
        if not agrees(f"Delete the session {name} ({counted(n_messages, 'messages')})?"):
            raise SessionError("nothing was deleted")
    store.remove(name)
    tell(f"{name} is deleted")


@command.command()
@_name_argument
@click.argument("file", required=False, metavar="[FILE]")
@click.option(
    "--json", "as_object", is_flag=True, help="JSON, as a file of /save: `chat --load` and `run --messages` read it."
)
@click.option("--force", is_flag=True, help="Replace FILE, whatever it is.")
def export(*, name: str, file: str | None, as_object: bool, force: bool) -> None:
    """Write the session NAME to FILE or to stdout (-), as Markdown; as JSON with --json or if FILE ends with .json."""
    kept = SessionStore().read(name)
    path = None if file is None or file == "-" else Path(file)
    as_object = as_object or (path is not None and path.suffix.lower() == ".json")
    text = json_line(kept.as_json()) + "\n" if as_object else markdown(name, kept)
    if path is None:
        click.echo(text, nl=False)
        return
    if path.exists() and not force:
        raise SessionError(f"{path} exists and was left as it is; choose another name, or replace it with --force")
    try:
        write_atomically(path, text.encode(errors="replace"))
    except OSError as error:
        raise SessionError(f"{path}: cannot be written ({error.strerror}); choose another place") from error
    tell(f"{counted(len(kept.messages), 'messages')} written to {path}")


def _is_readable(store: SessionStore, name: str) -> bool:
    return any(one.name == name and one.problem is None for one in store.summaries())


def _summary_row(one: SessionSummary) -> tuple[str, ...]:
    first = one_line(one.first) if one.problem is None else "(cannot be read)"
    shown = first if len(first) <= _SHOWN_CHARACTERS else f"{first[: _SHOWN_CHARACTERS - 3]}..."
    return one.name, str(one.n_messages), one.pair, f"{one.changed:%Y-%m-%d %H:%M}", shown


def _summary_object(one: SessionSummary) -> dict[str, Any]:
    return {
        "name": one.name,
        "changed": one.changed.isoformat(timespec="seconds"),
        "n_messages": one.n_messages,
        "pair": one.pair or None,
        "first": one.first,
        "memory_bytes": one.n_memory_bytes,
        "problem": one.problem,
    }
