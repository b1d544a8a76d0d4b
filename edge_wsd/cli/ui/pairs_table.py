"""How `edge-wsd pairs` shows pairs: as a table, as rows, as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from edge_wsd.cli.ui.rows import columns_of_stdout, row_lines
from edge_wsd.cli.ui.terminal import neutralise, one_line
from edge_wsd.errors import EdgeWsdError
from edge_wsd.models.gguf.check import n_parts, part_paths
from edge_wsd.models.gguf.header import read_header
from edge_wsd.models.pairs.named_pair import OPTION_KEYS, TEMPLATE_KEYS, NamedPair
from edge_wsd.models.store.model_name import HubModel, LocalFile, parse_model_name
from edge_wsd.units import gib

_WIDE = 100  # columns where nobody's terminal says how many there are


@dataclass(frozen=True)
class State:
    """Whether a model is here."""

    path: Path | None
    n_bytes: int | None
    text: str
    """For a person: its size, or what is wrong."""
    licence: str | None = None


def named_state(text: str) -> State:
    """Looks for a model by its name. A defect is told, not raised."""
    try:
        name = parse_model_name(text)
        if isinstance(name, LocalFile):
            if not name.path.is_file():
                return State(None, None, "missing")
            n_bytes = sum(part.stat().st_size for part in part_paths(name.path, n_parts(read_header(name.path))))
            return State(name.path, n_bytes, gib(n_bytes))
        from edge_wsd.models.store.local import Store

        model = Store().find(text)
    except OSError as error:
        return State(None, None, error.strerror or str(error))
    except EdgeWsdError as error:
        return State(None, None, str(error))
    if model is None:
        return State(None, None, "not pulled" if isinstance(name, HubModel) else "not in the store")
    return State(model.path, model.n_bytes, gib(model.n_bytes), model.manifest.licence)


def pair_object(pair: NamedPair, default: str) -> dict[str, Any]:
    """One pair as plain values. What it does not set is null."""
    models = {}
    for role, text in (("drafter", pair.drafter), ("base", pair.base)):
        state = named_state(text)
        models[role] = {"name": text, "path": None if state.path is None else str(state.path), "bytes": state.n_bytes}
    own = {key: getattr(pair, key) for key in (*TEMPLATE_KEYS, *OPTION_KEYS)}
    return {"name": pair.name, "default": pair.name == default, "built_in": pair.is_built_in, **models, **own}


def print_pairs(pairs: Sequence[NamedPair], default: str) -> None:
    """Two lines for each pair: the drafter above the base. Where that does not fit, a block for each."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from edge_wsd.cli.ui.consoles import fits, table_console

    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("pair", no_wrap=True)
    table.add_column("drafter, base", overflow="fold")
    table.add_column("here?", overflow="fold", justify="right")
    blocks: list[str] = []
    console = table_console(_WIDE)
    for pair in pairs:
        models = {"drafter": pair.drafter, "base": pair.base}
        states = [named_state(text).text for text in models.values()]
        shown = [_short(text) for text in models.values()]
        mark = "(default)" if pair.name == default else ""
        cells = (f"{pair.name}\n{mark}".rstrip(), "\n".join(shown), "\n".join(states))
        table.add_row(*(Text(neutralise(text)) for text in cells))
        rows = [(role, f"{name}: {state}") for role, name, state in zip(models, shown, states, strict=True)]
        blocks += [f"{one_line(pair.name)} {mark}".rstrip(), *row_lines(rows, console.width - 1), ""]
    if fits(console, table):
        console.print(table)
    else:
        console.print("\n".join(blocks), soft_wrap=True)


def _short(text: str) -> str:
    """A path of the package by its file name, one in the home folder with `~`; other names as they are."""
    path = Path(text)
    if not path.is_absolute():
        return text
    if path.is_relative_to(Path(__file__).resolve().parents[2]):
        return f"{path.name} (part of edge-wsd)"
    try:
        home = Path.home()
    except RuntimeError:  # there is none
        return text
    return f"~/{path.relative_to(home).as_posix()}" if path.is_relative_to(home) else text


def print_rows(rows: Sequence[tuple[str, str]]) -> None:
    """Names and values, the values aligned."""
    n_columns = columns_of_stdout()
    if n_columns is None:
        width = max(len(name) for name, _ in rows)
        lines = [
            one_line(f"{name.ljust(width)}  {value}") if name else f"{' ' * width}  {one_line(value)}"
            for name, value in rows
        ]
    else:
        lines = [*row_lines(rows, n_columns, indent="")]
    for line in lines:
        click.echo(line)
