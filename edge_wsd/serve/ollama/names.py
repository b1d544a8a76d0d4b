"""Names of models as Ollama's lists have them: `NAME:TAG`.

>>> tagged_name("demo"), tagged_name("demo:base")
('demo:latest', 'demo:base')
"""

from __future__ import annotations


def tagged_name(name: str) -> str:
    """What Ollama's clients expect: no tag means `latest`, which requests may leave out."""
    return name if ":" in name else f"{name}:latest"
