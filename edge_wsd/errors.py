"""Every error that edge-wsd raises on purpose. One line each: what is wrong, what was expected, what to do."""

from __future__ import annotations


class EdgeWsdError(Exception):
    """Root of all errors a user can act on. The command line prints it as one line and exits with 1."""


class ModelFileError(EdgeWsdError):
    """A model file is missing, damaged or not what it claims to be."""


class ModelLoadError(EdgeWsdError):
    """llama.cpp refused a model or could not make a context for it; carries the last lines of its log."""


class KernelError(ModelLoadError):
    """llama.cpp, as it is installed, does not run on this processor; says how to build it anew."""


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


class GrammarError(EdgeWsdError):
    """A grammar allows none of the model's tokens at a place, or not the text that is already there."""


class VocabularyError(EdgeWsdError):
    """A token id or text that the vocabulary does not know."""


class TemplateError(EdgeWsdError):
    """A prompt template is missing, does not compile or fails on these messages."""


class TemplateStoppedError(TemplateError):
    """A prompt template took more time or memory than any template needs."""


class OptionError(EdgeWsdError, ValueError):
    """An option is unknown, out of range or does not apply."""


class ConversionError(EdgeWsdError):
    """A checkpoint cannot be converted; nothing was written."""


class QuantizationError(ConversionError):
    """A GGUF file cannot be stored in another type, or an importance matrix not be made; nothing was written."""


class VerificationError(EdgeWsdError):
    """A converted file and its origin cannot be compared."""


class HubError(EdgeWsdError):
    """A repository or file of the hub cannot be had; what arrived is kept for the next try."""


class StoreError(EdgeWsdError):
    """The store of models cannot be read or written, or has no such model."""


class PairsFileError(EdgeWsdError):
    """The file of named pairs is not what it should be, or has no such pair; names the line."""


class PlanError(EdgeWsdError):
    """The memory of a pair cannot be planned, or it does not fit."""


class SessionFileError(EdgeWsdError):
    """A saved conversation cannot be read or written."""


class BatchFileError(EdgeWsdError):
    """A line of a batch cannot be asked, or the file of its answers holds something else."""


class BusyError(EdgeWsdError):
    """The pair is writing another reply; its two memories serve one at a time."""


class QueueFullError(EdgeWsdError):
    """So many replies are waiting for a pair already that no more are taken."""


class ClosedError(EdgeWsdError):
    """A model, context or pair was used after it was closed."""


class ForkedError(EdgeWsdError):
    """A model, context or pair was used in a child that was forked from its process; llama.cpp cannot follow there."""


class Cancelled(EdgeWsdError):
    """A decode was stopped from another thread. Never leaves the library: a reply ends as `cancelled`."""
