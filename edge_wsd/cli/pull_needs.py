"""What a pull takes, told before it begins: of the network, of the disk, and of memory once the model is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_wsd.cli.model_shape import shape_of
from edge_wsd.errors import EdgeWsdError, StoreError
from edge_wsd.models.pairs.named_pair import NamedPair
from edge_wsd.units import gib, number

if TYPE_CHECKING:
    from edge_wsd.models.gguf.shape import ModelShape
    from edge_wsd.models.plan.machine import Machine
    from edge_wsd.pull import PullSize


class TooLargeError(StoreError):
    """A model will not fit into this machine's memory; it says so in one line."""


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """`text` is a line for a person; `excess` says why it will not fit, and is empty where it does."""

    text: str
    excess: str = ""

    @property
    def lines(self) -> tuple[str, ...]:
        """Both."""
        return (self.text, f"warning: {self.excess}") if self.excess else (self.text,)


def needs_lines(size: PullSize) -> list[str]:
    """Download, disk and licence of one model."""
    from edge_wsd.models.store.disk_space import free_bytes
    from edge_wsd.models.store.manifest import CONVERTED

    repo = size.name.partition(":")[0]
    licence = f"licence: {terms_text(repo, size.licence, granted=True)}"
    if size.in_store:
        return [f"{size.name} is in the store, {gib(size.stored_bytes)}; {licence}"]
    about = "about " if size.made == CONVERTED else ""
    stays = f"downloads {gib(size.download_bytes)}, then takes {about}{gib(size.stored_bytes)} of disk"
    meanwhile = f"needs {about}{gib(size.needed_bytes)} meanwhile, {gib(free_bytes(size.destination))} are free"
    return [f"{size.name}: {stays}; {licence}", f"  {meanwhile} in {size.destination.parent}"]


def terms_text(repo: str, licence: str | None, *, granted: bool = False) -> str:
    """The licence as it is known, else as the hub names it. `granted`: the hub has let this user in."""
    from edge_wsd.models.pairs.built_in import TERMS

    known = TERMS.get(repo)
    if known is None:
        return licence or "none is named"
    if not known.gated:
        return known.licence
    return f"{known.licence}, gated: {'you have access' if granted else f'accept it at https://huggingface.co/{repo}'}"


def memory_of_model(size: PullSize) -> MemoryNeed:
    """By the planner where the model's shape is known, else its size, which is the least."""
    shape = _known_shape(size.name)
    machine = _this_machine()
    if shape is None:
        n_bytes, exactly = size.stored_bytes, f"more than {gib(size.stored_bytes)}, as much as its weights"
    else:
        from edge_wsd.models.plan.memory import model_memory

        memory = model_memory(shape)
        n_bytes = memory.all.total
        exactly = f"about {gib(n_bytes)} with {number(memory.n_ctx)} tokens of context"
    total = _total_bytes(machine)
    text = f"  needs {exactly}, of memory; this machine has {gib(total)}"
    excess = f"{size.name} needs {exactly}, of memory, and this machine has {gib(total)}" if n_bytes > total else ""
    return MemoryNeed(text, excess)


def memory_of_pair(pair: NamedPair) -> MemoryNeed | None:
    """What the planner says of both models; None where the shape of one is known only once it is there."""
    from edge_wsd.llama.kernels import require_sound

    try:
        shapes = [shape_of(model, None) for model in (pair.drafter, pair.base)]
    except EdgeWsdError:  # not there yet, or damaged, which is told when it is loaded
        return None
    require_sound()
    from edge_wsd.models.plan.planner import plan_pair

    plan = plan_pair(shapes[0], shapes[1])
    used = sum(one.used for one in plan.devices)
    n_ctx = min(model.memory.n_ctx for model in (plan.drafter, plan.base))
    title = f"pair {pair.name}" if pair.name else "the pair"
    text = f"{title}: needs {gib(used)} of memory with {number(n_ctx)} tokens of context, both models together"
    return MemoryNeed(text, "" if plan.fits else f"{title}: {plan.complaint}")


def _known_shape(name: str) -> ModelShape | None:
    from edge_wsd.models.plan.known_shapes import KNOWN_MODELS, known_shape

    return known_shape(name) if name.partition(":")[0] in KNOWN_MODELS else None


def _this_machine() -> Machine:
    from edge_wsd.llama.kernels import require_sound

    require_sound()
    from edge_wsd.models.plan.machine import Machine

    return Machine.this()


def _total_bytes(machine: Machine) -> int:
    """Memory of the host and of GPUs that have their own."""
    from edge_wsd.models.plan.machine import is_unified

    return machine.host.total_bytes + sum(gpu.total_bytes for gpu in machine.gpus if not is_unified(gpu))
