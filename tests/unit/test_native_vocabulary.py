"""Asking C functions about every token in one call: the same answers, and null addresses refused."""

from __future__ import annotations

import ctypes

import pytest

from edge_wsd import _native

TEXTS = [b"", b"a", "Ġ日本".encode(), b"<|im_end|>", bytes(range(1, 128)) * 3]


BUFFERS = [ctypes.create_string_buffer(text) for text in TEXTS]


@ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32)
def get_text(_vocabulary, token):
    return ctypes.addressof(BUFFERS[token]) if TEXTS[token] else None  # a null pointer is an empty text


@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int32)
def get_attributes(_vocabulary, token):
    return 1 << token


@ctypes.CFUNCTYPE(
    ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32, ctypes.POINTER(ctypes.c_char), ctypes.c_int32, ctypes.c_int32,
    ctypes.c_bool,
)  # fmt: skip
def to_piece(_vocabulary, token, buffer, length, lstrip, special):
    text = TEXTS[token]
    assert not lstrip and not special
    if len(text) > length:
        return -len(text)
    ctypes.memmove(buffer, text, len(text))
    return len(text)


def address(function):
    return ctypes.cast(function, ctypes.c_void_p).value


def test_every_token_is_asked_about_and_long_ones_get_their_room():
    assert _native.all_texts(address(get_text), 1, len(TEXTS)) == TEXTS
    assert _native.all_pieces(address(to_piece), 1, len(TEXTS)) == TEXTS
    assert _native.all_attributes(address(get_attributes), 1, len(TEXTS)).tolist() == [1, 2, 4, 8, 16]


@pytest.mark.parametrize(
    ("ask", "function"),
    [
        (_native.all_texts, get_text),
        (_native.all_pieces, to_piece),
        (_native.all_attributes, get_attributes),
    ],
)
def test_an_empty_vocabulary_has_no_tokens_and_a_null_address_is_refused(ask, function):
    assert len(ask(address(function), 1, 0)) == 0
    with pytest.raises(ValueError, match="address of the function"):
        ask(0, 1, 1)
    with pytest.raises(ValueError, match="address of the vocabulary"):
        ask(address(function), 0, 1)
