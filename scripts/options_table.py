"""Writes the option tables in README.md and docs/command-line.md from the code that owns the options.

    python scripts/options_table.py [--check]

A table stands between `<!-- begin NAME: ... -->` and `<!-- end NAME -->`. `--check` changes nothing and exits with 1
if a table is stale.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import click

from edge_wsd.cli.main import COMMANDS, cli
from edge_wsd.cli.options import MODEL_FLAGS, REPLY_FLAGS
from edge_wsd.cli.sections import SectionOption

ROOT = Path(__file__).resolve().parent.parent
FILES = ("README.md", "docs/command-line.md")
_MARKED = re.compile(r"(<!-- begin ([a-z-]+):[^>]*-->\n).*?(<!-- end \2 -->)", re.DOTALL)
_DEFAULT = re.compile(r"\s*\[default: (.*)\]$")
Table = Callable[[], str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing, exit with 1 if a table is stale")
    arguments = parser.parse_args()
    stale = []
    for name in FILES:
        path = ROOT / name
        before = path.read_text(encoding="utf-8")
        after = renewed(before)
        if after != before:
            stale.append(name)
            if not arguments.check:
                path.write_text(after, encoding="utf-8")
    for name in stale:
        print(f"{name}: {'is stale' if arguments.check else 'written anew'}", file=sys.stderr)
    sys.exit(1 if stale and arguments.check else 0)


def renewed(text: str) -> str:
    """The text with every marked table made again."""
    return _MARKED.sub(lambda found: found[1] + TABLES[found[2]]() + found[3], text)


def reply_table() -> str:
    """The fields of `Options`: their flags, names, defaults and meanings."""
    return _fields_table(REPLY_FLAGS)


def model_table() -> str:
    """The fields of `ModelSettings`, the same way."""
    return _fields_table(MODEL_FLAGS)


def pair_table() -> str:
    """The options that choose two models."""
    return _options_table("run", "The models")


def commands_text() -> str:
    """Every command with its usage, its help and the options that it has beside the shared ones."""
    return "".join(_command_text(name) for name in command_names())


TABLES: Mapping[str, Table] = {
    "reply-options": reply_table,
    "model-settings": model_table,
    "pair-options": pair_table,
    "commands": commands_text,
}


def _fields_table(flags: Mapping[str, tuple[str, str]]) -> str:
    by_flag = {option.opts[0]: option for option in _options("run")}
    rows = []
    for name, (flag, _) in flags.items():
        meaning, default = _meaning_and_default(by_flag[flag])
        rows.append((_usage(by_flag[flag]), f"`{name}`", default, meaning))
    return _markdown(("option", "in Python", "default", "meaning"), rows)


def _options_table(name: str, section: str) -> str:
    rows = []
    for option in _options(name):
        if _section(option) == section:
            meaning, default = _meaning_and_default(option)
            rows.append((_usage(option), default, meaning))
    return _markdown(("option", "default", "meaning"), rows)


def _command_text(name: str) -> str:
    command = _command(name)
    arguments = [_argument(param) for param in command.params if isinstance(param, click.Argument)]
    if isinstance(command, click.Group):
        arguments.append("[COMMAND]")
    usage = " ".join(["edge-wsd", name, "[OPTIONS]", *arguments])
    about = [" ".join(part.split()) for part in (command.help or "").split("\n\n") if "\b" not in part]
    sections = dict.fromkeys(_section(option) for option in _options(name) if _section(option) != "Options")
    shared = [section for section in _SECTIONS if section in sections]
    text = f"### edge-wsd {name}\n\n    {usage}\n\n" + "\n\n".join(about) + "\n\n"
    text += _options_table(name, "Options")
    for section in sections:
        if section not in shared:
            text += f"\n*{section}*\n\n" + _options_table(name, section)
    if shared:
        text += "\nAlso the options of " + ", ".join(f"*{section}*" for section in shared) + ".\n"
    return text + "\n"


def command_names() -> Iterator[str]:
    """Every command, and behind a group its own: `pairs`, `pairs add`, ..."""
    for name in COMMANDS:
        yield name
        command = _command(name)
        if isinstance(command, click.Group):
            yield from (f"{name} {inner}" for inner in command.commands)


_SECTIONS = ("The answer", "Sampling", "The models", "Memory and devices")


def _command(name: str) -> click.Command:
    command: click.Command | None = cli
    for word in name.split():
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), word)
    assert command is not None
    return command


def _options(name: str) -> list[click.Option]:
    """The options of a command that its help shows."""
    return [param for param in _command(name).params if isinstance(param, click.Option) and not param.hidden]


def _section(option: click.Option) -> str:
    return option.section if isinstance(option, SectionOption) else "Options"


def _usage(option: click.Option) -> str:
    """`-q, --quiet`, `--threshold X`, `--mmap / --no-mmap`. Not click's own words, which its versions change."""
    names = " / ".join([", ".join(option.opts), *option.secondary_opts])
    value = "" if option.is_flag else f" {_placeholder(option)}"
    return f"`{names}{value}`".replace("|", r"\|")


def _argument(argument: click.Argument) -> str:
    name = _placeholder(argument)
    return name if argument.required or name.startswith("[") else f"[{name}]"


def _placeholder(param: click.Parameter) -> str:
    if param.metavar is not None:
        return param.metavar
    if isinstance(param.type, click.Choice):
        return "|".join(map(str, param.type.choices))
    return str(param.name).upper()


def _meaning_and_default(option: click.Option) -> tuple[str, str]:
    text = option.help or ""
    found = _DEFAULT.search(text)
    return _DEFAULT.sub("", text).replace("|", r"\|"), found[1] if found else ""


def _markdown(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    if lines:
        lines[:0] = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
