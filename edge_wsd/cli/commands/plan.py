"""`edge-wsd plan`: where a pair goes in memory, what gives way, and whether it fits, before anything is loaded."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from edge_wsd.cli.main import FAILED, complain
from edge_wsd.cli.model_shape import shape_of
from edge_wsd.cli.options import MODEL_FLAGS, PER_MODEL_NOTE, default_of, model_options, parallel_option
from edge_wsd.cli.pair_choice import complete_pair
from edge_wsd.cli.sections import SectionCommand
from edge_wsd.cli.ui.guard import print_json
from edge_wsd.cli.ui.rows import columns_of_stdout, command_lines, prose_lines, table_lines, tell
from edge_wsd.cli.ui.terminal import one_line
from edge_wsd.cli.ui.waiting import telling
from edge_wsd.llama.settings import ModelSettings
from edge_wsd.models.plan.placement import HOST

if TYPE_CHECKING:
    from edge_wsd.models.plan.memory import Sizes
    from edge_wsd.models.plan.planner import Plan, PlannedModel

_PARTS = ("weights", "kv_cache", "compute", "logits", "vocabulary", "cache")
_MIB = 1 << 20


@click.command(cls=SectionCommand, epilog=PER_MODEL_NOTE)
@click.argument("pair", required=False, shell_complete=complete_pair)
@click.option("--drafter", metavar="MODEL", help="The drafter: a GGUF file, or REPO:TYPE.")
@click.option("--base", metavar="MODEL", help="The base, given the same way.")
@click.option("--drafter-type", metavar="TYPE", help="Plan the drafter as if it were stored in this type.")
@click.option("--base-type", metavar="TYPE", help="Plan the base as if it were stored in this type.")
@click.option("--json", "as_object", is_flag=True, help="Print one JSON object.")
@parallel_option
@model_options
@click.pass_context
def command(
    context: click.Context,
    *,
    pair: str | None,
    drafter: str | None,
    base: str | None,
    drafter_type: str | None,
    base_type: str | None,
    as_object: bool,
    parallel: int,
    drafter_settings: ModelSettings,
    base_settings: ModelSettings,
) -> None:
    """Plan the memory of PAIR, or of --drafter and --base: weights, KV cache, compute and logits buffers per device.

    Nothing is loaded. The drafter goes to the fastest device, then as many layers of the base as fit; `run` and `chat`
    do the same. Models of the built-in pairs are planned before they are pulled. Exit code 1 if the pair does not fit.

    \b
    edge-wsd plan pilot-llama-8b --ctx 8192
    edge-wsd plan pilot-llama-70b --base-type Q3_K_M
    """
    from edge_wsd.cli.pair_choice import beyond_training, choose_pair
    from edge_wsd.llama.kernels import require_sound

    require_sound()
    from edge_wsd.llama.tools.measure import simulate
    from edge_wsd.models.plan.planner import plan_pair

    named = choose_pair(pair, drafter, base)
    settings = [replace(each, parallel=parallel) for each in (drafter_settings, base_settings)]
    with telling("looking at the models"):
        shapes = (shape_of(named.drafter, drafter_type), shape_of(named.base, base_type))
        plan = plan_pair(shapes[0], shapes[1], settings[0], settings[1], measure=simulate)
    if as_object:
        print_json({**plan.as_dict(), "flags": flags_of(plan)})
    else:
        for line in plan_lines(plan, columns_of_stdout()):
            click.echo(one_line(line))
    for model in (plan.drafter, plan.base):
        n_ctx, trained = model.memory.n_ctx, model.memory.shape.n_ctx_train
        if n_ctx > trained > 0:
            tell(f"warning: {beyond_training(model.role, n_ctx, trained)}")
    if not plan.fits:
        complain(plan.complaint)
        context.exit(FAILED)


def flags_of(plan: Plan) -> str:
    """Options that put the pair in the same place without a plan."""
    words: list[str] = []
    for model in (plan.drafter, plan.base):
        settled = replace(model.settings, gpu_layers=model.memory.gpu_layers, context_length=model.memory.n_ctx)
        for name, (flag, _) in MODEL_FLAGS.items():
            value = getattr(settled, name)
            if value == default_of(ModelSettings, name):
                continue
            bare = f"{model.role}-{flag.removeprefix('--')}"
            if isinstance(value, bool):
                words.append(f"--{bare}" if value else f"--no-{bare}")
            else:
                words += [f"--{bare}", ",".join(value) if isinstance(value, tuple) else str(value)]
    parallel = plan.base.settings.parallel
    return shlex.join([*words, *(["--parallel", str(parallel)] if parallel > 1 else [])])


def plan_lines(plan: Plan, n_columns: int | None = None) -> list[str]:
    """The plan for a person, in lines of at most `n_columns`, if that matters."""
    rows: list[tuple[str, ...]] = [
        ("", "device", "layers", "weights", "KV cache", "compute", "logits", "vocab", "cache", "sum")
    ]
    for model in (plan.drafter, plan.base):
        rows += _rows_of(plan, model)
    lines = table_lines(rows, n_columns, words=(0, 1))
    about = [*(_about(model) for model in (plan.drafter, plan.base)), "All sizes in MiB."]
    lines += ["", *prose_lines(about, n_columns), ""]
    devices: list[tuple[str, ...]] = [("device", "of both", "free", "total", "kept free", "left")]
    for one in plan.devices:
        left = one.device.free_bytes - one.margin - one.used
        note = " (the host's memory)" if one.shares_host else ""
        devices.append(
            (
                f"{one.device.name}{note}",
                *map(_mib, (one.used, one.device.free_bytes)),
                *map(_mib, (one.device.total_bytes, one.margin, left)),
            )
        )
    lines += table_lines(devices, n_columns)
    lines.append("")
    lines += prose_lines([f"gives way: {line}" for line in plan.gives_way], n_columns)
    lines += command_lines(f"the same by hand: {flags_of(plan)}", n_columns)
    return [*lines, *prose_lines([f"verdict: {plan.verdict}"], n_columns)]


def _rows_of(plan: Plan, model: PlannedModel) -> list[tuple[str, ...]]:
    memory = model.memory
    rows: list[tuple[str, ...]] = []
    n_all = memory.shape.n_layers + 1
    gpus = ((one.device.name, number, memory.gpus[number]) for number, one in enumerate(plan.devices[1:]))
    places = [("host", HOST, memory.host), *gpus]
    for name, number, sizes in places:
        if sizes.total:
            label = model.role if not rows else ""
            layers = f"{memory.placement.count(number)} of {n_all}"
            rows.append((label, name, layers, *_figures(sizes)))
    return rows


def _figures(sizes: Sizes) -> tuple[str, ...]:
    return (*(_mib(getattr(sizes, part)) for part in _PARTS), _mib(sizes.total))


def _about(model: PlannedModel) -> str:
    memory = model.memory
    return (
        f"{model.role:7}  {memory.shape.name}: {memory.n_ctx:,} tokens of context, KV cache {model.settings.kv_type}, "
        f"up to {_mib(model.cache_bytes)} for conversations that have left it"
    )


def _mib(n_bytes: int) -> str:
    return f"{n_bytes / _MIB:,.0f}" if abs(n_bytes) >= 100 * _MIB or n_bytes == 0 else f"{n_bytes / _MIB:,.1f}"
