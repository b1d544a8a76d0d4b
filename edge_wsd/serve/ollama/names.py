"""Names of models as Ollama writes them: `NAME:TAG`, where no tag means `latest`.

>>> served_name("demo:latest"), tagged_name("demo"), tagged_name("demo:base")
('demo', 'demo:latest', 'demo:base')
"""

from __future__ import annotations

_LATEST = ":latest"


def served_name(given: str) -> str:
    """The name of a pair, or of one of its models, that a client means."""
    return given.strip().removesuffix(_LATEST)


def tagged_name(name: str) -> str:
    """The name as Ollama's lists have it."""
    return name if ":" in name else name + _LATEST
