"""Grammars over a model's vocabulary: llama.cpp's own sampler."""

from __future__ import annotations

import re

from edge_wsd.errors import OptionError
from edge_wsd.gbnf import check_grammar
from edge_wsd.llama import library
from edge_wsd.llama.binding import llama_cpp
from edge_wsd.llama.handle import Handle
from edge_wsd.llama.model import Model

_NUMBERED = re.compile(r"<\[\d+\]>")


class Grammar:
    """A GBNF text and how far a reply has come in it. For one `Sampler`, of the same model, which closes it.

    `from_start`: it also rules what another model has drafted.
    """

    def __init__(self, text: str, model: Model, *, from_start: bool = False) -> None:
        """Raises `OptionError` for a text that is no grammar, or names a token that the model does not have."""
        for token in check_grammar(text):
            if not _NUMBERED.fullmatch(token) and len(model.vocab.tokenize(token, special=True)) != 1:
                raise OptionError(f"grammar must name tokens of {model.path.name}, and {token} is not one of them")
        self.from_start = from_start
        self._model = model  # keeps the vocabulary alive
        vocab = llama_cpp.llama_model_get_vocab(model.handle)
        with library.LOCK, library.error_lines() as lines:
            pointer = llama_cpp.llama_sampler_init_grammar(vocab, text.encode(), b"root")
        if not pointer:
            raise OptionError(f"grammar must be one that llama.cpp accepts{library.because(lines)}")
        self._handle = Handle(pointer, "this grammar")

    def for_sampler(self, longest_s: float) -> tuple[int, int, int, int, float]:
        """Addresses of llama.cpp's functions that apply a sampler and that accept a token, of this one, of the tokens
        by length; and how long the refusal of a token may take.
        """
        import ctypes

        pointer = ctypes.cast(self._handle.pointer, ctypes.c_void_p).value or 0
        functions = (library.address_of("llama_sampler_apply"), library.address_of("llama_sampler_accept"))
        return *functions, pointer, self._model.vocab.by_length.ctypes.data, longest_s

    def close(self) -> None:
        """Free it. Closing twice does nothing."""
        if pointer := self._handle.take():
            llama_cpp.llama_sampler_free(pointer)

    def require_open(self) -> None:
        """Raises `ClosedError` once it is closed, `ForkedError` in a child."""
        self._handle.require_open()
