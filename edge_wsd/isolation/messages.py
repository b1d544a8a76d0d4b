"""What an application and the process of its models say to each other, and how it is written: as JSON.

The process has read files that others made, so nothing that it says is run: a message is made of the types named here,
and of nothing else. A tuple is a list of JSON; every object of JSON names its type.

>>> decode(encode(Cancel(3)))
Cancel(number=3)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cache, partial
from pathlib import Path
from typing import Any, get_args

from edge_wsd import errors
from edge_wsd.asked import Asked, AskedText
from edge_wsd.decoding.events import Alternative, Event, Reply, ScoredToken, Source, Statistics
from edge_wsd.decoding.options import Options
from edge_wsd.errors import EdgeWsdError, OptionError
from edge_wsd.llama.library import Device
from edge_wsd.llama.settings import ModelSettings
from edge_wsd.llama.vocabulary_verdict import VocabularyVerdict
from edge_wsd.loaded_model import ModelFacts
from edge_wsd.lookups import Lookup
from edge_wsd.memory_files.memory_file import BringMemoryBack, KeepMemory, KeptMemory
from edge_wsd.models.gguf.shape import ModelShape, WeightShape
from edge_wsd.models.plan.memory import ModelMemory, Sizes
from edge_wsd.models.plan.planner import Plan, PlannedDevice, PlannedModel
from edge_wsd.pair_settings import PairSettings
from edge_wsd.prompts.messages import Message
from edge_wsd.prompts.tools import Tool, ToolCall

# From the application

PairCall = Lookup | KeepMemory | BringMemoryBack
"""What can be called with the pair over there."""


@dataclass(frozen=True, slots=True)
class LoadModels:
    """What is asked for first. `log_levels` are those of the application's loggers, so that nothing is sent in vain."""

    settings: PairSettings
    log_levels: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Ask:
    """Something is wanted; what is told of it has the same number."""

    number: int
    wanted: LoadModels | Asked | AskedText | PairCall


@dataclass(frozen=True, slots=True)
class Cancel:
    """What was asked for may end early. Its end is told as always."""

    number: int


@dataclass(frozen=True, slots=True)
class CloseModels:
    """The last message: what is written ends as cancelled."""


# From the process of the models


@dataclass(frozen=True, slots=True)
class LoadingProgress:
    stage: str
    fraction: float


@dataclass(frozen=True, slots=True)
class ModelsLoaded:
    """All that is known of a pair without asking it."""

    plan: Plan | None
    vocabulary: VocabularyVerdict
    overlaps: bool
    facts: Mapping[Source, ModelFacts]


@dataclass(frozen=True, slots=True)
class ReplyBegun:
    """Its prompts are made; its events follow."""

    n_dropped: int


@dataclass(frozen=True, slots=True)
class PackedError:
    """An error on its way: the name of its type, its message and its numbers."""

    name: str
    text: str
    numbers: Mapping[str, int]

    @classmethod
    def of(cls, error: BaseException) -> PackedError:
        numbers = {key: value for key, value in vars(error).items() if isinstance(value, int)}
        return cls(type(error).__name__, str(error), numbers)

    def unpacked(self) -> Exception:
        """The same error; a RuntimeError where it is none that this package raises on purpose."""
        kind = getattr(errors, self.name, None)
        if isinstance(kind, type) and issubclass(kind, EdgeWsdError):
            return kind(self.text, **self.numbers)
        return RuntimeError(f"{self.name}: {self.text}")


News = LoadingProgress | ModelsLoaded | ReplyBegun | Event | str | int | tuple[int | bytes, ...] | KeptMemory | None
"""What may be told of what was asked for."""


@dataclass(frozen=True, slots=True)
class Told:
    number: int
    what: News
    is_last: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """The last that is told of what was asked for."""

    number: int
    error: PackedError


@dataclass(frozen=True, slots=True)
class CancelHeard:
    """A sign of life: the end may take a while still."""

    number: int


@dataclass(frozen=True, slots=True)
class ModelsClosing:
    """The same for `CloseModels`."""


@dataclass(frozen=True, slots=True)
class LogLine:
    logger: str
    level: int
    text: str


_TYPES: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        *(Ask, Cancel, CloseModels, LoadModels, Asked, AskedText, *get_args(PairCall)),
        *(
            Told,
            Failed,
            CancelHeard,
            ModelsClosing,
            LogLine,
            LoadingProgress,
            ModelsLoaded,
            ReplyBegun,
            PackedError,
            KeptMemory,
        ),
        *(PairSettings, ModelSettings, Message, Options, Tool, ToolCall),
        *(*get_args(Event), Reply, Statistics, Alternative, ScoredToken),
        *(Plan, PlannedModel, PlannedDevice, ModelMemory, Sizes, ModelShape, WeightShape, Device),
        *(VocabularyVerdict, ModelFacts),
    )
}
_KINDS = frozenset(_TYPES.values())
_PLAIN = {type(None), bool, int, float, str}
_MOST_LEVELS = 100
"""Far more than a question needs, and so few that both sides have the stack for them."""


def encode(message: object) -> bytes:
    """A message of the types of this module. Raises `OptionError` for anything else, as a part of what is asked."""
    return json.dumps(_packed(message, _MOST_LEVELS), separators=(",", ":")).encode()


def _packed(value: Any, n_levels: int) -> Any:
    """`value` with at most so many levels in it."""
    if value is None or isinstance(value, str | int | float):
        return value
    if not n_levels:
        raise OptionError(f"what is asked nests more than {_MOST_LEVELS} levels deep, and cannot be sent")
    packed = partial(_packed, n_levels=n_levels - 1)
    if isinstance(value, tuple):
        return [*value] if _are_plain(value) else [*map(packed, value)]
    kind: Any = type(value)
    if kind in _KINDS:
        return {"$type": kind.__name__, **{name: packed(getattr(value, name)) for name in _names(kind)}}
    if isinstance(value, bytes):
        return {"$type": "bytes", "value": value.hex()}
    if isinstance(value, Path):
        return {"$type": "path", "value": str(value)}
    if isinstance(value, list):
        return {"$type": "list", "value": [*map(packed, value)]}
    if isinstance(value, Mapping):
        return {"$type": "mapping", "value": [[key, packed(each)] for key, each in value.items()]}
    raise OptionError(f"{type(value).__name__} is no part of a message to the process of the models")


def _are_plain(values: Iterable[Any]) -> bool:
    """Whether they stand for themselves: found out quickly, as there may be as many as a long text has tokens."""
    return set(map(type, values)) <= _PLAIN


@cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(each.name for each in fields(kind))


def decode(data: bytes) -> object:
    """The message. Raises ValueError for anything else, and for what the types of its parts refuse."""
    try:
        return _unpacked(json.loads(data))
    except (TypeError, KeyError, RecursionError, EdgeWsdError) as error:
        raise ValueError(f"not a message: {error}") from error


def _unpacked(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value) if _are_plain(value) else tuple(map(_unpacked, value))
    if not isinstance(value, dict):
        return value
    match value:
        case {"$type": "bytes", "value": data}:
            return bytes.fromhex(data)
        case {"$type": "path", "value": path}:
            return Path(path)
        case {"$type": "list", "value": parts}:
            return [_unpacked(each) for each in parts]
        case {"$type": "mapping", "value": pairs}:
            return {key: _unpacked(each) for key, each in pairs}
    return _TYPES[value.pop("$type")](**{name: _unpacked(each) for name, each in value.items()})
