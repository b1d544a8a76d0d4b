"""`edge-wsd completion --install`: the shell completes commands, options, and names of pairs, models and sessions."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from edge_wsd.cli.main import COMPLETE_VARIABLE, PROGRAM, cli
from edge_wsd.cli.ui.rows import tell
from edge_wsd.errors import EdgeWsdError
from edge_wsd.files import write_atomically
from edge_wsd.user_folders import data_folder

_MARK = f"  # {PROGRAM} completion"


@dataclass(frozen=True)
class ShellSetup:
    """Where the script of a shell goes, and the file that has to mention it; None where the shell finds it itself."""

    script: Callable[[], Path]
    startup: Callable[[], Path] | None = None
    line: str = ". {}"


SETUPS = {
    "bash": ShellSetup(lambda: data_folder() / "completion.bash", lambda: Path.home() / ".bashrc"),
    "zsh": ShellSetup(
        lambda: data_folder() / "completion.zsh",
        lambda: Path(os.environ.get("ZDOTDIR") or Path.home()) / ".zshrc",
        "(( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit; }}; . {}",
    ),
    "fish": ShellSetup(
        lambda: Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / f"fish/completions/{PROGRAM}.fish"
    ),
}


@click.command()
@click.argument("shell", required=False, type=click.Choice(list(SETUPS)))
@click.option("--install", is_flag=True, help="Write it where the shell looks for it, and load it in new shells.")
def command(*, shell: str | None, install: bool) -> None:
    """Print what makes a shell complete commands, options and the names of pairs, models and sessions.

    Without a name the shell is that of $SHELL. With --install a script is written, for bash and zsh into this
    program's own folder; their startup file, ~/.bashrc or ~/.zshrc, gets one line that loads it.

    \b
    edge-wsd completion --install
    edge-wsd completion bash > edge-wsd.bash
    """
    shell = shell or _shell_of_user()
    kind = get_completion_class(shell)
    assert kind is not None
    source = kind(cli, {}, PROGRAM, COMPLETE_VARIABLE).source()
    if not install:
        click.echo(source)
        return
    try:
        _install(SETUPS[shell], source)
    except RuntimeError as error:
        raise EdgeWsdError(
            f"there is no home folder to install completion in ({error}); print it: {PROGRAM} completion {shell}"
        ) from error
    tell(f"new {shell} sessions complete {PROGRAM} with the Tab key")


def _shell_of_user() -> str:
    name = Path(os.environ.get("SHELL", "")).name
    if name not in SETUPS:
        found = f"$SHELL is {name!r}" if name else "$SHELL is not set"
        raise click.UsageError(f"{found}; say which shell is meant: {', '.join(SETUPS)}")
    return name


def _install(setup: ShellSetup, source: str) -> None:
    script = setup.script()
    script.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(script, source.encode())
    tell(f"wrote {script}")
    if setup.startup is None:
        return
    startup = setup.startup()
    path = shlex.quote(str(script))
    line = f"[ -f {path} ] && {{ {setup.line.format(path)}; }}{_MARK}"
    before = startup.read_bytes() if startup.exists() else b""
    after = _with_line(before, os.fsencode(line))
    if after != before:
        write_atomically(startup, after)
        tell(f"added a line to {startup}")


def _with_line(before: bytes, line: bytes) -> bytes:
    """The startup file with the line in the place of an older one, else at the end. Other bytes stay as they are."""
    mark = os.fsencode(_MARK)
    lines = before.split(b"\n")
    places = [number for number, each in enumerate(lines) if each.rstrip(b"\r").endswith(mark)]
    if not places:
        gap = b"" if before.endswith(b"\n") or not before else b"\n"
        return before + gap + line + b"\n"
    first, *others = places
    lines[first] = line
    return b"\n".join(each for number, each in enumerate(lines) if number not in others)
