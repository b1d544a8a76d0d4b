"""Looks at what flows into the weights while a model computes.

llama.cpp asks a callback about each operation of a pass; at those that multiply with a chosen weight, the squares of
their input are added up per column. Nothing of the computation is changed.

>>> tap = Tap({"blk.0.attn_q.weight"})
>>> with Context(model, tap=tap) as context:
...     context.sequence().extend(tokens)
...     tap.sums["blk.0.attn_q.weight"].values.shape
(1, 2048)
"""

from __future__ import annotations

import ctypes
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_wsd.errors import DecodeError
from edge_wsd.llama import library
from edge_wsd.llama.binding import llama_cpp
from edge_wsd.llama.tools.ggml_tensor import F32, GgmlTensor, checked_operations

_POINTER = ctypes.c_void_p
Inputs = NDArray[np.float32]
Ids = NDArray[np.int32]


@dataclass(slots=True)
class Sums:
    """Squared inputs of one weight: `values` summed per column, float64 [n_groups, n_columns]; `counts` of the
    vectors behind them, int64 [n_groups]. A tensor of experts has one group for each."""

    values: NDArray[np.float64]
    counts: NDArray[np.int64]


class Tap:
    """The evaluation callback of one context, and what it has added up so far in `sums`.

    A failure inside the callback stops the pass and waits in `failure`: it cannot be raised through C.
    """

    def __init__(self, weights: Collection[str], sums: dict[str, Sums] | None = None) -> None:
        """`weights` are the names of the tensors to look at; what flows into them is added to `sums`.

        Raises `ModelLoadError` for an unknown llama.cpp.
        """
        self._weights = {name.encode() for name in weights}
        self._operations = checked_operations()
        self._is_host = library.ggml_function("ggml_backend_buffer_is_host", ctypes.c_bool, _POINTER)
        self._n_bytes = library.ggml_function("ggml_nbytes", ctypes.c_size_t, _POINTER)
        self._get = library.ggml_function(
            "ggml_backend_tensor_get", None, _POINTER, _POINTER, ctypes.c_size_t, ctypes.c_size_t
        )
        self.sums = {} if sums is None else sums
        self.failure: BaseException | None = None
        self.callback = llama_cpp.llama_cpp.ggml_backend_sched_eval_callback(self._call)

    def raise_failure(self) -> None:
        """Raises what went wrong inside the callback, if anything did. To be asked after each pass."""
        if self.failure is not None:
            raise self.failure

    def _call(self, address: int, asked: bool, _user_data: int | None) -> bool:
        """Called twice for an operation: `asked` whether it is of interest, and once it is computed."""
        try:
            tensor = GgmlTensor.from_address(address)
            if asked:
                return self._wants(tensor)
            self._collect(tensor)
            return True
        except BaseException as error:
            self.failure = error
            return False

    def _wants(self, tensor: GgmlTensor) -> bool:
        if tensor.op not in (self._operations.mul_mat, self._operations.mul_mat_id) or self.failure:
            return False
        weight = GgmlTensor.from_address(tensor.src[0])
        return _weight_name(weight.name) in self._weights and GgmlTensor.from_address(tensor.src[1]).type == F32

    def _collect(self, tensor: GgmlTensor) -> None:
        weight = GgmlTensor.from_address(tensor.src[0])
        name = _weight_name(weight.name).decode()
        inputs: Inputs = self._values(tensor.src[1], np.float32)
        if tensor.op == self._operations.mul_mat_id:
            chosen: Ids = self._values(tensor.src[2], np.int32)
            sums = self._of(name, weight.ne[2], weight.ne[2], inputs.shape[-1])
            _add_chosen(sums, inputs[0], chosen[0, 0])
        else:
            sums = self._of(name, weight.ne[2] * weight.ne[3], 1, inputs.shape[-1])
            _add_all(sums, inputs, weight.ne[2], weight.ne[3])
        if not np.isfinite(sums.values).all():
            raise DecodeError(f"the model computes values that are not finite before {name}; its file is damaged")

    def _of(self, name: str, n_matrices: int, n_groups: int, n_columns: int) -> Sums:
        if name not in self.sums:
            self.sums[name] = Sums(np.zeros((n_matrices, n_columns)), np.zeros(n_groups, np.int64))
        return self.sums[name]

    def _values(self, address: int, dtype: type[np.generic]) -> NDArray[Any]:
        """The tensor at `address` as an array, dimensions in numpy's order. In place where the memory can be read."""
        tensor = GgmlTensor.from_address(address)
        if not tensor.buffer:
            raise DecodeError(f"tensor {tensor.name!r} of a pass has no memory")
        n_bytes = self._n_bytes(address)
        if self._is_host(tensor.buffer):
            memory = (ctypes.c_byte * n_bytes).from_address(tensor.data)
        else:
            memory = (ctypes.c_byte * n_bytes)()
            self._get(address, memory, 0, n_bytes)
        values: NDArray[Any] = np.ndarray(tuple(tensor.ne)[::-1], dtype, memory, strides=tuple(tensor.nb)[::-1])
        return values


def _weight_name(name: bytes) -> bytes:
    """Without what the scheduler puts around the name of a copy: `CUDA0#blk.0.attn_q.weight#0`."""
    return name.split(b"#", 2)[1] if b"#" in name else name


def _add_all(sums: Sums, inputs: Inputs, n_matrices: int, n_outer: int) -> None:
    """Each matrix of the weight meets the inputs at its place in the outer dimensions, repeated if there are more."""
    for outer, middle in np.ndindex(inputs.shape[:2]):
        group = (outer % n_outer) * n_matrices + middle % n_matrices
        sums.values[group] += _squares(inputs[outer, middle])
    sums.counts += inputs[..., 0].size // len(sums.values)


def _add_chosen(sums: Sums, inputs: Inputs, chosen: Ids) -> None:
    """`inputs` [n_tokens, 1 or n_used, n_columns] go to the experts `chosen` [n_tokens, n_used]."""
    n_tokens, n_used = chosen.shape
    if chosen.min() < 0 or chosen.max() >= len(sums.values) or len(inputs) != n_tokens:
        raise DecodeError(f"a pass chose experts outside of 0 to {len(sums.values) - 1}")
    for place in range(n_used):
        rows = inputs[:, place % inputs.shape[1]]
        for expert in np.unique(chosen[:, place]):
            mask = chosen[:, place] == expert
            sums.values[expert] += _squares(rows[mask])
            sums.counts[expert] += np.count_nonzero(mask)


def _squares(rows: Inputs) -> Inputs:
    summed: Inputs = np.einsum("ij,ij->j", rows, rows)
    return summed
