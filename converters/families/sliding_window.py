"""Sliding windows: which layers look back only so far, and what is lost where llama.cpp lets them look further."""

from __future__ import annotations

from collections.abc import Callable

from edge_wsd.errors import ConversionError

from ..checkpoint.config import Config

_KINDS = {"sliding_attention": True, "full_attention": False}


def sliding_layers(config: Config, n_blocks: int, usual: Callable[[int], bool]) -> list[bool]:
    """Whether each layer has a window: by `layer_types`, or by `usual(layer)` where a config has no list."""
    listed = config.get("layer_types")
    if listed is None:
        return [usual(layer) for layer in range(n_blocks)]
    if not isinstance(listed, list) or len(listed) != n_blocks or not all(kind in _KINDS for kind in listed):
        raise ConversionError(
            f"{config.origin}: layer_types is {listed!r:.80}, expected {n_blocks} of {' or '.join(sorted(_KINDS))}"
        )
    return [_KINDS[kind] for kind in listed]


def ignored_window(architecture: str, window: int, n_ctx: int) -> tuple[str, ...]:
    """The note about a window that llama.cpp does not apply; none if the context cannot exceed the window."""
    if window >= n_ctx:
        return ()
    return (
        f"the model looks back {window} tokens, llama.cpp's architecture {architecture!r} always to the beginning: the "
        f"file computes the same up to {window} tokens of context, beyond them what the model was not trained for",
    )
