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


def test_texts_are_taken_up_to_the_first_that_is_not_whole_too_long_or_no_utf8():
    def told(*raw):
        return b"".join(len(each).to_bytes(8, "little") + each for each in raw)

    sound = ["", "a", "日本", "x" * 300]
    whole = told(*map(str.encode, sound))
    assert _native.split_texts(b"??" + whole, 2, 4, 300) == (sound, 2 + len(whole))
    assert _native.split_texts(whole, 0, 2, 300) == (sound[:2], 17)
    assert _native.split_texts(whole, 0, 4, 299) == (sound[:3], len(whole) - 308)
    for damage in (b"\xff", "é".encode()[:1], "\ud800".encode("utf-8", "surrogatepass")):
        assert _native.split_texts(whole + told(damage), 0, 5, 300) == (sound, len(whole))
    for cut in range(len(whole)):
        texts, end = _native.split_texts(whole[:cut], 0, 4, 300)
        assert texts == sound[: len(texts)] and len(texts) < 4 and end == len(told(*map(str.encode, texts)))
    huge = (2**64 - 1).to_bytes(8, "little") + b"abc"
    assert _native.split_texts(whole + huge, 0, 5, 2**63) == (sound, len(whole))
    with pytest.raises(ValueError, match="at is 1; expected at most 0"):
        _native.split_texts(b"", 1, 1, 1)
