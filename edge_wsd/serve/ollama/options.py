"""Ollama's `options`, `format` and what else changes an answer, as options of the library.

>>> OllamaOptions(num_predict=20, top_k=40).changes()["max_tokens"]
20
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from edge_wsd.checks import require
from edge_wsd.errors import OptionError

JSON_OBJECT = {"type": "object"}
_NEUTRAL = {"mirostat": 0, "tfs_z": 1, "typical_p": 1}
"""Samplers that Ollama has or had, and the values that turn them off."""


class OllamaOptions(BaseModel):
    """Options that are not here belong to the loading of a model, which the server decides; they are ignored."""

    num_predict: int | None = Field(default=None, description="Absent, 0 or less: as many as the context holds.")
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    seed: int | None = Field(default=None, description="The same seed gives the same answer; -1 or absent draws one.")
    stop: str | list[str] | None = None
    repeat_penalty: float | None = None
    repeat_last_n: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    mirostat: int | None = None
    tfs_z: float | None = None
    typical_p: float | None = None

    def changes(self) -> dict[str, Any]:
        """What is given, by the names of OpenAI's parameters. Raises `OptionError` for what the library lacks."""
        given = {name: value for name, value in self.model_dump().items() if value is not None}
        for name, neutral in _NEUTRAL.items():
            if given.pop(name, neutral) != neutral:
                raise OptionError(f"options: {name} is not supported; leave it out, or set it to {neutral}")
        most = given.pop("num_predict", -1)
        return {**given, "max_tokens": most if most > 0 else -1}


OllamaFormat = str | dict[str, Any]


def schema_of(given: OllamaFormat | None) -> dict[str, Any] | None:
    """The JSON schema that `format` asks for; None for free text. Raises `OptionError`."""
    if not given:
        return None
    require(given == "json" or isinstance(given, dict), "format", '"json" or a JSON schema', given)
    return dict(JSON_OBJECT) if isinstance(given, str) else given
