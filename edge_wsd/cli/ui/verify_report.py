"""What `edge-wsd verify` shows: tables for people, objects for programs."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_wsd.cli.ui.terminal import one_line
from edge_wsd.units import counted

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from edge_wsd.converters.verification.comparison import Comparison
    from edge_wsd.converters.verification.quant_comparison import QuantTable
    from edge_wsd.converters.verification.verify import Verification

_WIDE = 140  # columns of a table that nobody's terminal limits
_ALL_COLUMNS = 104
_BITS, _KL_99 = "bits per\nweight", "99 %\nKL"


def print_verification(result: Verification) -> None:
    """The three parts with their figures, limits and verdicts, then the first differences."""
    click.echo(f"{one_line(str(result.gguf))} ({result.architecture}, {result.type})")
    click.echo(f"against {one_line(str(result.checkpoint))}")
    table = _table("part", "figure", right=("value", "limit"), last="verdict")
    for row in (*_logits_rows(result), _tokenizer_row(result), _template_row(result)):
        table.add_row(*row)
    _console().print(table)
    for name, agreement in (("tokenizer", result.tokenizer), ("chat template", result.template)):
        if agreement.first_difference is not None:
            click.echo(one_line(f"{name}, first difference: {agreement.first_difference}"))


def _logits_rows(result: Verification) -> list[tuple[str | Text, ...]]:
    found, limit = result.logits, result.logits_limit
    verdict = "shown only" if limit is None else _verdict(result.logits_hold)
    return [
        ("logits", "max |Δ log-probability|", _small(found.max_delta), "" if limit is None else f"{limit:g}", verdict),
        ("", "mean KL divergence (nats)", _small(found.mean_kl), "", ""),
        ("", "max KL divergence (nats)", _small(found.max_kl), "", ""),
        ("", "top-1 agreement", f"{found.top1_agreement:.2%}", "", ""),
        ("", "perplexity of the checkpoint", _perplexity(found.reference_perplexity), "", ""),
        ("", "perplexity of the GGUF", _perplexity(found.perplexity), "", ""),
        ("", "tokens compared", f"{found.n_tokens}", "", ""),
    ]


def _tokenizer_row(result: Verification) -> tuple[str | Text, ...]:
    from edge_wsd.converters.verification.tokenizer_agreement import LEAST_SHARE

    found = result.tokenizer
    figure = "texts split alike"
    if found.n_only_normalized:
        figure += f" ({found.n_only_normalized} of them only once composed: NFC)"
    share = f"{found.n_alike} of {found.n_texts}"
    return ("tokenizer", figure, share, f"{LEAST_SHARE:.1%}", _verdict(result.tokenizer_holds))


def _template_row(result: Verification) -> tuple[str | Text, ...]:
    found = result.template
    if found.missing is not None:
        where = {"both": "no template in either", "checkpoint": "only the GGUF has a template"}
        figure = where.get(found.missing, "only the checkpoint has a template")
        return ("chat template", figure, "", "", _verdict(found.holds))
    figure = "conversations rendered alike"
    if found.n_refused:
        figure += f" ({found.n_refused} of them refused by both)"
    return ("chat template", figure, f"{found.n_equal} of {found.n_conversations}", "all", _verdict(found.holds))


def print_comparison(table: QuantTable) -> None:
    """One row for each file, the parent first."""
    name = one_line(str(table.parent))
    click.echo(f"{name} ({table.type}) on {counted(table.n_tokens, 'tokens')}; KL divergence in nats")
    console = _console()
    # In a narrow terminal two columns, which follow roughly from their neighbours, make room for the names.
    left_out = () if console.width >= _ALL_COLUMNS else (_BITS, _KL_99)
    headings = ("MiB", _BITS, "perplexity", "ratio", "mean\nKL", _KL_99, "max\nKL", "top-1\nagrees", "max\n|Δ log p|")
    kept = [index for index, heading in enumerate(headings) if heading not in left_out]
    shown = _table("file", right=tuple(headings[index] for index in kept))
    parent = _with_error(table.perplexity, table.perplexity_error)
    rows: list[tuple[str, tuple[str, ...]]] = [
        (_named(table.parent.name, table.type), (_mib(table.n_bytes), f"{table.bits_per_weight:.2f}", parent))
    ]
    for row in table.rows:
        found = row.comparison
        figures = (
            _mib(row.n_bytes), f"{row.bits_per_weight:.2f}", _with_error(found.perplexity, found.perplexity_error),
            _with_error(found.ratio, found.ratio_error), _small(found.mean_kl), _small(found.kl_99),
            _small(found.max_kl), f"{found.top1_agreement:.1%}", _small(found.max_delta),
        )  # fmt: skip
        rows.append((_named(Path(row.name).name, row.type), figures))
    for name, values in rows:
        shown.add_row(name, *(values[index] for index in kept if index < len(values)))
    console.print(shown)


def _named(name: str, type_name: str) -> str:
    """A file made for this alone has only its type for a name."""
    return name if name == type_name else f"{one_line(name)}\n{type_name}"


def _table(*left: str, right: tuple[str, ...], last: str | None = None) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for heading in left:
        table.add_column(heading, overflow="fold")
    for heading in right:
        table.add_column(heading, justify="right", no_wrap=True)
    if last is not None:
        table.add_column(last, no_wrap=True)
    return table


def _console() -> Console:
    from edge_wsd.cli.ui.consoles import table_console

    return table_console(_WIDE)


def _verdict(holds: bool) -> Text:
    from rich.text import Text

    return Text("holds", style="green") if holds else Text("FAILS", style="bold red")


def _mib(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:.1f}"


def _small(value: float) -> str:
    """Two digits that count, from 0.00001 to hundreds."""
    if value == 0:
        return "0"
    return f"{value:.1e}" if value < 1e-4 else f"{value:.5f}" if value < 1 else f"{value:.2f}"


def _perplexity(value: float) -> str:
    if math.isinf(value):
        return "infinite"
    return f"{value:.4f}" if value < 100 else f"{value:.2f}" if value < 1e5 else f"{value:.3e}"


def _with_error(value: float, error: float | None) -> str:
    """The value, and its standard error in the line below."""
    return _perplexity(value) if error is None else f"{_perplexity(value)}\n± {_small(error)}"


def verification_object(result: Verification) -> dict[str, Any]:
    """The object of `verify --json`."""
    return {
        "checkpoint": str(result.checkpoint),
        "gguf": str(result.gguf),
        "architecture": result.architecture,
        "type": result.type,
        "holds": result.holds,
        "failures": result.failures,
        "logits": {**_figures(result.logits), "limit": result.logits_limit, "holds": result.logits_hold},
        "tokenizer": {
            "n_texts": result.tokenizer.n_texts,
            "n_equal": result.tokenizer.n_equal,
            "n_only_normalized": result.tokenizer.n_only_normalized,
            "share": result.tokenizer_share,
            "holds": result.tokenizer_holds,
            "first_difference": _text(result.tokenizer.first_difference),
        },
        "chat_template": {
            "missing": result.template.missing,
            "n_conversations": result.template.n_conversations,
            "n_equal": result.template.n_equal,
            "n_refused": result.template.n_refused,
            "holds": result.template_holds,
            "first_difference": _text(result.template.first_difference),
        },
    }


def table_object(table: QuantTable) -> dict[str, Any]:
    """The object of `verify --compare --json`."""
    return {
        "parent": {
            "file": str(table.parent),
            "type": table.type,
            "n_bytes": table.n_bytes,
            "bits_per_weight": table.bits_per_weight,
            "perplexity": _finite(table.perplexity),
            "perplexity_error": _finite(table.perplexity_error),
        },
        "n_tokens": table.n_tokens,
        "files": [
            {
                "file": row.name,
                "type": row.type,
                "n_bytes": row.n_bytes,
                "bits_per_weight": row.bits_per_weight,
                **_figures(row.comparison),
            }
            for row in table.rows
        ],
    }


def _figures(comparison: Comparison) -> dict[str, Any]:
    return {name: _finite(value) for name, value in asdict(comparison).items()}


def _finite(value: float | None) -> float | None:
    """JSON knows no infinity: null instead."""
    return None if value is None or not math.isfinite(value) else value


def _text(value: object) -> str | None:
    return None if value is None else str(value)
