"""Typed access to the metadata of one GGUF header: a value of the wrong type is an error that names the key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_wsd.errors import ModelFileError
from edge_wsd.models.gguf.header import REMEDY, GgufHeader, on_one_line
from edge_wsd.models.gguf.types import ValueType


@dataclass(frozen=True, slots=True)
class Fields:
    """`header` of the file at `path`. llama.cpp converts no types, so each must be exactly what it reads."""

    path: Path
    header: GgufHeader

    def error(self, defect: str, remedy: str = REMEDY) -> ModelFileError:
        return ModelFileError(f"{self.path}: {on_one_line(defect)}; {remedy}")

    def __contains__(self, key: str) -> bool:
        return key in self.header.metadata

    def scalar(self, key: str, type_: ValueType) -> Any:
        """The value of `key`, None if it is not there."""
        if key not in self:
            return None
        if key in self.header.arrays or self.header.types[key] is not type_:
            raise self.error(f"{key} must be a {type_.name.lower()}, not {self._describe(key)}")
        return self.header.metadata[key]

    def array(self, key: str, *types: ValueType) -> Sequence[Any] | None:
        """The elements of `key`, None if it is not there."""
        if key not in self:
            return None
        if key not in self.header.arrays or self.header.types[key] not in types:
            names = " or ".join(type_.name.lower() for type_ in types)
            raise self.error(f"{key} must be an array of {names}, not {self._describe(key)}")
        elements: Sequence[Any] = self.header.metadata[key]
        return elements

    def per_layer(self, key: str, n_layers: int) -> tuple[int, ...] | None:
        """A number given once for all layers or once for each; one element per layer, None if it is not there."""
        if key not in self.header.arrays:
            value = self.scalar(key, ValueType.UINT32)
            return None if value is None else (value,) * n_layers
        values = self.array(key, ValueType.UINT32, ValueType.INT32) or ()
        if len(values) != n_layers:
            raise self.error(f"{key} has {len(values)} elements for {n_layers} layers")
        return tuple(values)

    def _describe(self, key: str) -> str:
        name = self.header.types[key].name.lower()
        return f"an array of {name}" if key in self.header.arrays else f"a {name}"
