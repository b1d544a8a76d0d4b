"""A model as Ollama's lists describe it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from edge_wsd.serve.model_facts import ListedFacts
from edge_wsd.serve.ollama.wire import OllamaDetails

_UNITS = ((1e9, "B", 1), (1e6, "M", 2), (1e3, "K", 2))


def details_of(models: Sequence[ListedFacts]) -> OllamaDetails:
    """Of a pair, the base before its drafter, or of one model."""
    first = models[0]
    return OllamaDetails(
        family=first.architecture,
        families=list(dict.fromkeys(model.architecture for model in models)),
        parameter_size=parameter_size(first.n_parameters),
        quantization_level=first.type_name,
    )


def digest_of(models: Sequence[ListedFacts]) -> str:
    """64 hexadecimal digits, as clients expect."""
    return hashlib.sha256("".join(model.identity for model in models).encode()).hexdigest()


def parameter_size(count: int) -> str:
    """As Ollama writes it: `8.0B`, `134.52M`."""
    for unit, letter, digits in _UNITS:
        if count >= unit:
            return f"{count / unit:.{digits}f}{letter}"
    return str(count)
