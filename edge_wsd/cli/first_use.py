"""The first use of a pair: models that are not in the store are pulled, after a question that says what it costs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import click

from edge_wsd.cli.ui.interruptible import call
from edge_wsd.cli.ui.terminal import is_terminal, one_line
from edge_wsd.cli.ui.terminal_state import keys_seen
from edge_wsd.cli.ui.waiting import waiting_for
from edge_wsd.errors import Cancelled, StoreError
from edge_wsd.models.pairs.named_pair import NamedPair
from edge_wsd.models.store.model_name import DEFAULT_TYPE, HubModel, parse_model_name
from edge_wsd.units import gib


class Consent(Enum):
    """Whether models may be pulled."""

    NONE = "none"
    ASK = "ask"
    """The person at the terminal, if there is one."""
    GIVEN = "given"


@dataclass(frozen=True)
class Cost:
    """What pulling one model means. Sizes in bytes."""

    name: str
    n_fetched: int
    n_stored: int
    n_needed: int
    """Free space that it takes meanwhile."""
    terms: str
    destination: Path


def models_of(pair: NamedPair, consent: Consent) -> tuple[Path, Path]:
    """Files of the drafter and the base, pulled if that is needed and allowed.

    Raises `StoreError` that names what to type if it is not allowed.
    """
    missing = missing_models(pair)
    if missing:
        if consent is Consent.NONE or (consent is Consent.ASK and not _can_ask()):
            raise StoreError(f"{_title(pair)} needs {_listed(missing)}; {_way_out(missing)}")
        if consent is Consent.ASK and not _agrees(pair, missing):
            raise StoreError(f"nothing was pulled; {_way_out(missing)}")
        from edge_wsd.cli.pull_progress import pull_with_progress

        for name in missing:
            pull_with_progress(str(name))
    return pair.find_models()


def missing_models(pair: NamedPair) -> list[HubModel]:
    """Those models of the pair, with their types, that would have to be pulled."""
    missing: dict[HubModel, None] = {}
    for text in (pair.drafter, pair.base):
        name = parse_model_name(text)
        if isinstance(name, HubModel):
            from edge_wsd.models.store.local import Store

            if Store().find(text) is None:
                missing[HubModel(name.repo, name.type or DEFAULT_TYPE)] = None
    return list(missing)


def _cost(name: HubModel) -> Cost:
    """Asks the hub. Raises `HubError` in one line if the model cannot be obtained."""
    from edge_wsd.cli.pull_needs import terms_text
    from edge_wsd.pull import pull_size

    stopped: list[bool] = []

    def stop_if_asked(_step: object) -> None:
        if stopped:
            raise Cancelled("the look-up was stopped")

    with waiting_for(f"asking the hub for {name}") as line:
        size = call(
            lambda: pull_size(str(name), progress=stop_if_asked),
            cancel=lambda: stopped.append(True),
            waiting=line.tick,
        )
    return Cost(
        size.name,
        size.download_bytes,
        size.stored_bytes,
        size.needed_bytes,
        terms_text(name.repo, size.licence, granted=True),
        size.destination.parent,
    )


def _can_ask() -> bool:
    return is_terminal(sys.stdin) and is_terminal(sys.stderr)


def _agrees(pair: NamedPair, missing: Sequence[HubModel]) -> bool:
    """Tells what is missing, how large it is and where it goes, and asks. Ctrl-C is no answer but the end."""
    from edge_wsd.cli.pull_needs import memory_of_pair
    from edge_wsd.cli.pull_progress import hush_client

    hush_client()
    costs = [_cost(name) for name in missing]
    need = memory_of_pair(pair)
    for line in (*cost_lines(pair, costs), *(need.lines if need is not None else ())):
        click.echo(one_line(line), err=True)
    click.echo(f"Pull {'it' if len(missing) == 1 else 'them'} now? [y/N] ", err=True, nl=False)
    try:
        with keys_seen():
            answer = sys.stdin.readline()
    except KeyboardInterrupt:
        click.echo(err=True)
        raise
    if not answer.endswith("\n"):  # Ctrl-D
        click.echo(err=True)
    return answer.strip().lower() in ("y", "yes")


def cost_lines(pair: NamedPair, costs: Sequence[Cost]) -> list[str]:
    """What a person has to know before anything is pulled. Raises `StoreError` if the disk is too full for it."""
    destination = costs[0].destination
    from edge_wsd.models.store.disk_space import free_bytes

    free, needed = free_bytes(destination), _needed_bytes(costs)
    if free < needed:
        from edge_wsd.models.store.local import STORE_VARIABLE

        raise StoreError(
            f"{_title(pair)} needs {gib(needed)} in {destination}, which has {gib(free)} free; "
            f"free some space, or set {STORE_VARIABLE} to a folder on another disk"
        )
    what = "a model that is" if len(costs) == 1 else "two models that are"
    lines = [f"{_title(pair)} needs {what} not in the store yet:"]
    for cost in costs:
        sizes = f"downloads {gib(cost.n_fetched)}, stores {gib(cost.n_stored)}"
        lines += [f"  {cost.name}", f"    {sizes}", f"    licence: {cost.terms}"]
    if len(costs) > 1:
        fetched, stored = sum(cost.n_fetched for cost in costs), sum(cost.n_stored for cost in costs)
        lines.append(f"  both: downloads {gib(fetched)}, stores {gib(stored)}")
    return [*lines, f"  to {destination}, which has {gib(free)} free"]


def _needed_bytes(costs: Sequence[Cost]) -> int:
    """Most space taken at any time, the models pulled one after the other."""
    stored, most = 0, 0
    for cost in costs:
        most = max(most, stored + cost.n_needed)
        stored += cost.n_stored
    return max(most, stored)


def _title(pair: NamedPair) -> str:
    return f"pair {pair.name!r}" if pair.name else "the pair"


def _listed(names: Sequence[object]) -> str:
    return f"{' and '.join(map(str, names))}, which {'is' if len(names) == 1 else 'are'} not in the store"


def _way_out(missing: Sequence[HubModel]) -> str:
    command = " && ".join(f"edge-wsd pull {name}" for name in missing)
    return f"fetch {'it' if len(missing) == 1 else 'them'} with `{command}`, or use --yes"
