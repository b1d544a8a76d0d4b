"""What every part of one answer begins with.

>>> Head.new("chatcmpl-").fields("demo")
{'id': 'chatcmpl-1c0ffee...', 'created': 1767225600, 'model': 'demo', 'system_fingerprint': 'edge-wsd-0.1.0'}
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from edge_wsd import __version__


def new_id(prefix: str) -> str:
    """An id that nothing else has, told apart by its prefix as OpenAI's are."""
    return f"{prefix}{uuid4().hex}"


@dataclass(frozen=True, slots=True)
class Head:
    """`created` in seconds since 1970."""

    id: str
    created: int

    @classmethod
    def new(cls, prefix: str) -> Head:
        return cls(new_id(prefix), int(time.time()))

    def fields(self, model: str) -> dict[str, Any]:
        """Of a completion or of one of its chunks."""
        return {
            "id": self.id,
            "created": self.created,
            "model": model,
            "system_fingerprint": f"edge-wsd-{__version__}",
        }
