"""The tensors of a computation as ggml keeps them in memory.

The binding does not know their layout, and a guess that is wrong would read anywhere. So it is held once against
tensors that the installed library itself makes, and refused unless every field is where it is expected.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import Any

from edge_wsd.errors import ModelLoadError
from edge_wsd.llama import library

_MAX_DIMENSIONS, _MAX_SOURCES, _MAX_NAME, _PARAMETER_BYTES = 4, 10, 64, 64
F32, I32 = 0, 26
_POINTER = ctypes.c_void_p
_ARENA_BYTES = 1 << 16


class GgmlTensor(ctypes.Structure):
    """ggml's description of a tensor. `ne`: elements per dimension, row length first; `nb`: strides in bytes."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("buffer", _POINTER),
        ("ne", ctypes.c_int64 * _MAX_DIMENSIONS),
        ("nb", ctypes.c_size_t * _MAX_DIMENSIONS),
        ("op", ctypes.c_int),
        ("op_params", ctypes.c_byte * _PARAMETER_BYTES),
        ("flags", ctypes.c_int32),
        ("src", _POINTER * _MAX_SOURCES),
        ("view_src", _POINTER),
        ("view_offs", ctypes.c_size_t),
        ("data", _POINTER),
        ("name", ctypes.c_char * _MAX_NAME),
        ("extra", _POINTER),
    )


@dataclass(frozen=True, slots=True)
class Operations:
    """The numbers that the installed library has for the operations that multiply with a weight."""

    mul_mat: int
    mul_mat_id: int


@cache
def checked_operations() -> Operations:
    """Raises `ModelLoadError` if the installed llama.cpp lays tensors out in another way than `GgmlTensor` says."""
    try:
        operations = _compare()
    except AttributeError as error:  # a function is not exported
        raise _unknown(str(error)) from error
    return operations


def _unknown(what: str) -> ModelLoadError:
    version = library.versions()["llama-cpp-python"]
    return ModelLoadError(
        f"the tensors of the installed llama.cpp (llama-cpp-python {version}) are laid out in an unknown way ({what}); "
        "install a version that edge-wsd names in its requirements"
    )


class _InitParameters(ctypes.Structure):
    _fields_ = (("mem_size", ctypes.c_size_t), ("mem_buffer", _POINTER), ("no_alloc", ctypes.c_bool))


def _compare() -> Operations:
    """Lets ggml make a few tensors and looks for each of their properties where it should be."""
    function, size = library.ggml_function, ctypes.c_int64
    new = function("ggml_new_tensor_3d", _POINTER, _POINTER, ctypes.c_int, size, size, size)
    view = function("ggml_view_1d", _POINTER, _POINTER, _POINTER, size, ctypes.c_size_t)
    multiply = function("ggml_mul_mat", _POINTER, _POINTER, _POINTER, _POINTER)
    choose = function("ggml_mul_mat_id", _POINTER, _POINTER, _POINTER, _POINTER, _POINTER)
    set_name = function("ggml_set_name", _POINTER, _POINTER, ctypes.c_char_p)
    context = function("ggml_init", _POINTER, _InitParameters)(_InitParameters(_ARENA_BYTES, None, False))
    if not context:
        raise _unknown("it makes none")
    try:
        weight, rows, ids = new(context, F32, 5, 3, 2), new(context, F32, 5, 2, 8), new(context, I32, 2, 8, 1)
        product, chosen = multiply(context, weight, rows), choose(context, weight, rows, ids)
        part = view(context, weight, 4, 8)
        name = b"blk.0.x.weight".ljust(_MAX_NAME - 1, b"x")
        set_name(weight, name)
        _expect(weight, name=name, type=F32, ne=(5, 3, 2, 1), nb=(4, 20, 60, 120), src=(None, None), buffer=None)
        _expect(weight, view_src=None, data=function("ggml_get_data", _POINTER, _POINTER)(weight), extra=None)
        _expect(ids, type=I32, ne=(2, 8, 1, 1), nb=(4, 8, 64, 64), name=b"")
        _expect(part, view_src=weight, view_offs=8, data=(GgmlTensor.from_address(weight).data or 0) + 8)
        _expect(product, src=(weight, rows, None), ne=(3, 2, 8, 1))
        _expect(chosen, src=(weight, rows, ids, None), ne=(3, 2, 8, 1))
        return _named(GgmlTensor.from_address(product).op, GgmlTensor.from_address(chosen).op)
    finally:
        function("ggml_free", None, _POINTER)(context)


def _named(mul_mat: int, mul_mat_id: int) -> Operations:
    op_name = library.ggml_function("ggml_op_name", ctypes.c_char_p, ctypes.c_int)
    for op, name in ((mul_mat, b"MUL_MAT"), (mul_mat_id, b"MUL_MAT_ID")):
        if not 0 < op < 256 or op_name(op) != name:
            raise _unknown(f"operation {op} is not {name.decode()}")
    return Operations(mul_mat, mul_mat_id)


def _expect(address: int, **fields: Any) -> None:
    tensor = GgmlTensor.from_address(address)
    for name, expected in fields.items():
        found = getattr(tensor, name)
        if isinstance(expected, tuple):
            found = tuple(found[: len(expected)])
        if found != expected:
            raise _unknown(f"{name} is {found!r:.60} and should be {expected!r:.60}")
