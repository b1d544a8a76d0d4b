"""Every error that edge-wsd raises on purpose. One line each: what is wrong, what was expected, what to do."""

from __future__ import annotations


class EdgeWsdError(Exception):
    """Root of all errors a user can act on. The command line prints it as one line and exits with 1."""


class ModelFileError(EdgeWsdError):
    """A model file is missing, damaged or not what it claims to be."""


class ModelLoadError(EdgeWsdError):
    """llama.cpp refused a model or could not make a context for it; carries the last lines of its log."""


class DecodeError(EdgeWsdError):
    """`llama_decode` failed; the sequence's ledger is what is really in memory."""


class ContextFullError(EdgeWsdError):
    """A prompt does not fit into the context. `needed` and `available` count tokens."""

    def __init__(self, message: str, *, needed: int, available: int) -> None:
        super().__init__(message)
        self.needed = needed
        self.available = available


class LogitsError(EdgeWsdError):
    """A row of logits holds NaN, or nothing a probability could be made of."""


class VocabularyError(EdgeWsdError):
    """A token id or text that the vocabulary does not know."""


class TemplateError(EdgeWsdError):
    """A prompt template is missing, does not compile or fails on these messages."""


class OptionError(EdgeWsdError, ValueError):
    """An option is unknown, out of range or does not apply."""


class ConversionError(EdgeWsdError):
    """A checkpoint cannot be converted; nothing was written."""


class SessionFileError(EdgeWsdError):
    """A saved conversation cannot be read or written."""


class BusyError(EdgeWsdError):
    """The pair is writing another reply; its two memories serve one at a time."""


class ClosedError(EdgeWsdError):
    """A model, context or pair was used after it was closed."""


class Cancelled(EdgeWsdError):
    """A decode was stopped from another thread. Never leaves the library: a reply ends as `cancelled`."""
