"""Weak-to-strong decoding on llama.cpp: a small aligned drafter begins, a large base model finishes.

>>> from edge_wsd import Pair
>>> with Pair.demo() as pair:
...     print(pair.generate("How do I list files by size?").text)
"""

# Only what Python has loaded by now is imported: in `python -m edge_wsd` the current folder comes before the library.
from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from edge_wsd._native import CancelFlag
    from edge_wsd.asked import RawPrompt
    from edge_wsd.batch import Batch
    from edge_wsd.decoding.events import (
        Alternative,
        Dropped,
        Event,
        Finished,
        FinishReason,
        Reading,
        Reply,
        Scored,
        ScoredToken,
        Source,
        Statistics,
        Switched,
        SwitchReason,
        Token,
    )
    from edge_wsd.decoding.options import Mode, OptionChanges, Options, Proposers, Rule
    from edge_wsd.decoding.proposal import ProposerName
    from edge_wsd.engine.stream import Stream
    from edge_wsd.errors import (
        BatchFileError,
        BenchError,
        BusyError,
        CalibrationError,
        Cancelled,
        ClosedError,
        ContextFullError,
        ConversionError,
        DecodeError,
        EdgeWsdError,
        ForkedError,
        GrammarError,
        HubError,
        KernelError,
        LogitsError,
        MemoryFileError,
        ModelFileError,
        ModelLoadError,
        OptionError,
        PairDiedError,
        PairsFileError,
        PlanError,
        PlotError,
        QuantizationError,
        QueueFullError,
        SessionError,
        SessionFileError,
        StoreError,
        TemplateError,
        TemplateStoppedError,
        VerificationError,
        VocabularyError,
        WorkerError,
    )
    from edge_wsd.llama.settings import ModelSettings
    from edge_wsd.pair import Pair
    from edge_wsd.prompts.messages import Message
    from edge_wsd.prompts.tool_calls import ToolCallReader
    from edge_wsd.prompts.tools import Tool, ToolCall
    from edge_wsd.session import Session
    from edge_wsd.sessions.store import SessionStore

__version__ = "0.1.0"

__all__ = [
    "Alternative",
    "Batch",
    "BatchFileError",
    "BenchError",
    "BusyError",
    "CalibrationError",
    "CancelFlag",
    "Cancelled",
    "ClosedError",
    "ContextFullError",
    "ConversionError",
    "DecodeError",
    "Dropped",
    "EdgeWsdError",
    "Event",
    "FinishReason",
    "Finished",
    "ForkedError",
    "GrammarError",
    "HubError",
    "KernelError",
    "LogitsError",
    "MemoryFileError",
    "Message",
    "Mode",
    "ModelFileError",
    "ModelLoadError",
    "ModelSettings",
    "OptionChanges",
    "OptionError",
    "Options",
    "Pair",
    "PairDiedError",
    "PairsFileError",
    "PlanError",
    "PlotError",
    "ProposerName",
    "Proposers",
    "QuantizationError",
    "QueueFullError",
    "RawPrompt",
    "Reading",
    "Reply",
    "Rule",
    "Scored",
    "ScoredToken",
    "Session",
    "SessionError",
    "SessionFileError",
    "SessionStore",
    "Source",
    "Statistics",
    "StoreError",
    "Stream",
    "SwitchReason",
    "Switched",
    "TemplateError",
    "TemplateStoppedError",
    "Token",
    "Tool",
    "ToolCall",
    "ToolCallReader",
    "VerificationError",
    "VocabularyError",
    "WorkerError",
]

# Imported when first used: `import edge_wsd` costs nothing, and the command line answers --help at once.
_EVENTS = (
    "Alternative Dropped Event FinishReason Finished ScoredToken Reading Reply Scored Source Statistics SwitchReason "
    "Switched Token"
)
_HOMES = {
    "CancelFlag": "edge_wsd._native",
    "RawPrompt": "edge_wsd.asked",
    "Batch": "edge_wsd.batch",
    "Pair": "edge_wsd.pair",
    "Session": "edge_wsd.session",
    "SessionStore": "edge_wsd.sessions.store",
    "Message": "edge_wsd.prompts.messages",
    "ToolCallReader": "edge_wsd.prompts.tool_calls",
    **dict.fromkeys(("Tool", "ToolCall"), "edge_wsd.prompts.tools"),
    "ModelSettings": "edge_wsd.llama.settings",
    "ProposerName": "edge_wsd.decoding.proposal",
    "Stream": "edge_wsd.engine.stream",
    **dict.fromkeys(("Mode", "OptionChanges", "Options", "Proposers", "Rule"), "edge_wsd.decoding.options"),
    **dict.fromkeys(_EVENTS.split(), "edge_wsd.decoding.events"),
}


def __getattr__(name: str) -> "Any":
    if name not in __all__:
        raise AttributeError(f"module 'edge_wsd' has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "edge_wsd.errors")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
