"""Every error that edge-wsd raises on purpose. One line each: what is wrong, what was expected, what to do."""

from __future__ import annotations


class EdgeWsdError(Exception):
    """Base class of all errors that a user can act on. The command line prints one line and exits with 1."""


class ModelFileError(EdgeWsdError):
    """A model file is missing, damaged or not what it claims to be."""


class ModelLoadError(EdgeWsdError):
    """llama.cpp refused a model or could not make a context for it; carries the last lines of its log."""


class KernelError(ModelLoadError):
    """The installed llama.cpp does not run on this processor; the message says how to rebuild it."""


class DecodeError(EdgeWsdError):
    """llama.cpp could not decode a batch; the sequences still know exactly what is in memory."""


class WorkerError(EdgeWsdError):
    """A worker on another machine cannot be reached, has failed or does not answer; the message names it."""


class ContextFullError(EdgeWsdError):
    """A prompt does not fit into the context. `needed` and `available` count tokens."""

    def __init__(self, message: str, *, needed: int, available: int) -> None:
        super().__init__(message)
        self.needed = needed
        self.available = available


class LogitsError(EdgeWsdError):
    """A row of logits contains NaN, or nothing that probabilities can be computed from."""


class GrammarError(EdgeWsdError):
    """A grammar allows none of the model's tokens at some point, or does not allow the text that is already there."""


class VocabularyError(EdgeWsdError):
    """A token id or a text that the vocabulary cannot represent."""


class TemplateError(EdgeWsdError):
    """A prompt template is missing, does not compile or fails on these messages."""


class TemplateStoppedError(TemplateError):
    """A prompt template used more time or memory than a template can need, and was stopped."""


class OptionError(EdgeWsdError, ValueError):
    """An option is unknown, out of range or does not apply."""


class ConversionError(EdgeWsdError):
    """A checkpoint cannot be converted; nothing was written."""


class QuantizationError(ConversionError):
    """A GGUF file cannot be quantized, or an importance matrix cannot be made; nothing was written."""


class VerificationError(EdgeWsdError):
    """A converted file and its checkpoint cannot be compared."""


class HubError(EdgeWsdError):
    """A repository or file of the hub cannot be fetched; what has arrived is kept for the next attempt."""


class StoreError(EdgeWsdError):
    """The model store cannot be read or written, or does not have the model."""


class PairsFileError(EdgeWsdError):
    """The file of named pairs is invalid or does not have the pair; the message names the line."""


class PlanError(EdgeWsdError):
    """The memory of a pair cannot be planned, or it does not fit."""


class BenchError(EdgeWsdError):
    """A measurement is not possible, or a program to compare with failed; the message names it."""


class SessionError(EdgeWsdError):
    """A session cannot be opened, or there is none of that name."""


class CalibrationError(EdgeWsdError):
    """A pair cannot be calibrated over these prompts."""


class PlotError(EdgeWsdError):
    """A picture cannot be drawn or written."""


class SessionFileError(SessionError):
    """A saved conversation cannot be read or written."""


class MemoryFileError(SessionError):
    """What a file holds of the models' memory is damaged, of others, or cannot be read or written."""


class BatchFileError(EdgeWsdError):
    """A line of a batch cannot be answered, or its file of answers belongs to another batch."""


class BusyError(EdgeWsdError):
    """This conversation is already being answered, or a pair was closed in the middle of being asked."""


class QueueFullError(EdgeWsdError):
    """Too many replies are already waiting for the pair."""


class ClosedError(EdgeWsdError):
    """A model, context or pair was used after it was closed."""


class PairDiedError(EdgeWsdError):
    """The process that the models of an isolated pair lived in has ended. The next question starts another one."""


class ForkedError(EdgeWsdError):
    """A model, context or pair was used in a process forked from its own, where llama.cpp cannot work."""


class Cancelled(EdgeWsdError):
    """Work was stopped from another thread. Replies do not raise it: they end as `cancelled`."""
