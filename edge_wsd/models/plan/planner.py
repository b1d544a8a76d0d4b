"""Plans the memory of a pair before either model is loaded: what goes where, what gives way, and whether it fits.

>>> plan = plan_pair("drafter.gguf", "base.gguf")
>>> plan.verdict, plan.base.settings.gpu_layers
('fits', 33)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from edge_wsd.errors import PlanError
from edge_wsd.llama.kernels import uses_extra_buffers
from edge_wsd.llama.library import Device
from edge_wsd.llama.settings import AUTO, DEFAULT_CACHE_RAM, ModelSettings
from edge_wsd.llama.tools.measure import Simulated
from edge_wsd.models.gguf.shape import ModelShape, shape_of_file
from edge_wsd.models.plan.layout import BASE, DRAFTER, MIN_CONTEXT, Floors, Layout, Wanted, lay_out
from edge_wsd.models.plan.machine import Machine, is_remote, is_unified, margin
from edge_wsd.models.plan.memory import MIB, ModelMemory
from edge_wsd.models.plan.remedy import remedy
from edge_wsd.units import gib, number

Fit = Literal["fits", "reads from disk", "does not fit"]
Measure = Callable[[Path, ModelSettings], Simulated]
ROLES = ("drafter", "base")
_STEP = 256


@dataclass(frozen=True, slots=True)
class PlannedModel:
    """A model in its place; `settings` are those that put it there, with nothing left open."""

    role: str
    memory: ModelMemory
    settings: ModelSettings
    cache_bytes: int
    """How much of the host's memory texts that have left the context may take."""


@dataclass(frozen=True, slots=True)
class PlannedDevice:
    """A device and what both models take of it. Sizes in bytes; `short` is 0 if they fit."""

    device: Device
    used: int
    margin: int
    short: int
    shares_host: bool


@dataclass(frozen=True)
class Plan:
    """Where a pair goes. `gives_way` lists what had to be reduced, in order, and why; `remedy` says what would fit."""

    drafter: PlannedModel
    base: PlannedModel
    devices: tuple[PlannedDevice, ...]
    """The host first."""
    verdict: Fit
    gives_way: tuple[str, ...]
    problem: str
    """Which devices are short of memory, and by how much; empty if the pair fits."""
    remedy: str
    is_impossible: bool
    """Whether the pair cannot fit even without a margin and with all swap space."""

    @property
    def fits(self) -> bool:
        return self.verdict == "fits"

    @property
    def lies_apart(self) -> bool:
        """Whether no device computes layers of both models."""
        return not set(self.drafter.memory.placement) & set(self.base.memory.placement)

    @property
    def notes(self) -> tuple[str, ...]:
        """Everything that a user should know before using the pair."""
        return self.gives_way if self.fits else (*self.gives_way, self.complaint)

    @property
    def complaint(self) -> str:
        """Why the pair does not fit, in one line."""
        return f"{self.problem}; {self.remedy}" if self.remedy else self.problem

    def as_dict(self) -> dict[str, Any]:
        """The plan, ready for JSON."""
        return {
            "verdict": self.verdict,
            "gives_way": list(self.gives_way),
            "problem": self.problem or None,
            "remedy": self.remedy or None,
            "models": {model.role: self._model(model) for model in (self.drafter, self.base)},
            "devices": [
                {
                    "name": one.device.name,
                    "type": one.device.type,
                    "free_bytes": one.device.free_bytes,
                    "total_bytes": one.device.total_bytes,
                    "used_bytes": one.used,
                    "margin_bytes": one.margin,
                    "short_bytes": one.short,
                    "shares_host": one.shares_host,
                }
                for one in self.devices
            ],
        }

    def _model(self, model: PlannedModel) -> dict[str, Any]:
        names = [one.device.name for one in self.devices]
        sizes = (model.memory.host, *model.memory.gpus)
        return {
            "name": model.memory.shape.name,
            "n_params": model.memory.shape.n_params,
            "n_layers": model.memory.shape.n_layers + 1,
            "gpu_layers": model.memory.gpu_layers,
            "main_gpu": model.settings.main_gpu,
            "n_ctx": model.memory.n_ctx,
            "kv_type": model.settings.kv_type,
            "cache_bytes": model.cache_bytes,
            "bytes": {name: one.as_dict() for name, one in zip(names, sizes, strict=True) if one.total},
        }


def plan_pair(
    drafter: str | Path | ModelShape,
    base: str | Path | ModelShape,
    drafter_settings: ModelSettings | None = None,
    base_settings: ModelSettings | None = None,
    devices: Sequence[Device] | Machine | None = None,
    *,
    measure: Measure | None = None,
) -> Plan:
    """The memory of both models together on `devices`; by default, what is free on this machine.

    The drafter goes to the fastest device first, then as many of the base's layers as fit; the rest stays on the host.
    If that is not enough, contexts whose length was not given become shorter. `measure` makes compute buffers on GPUs
    exact (`edge_wsd.llama.tools.measure.simulate`). Check the files first. Raises `ModelFileError`, `PlanError` for a
    GPU that does not exist, `WorkerError` for a worker that does not answer. A pair that does not fit is not an error
    here; the verdict says so.
    """
    wanted = [
        Wanted(model if isinstance(model, ModelShape) else shape_of_file(model), settings or ModelSettings())
        for model, settings in ((drafter, drafter_settings), (base, base_settings))
    ]
    for one in wanted:
        uses_extra_buffers(one.settings)  # must be asked before llama.cpp runs in this process
    machine = Machine.this() if devices is None else devices if isinstance(devices, Machine) else Machine.of(devices)
    machine = machine.with_workers(*(one.settings for one in wanted))
    layout, n_ctx_given_up = _settle(machine, wanted, {})
    if measure is not None and machine.gpus:
        floors = _measured(layout, measure)
        layout, n_ctx_given_up = _settle(machine, wanted, floors)
    return _plan(layout, wanted, n_ctx_given_up)


def _settle(machine: Machine, wanted: list[Wanted], floors: Floors) -> tuple[Layout, bool]:
    """The layout, and whether contexts had to be shortened for it."""

    def at(longest: int | None) -> Layout:
        return lay_out(machine, wanted, longest=longest, floors=floors)

    whole = at(None)
    automatic = [one.n_ctx for one in wanted if one.settings.context_length is None]
    if whole.fits or not automatic or max(automatic) <= MIN_CONTEXT:
        return whole, False
    tests: tuple[Callable[[Layout], bool], ...] = (lambda layout: layout.fits, lambda layout: layout.runs)
    for enough in tests:
        if enough(whole):
            return whole, False
        if enough(at(MIN_CONTEXT)):
            low, high = MIN_CONTEXT // _STEP, -(-max(automatic) // _STEP)  # enough at low, not at high
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if enough(at(middle * _STEP)) else (low, middle)
            return at(low * _STEP), True
    return at(MIN_CONTEXT), True


def _measured(layout: Layout, measure: Measure) -> Floors:
    """The compute buffers of this layout as llama.cpp measures them. A model that is not a file keeps its estimate,
    and so does one with workers, which are not kept busy for it."""
    floors: dict[tuple[int, str], int] = {}
    for role, memory in enumerate(layout.memories):
        if memory.shape.path is None or not memory.gpu_layers or layout.settings[role].workers:
            continue
        settings = replace(layout.settings[role], context_length=memory.n_ctx)
        for name, size in measure(memory.shape.path, settings).compute.items():
            floors[role, name] = size
    return floors


def _plan(layout: Layout, wanted: list[Wanted], shorter: bool) -> Plan:
    machine = layout.machine
    models = []
    for role, memory in enumerate(layout.memories):
        settings = layout.settings[role]
        if settings.context_length is None and memory.n_ctx < wanted[role].n_ctx:
            settings = replace(settings, context_length=memory.n_ctx)
        models.append(PlannedModel(ROLES[role], memory, settings, _cache_bytes(settings, layout)))
    verdict: Fit = "fits" if layout.fits else "reads from disk" if layout.runs else "does not fit"
    devices = tuple(
        PlannedDevice(device, used, margin(device), max(short, 0), is_unified(device))
        for device, used, short in zip((machine.host, *machine.gpus), layout.used, layout.short, strict=True)
    )
    return Plan(
        drafter=models[DRAFTER],
        base=models[BASE],
        devices=devices,
        verdict=verdict,
        gives_way=tuple(_gives_way(layout, wanted, shorter)),
        problem=_problem(layout, verdict),
        remedy="" if verdict == "fits" else remedy(layout, wanted),
        is_impossible=_is_impossible(layout),
    )


def _cache_bytes(settings: ModelSettings, layout: Layout) -> int:
    """A size that was asked for is part of the layout; else each model gets half of what both leave on the host."""
    if settings.cache_ram is not None:
        return settings.cache_ram * MIB
    return min(DEFAULT_CACHE_RAM * MIB, max(0, -layout.short[0]) // 2)


def _gives_way(layout: Layout, wanted: list[Wanted], shorter: bool) -> list[str]:
    found = []
    for role in (BASE, DRAFTER):
        memory = layout.memories[role]
        n_all = memory.shape.n_layers + 1
        staying = n_all - memory.gpu_layers
        settings = wanted[role].settings
        if (layout.machine.has_gpu or settings.workers) and settings.gpu_layers == AUTO and staying:
            gpus = [gpu for gpu in layout.machine.gpus if not is_remote(gpu) or gpu.description in settings.workers]
            free = " and ".join(f"{gib(gpu.free_bytes)} free on {gpu.name}" for gpu in gpus)
            reason = free + (", and the drafter goes first" if role == BASE else "")
            stay = "stays" if staying == 1 else "stay"
            found.append(f"{staying} of the {ROLES[role]}'s {n_all} layers {stay} on the host: {reason}")
    if shorter:
        lengths = sorted(
            {memory.n_ctx for memory, one in zip(layout.memories, wanted, strict=True) if memory.n_ctx < one.n_ctx}
        )
        longest = max(one.n_ctx for one in wanted if one.settings.context_length is None)
        found.append(
            f"the context is {number(lengths[-1])} tokens instead of {number(longest)}, "
            "because memory is short; --ctx sets a length"
        )
    return found


def _problem(layout: Layout, verdict: Fit) -> str:
    if verdict == "fits":
        return ""
    if verdict == "reads from disk":
        return (
            f"the host is {gib(layout.short[0])} short of memory, so weights of the base will be read from disk again "
            "for every token"
        )
    names = ["the host", *(gpu.name for gpu in layout.machine.gpus)]
    parts = [
        f"{name} is {gib(short)} short of memory" for name, short in zip(names, layout.short, strict=True) if short > 0
    ]
    return "the pair does not fit: " + " and ".join(parts)


def _is_impossible(layout: Layout) -> bool:
    """Whether what cannot be dropped exceeds all free memory. On a GPU only sizes that are known exactly count."""
    machine = layout.machine
    if layout.hard_short - margin(machine.host) > machine.swap_bytes:
        return True
    for number_, gpu in enumerate(machine.gpus):
        exact = sum(memory.gpus[number_].weights + memory.gpus[number_].kv_cache for memory in layout.memories)
        if exact > gpu.free_bytes and not is_unified(gpu):
            return True
    return False


def require_possible(plan: Plan) -> None:
    """Raises `PlanError` if the pair cannot be loaded and its settings ask for this check."""
    if plan.is_impossible and plan.drafter.settings.memory_check and plan.base.settings.memory_check:
        raise PlanError(f"{plan.complaint}; --no-memory-check tries to load it anyway")
