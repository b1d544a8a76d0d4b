"""What lists tell of a model, read from the headers of its files."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import Any

from edge_wsd.errors import ModelFileError
from edge_wsd.models.gguf.check import check_gguf, n_parts, part_paths
from edge_wsd.models.gguf.file_types import QUANT_TYPES
from edge_wsd.models.gguf.header import TensorInfo, read_header
from edge_wsd.models.plan.planner import Plan
from edge_wsd.models.summary import summarize


@dataclass(frozen=True, slots=True)
class ListedFacts:
    """Of one GGUF file, or of all parts of a split one."""

    architecture: str
    n_parameters: int
    type_name: str
    n_bytes: int
    modified_at: datetime
    licence: str | None
    chat_template: str | None
    metadata: dict[str, Any]
    """Without the vocabulary and other lists."""
    identity: str
    """Name, size and time of each file."""


def facts_of(path: Path) -> ListedFacts:
    """Read once, and again when the file changes. Raises `ModelFileError`."""
    try:
        status = path.stat()
        return _facts(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror}); was it moved or deleted?") from error


@lru_cache(maxsize=64)
def _facts(path: Path, _size: int, _time: int) -> ListedFacts:
    header = check_gguf(path, need_weights=False)
    summary = summarize(path)
    parts = [(part.name, part.stat()) for part in part_paths(path, n_parts(header))]
    types = summary["tensor_types"]
    return ListedFacts(
        architecture=summary["architecture"],
        n_parameters=summary["n_parameters"],
        type_name=_type_of(header.metadata.get("general.file_type")) or (types[0]["type"] if types else "unknown"),
        n_bytes=summary["n_bytes"],
        modified_at=datetime.fromtimestamp(max(status.st_mtime for _, status in parts), timezone.utc),
        licence=summary["licence"],
        chat_template=summary["chat_template"],
        metadata={key: value for key, value in header.metadata.items() if not isinstance(value, list | array)},
        identity=repr([(name, status.st_size, status.st_mtime_ns) for name, status in parts]),
    )


def lists_and_tensors(path: Path) -> tuple[dict[str, list[Any]], list[TensorInfo]]:
    """What `facts_of` leaves out: lists such as the vocabulary, and the tensors of all parts.

    Raises `ModelFileError`.
    """
    header = check_gguf(path, need_weights=False)
    others = [read_header(part) for part in part_paths(path, n_parts(header))[1:]]
    lists = {key: list(value) for key, value in header.metadata.items() if isinstance(value, list | array)}
    return lists, [tensor for one in (header, *others) for tensor in one.tensors]


def _type_of(number: object) -> str | None:
    return next((name for name, kind in QUANT_TYPES.items() if kind.file_type == number), None)


def context_length(plan: Plan) -> int:
    """Tokens that a conversation may have: both models read it."""
    return min(plan.drafter.memory.n_ctx, plan.base.memory.n_ctx)
