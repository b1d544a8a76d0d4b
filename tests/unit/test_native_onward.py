"""Texts written on in one native call, over a decoder that is a table: what it reads, when it ends, what it refuses."""

from __future__ import annotations

import ctypes
import math

import numpy as np
import pytest

from edge_wsd import _native
from edge_wsd.errors import LogitsError
from edge_wsd.llama.binding import llama_cpp

N_VOCAB = 40
END = 39


class Table:
    """Behind token t comes t + 1 in sequence 0 and t + 2 in sequence 1; the rest of the row is flat."""

    def __init__(self):
        self.read: list[list[tuple[int, int, int]]] = []
        self.codes: dict[int, int] = {}  # of a decode
        self.bad: int | None = None  # the decode that leaves a NaN
        self.peak = 20.0
        self._rows = np.zeros((4, N_VOCAB), np.float32)
        self._decode = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, llama_cpp.llama_batch)(self._on_decode)
        self._logits = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(lambda _: self._rows.ctypes.data)
        self._is_end = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_int32)(lambda _, token: token == END)
        self.flag = _native.CancelFlag()

    def _on_decode(self, _context, batch):
        n = batch.n_tokens
        assert all(batch.n_seq_id[i] == 1 and batch.logits[i] == 1 for i in range(n)) and not batch.embd
        self.read.append([(batch.token[i], batch.pos[i], batch.seq_id[i][0]) for i in range(n)])
        self._rows[:] = 0
        for i in range(n):
            self._rows[i, batch.token[i] + 1 + batch.seq_id[i][0]] = self.peak
        if len(self.read) - 1 == self.bad:
            self._rows[0, 0] = np.nan
        return self.codes.get(len(self.read) - 1, 0)

    @property
    def parts(self):
        functions = (self._decode, self._logits, self._is_end)
        return (*(ctypes.cast(one, ctypes.c_void_p).value for one in functions), 1, 1, N_VOCAB)

    def go_on(self, texts, most=3, stops=None, least=-math.inf):
        return _native.go_on(self.parts, texts, most, stops or [[] for _ in texts], least, self.flag)


def tokens_of(steps):
    return [tokens for tokens, _ in steps]


def test_the_batch_has_the_layout_of_the_binding():
    fields = [(name, getattr(llama_cpp.llama_batch, name).offset) for name, _ in llama_cpp.llama_batch._fields_]
    assert _native.batch_layout() == fields


def test_each_choice_is_read_next_and_the_last_ones_are_not_read():
    table = Table()
    steps, code = table.go_on([(5, -0.1, 17, 0), (6, -0.1, 3, 1)])
    assert code == 0 and tokens_of(steps) == [[6, 8], [7, 10], [8, 12]]
    assert table.read == [[(5, 17, 0), (6, 3, 1)], [(6, 18, 0), (8, 4, 1)], [(7, 19, 0), (10, 5, 1)]]
    expected = -math.log1p((N_VOCAB - 1) * math.exp(-20))
    assert steps[0][1] == pytest.approx([expected, expected], abs=1e-6)


@pytest.mark.parametrize(
    ("texts", "stops", "n_steps"),
    [
        ([(36, -0.1, 0, 0), (1, -0.1, 0, 1)], None, 3),  # ends by itself
        ([(5, -0.1, 0, 0), (1, -0.1, 0, 1)], [[], [5]], 2),
        ([(5, -0.1, 0, 0), (1, -0.1, 0, 1)], [[5], []], 0),  # at the first
        ([(END, -0.1, 0, 0)], None, 0),
        ([(5, -3.0, 0, 0)], None, 0),  # too improbable
    ],
)
def test_all_stop_with_the_first_that_has_come_to_its_end(texts, stops, n_steps):
    table = Table()
    steps, code = table.go_on(texts, most=9, stops=stops, least=-2.0)
    assert code == 0 and len(steps) == len(table.read) == n_steps


def test_a_choice_that_is_just_probable_enough_goes_on():
    steps, _ = Table().go_on([(5, -2.0, 0, 0)], most=1, least=-2.0)
    assert tokens_of(steps) == [[6]]


def test_a_decoder_that_keeps_no_logits_is_an_error():
    table = Table()
    nothing = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(lambda _: None)
    parts = (table.parts[0], ctypes.cast(nothing, ctypes.c_void_p).value, *table.parts[2:])
    with pytest.raises(LogitsError, match="kept none"):
        _native.go_on(parts, [(5, -0.1, 0, 0)], 3, [[]], -math.inf, table.flag)


def test_an_improbable_choice_is_the_last():
    table = Table()
    table.peak = 1.0
    assert tokens_of(table.go_on([(5, -0.1, 0, 0)], least=-2.0)[0]) == [[6]]


@pytest.mark.parametrize("code", [1, 2, -1])
def test_a_decode_that_fails_ends_it_with_its_code_and_without_its_step(code):
    table = Table()
    table.codes[1] = code
    steps, found = table.go_on([(5, -0.1, 0, 0)])
    assert found == code and tokens_of(steps) == [[6]] and len(table.read) == 2


def test_a_flag_that_is_set_ends_it_before_the_next_step():
    table = Table()
    table.flag.set()
    assert table.go_on([(5, -0.1, 0, 0)]) == ([], 0) and table.read == []


def test_rows_that_are_no_probabilities_are_an_error():
    table = Table()
    table.bad = 1
    with pytest.raises(LogitsError):
        table.go_on([(5, -0.1, 0, 0)])


@pytest.mark.parametrize("place", range(5))
def test_null_addresses_are_refused(place):
    table = Table()
    parts = list(table.parts)
    parts[place] = 0
    with pytest.raises(ValueError, match="null"):
        _native.go_on(tuple(parts), [(5, -0.1, 0, 0)], 3, [[]], -math.inf, table.flag)


@pytest.mark.parametrize("token", [-1, N_VOCAB])
def test_tokens_outside_the_vocabulary_are_refused(token):
    with pytest.raises(ValueError, match="outside the vocabulary"):
        Table().go_on([(token, -0.1, 0, 0)])


def test_stops_are_of_each_text():
    with pytest.raises(ValueError, match="one for each"):
        Table().go_on([(5, -0.1, 0, 0)], stops=[[], []])
