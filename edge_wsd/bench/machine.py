"""What a measurement was made on and with."""

from __future__ import annotations

import datetime
from dataclasses import asdict, dataclass

import edge_wsd
from edge_wsd import _native
from edge_wsd.llama.library import backends, devices, versions
from edge_wsd.llama.processor import this_processor
from edge_wsd.llama.threads import cpu_quota, physical_cores
from edge_wsd.units import gib


@dataclass(frozen=True, slots=True)
class BenchMachine:
    """The machine and the build, in words."""

    date: str
    processor: str
    cores: str
    devices: tuple[str, ...]
    backends: tuple[str, ...]
    edge_wsd: str
    llama_cpp_python: str
    llama_cpp: str
    system: str
    """llama.cpp's own words on what it was built with."""

    @classmethod
    def this(cls) -> BenchMachine:
        """The one that this process runs on."""
        known, quota, cores = versions(), cpu_quota(), physical_cores()
        limit = "" if quota is None else f", of which a quota allows {quota:g}"
        return cls(
            date=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            processor=_model_name(),
            cores=f"{cores} physical{limit}",
            devices=tuple(f"{one.name} ({one.description}, {gib(one.total_bytes)})" for one in devices()),
            backends=tuple(backends()),
            edge_wsd=f"{edge_wsd.__version__} (native core {_native.isa()})",
            llama_cpp_python=known["llama-cpp-python"],
            llama_cpp=known["llama.cpp"],
            system=known["system"],
        )

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For a person."""
        return [
            f"processor: {self.processor}, {self.cores}",
            f"devices: {', '.join(self.devices)}",
            f"build: edge-wsd {self.edge_wsd}, llama-cpp-python {self.llama_cpp_python}, llama.cpp {self.llama_cpp}",
            f"llama.cpp: {' '.join(self.system.split())}",
            f"date: {self.date}",
        ]


def _model_name() -> str:
    """`model name` alone of what Linux tells; others tell a name."""
    identity = this_processor().identity
    first, _, _ = identity.partition("; ")
    return first.removeprefix("model name ") or this_processor().machine
