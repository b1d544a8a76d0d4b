"""Typed access to the values of a config.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_wsd.errors import ConversionError

# Far above any real model: a damaged config must not make the converter allocate without end.
_LARGEST = 2**31 - 1
_LARGEST_FLOAT = 3.4e38


class Config:
    """A JSON object whose values are checked when they are asked for; errors name `origin` and the key."""

    def __init__(self, values: Mapping[str, Any], origin: str) -> None:
        self.values = values
        self.origin = origin

    def get(self, key: str) -> Any:
        """The raw value; None where the key is missing or null."""
        return self.values.get(key)

    def filled_with(self, defaults: Mapping[str, Any]) -> Config:
        """The same object with `defaults` for keys it lacks. A key that is null stays null."""
        return Config({**defaults, **self.values}, self.origin)

    def integer(self, key: str, default: int | None = None, *, largest: int = _LARGEST) -> int:
        """A whole number from 1 to `largest`."""
        value = self._value(key, default)
        if type(value) is not int or not 1 <= value <= largest:
            raise self._wrong(key, value, f"a whole number from 1 to {largest}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A number above 0 that a 32-bit float can hold."""
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= _LARGEST_FLOAT:
            raise self._wrong(key, value, "a finite number above 0")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self._value(key, default)
        if not isinstance(value, bool):
            raise self._wrong(key, value, "true or false")
        return value

    def word(self, key: str, default: str | None = None) -> str:
        value = self._value(key, default)
        if not isinstance(value, str):
            raise self._wrong(key, value, "a string")
        return value

    def section(self, key: str) -> Config | None:
        """A nested object; None where the key is missing or null."""
        value = self.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self._wrong(key, value, "an object")
        return Config(value, f"{self.origin}: {key}")

    def _value(self, key: str, default: Any) -> Any:
        value = self.get(key)
        if value is not None:
            return value
        if default is None:
            raise ConversionError(f"{self.origin} has no {key}")
        return default

    def _wrong(self, key: str, value: Any, expected: str) -> ConversionError:
        return ConversionError(f"{self.origin}: {key} is {value!r:.80}, expected {expected}")
