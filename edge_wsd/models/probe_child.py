"""Loads model files with llama.cpp in a process of its own, where a crash does no harm. Started by `probe`.

For each path one JSON line goes to stdout when it begins and one when it ends, so that the parent knows which file
a crash belongs to. llama.cpp's errors go to stderr. Only what the loader itself needs is imported.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys

import llama_cpp.llama_cpp as llama

from edge_wsd.child_process import keep_crashes_quiet

_ERROR_LEVEL = 4
_CONTINUED_LEVEL = 5
_N_TOKENS = 32
# Every byte once, invalid UTF-8 included, a special token's look and an empty text.
_TEXTS = (b"", b"<s>a b\n", bytes(range(1, 256)), "Zażółć gęślą jaźń 你好 🙂".encode())


class Refused(Exception):
    """llama.cpp said no in an orderly way."""


@llama.llama_log_callback  # type: ignore[untyped-decorator]
def _log_errors(level: int, text: bytes, _data: object) -> None:
    if level in (_ERROR_LEVEL, _CONTINUED_LEVEL):
        sys.stderr.buffer.write(text)
        sys.stderr.buffer.flush()


def load(path: bytes) -> None:
    """Loads vocabulary, model and a tiny context, tokenises a few texts and shows every token; decodes nothing.

    Weights are neither read nor given memory, so a large file takes no longer than a small one.
    Raises `Refused` if llama.cpp does.
    """
    no_devices = (ctypes.c_void_p * 1)(None)
    model_params = llama.llama_model_default_params()
    model_params.devices = ctypes.cast(no_devices, ctypes.c_void_p)
    model_params.n_gpu_layers = 0
    model_params.use_extra_bufts = False
    model_params.load_mode = llama.LLAMA_LOAD_MODE_NONE
    model_params.no_alloc = True
    model = llama.llama_model_load_from_file(path, model_params)
    if not model:
        raise Refused
    try:
        _exercise_vocabulary(llama.llama_model_get_vocab(model))
        context_params = llama.llama_context_default_params()
        context_params.n_ctx = context_params.n_batch = context_params.n_ubatch = _N_TOKENS
        context = llama.llama_init_from_model(model, context_params)
        if not context:
            raise Refused
        llama.llama_free(context)
    finally:
        llama.llama_model_free(model)


def _exercise_vocabulary(vocab: object) -> None:
    n_tokens = llama.llama_vocab_n_tokens(vocab)
    ids = (ctypes.c_int32 * 4096)()
    for text in _TEXTS:
        for special in (False, True):
            llama.llama_tokenize(vocab, text, len(text), ids, len(ids), True, special)
    piece = ctypes.create_string_buffer(256)
    for token in range(n_tokens):
        llama.llama_token_to_piece(vocab, token, piece, len(piece), 0, True)


def main(paths: list[str]) -> None:
    """One pair of lines for each path."""
    keep_crashes_quiet()
    llama.llama_log_set(_log_errors, ctypes.c_void_p(0))
    llama.llama_backend_init()
    for path in paths:
        print(json.dumps({"begin": path}), flush=True)
        loads = True
        try:
            load(os.fsencode(path))
        except Refused:
            loads = False
        print(json.dumps({"end": path, "loads": loads}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
