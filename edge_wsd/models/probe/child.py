"""Loads and uses model files in a process of its own, where a crash does no harm. Started by `trial`.

Each argument is one JSON object: the `path` of a model, the `settings` to use it with, or null, and `memory_bytes`, the
most that this process may allocate for it, or null. One JSON line goes to stdout when a model is begun and one when it
is done with, so that the parent knows which file a crash belongs to. llama.cpp's errors go to stderr.
"""

from __future__ import annotations

import ctypes
import json
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_wsd.child_process import NO_MEMORY, keep_crashes_quiet, limit_memory, write_report
from edge_wsd.errors import EdgeWsdError, LogitsError, ModelLoadError
from edge_wsd.llama import library
from edge_wsd.llama.binding import llama_cpp
from edge_wsd.llama.context import Context
from edge_wsd.llama.model import Model
from edge_wsd.llama.sampler import Sampler
from edge_wsd.llama.settings import ModelSettings

# Every byte once, invalid UTF-8 included, a special token's look and an empty text.
_TEXTS = (b"", b"<s>a b\n", bytes(range(1, 256)), "Zażółć gęślą jaźń 你好 🙂".encode())
_LOAD_ONLY = ModelSettings(gpu_layers=0, context_length=32, batch=32, extra_buffers="off")
_MOST_WORK = 10_000_000_000
"""Tokens times parameters of the longest pass: a full batch of a small model takes a fraction of a second."""
_SHORTEST_PASS = 16
_STEP = 7919
"""A prime: the tokens that are read lie all over the vocabulary."""


def load(path: Path) -> None:
    """Loads vocabulary, model and a tiny context, tokenises a few texts and shows every token; decodes nothing.

    Weights are neither read nor given memory, so a large file takes no longer than a small one. Raises
    `ModelLoadError`.
    """
    with Model.load(path, _LOAD_ONLY, simulated=True, host_only=True) as model:
        _exercise_vocabulary(model)
        Context(model, _LOAD_ONLY).close()


def use(path: Path, settings: ModelSettings) -> None:
    """Loads the model as it will be loaded, and decodes: one token, several, a batch as full as its size allows.

    Raises `LogitsError` if no probabilities come of it, and other errors of those settings.
    """
    with Model.load(path, settings) as model:
        _exercise_vocabulary(model)
        with Context(model, replace(settings, device_signal="off")) as context:
            _decode(model, context)
        if settings.uses_device_signal:
            with Context(model, settings) as context:
                _score_on_device(context)


def _decode(model: Model, context: Context) -> None:
    n_most = min(context.batch_size, max(_SHORTEST_PASS, _MOST_WORK // max(model.n_params, 1)))
    tokens = [index * _STEP % context.n_vocab for index in range(n_most)]
    sequence = context.sequence()
    sampler = Sampler(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=1)
    try:
        scores = sequence.score(tokens[:1], [])
        scores.sampler = sampler
        drawn, _ = scores.choose(0)
        scores = sequence.score([drawn], tokens[1:4])
        scores.sampler = sampler
        scores.choose(3)
        sequence.cut(2)
        sequence.extend(tokens[4:5])
        sequence.cut(0)
        scores = sequence.score(tokens[:-3], tokens[-3:])
        scores.sampler = sampler
        for row in range(4):
            scores.choose(row)
    finally:
        sampler.close()


def _score_on_device(context: Context) -> None:
    """One row and several, asked about tokens, of two graphs and of one that is used again."""
    sequence = context.sequence()
    for proposed in ([], [2, 3], [1, 2]):
        sequence.score([1], [token % context.n_vocab for token in proposed])


def _exercise_vocabulary(model: Model) -> None:
    vocab = llama_cpp.llama_model_get_vocab(model.handle)
    ids = (ctypes.c_int32 * 4096)()
    for text in _TEXTS:
        for special in (False, True):
            llama_cpp.llama_tokenize(vocab, text, len(text), ids, len(ids), True, special)
    piece = ctypes.create_string_buffer(256)
    for token in range(llama_cpp.llama_vocab_n_tokens(vocab)):
        llama_cpp.llama_token_to_piece(vocab, token, piece, len(piece), 0, True)


def try_model(path: Path, settings: dict[str, Any] | None) -> dict[str, Any]:
    """What became of it. Whatever is refused in an orderly way does no harm, and is refused again when it is used."""
    try:
        if settings is None:
            load(path)
        else:
            use(path, ModelSettings(**settings))
    except LogitsError as error:
        return {"loads": True, "computes": False, "reason": str(error)}
    except EdgeWsdError as error:
        if NO_MEMORY.search(str(error)):
            raise MemoryError(str(error).removeprefix(f"{path}: ")) from None
        if isinstance(error, ModelLoadError):
            return {"loads": settings is not None and _loads(path)}
    return {"loads": True, "computes": True}


def _loads(path: Path) -> bool:
    """Whether it was the context that could not be had, with those settings."""
    try:
        load(path)
    except ModelLoadError:
        return False
    return True


def main(requests: list[str]) -> None:
    """One pair of lines for each request."""
    keep_crashes_quiet()
    library.logger.addHandler(logging.StreamHandler(sys.stderr))
    library.logger.setLevel(logging.ERROR)
    for request in map(json.loads, requests):
        path = request["path"]
        write_report(begin=path)
        if (n_bytes := request.get("memory_bytes")) and not library.supports_offload():  # drivers of GPUs map much more
            limit_memory(n_bytes)
        write_report(end=path, **try_model(Path(path), request["settings"]))


if __name__ == "__main__":
    main(sys.argv[1:])
