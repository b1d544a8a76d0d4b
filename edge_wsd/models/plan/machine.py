"""The devices that a pair can be put on, and how much of each may be used.

>>> Machine.of(devices()).gpus
()
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edge_wsd.errors import PlanError
from edge_wsd.llama.library import Device
from edge_wsd.llama.settings import ModelSettings
from edge_wsd.llama.workers import WORKER, plan_devices
from edge_wsd.models.plan.host_memory import host_memory

_LARGEST_MARGIN = 1 << 30
_MARGIN_SHARE = 8


def margin(device: Device) -> int:
    """Bytes that stay free: for the driver, for other programs, and for what turns out a little larger than planned."""
    return min(_LARGEST_MARGIN, device.total_bytes // _MARGIN_SHARE)


@dataclass(frozen=True, slots=True)
class Machine:
    """The host and the GPUs that llama.cpp uses, in its order; those of workers count as GPUs."""

    host: Device
    gpus: tuple[Device, ...]
    swap_bytes: int = 0

    @classmethod
    def of(cls, devices: Sequence[Device]) -> Machine:
        """From devices as llama.cpp lists them. Integrated GPUs count only if there is no other. Raises `PlanError`."""
        host = next((device for device in devices if device.type == "cpu"), None)
        if host is None:
            raise PlanError("llama.cpp finds no CPU; `edge-wsd doctor` shows what it was built with")
        discrete = tuple(device for device in devices if device.type == "gpu")
        return cls(host, discrete or tuple(device for device in devices if device.type == "integrated gpu"))

    @classmethod
    def this(cls) -> Machine:
        """This machine, as it is now, with the host memory that is really available."""
        from edge_wsd.llama.library import devices

        machine = cls.of(devices())
        memory = host_memory(machine.host.free_bytes, machine.host.total_bytes)
        host = replace(machine.host, free_bytes=memory.available, total_bytes=memory.total)
        return cls(host, machine.gpus, memory.swap)

    @property
    def has_gpu(self) -> bool:
        """Whether this machine has one of its own."""
        return not all(is_remote(gpu) for gpu in self.gpus)

    def with_workers(self, *settings: ModelSettings) -> Machine:
        """This machine and the devices of all workers in `settings`, last. Raises `WorkerError`."""
        found = {device.name: device for each in settings for device in plan_devices(each)}
        return replace(self, gpus=(*self.gpus, *found.values()))


def is_remote(device: Device) -> bool:
    """Whether it is a worker's; its description is the worker's address."""
    return device.type == WORKER


def is_unified(gpu: Device) -> bool:
    """Whether a GPU shares the host's memory: integrated GPUs, and Apple's, which are named MTL."""
    return gpu.type == "integrated gpu" or gpu.name.startswith(("MTL", "Metal"))
