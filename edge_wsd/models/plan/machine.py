"""The devices that a pair can be put on, and what may be taken of each.

>>> Machine.of(devices()).gpus
()
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edge_wsd.errors import PlanError
from edge_wsd.llama.library import Device
from edge_wsd.models.plan.host_memory import host_memory

_LARGEST_MARGIN = 1 << 30
_MARGIN_SHARE = 8


def margin(device: Device) -> int:
    """Bytes that are left alone: for the driver, for other programs, and for what is a little larger than reckoned."""
    return min(_LARGEST_MARGIN, device.total_bytes // _MARGIN_SHARE)


@dataclass(frozen=True, slots=True)
class Machine:
    """The host and the GPUs that llama.cpp uses, in its order."""

    host: Device
    gpus: tuple[Device, ...]
    swap_bytes: int = 0

    @classmethod
    def of(cls, devices: Sequence[Device]) -> Machine:
        """Of devices as llama.cpp lists them. Integrated GPUs count where there is no other. Raises `PlanError`."""
        host = next((device for device in devices if device.type == "cpu"), None)
        if host is None:
            raise PlanError("llama.cpp finds no CPU; `edge-wsd doctor` shows what it was built with")
        discrete = tuple(device for device in devices if device.type == "gpu")
        return cls(host, discrete or tuple(device for device in devices if device.type == "integrated gpu"))

    @classmethod
    def this(cls) -> Machine:
        """This machine, now. Of the host counts what is really available."""
        from edge_wsd.llama.library import devices

        machine = cls.of(devices())
        memory = host_memory(machine.host.free_bytes, machine.host.total_bytes)
        host = replace(machine.host, free_bytes=memory.available, total_bytes=memory.total)
        return cls(host, machine.gpus, memory.swap)

    @property
    def repacks(self) -> bool:
        """Whether layers on the host are rearranged for the processor. With a discrete GPU they are kept for it."""
        return all(is_unified(gpu) for gpu in self.gpus)


def is_unified(gpu: Device) -> bool:
    """Whether the memory of a GPU is the host's: integrated ones, and Apple's, which call themselves MTL."""
    return gpu.type == "integrated gpu" or gpu.name.startswith(("MTL", "Metal"))
