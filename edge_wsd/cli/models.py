"""`edge-wsd models`: what is in the store; `models show NAME` tells more of one, `models rm NAME` deletes it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from edge_wsd.cli.guard import print_json
from edge_wsd.cli.main import FAILED, AdvisingGroup, complain
from edge_wsd.cli.terminal import is_terminal, neutralise, one_line
from edge_wsd.errors import StoreError

if TYPE_CHECKING:
    from edge_wsd.models.store import Store, StoredModel

_SHORT_COMMIT = 12
_TEMPLATE_LINES = 12


@click.group("models", cls=AdvisingGroup, invoke_without_command=True)
@click.option("--json", "as_object", is_flag=True, help="Print one JSON object.")
@click.pass_context
def command(context: click.Context, *, as_object: bool) -> None:
    """List the models of the store: name, type, size, commit and when it was pulled.

    A damaged one is told on stderr, and the exit code is 1. EDGE_WSD_STORE names another folder.
    """
    if context.invoked_subcommand is None:
        _list(context, as_object)


@command.command("list")
@click.option("--json", "as_object", is_flag=True, help="Print one JSON object.")
@click.pass_context
def list_(context: click.Context, *, as_object: bool) -> None:
    """List the models of the store, as without a command."""
    _list(context, as_object)


def _list(context: click.Context, as_object: bool) -> None:
    from edge_wsd.models.store import Store

    store = Store()
    models, problems = store.survey()
    unfinished = store.unfinished()
    if as_object:
        value = {
            "store": str(store.root),
            "models": [_as_object(model) for model in models],
            "damaged": problems,
            "unfinished": [{"name": one.name, "n_bytes": one.n_bytes} for one in unfinished],
        }
        print_json(value)
    else:
        _print_list(store, models, n_problems=len(problems))
        for one in unfinished:
            click.echo(
                f"unfinished: {one_line(one.name)}, {_size(one.n_bytes)}; `edge-wsd pull {one_line(one.name)}` "
                f"goes on, `edge-wsd models rm {one_line(one.name)}` drops it",
                err=True,
            )
    for problem in problems:
        complain(problem)
    if problems:
        context.exit(FAILED)


def _print_list(store: Store, models: list[StoredModel], *, n_problems: int) -> None:
    if not models:
        if not n_problems:
            click.echo(f"the store {one_line(str(store.root))} is empty; `edge-wsd pull OWNER/REPO:TYPE` fills it")
        return
    rows = [("NAME", "TYPE", "SIZE", "COMMIT", "PULLED")]
    for model in models:
        about = model.manifest
        pulled = about.created[:16].replace("T", " ")
        rows.append((about.repo, about.type, _size(model.n_bytes), about.revision[:_SHORT_COMMIT], pulled))
    _print_table(rows, right={2})
    click.echo(one_line(f"the store is {store.root}"), err=True)


@command.command()
@click.argument("name")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def rm(*, name: str, yes: bool) -> None:
    """Delete the model NAME from the store, or what an unfinished pull of it left."""
    from edge_wsd.models.store import Store

    store = Store()
    wanted = store.removable(name)
    if not yes:
        if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
            raise StoreError(f"nobody can be asked whether to delete {wanted}; use --yes")
        try:
            agreed = click.confirm(f"Delete {wanted} ({_size(store.bytes_of(wanted))})?", err=True)
        except click.Abort:  # the cursor is still behind the question
            click.echo(err=True)
            raise
        if not agreed:
            raise StoreError("nothing was deleted")
    freed = store.remove(str(wanted))
    click.echo(f"{wanted} deleted, {_size(freed)} freed", err=True)


@command.command()
@click.argument("name")
@click.option("--ctx", type=click.IntRange(16), metavar="N", help="Tokens of the context that memory is told for.")
@click.option("--template", is_flag=True, help="Print the whole chat template and nothing else.")
@click.option("--json", "as_object", is_flag=True, help="Print one JSON object.")
def show(*, name: str, ctx: int | None, template: bool, as_object: bool) -> None:
    """Tell what is in the model NAME, of the store or a GGUF file: licence, shape, tokenizer, size by type, memory."""
    from edge_wsd.models.model_name import LocalFile, find_model, parse_model_name
    from edge_wsd.models.store import Store
    from edge_wsd.models.summary import summarize

    store = Store()
    facts = summarize(find_model(name, store), n_ctx=ctx)
    model = None if isinstance(parse_model_name(name), LocalFile) else store.find(name)
    if as_object:
        origin = None if model is None else _as_object(model)
        print_json({**facts, "store": origin})
    elif template:
        if facts["chat_template"] is None:
            raise StoreError(f"{name} has no chat template")
        click.echo(neutralise(facts["chat_template"]))
    else:
        for line in _lines(facts, model):
            click.echo(neutralise(line))


def _as_object(model: StoredModel) -> dict[str, Any]:
    manifest = json.loads(model.manifest.to_json())
    return {"name": model.name, "path": str(model.path), "n_bytes": model.n_bytes, **manifest}


def _lines(facts: dict[str, Any], model: StoredModel | None) -> list[str]:
    parts = f" in {facts['n_parts']} parts" if facts["n_parts"] > 1 else ""
    lines = [] if model is None else _origin_lines(model)
    lines += [
        _line("file", f"{facts['file']}, {_size(facts['n_bytes'])}{parts}"),
        _line("model", f"{facts['name'] or '-'} ({facts['architecture']})"),
        _line("parameters", _count(facts["n_parameters"])),
    ]
    if model is None:
        lines.append(_line("licence", facts["licence"] or "not stated in the file"))
    lines += [_line(key.replace("_", " "), str(value)) for key, value in facts["shape"].items() if value is not None]
    lines += _tokenizer_lines(facts["tokenizer"])
    lines += ["", *_type_lines(facts["tensor_types"])] if facts["tensor_types"] else []
    lines += ["", *_memory_lines(facts["memory"])]
    template = facts["chat_template"]
    if template is None:
        return [*lines, "", "chat template: none; as a drafter it needs --drafter-template plain"]
    shown = template.splitlines()
    lines += ["", "chat template:", *(f"  {line}" for line in shown[:_TEMPLATE_LINES])]
    if len(shown) > _TEMPLATE_LINES:
        lines.append(f"  ... {len(shown) - _TEMPLATE_LINES} more lines, all of them with --template")
    return lines


def _origin_lines(model: StoredModel) -> list[str]:
    about = model.manifest
    made = about.made
    if about.tokenizer_texts is not None:
        made += f"; tokenizer equal on {about.tokenizer_equal} of {about.tokenizer_texts} texts"
    lines = [
        _line("name", model.name),
        _line("licence", about.licence or "not stated"),
        _line("commit", about.revision + (f" ({about.asked_revision})" if about.asked_revision else "")),
        _line("pulled", f"{about.created} from {about.endpoint}, by edge-wsd {about.edge_wsd}"),
        _line("made", made),
    ]
    lines += [_line("note", note) for note in about.notes]
    return lines + [_line("sha256", f"{file.sha256}  {file.name.rpartition('/')[2]}") for file in about.files]


def _tokenizer_lines(tokenizer: dict[str, Any]) -> list[str]:
    kind = tokenizer["model"] + (f", {tokenizer['pre_tokenizer']}" if tokenizer["pre_tokenizer"] else "")
    lines = [_line("tokenizer", f"{kind}, {tokenizer['n_tokens']} tokens")]
    special = ", ".join(f"{name} {token['text']} ({token['id']})" for name, token in tokenizer["special"].items())
    return [*lines, _line("special tokens", special or "none")]


def _type_lines(rows: list[dict[str, Any]]) -> list[str]:
    total = sum(row["n_bytes"] for row in rows)
    table = [("TYPE", "TENSORS", "SIZE", "SHARE", "BITS/WEIGHT")]
    for row in rows:
        bits = f"{row['n_bytes'] * 8 / row['n_values']:.2f}"
        share = f"{row['n_bytes'] / total:.1%}"
        table.append((row["type"], str(row["n_tensors"]), _size(row["n_bytes"]), share, bits))
    return _table_lines(table, right={1, 2, 3, 4})


def _memory_lines(memory: dict[str, int] | None) -> list[str]:
    if memory is None:
        return ["memory: not known for this model"]
    parts = {key.removesuffix("_bytes"): value for key, value in memory.items() if key != "n_ctx"}
    listed = ", ".join(f"{key.replace('_', ' ').replace('kv', 'KV')} {_size(value)}" for key, value in parts.items())
    return [_line("memory", f"{_size(sum(parts.values()))} with {memory['n_ctx']} tokens of context: {listed}")]


def _line(label: str, text: str) -> str:
    return f"{label:16}{one_line(text)}"


def _print_table(rows: Sequence[tuple[str, ...]], right: set[int]) -> None:
    for line in _table_lines(rows, right):
        click.echo(one_line(line))


def _table_lines(rows: Sequence[tuple[str, ...]], right: set[int]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            text.rjust(width) if column in right else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _count(n_values: int) -> str:
    return f"{n_values / 1e9:.2f} billion" if n_values >= 1e9 else f"{n_values / 1e6:.2f} million"


def _size(n_bytes: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if n_bytes >= size:
            return f"{n_bytes / size:.2f} {unit}"
    return f"{n_bytes / 2**10:.1f} KiB"
