"""The threads that a context's passes run with: all of them, or fewer where `ThreadChoice` finds that faster.

>>> threads = PassThreads.of(model, settings, attention)
>>> threads.set_for(context_handle, 1)     # before a pass of one token
>>> threads.took(1, 0.010, 0.079)          # seconds, and processor time of all threads
"""

from __future__ import annotations

from edge_wsd.llama.attention import Attention
from edge_wsd.llama.binding import llama_cpp
from edge_wsd.llama.model import Model
from edge_wsd.llama.settings import ModelSettings
from edge_wsd.llama.thread_choice import FEW_TOKENS, ThreadChoice
from edge_wsd.llama.threads import default_threads


class PassThreads:
    """Those of one context, which is made with `most`."""

    def __init__(self, most: int, *, adapts: bool) -> None:
        self.most = most
        self._choice = ThreadChoice(most) if adapts and most > 1 else None
        self._set = most

    @classmethod
    def of(cls, model: Model, settings: ModelSettings, attention: Attention) -> PassThreads:
        """Chosen by itself only where the user has not, and where the pass is computed here.

        Flash attention sums in another order with another number of threads: nothing may change it then.
        """
        is_here = not model.on_gpu and not model.relays
        adapts = settings.threads is None and is_here and not attention.is_flash
        return cls(settings.threads or default_threads(model.size_bytes), adapts=adapts)

    def set_for(self, context: int, n_tokens: int) -> None:
        """`context` is llama.cpp's pointer to it, and its next pass one of so many tokens."""
        n = self.most if self._choice is None or n_tokens > FEW_TOKENS else self._choice.n
        if n != self._set:
            llama_cpp.llama_set_n_threads(context, n, n)
            self._set = n

    def took(self, n_tokens: int, seconds: float, cpu_seconds: float, *, n_passes: int = 1) -> None:
        """So many passes of `n_tokens` have taken so long together, and so much processor time of all threads."""
        if self._choice is not None and n_tokens <= FEW_TOKENS:
            for _ in range(n_passes):
                self._choice.took(seconds / n_passes, cpu_seconds / n_passes)
