"""Puts a drafter and a base on a machine: the drafter first, then as many layers of the base as fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from edge_wsd.errors import PlanError
from edge_wsd.llama import repacking
from edge_wsd.llama.settings import AUTO, ModelSettings, context_length
from edge_wsd.models.gguf.shape import ModelShape
from edge_wsd.models.plan.machine import Machine, is_remote, is_unified, margin
from edge_wsd.models.plan.memory import ModelMemory, Sizes, placed_memory
from edge_wsd.models.plan.placement import place

DRAFTER, BASE = 0, 1
MIN_CONTEXT = 2048
"""A context of automatic length is never made shorter than this to save memory."""

Floors = Mapping[tuple[int, str], int]
"""Measured sizes of compute buffers: (model, device) -> bytes."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A model and the settings that the user gave it."""

    shape: ModelShape
    settings: ModelSettings

    @property
    def n_ctx(self) -> int:
        return context_length(self.settings, self.shape.n_ctx_train)


@dataclass(frozen=True)
class Layout:
    """Both models on a machine. `short` holds the bytes above what may be taken, for the host and then each GPU."""

    machine: Machine
    memories: tuple[ModelMemory, ModelMemory]
    settings: tuple[ModelSettings, ModelSettings]
    """As given, with layers and GPU decided."""
    used: tuple[int, ...] = field(init=False)
    short: tuple[int, ...] = field(init=False)
    hard_short: int = field(init=False)
    """The same for the host, without the weights of the base that can be read from the file again."""

    def __post_init__(self) -> None:
        drafter, base = self.memories
        gpus = [first.total + second.total for first, second in zip(drafter.gpus, base.gpus, strict=True)]
        host = drafter.host.total + base.host.total
        host += sum(used for used, gpu in zip(gpus, self.machine.gpus, strict=True) if is_unified(gpu))
        used = (host, *gpus)
        devices = (self.machine.host, *self.machine.gpus)
        short = tuple(need - device.free_bytes + margin(device) for need, device in zip(used, devices, strict=True))
        object.__setattr__(self, "used", used)
        object.__setattr__(self, "short", short)
        object.__setattr__(self, "hard_short", short[0] - base.host.mapped)

    @property
    def fits(self) -> bool:
        return max(self.short) <= 0

    @property
    def runs(self) -> bool:
        """Whether it fits if weights of the base are read from the file again and again."""
        return max(self.hard_short, *self.short[1:], 0) <= 0


def lay_out(
    machine: Machine,
    wanted: Sequence[Wanted],
    *,
    longest: int | None = None,
    floors: Floors | None = None,
) -> Layout:
    """Places the drafter and then the base, each with as many layers on GPUs as fit or as its settings say.

    A context whose length was not given is at most `longest`. Raises `PlanError` for a GPU that does not exist.
    """
    free = [gpu.free_bytes for gpu in machine.gpus]
    memories, settings = [], []
    for role, one in enumerate(wanted):
        n_ctx = one.n_ctx if one.settings.context_length or longest is None else min(one.n_ctx, longest)
        best = _best(_Budget(machine, free, one, n_ctx, role, floors or {}))
        memories.append(best[0])
        settings.append(best[1])
        free = [left - sizes.total for left, sizes in zip(free, best[0].gpus, strict=True)]
    return Layout(machine, (memories[0], memories[1]), (settings[0], settings[1]))


@dataclass(frozen=True, slots=True)
class _Budget:
    """One model, and the memory that the GPUs have left for it."""

    machine: Machine
    free: list[int]
    wanted: Wanted
    n_ctx: int
    role: int
    floors: Floors

    @property
    def usable(self) -> list[int]:
        """The numbers of this machine's GPUs and of its workers' devices, in the order of `Model.load`."""
        numbered, workers = list(enumerate(self.machine.gpus)), self.wanted.settings.workers
        local = [number for number, gpu in numbered if not is_remote(gpu)]
        remote = (number for each in workers for number, gpu in numbered if is_remote(gpu) and gpu.description == each)
        return [*local, *remote]

    def memory(self, gpu_layers: int, group: Sequence[int]) -> ModelMemory:
        shape, settings = self.wanted.shape, self.wanted.settings
        placement = place(shape.n_layers, gpu_layers, [self.free[number] for number in group], group)
        n_gpus = len(self.machine.gpus)
        repacks = all(is_unified(self.machine.gpus[number]) for number in self.usable)
        repacked = repacking.repacked_types(settings) if repacks else {}
        memory = placed_memory(shape, settings, placement, n_gpus, n_ctx=self.n_ctx, repacked=repacked)
        return replace(memory, gpus=tuple(map(self._at_least_measured, self.machine.gpus, memory.gpus)))

    def _at_least_measured(self, gpu: object, sizes: Sizes) -> Sizes:
        floor = self.floors.get((self.role, getattr(gpu, "name", "")), 0)
        return replace(sizes, compute=max(sizes.compute, floor)) if sizes.total else sizes

    def holds(self, memory: ModelMemory) -> bool:
        return all(
            not sizes.total or sizes.total <= free - margin(gpu)
            for sizes, free, gpu in zip(memory.gpus, self.free, self.machine.gpus, strict=True)
        )


def _best(budget: _Budget) -> tuple[ModelMemory, ModelSettings]:
    settings, n_all = budget.wanted.settings, budget.wanted.shape.n_layers + 1
    best: tuple[ModelMemory, ModelSettings] | None = None
    for group in _groups(budget):
        alone = len(group) == 1 and len(budget.usable) > 1
        main = budget.usable.index(group[0]) if alone else settings.main_gpu
        counts = range(n_all, -1, -1) if settings.gpu_layers == AUTO else [settings.gpu_layers]
        for count in counts:
            memory = budget.memory(count, group)
            if settings.gpu_layers != AUTO or count == 0 or budget.holds(memory):
                break
        if best is None or memory.gpu_layers > best[0].gpu_layers:
            layers = memory.gpu_layers if settings.gpu_layers == AUTO else settings.gpu_layers
            best = memory, replace(settings, gpu_layers=layers, main_gpu=main)
        if memory.gpu_layers == n_all:
            break
    assert best is not None
    return best


def _groups(budget: _Budget) -> list[list[int]]:
    """Sets of GPUs worth trying: the one asked for; else each alone, the largest first, and then all together.

    Workers were named one by one, so all of them take part.
    """
    gpus, settings, everything = budget.machine.gpus, budget.wanted.settings, budget.usable
    if settings.main_gpu is not None and everything:
        if settings.main_gpu >= len(everything):
            names = ", ".join(f"{index} ({gpus[number].name})" for index, number in enumerate(everything))
            raise PlanError(f"--main-gpu {settings.main_gpu}: there is no such GPU; expected one of {names}")
        return [[everything[settings.main_gpu]]]
    if settings.gpu_layers != AUTO or len(everything) < 2 or settings.workers:
        return [everything]
    largest_first = sorted(everything, key=lambda number: (-gpus[number].total_bytes, number))
    return [*([number] for number in largest_first), everything]
