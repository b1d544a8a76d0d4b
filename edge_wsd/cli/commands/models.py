"""`edge-wsd models`: what is in the store; `models show NAME` tells more of one, `models rm NAME` deletes it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from edge_wsd.cli.main import FAILED, AdvisingGroup, complain
from edge_wsd.cli.pair_choice import complete_model
from edge_wsd.cli.ui.guard import print_json
from edge_wsd.cli.ui.question import agrees, can_be_asked
from edge_wsd.cli.ui.rows import columns_of_stdout, hanging_lines, named_lines, prose_lines, table_lines, tell
from edge_wsd.cli.ui.terminal import neutralise, one_line
from edge_wsd.errors import StoreError
from edge_wsd.units import counted

if TYPE_CHECKING:
    from edge_wsd.models.store.local import Store, StoredModel

_SHORT_COMMIT = 12
_TEMPLATE_LINES = 12


@click.group("models", cls=AdvisingGroup, invoke_without_command=True)
@click.option("--json", "as_object", is_flag=True, help="Print one JSON object.")
@click.pass_context
def command(context: click.Context, *, as_object: bool) -> None:
    """List the models of the store: name, type, size, commit and when it was pulled.

    A damaged one is reported on stderr, and the exit code is 1. EDGE_WSD_STORE names another folder.
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
    from edge_wsd.models.store.local import Store

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
            tell(
                f"unfinished: {one.name}, {_size(one.n_bytes)}; `edge-wsd pull {one.name}` goes on, "
                f"`edge-wsd models rm {one.name}` drops it"
            )
    for problem in problems:
        complain(problem)
    if problems:
        context.exit(FAILED)


def _print_list(store: Store, models: list[StoredModel], *, n_problems: int) -> None:
    if not models:
        if not n_problems:
            empty = f"the store {one_line(str(store.root))} is empty; `edge-wsd pull OWNER/REPO:TYPE` fills it"
            click.echo("\n".join(hanging_lines([empty], columns_of_stdout())))
        return
    rows = [("NAME", "TYPE", "SIZE", "COMMIT", "PULLED")]
    for model in models:
        about = model.manifest
        pulled = about.created[:16].replace("T", " ")
        rows.append((about.repo, about.type, _size(model.n_bytes), about.revision[:_SHORT_COMMIT], pulled))
    for line in table_lines(rows, columns_of_stdout(), words=(0, 1, 3, 4)):
        click.echo(one_line(line))
    tell(f"the store is {store.root}")


@command.command()
@click.argument("name", shell_complete=complete_model)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def rm(*, name: str, yes: bool) -> None:
    """Delete the model NAME from the store, or what an unfinished pull of it left."""
    from edge_wsd.models.store.local import Store

    store = Store()
    wanted = store.removable(name)
    if not yes:
        if not can_be_asked():
            raise StoreError(f"cannot ask whether to delete {wanted}; use --yes")
        if not agrees(f"Delete {wanted} ({_size(store.bytes_of(wanted))})?"):
            raise StoreError("nothing was deleted")
    freed = store.remove(str(wanted))
    click.echo(f"{wanted} deleted, {_size(freed)} freed", err=True)


@command.command()
@click.argument("name", shell_complete=complete_model)
@click.option(
    "--ctx", type=click.IntRange(16), metavar="N", help="Context length, in tokens, for which memory is shown."
)
@click.option("--template", is_flag=True, help="Print the whole chat template and nothing else.")
@click.option("--json", "as_object", is_flag=True, help="Print one JSON object.")
def show(*, name: str, ctx: int | None, template: bool, as_object: bool) -> None:
    """Show what is in the model NAME, of the store or a GGUF file: licence, shape, tokenizer, size by type, memory."""
    from edge_wsd.llama.kernels import require_sound
    from edge_wsd.models.store.local import Store, find_model
    from edge_wsd.models.store.model_name import LocalFile, parse_model_name

    require_sound()
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
        for line in _lines(facts, model, columns_of_stdout()):
            click.echo(neutralise(line))


def _as_object(model: StoredModel) -> dict[str, Any]:
    manifest = json.loads(model.manifest.to_json())
    return {"name": model.name, "path": str(model.path), "n_bytes": model.n_bytes, **manifest}


def _lines(facts: dict[str, Any], model: StoredModel | None, n_columns: int | None) -> list[str]:
    lines = named_lines(_rows(facts, model), n_columns, width=16)
    if facts["tensor_types"]:
        lines += ["", *table_lines(_type_rows(facts["tensor_types"]), n_columns)]
    lines += ["", *named_lines([("memory", _memory(facts["memory"]))], n_columns, width=16)]
    template = facts["chat_template"]
    if template is None:
        none = "chat template: none; as a drafter it needs --drafter-template plain"
        return [*lines, "", *prose_lines([none], n_columns)]
    shown = template.splitlines()
    lines += ["", "chat template:", *(f"  {line}" for line in shown[:_TEMPLATE_LINES])]
    if len(shown) > _TEMPLATE_LINES:
        lines.append(f"  ... {counted(len(shown) - _TEMPLATE_LINES, 'more lines')}, all of them with --template")
    return lines


def _rows(facts: dict[str, Any], model: StoredModel | None) -> list[tuple[str, str]]:
    parts = f" in {facts['n_parts']} parts" if facts["n_parts"] > 1 else ""
    rows = [] if model is None else _origin_rows(model)
    rows += [
        ("file", f"{facts['file']}, {_size(facts['n_bytes'])}{parts}"),
        ("model", f"{facts['name'] or '-'} ({facts['architecture']})"),
        ("parameters", _count(facts["n_parameters"])),
    ]
    if model is None:
        rows.append(("licence", facts["licence"] or "not stated in the file"))
    rows += [(key.replace("_", " "), str(value)) for key, value in facts["shape"].items() if value is not None]
    return [*rows, *_tokenizer_rows(facts["tokenizer"])]


def _origin_rows(model: StoredModel) -> list[tuple[str, str]]:
    about = model.manifest
    made = about.made
    if about.tokenizer_texts is not None:
        made += f"; tokenizer equal on {about.tokenizer_equal} of {about.tokenizer_texts} texts"
    rows = [
        ("name", model.name),
        ("licence", about.licence or "not stated"),
        ("commit", about.revision + (f" ({about.asked_revision})" if about.asked_revision else "")),
        ("pulled", f"{about.created} from {about.endpoint}, by edge-wsd {about.edge_wsd}"),
        ("made", made),
    ]
    rows += [("note", note) for note in about.notes]
    return rows + [("sha256", f"{file.sha256}  {file.name.rpartition('/')[2]}") for file in about.files]


def _tokenizer_rows(tokenizer: dict[str, Any]) -> list[tuple[str, str]]:
    kind = tokenizer["model"] + (f", {tokenizer['pre_tokenizer']}" if tokenizer["pre_tokenizer"] else "")
    special = ", ".join(f"{name} {token['text']} ({token['id']})" for name, token in tokenizer["special"].items())
    return [("tokenizer", f"{kind}, {counted(tokenizer['n_tokens'], 'tokens')}"), ("special tokens", special or "none")]


def _type_rows(rows: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    total = sum(row["n_bytes"] for row in rows)
    table: list[tuple[str, ...]] = [("TYPE", "TENSORS", "SIZE", "SHARE", "BITS/WEIGHT")]
    for row in rows:
        bits = f"{row['n_bytes'] * 8 / row['n_values']:.2f}"
        share = f"{row['n_bytes'] / total:.1%}"
        table.append((row["type"], str(row["n_tensors"]), _size(row["n_bytes"]), share, bits))
    return table


def _memory(memory: dict[str, int] | None) -> str:
    if memory is None:
        return "not known for this model"
    parts = {key.removesuffix("_bytes"): value for key, value in memory.items() if key != "n_ctx"}
    listed = ", ".join(f"{key.replace('_', ' ').replace('kv', 'KV')} {_size(value)}" for key, value in parts.items())
    return f"{_size(sum(parts.values()))} with {memory['n_ctx']} tokens of context: {listed}"


def _count(n_values: int) -> str:
    return f"{n_values / 1e9:.2f} billion" if n_values >= 1e9 else f"{n_values / 1e6:.2f} million"


def _size(n_bytes: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if n_bytes >= size:
            return f"{n_bytes / size:.2f} {unit}"
    return f"{n_bytes / 2**10:.1f} KiB"
