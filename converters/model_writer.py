"""Writes a planned model in any type: at once, or as a file of floats beside the target that is quantized then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from edge_wsd.errors import ConversionError, QuantizationError
from edge_wsd.files import scratch_file
from edge_wsd.models.gguf.file_types import QUANT_TYPES, QuantType
from edge_wsd.models.gguf.header import TensorInfo
from edge_wsd.models.gguf.types import TENSOR_TYPES
from edge_wsd.progress import Progress

from .families.base import Planned
from .quantization.importance import read_importance
from .quantization.keep import kept_types
from .quantization.quantize import Quantization, quantize, require_imatrix
from .writing.gguf_writer import tensor_bytes, write_gguf
from .writing.storage import n_bytes, stored_type
from .writing.target import place_of, renamed_when_complete, require_space

_NUMBERS = {kind.name: number for number, kind in TENSOR_TYPES.items()}
# A small model has more bits per weight than the type is known for: its larger types weigh more.
_ROOM = 1.25
_HEADERS_RESERVE = 64 << 20


@dataclass(frozen=True)
class QuantizeOptions:
    """How to quantize; see `quantize`."""

    keep: Mapping[str, str]
    imatrix: Path | None
    force: bool
    command: Sequence[str] | None


@dataclass(frozen=True)
class Written:
    """What is in the file: tensors by type, bits per weight of the tensors alone, notes for the user."""

    types: Mapping[str, int]
    bits_per_weight: float
    notes: tuple[str, ...]


def write_model(
    target: Path,
    writer: Any,
    plan: Sequence[Planned],
    wanted: QuantType,
    how: QuantizeOptions,
    progress: Progress | None,
) -> Written:
    """Writes metadata of `writer` and the tensors of `plan` to `target` as `wanted`.

    `progress(done, total)` counts the bytes of all that is written. Raises ConversionError; then nothing is left
    behind.
    """
    if not wanted.is_direct or how.keep or how.imatrix is not None:
        made = _convert_and_quantize(target, writer, plan, wanted, how, progress)
        return Written(made.types, made.bits_per_weight, made.notes)
    writer.add_file_type(wanted.file_type)
    with renamed_when_complete(target) as temporary:
        types = write_gguf(temporary, writer, plan, wanted.name, progress)
    n_weights = sum(prod(tensor.shape) for tensor in plan)
    return Written(types, 8 * tensor_bytes(plan, wanted.name) / n_weights, _type_notes(wanted.name, types))


def _type_notes(type_name: str, types: Mapping[str, int]) -> tuple[str, ...]:
    if type_name == "F16" or not types.get("F16"):
        return ()
    return (f"{types['F16']} tensor(s) stored as F16: their rows do not divide into {type_name} blocks",)


def _convert_and_quantize(
    target: Path,
    writer: Any,
    plan: Sequence[Planned],
    wanted: QuantType,
    how: QuantizeOptions,
    progress: Progress | None,
) -> Quantization:
    exact = exact_type(plan)
    tensors = [_described(tensor, exact) for tensor in plan]
    kept_types(how.keep, tensors)  # what is wrong with the wishes is told before the long work
    require_imatrix(wanted, how.imatrix)
    if how.imatrix is not None:
        read_importance(how.imatrix, tensors)
    first = sum(tensor.n_bytes for tensor in tensors)
    second = int(sum(prod(tensor.shape) for tensor in tensors) * wanted.bits_per_weight / 8)
    folder = place_of(target)
    require_space(folder, first + int(second * _ROOM) + _HEADERS_RESERVE, QuantizationError)
    writer.add_file_type(QUANT_TYPES[exact].file_type)
    joint = _Joint(first, second, progress)
    try:
        with scratch_file(folder) as file:
            floats = Path(file.name)
            write_gguf(floats, writer, plan, exact, joint.converted)
            return quantize(
                floats,
                target,
                wanted.name,
                keep=how.keep,
                imatrix=how.imatrix,
                force=how.force,
                progress=joint.quantized,
                command=how.command,
            )
    except QuantizationError as error:
        raise QuantizationError(str(error).replace(str(floats), str(target))) from error
    except OSError as error:
        raise ConversionError(f"cannot write {target}: {error.strerror or error}") from error


def exact_type(plan: Sequence[Planned]) -> str:
    """The smallest type that holds every matrix of the plan without loss: the checkpoint's own, or F32."""
    types = {_exact_type(tensor) for tensor in plan if len(tensor.shape) > 1}
    return types.pop() if len(types) == 1 else "F32"


def _exact_type(tensor: Planned) -> str:
    computed = tensor.updates or (tensor.weight is not None and tensor.weight.compute is not None)
    if tensor.source is None or computed or tensor.source.dtype not in ("F16", "BF16"):
        return "F32"
    return tensor.source.dtype


def _described(tensor: Planned, type_name: str) -> TensorInfo:
    """The tensor as the file of floats will list it."""
    stored = stored_type(tensor.shape, type_name)
    shape = tuple(reversed(tensor.shape))
    return TensorInfo(tensor.name, shape, _NUMBERS[stored.name], 0, n_bytes(tensor.shape, stored))


class _Joint:
    """One progress over two files; the size of the second is estimated until llama.cpp has planned it."""

    def __init__(self, first: int, second: int, progress: Progress | None) -> None:
        self._first, self._second, self._progress = first, second, progress

    def converted(self, done: int, _total: int) -> None:
        if self._progress is not None:
            self._progress(done, self._first + self._second)

    def quantized(self, done: int, total: int) -> None:
        if self._progress is not None:
            self._progress(self._first + done, self._first + total)
