"""The numbers of greedy scoring, computed by llama.cpp's graph where the logits are: a row then sends back four numbers
and not its logits.

A sampler that llama.cpp computes with each output gives the most probable token, its logit, that of the token asked
about, and the probability of the most probable one. Differences of logits and one logarithm on the host make of these
the log-probabilities, also where a probability is too small for float32.

>>> signal = DeviceSignal.of(context.handle, context.n_vocab)
>>> signal.prepare([(0, [5, -1])])   # two rows of sequence 0, the first asked about token 5
>>> context.decode(pieces)
>>> signal.rows([6, 7], [5, -1])     # the tokens of the batch that have rows
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge_wsd.errors import LogitsError
from edge_wsd.llama.binding import llama_cpp
from edge_wsd.llama.library import ggml_function
from edge_wsd.llama.row import Row

MOST_ROWS = 64
"""Rows of one sequence in a pass; a pass of more reads raw logits."""
PASSES_OF_REST = 64
"""Passes that read raw logits after one that had to: llama.cpp plans its memory anew at each change."""
_I32 = 26
_NAME = ctypes.create_string_buffer(b"edge-wsd")
_pointer, _whole = ctypes.c_void_p, ctypes.c_int64


class _Memory(ctypes.Structure):
    """ggml_init_params"""

    _fields_ = [("size", ctypes.c_size_t), ("buffer", _pointer), ("no_alloc", ctypes.c_bool)]


_argmax = ggml_function("ggml_argmax", _pointer, _pointer, _pointer)
_soft_max = ggml_function("ggml_soft_max", _pointer, _pointer, _pointer)
_get_rows = ggml_function("ggml_get_rows", _pointer, _pointer, _pointer, _pointer)
_concat = ggml_function("ggml_concat", _pointer, _pointer, _pointer, _pointer, ctypes.c_int)
_new_1d = ggml_function("ggml_new_tensor_1d", _pointer, _pointer, ctypes.c_int, _whole)
_view_1d = ggml_function("ggml_view_1d", _pointer, _pointer, _pointer, _whole, ctypes.c_size_t)
_reshape_2d = ggml_function("ggml_reshape_2d", _pointer, _pointer, _pointer, _whole, _whole)
_n_elements = ggml_function("ggml_nelements", _whole, _pointer)
_set_input = ggml_function("ggml_set_input", None, _pointer)
_set_output = ggml_function("ggml_set_output", None, _pointer)
_write = ggml_function("ggml_backend_tensor_set", None, _pointer, _pointer, ctypes.c_size_t, ctypes.c_size_t)


@dataclass(slots=True)
class _Sampler:
    """What is attached to one sequence: the chain, and what it is asked in the pass that runs."""

    chain: int
    targets: list[int] = field(default_factory=list)
    n_answered: int = 0
    inputs: int = 0
    """The tensor of the tokens asked about in the graph that was built last."""
    n_rows: int = 0
    """Rows in that graph."""


class DeviceSignal:
    """The samplers of one context. Used under the lock of the context, as all that decodes."""

    def __init__(self, handle: int, n_vocab: int) -> None:
        self._handle = handle
        self._n_vocab = n_vocab
        self._by_sequence: dict[int, _Sampler] = {}
        self._by_address: dict[int, _Sampler] = {}
        self._failure: BaseException | None = None
        self._is_supported = True
        self._n_rest = 0
        self.n_passes = 0
        """Passes whose numbers were computed this way."""
        self._interface = _interface(self._init, self._apply, self._begin_pass, self._forget)

    @classmethod
    def of(cls, handle: int, n_vocab: int) -> DeviceSignal | None:
        """None where llama.cpp or the device with the logits lacks what is needed."""
        signal = cls(handle, n_vocab)
        try:
            signal._attach(0)
        finally:
            signal.detach()
        return signal if signal._is_supported else None

    def prepare(self, asked: list[tuple[int, list[int]]]) -> bool:
        """Ask the next decode about these targets of rows, by sequence; whether it can answer."""
        if self._n_rest > 0:
            self._n_rest -= 1
            return False
        if not self._is_supported or not all(self._can_ask(targets) for _, targets in asked):
            return False
        for sequence, targets in asked:
            if sequence not in self._by_sequence and not self._attach(sequence):
                return False
            sampler = self._by_sequence[sequence]
            sampler.targets, sampler.n_answered = targets, 0
        return True

    def _can_ask(self, targets: list[int]) -> bool:
        """llama.cpp ends the process at a token that is not there; whoever reads logits names it."""
        return len(targets) <= MOST_ROWS and min(targets) >= -1 and max(targets) < self._n_vocab

    def rest(self) -> None:
        """The next decode shall give raw logits, and so do some after it."""
        self._raise_failure()
        if self._by_sequence:
            self.detach()
            self._n_rest = PASSES_OF_REST

    def rows(self, outputs: list[int], targets: list[int]) -> list[Row]:
        """The rows behind the tokens `outputs` of the batch that was decoded, asked about one of `targets` each.

        Raises `LogitsError` for one that describes no distribution.
        """
        self.n_passes += 1
        self._raise_failure()
        return [
            self._row(i, len(outputs), output, target)
            for i, (output, target) in enumerate(zip(outputs, targets, strict=True))
        ]

    def _row(self, i: int, n: int, output: int, target: int) -> Row:
        token = int(llama_cpp.llama_get_sampled_token_ith(self._handle, output))
        of_target, of_token, probability = llama_cpp.llama_get_sampled_probs_ith(self._handle, output)[:3]
        if not (math.isfinite(of_token) and 0 < probability <= 1.0 + 1e-5):
            raise LogitsError(f"row {i} of {n}: some logits are NaN, or none of them is finite")
        logprob = min(0.0, math.log(probability))
        return (of_target - of_token + logprob if target >= 0 else math.nan, token, logprob)

    def close(self) -> None:
        """Free the samplers; llama.cpp's context is gone already."""
        for sampler in self._by_sequence.values():
            llama_cpp.llama_sampler_free(ctypes.cast(sampler.chain, llama_cpp.llama_sampler_p_ctypes))
        self._by_sequence, self._by_address = {}, {}

    def _attach(self, sequence: int) -> bool:
        interface = ctypes.cast(ctypes.pointer(self._interface), ctypes.POINTER(llama_cpp.llama_sampler_i))
        inner = llama_cpp.llama_sampler_init(interface, None)
        chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
        llama_cpp.llama_sampler_chain_add(chain, inner)
        sampler = _Sampler(_address(chain))
        self._by_sequence[sequence] = self._by_address[_address(inner)] = sampler
        is_attached = bool(llama_cpp.llama_set_sampler(self._handle, sequence, chain))  # calls `_init`
        self._raise_failure()
        if not is_attached or not self._is_supported:
            self._is_supported = False
            self.detach()
        return self._is_supported

    def detach(self) -> None:
        """The next pass gives logits."""
        for sequence in self._by_sequence:
            llama_cpp.llama_set_sampler(self._handle, sequence, None)
        self.close()

    def _raise_failure(self) -> None:
        """What a callback has raised, and no graph that it was to build stays."""
        if (failure := self._failure) is not None:
            self._failure = None
            self.detach()
            raise failure

    # Called by llama.cpp, through which no exception can pass

    def _init(self, sampler: int, buffer_type: int, _n_rows: int) -> bool:
        supports = self._guarded(lambda: _supports(buffer_type))
        if supports is False:
            self._is_supported = False
        return bool(supports)

    def _apply(self, address: int, context: int, _graph: int, data: Any) -> None:
        self._guarded(lambda: self._build(self._by_address[address], context, data.contents))

    def _build(self, sampler: _Sampler, context: int, data: llama_cpp.llama_sampler_data) -> None:
        if sampler.n_rows >= MOST_ROWS:
            raise IndexError(f"a graph of more than {MOST_ROWS} rows of one sequence")
        if sampler.n_rows == 0:
            sampler.inputs = _new_1d(context, _I32, MOST_ROWS)
            _set_input(sampler.inputs)
        target = _view_1d(context, sampler.inputs, 1, sampler.n_rows * 4)
        data.sampled, data.probs = _numbers(context, data.logits, target)
        for result in (data.sampled, data.probs):
            _set_output(result)  # llama.cpp does so in graphs that compute it, but keeps the plan of one that did not
        data.logits = None  # else they are copied to the host
        sampler.n_rows += 1

    def _begin_pass(self, address: int) -> None:
        if not self._guarded(lambda: self._fill(self._by_address[address])):
            # llama.cpp ends the process at a token that is not there.
            self._guarded(lambda: _ask(self._by_address[address], []))

    def _fill(self, sampler: _Sampler) -> bool:
        """Of a pass that llama.cpp computes in several parts, for the next part."""
        if sampler.n_rows > 0:  # else none could be built, and what no row reads has no memory
            end = sampler.n_answered + sampler.n_rows
            _ask(sampler, sampler.targets[sampler.n_answered : end])
            sampler.n_answered = end
        return True

    def _forget(self, address: int) -> None:
        """Another graph is about to be built."""
        self._guarded(lambda: setattr(self._by_address[address], "n_rows", 0))

    def _guarded(self, do: Callable[[], Any]) -> Any:
        try:
            return do()
        except BaseException as error:  # raised behind the decode
            self._failure = self._failure or error
            return None


def _ask(sampler: _Sampler, targets: list[int]) -> None:
    """Write what the rows are asked about; token 0 where that is none."""
    tokens = np.zeros(MOST_ROWS, np.int32)
    tokens[: len(targets)] = np.maximum(targets, 0)
    _write(sampler.inputs, tokens.ctypes.data, 0, tokens.nbytes)


def _numbers(context: int, logits: int, target: int) -> tuple[int, int]:
    """The most probable token, and float32 [3]: logit of `target`, logit and probability of the most probable one."""
    n = _n_elements(logits)
    token = _argmax(context, logits)
    column = _reshape_2d(context, logits, 1, n)
    probabilities = _reshape_2d(context, _soft_max(context, logits), 1, n)
    both = _concat(context, _get_rows(context, column, target), _get_rows(context, column, token), 0)
    return token, _concat(context, both, _get_rows(context, probabilities, token), 0)


def _supports(buffer_type: int) -> bool:
    """Whether the device of these buffers computes all that `_numbers` takes."""
    device = ggml_function("ggml_backend_buft_get_device", _pointer, _pointer)(buffer_type)
    if not device:
        return True  # a plain CPU buffer
    supports = ggml_function("ggml_backend_dev_supports_op", ctypes.c_bool, _pointer, _pointer)
    context = ggml_function("ggml_init", _pointer, _Memory)(_Memory(1 << 16, None, True))
    try:
        _numbers(context, _new_1d(context, 0, 1 << 17), _new_1d(context, _I32, 1))
        tensor = ggml_function("ggml_get_first_tensor", _pointer, _pointer)(context)
        following = ggml_function("ggml_get_next_tensor", _pointer, _pointer, _pointer)
        while tensor:
            if not supports(device, tensor):
                return False
            tensor = following(context, tensor)
        return True
    finally:
        ggml_function("ggml_free", None, _pointer)(context)


def _interface(init: Any, apply: Any, begin_pass: Any, forget: Any) -> Any:
    """llama.cpp's table of functions. It keeps the callbacks alive; a sampler of ours is never copied or applied."""
    table = llama_cpp.llama_sampler_i()
    plain = ctypes.CFUNCTYPE(None, _pointer)
    made = {
        "name": ctypes.CFUNCTYPE(_pointer, _pointer)(lambda _sampler: ctypes.addressof(_NAME)),
        "apply": ctypes.CFUNCTYPE(None, _pointer, _pointer)(lambda _sampler, _tokens: None),
        "backend_init": ctypes.CFUNCTYPE(ctypes.c_bool, _pointer, _pointer, ctypes.c_uint32)(init),
        "backend_apply": ctypes.CFUNCTYPE(
            None, _pointer, _pointer, _pointer, ctypes.POINTER(llama_cpp.llama_sampler_data)
        )(apply),
        "backend_set_input": plain(begin_pass),
        "backend_reset": plain(forget),
    }
    kinds = dict(llama_cpp.llama_sampler_i._fields_)
    for name, function in made.items():
        setattr(table, name, ctypes.cast(function, kinds[name]))
    table.kept = made
    return table


def _address(pointer: Any) -> int:
    return ctypes.cast(pointer, _pointer).value or 0
