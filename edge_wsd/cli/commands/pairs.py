"""`edge-wsd pairs`: two models under one name, kept in a file that may be edited as well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from edge_wsd.cli.main import FAILED, AdvisingGroup, complain
from edge_wsd.cli.options import REPLY_FLAGS, default_of
from edge_wsd.cli.pair_choice import complete_model, complete_pair
from edge_wsd.cli.pull_needs import terms_text
from edge_wsd.cli.ui.guard import print_json
from edge_wsd.cli.ui.pairs_table import named_state, pair_object, print_pairs, print_rows
from edge_wsd.cli.ui.rows import tell
from edge_wsd.cli.ui.terminal import one_line
from edge_wsd.decoding.options import Options
from edge_wsd.errors import OptionError, PairsFileError, StoreError, TemplateError
from edge_wsd.models.pairs.built_in import BUILT_IN_PAIRS
from edge_wsd.models.pairs.file import PairsFile
from edge_wsd.models.pairs.known import FIRST_PAIR, default_name, find_pair, with_built_in
from edge_wsd.models.pairs.named_pair import NAME_RULE, OPTION_KEYS, NamedPair, is_pair_name
from edge_wsd.models.store.local import find_model
from edge_wsd.models.store.model_name import HubModel, parse_model_name

F = TypeVar("F", bound=Callable[..., Any])


class _ListByDefault(AdvisingGroup):
    """A group whose bare call, with or without options, lists."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in (*ctx.help_option_names, "--debug")):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group("pairs", cls=_ListByDefault)
def command() -> None:
    """Two models under one name: list, add, show, choose the default, remove.

    \b
    edge-wsd pairs add mine --drafter drafter.gguf --base meta-llama/Llama-3.1-8B
    edge-wsd chat --pair mine
    edge-wsd pairs default mine

    Without a command the pairs are listed. They are kept in a TOML file, which `pairs list` names and you may
    edit. A pair in the file takes precedence over a built-in one of the same name.
    """


@command.command("list")
@click.option("--json", "as_object", is_flag=True, help="Print one JSON object.")
@click.pass_context
def list_(context: click.Context, *, as_object: bool) -> None:
    """List all pairs: their models, whether they are here, and the default.

    A mistake in the file is reported on stderr, and the exit code is 1; it blocks no pair but its own.
    """
    file = PairsFile()
    read = file.read()
    pairs, default = with_built_in(read.pairs), read.default or FIRST_PAIR
    if as_object:
        listed = {"default": default, "pairs": [pair_object(pair, default) for pair in pairs.values()]}
        print_json(listed)
    else:
        print_pairs(list(pairs.values()), default)
        state = "your pairs and the default are in" if file.path.exists() else "pairs that you add will be in"
        tell(f"{state} {file.path}")
    for problem in read.problems.values():
        complain(str(problem))
    if read.problems:
        context.exit(FAILED)


@command.command()
@click.argument("name", shell_complete=complete_pair)
@click.option("--json", "as_object", is_flag=True, help="Print one JSON object.")
def show(*, name: str, as_object: bool) -> None:
    """Show everything about the pair NAME."""
    pair = find_pair(name)
    default = PairsFile().read().default or FIRST_PAIR
    if as_object:
        print_json(pair_object(pair, default))
        return
    origin = f"built in: {pair.about}" if pair.is_built_in else f"yours, in {PairsFile().path}"
    rows = [("pair", f"{pair.name}{' (default)' if name == default else ''}"), ("origin", origin)]
    for role, text in (("drafter", pair.drafter), ("base", pair.base)):
        rows += [(role, text), ("", named_state(text).text)]
        parsed = parse_model_name(text)
        if isinstance(parsed, HubModel):
            rows.append(("", f"licence: {terms_text(parsed.repo, named_state(text).licence)}"))
    usual = {"drafter_template": "chat", "base_template": "plain"}
    for key, template in usual.items():
        rows.append((key.replace("_", " "), getattr(pair, key) or f"{template} (as usual)"))
    for key in OPTION_KEYS:
        value = getattr(pair, key)
        rows.append(
            (key.replace("_", " "), str(value) if value is not None else f"{default_of(Options, key)} (as usual)")
        )
    print_rows(rows)


def _option(key: str, kind: Any, metavar: str) -> Callable[[F], F]:
    flag, text = REPLY_FLAGS[key]
    help_text = f"{text}  [default: that of `edge-wsd run`, {default_of(Options, key)}]"
    return click.option(flag, type=kind, metavar=metavar, help=help_text)


@command.command()
@click.argument("name")
@click.option(
    "--drafter", metavar="MODEL", required=True, shell_complete=complete_model, help="GGUF file, or REPO:TYPE."
)
@click.option("--base", metavar="MODEL", required=True, shell_complete=complete_model, help="Given the same way.")
@click.option("--drafter-template", metavar="FILE|plain|chat", help="The drafter's prompt.  [default: chat]")
@click.option("--base-template", metavar="FILE|plain|chat", help="The base's prompt.  [default: plain]")
@_option("threshold", float, "X")
@_option("window", int, "N")
@_option("max_draft", int, "N")
@click.option("-f", "--force", is_flag=True, help="Replace a pair of this name.")
def add(*, name: str, force: bool, **values: Any) -> None:
    """Add the pair NAME: a drafter and a base, each a GGUF file, a model of the store or REPO:TYPE.

    Files are checked, and the vocabularies compared, as far as the models are here. Nothing is downloaded.
    """
    if not is_pair_name(name):
        raise click.UsageError(f"{one_line(name)!r} is not a name for a pair; a name has {NAME_RULE}")
    if name in BUILT_IN_PAIRS:
        raise PairsFileError(f"{name!r} is built in; give the pair another name")
    pair = NamedPair(name, **values)
    try:
        Options(**pair.options)
    except OptionError as error:
        key, _, rest = str(error).partition(" ")
        raise click.UsageError(f"{REPLY_FLAGS[key][0]} {rest}") from error
    pair = pair.anywhere()
    _check_templates(pair)
    found = [_checked_file(role, text) for role, text in (("drafter", pair.drafter), ("base", pair.base))]
    file = PairsFile()
    pairs = file.read()
    if (name in pairs.pairs or ("pairs", name) in pairs.problems) and not force:
        raise PairsFileError(f"there is already a pair {name!r}; --force replaces it")
    lines = _verdict(found[0], found[1]) if found[0] is not None and found[1] is not None else []
    file.add(pair, replace=force)
    tell(f"added {name} to {file.path}")
    tell(*lines)


def _check_templates(pair: NamedPair) -> None:
    for role, text in pair.templates.items():
        if text not in ("chat", "plain") and not Path(text).is_file():
            raise TemplateError(f"{role.replace('_', ' ')} {text}: no such file; give chat, plain or a Jinja file")


def _checked_file(role: str, text: str) -> Path | None:
    """The model's file if it is here and sound; None, with a warning, if it has yet to be pulled."""
    from edge_wsd.models.gguf.check import check_gguf

    name = parse_model_name(text)
    try:
        path = find_model(text)
    except StoreError as error:
        if not isinstance(name, HubModel):
            raise
        tell(f"warning: the {role} {error}")
        return None
    check_gguf(path)
    return path


def _verdict(drafter: Path, base: Path) -> list[str]:
    from edge_wsd.cli.commands.check import compare, verdict_lines

    verdict, about = compare(drafter, base)
    first, *rest = verdict_lines(verdict, about)
    return [f"vocabularies {first}", *rest]


@command.command()
@click.argument("name", required=False, shell_complete=complete_pair)
@click.option("--none", "unset", is_flag=True, help=f"Have no default of your own: {FIRST_PAIR} is used.")
def default(*, name: str | None, unset: bool) -> None:
    """Show the default pair, or make NAME the default of `run` and `chat`."""
    if name is not None and unset:
        raise click.UsageError("give either NAME or --none, not both")
    file = PairsFile()
    if name is None and not unset:
        click.echo(default_name())
        return
    if name is not None:
        find_pair(name)
    if unset and not file.path.exists():
        return
    file.set_default(name)
    tell(f"the default pair is {name or FIRST_PAIR}")


@command.command()
@click.argument("name", shell_complete=complete_pair)
def rm(*, name: str) -> None:
    """Remove the pair NAME. Its models stay where they are."""
    file = PairsFile()
    if name in BUILT_IN_PAIRS and name not in file.read().pairs:
        raise PairsFileError(f"{name!r} is built in and cannot be removed")
    if ("pairs", name) not in file.read().problems:
        find_pair(name)
    was_default = file.remove(name)
    note = f"; the default pair is {FIRST_PAIR} again" if was_default else ""
    tell(f"removed {name}{note}; its models stay (`edge-wsd models rm` deletes those of the store)")
