"""A GGUF file in another type: `quantize("model-f16.gguf", "model.gguf", "Q4_K_M")`.

llama.cpp does the numbers, in a child process; here its plan is checked before anything is written.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from edge_wsd.errors import QuantizationError
from edge_wsd.llama.threads import default_threads
from edge_wsd.llama.tools.quantizer import Quantizer, Request, TensorPlan
from edge_wsd.models.gguf.check import check_gguf, n_parts, part_paths
from edge_wsd.models.gguf.file_types import NEED_IMATRIX, QUANT_TYPES, QuantType, find_type
from edge_wsd.models.gguf.header import DEFAULT_ALIGNMENT, GgufHeader, TensorInfo, read_header
from edge_wsd.models.gguf.types import TENSOR_TYPES
from edge_wsd.progress import Progress

from ..writing.target import renamed_when_complete, require_apart, require_space, require_target
from .importance import Importance, read_importance
from .keep import kept_types
from .notes import notes_of

_NUMBERS = {kind.name: number for number, kind in TENSOR_TYPES.items()}
_KINDS = {kind.name: kind for kind in TENSOR_TYPES.values()}
_FLOATS = ("F32", "F16", "BF16", "F64")
_ANY_TENSOR = ".*"
# What llama.cpp may add to the metadata, with room to spare.
_HEADER_RESERVE = 1 << 20


@dataclass(frozen=True)
class Quantization:
    """What was written. `types` counts tensors by type; `notes` are for the user to read."""

    target: Path
    type: str
    n_tensors: int
    n_bytes: int
    bits_per_weight: float
    """Of the tensors alone, without the vocabulary."""
    types: Mapping[str, int]
    notes: tuple[str, ...]


def quantize(
    source: str | Path,
    target: str | Path,
    type: str,
    *,
    keep: Mapping[str, str] | None = None,
    imatrix: str | Path | None = None,
    force: bool = False,
    requantize: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
    command: Sequence[str] | None = None,
) -> Quantization:
    """Writes the model in the GGUF file `source` (the first part, if it is split) to `target` as `type`.

    `type` is one of SUPPORTED_TYPES or an alias. `keep` gives types to tensors, see `keep.kept_types`. `imatrix` is
    the file of an importance matrix. `force` replaces an existing target; `requantize` takes a source that is
    quantized already. `threads` None means the physical cores.
    `progress(done_bytes, total_bytes)` counts the target; the total is 0 until it is known. What it raises stops the
    work. `command` starts `edge_wsd.llama.tools.quantizer_child.main` in a frozen application.

    Raises QuantizationError, or ModelFileError for a source or imatrix that is none; then no target was made or
    changed.
    """
    source, target, wanted = Path(source), Path(target), find_type(type)
    require_target(target, force, QuantizationError)
    header = check_gguf(source)
    files = part_paths(source, n_parts(header))
    require_apart(target, files, "to be quantized", QuantizationError)
    require_apart(target, [] if imatrix is None else [Path(imatrix)], "with the importance matrix", QuantizationError)
    tensors = [tensor for file in files for tensor in read_header(file).tensors]
    if not requantize:
        _refuse_quantized(source, header, tensors)
    kept = kept_types(keep or {}, tensors)
    require_imatrix(wanted, imatrix)
    importance = None if imatrix is None else read_importance(Path(imatrix), tensors)
    with renamed_when_complete(target, QuantizationError) as temporary:
        request = Request(
            source,
            temporary,
            wanted.file_type if not (wanted.is_float and kept) else QUANT_TYPES["Q8_0"].file_type,
            _overrides(kept, wanted),
            importance.weights if importance else {},
            _metadata(header, importance, wanted),
            default_threads(sum(tensor.n_bytes for tensor in tensors)) if threads is None else threads,
            requantize,
        )
        plan = _write(request, tensors, header, kept, progress, command)
        n_bytes = _finish(temporary, plan.types)
    return Quantization(
        target,
        wanted.name,
        len(tensors),
        n_bytes,
        8 * sum(_sizes(tensors, plan.types).values()) / sum(prod(tensor.shape) for tensor in tensors),
        dict(Counter(plan.types[tensor.name] for tensor in tensors)),
        notes_of(wanted, tensors, plan, importance, requantize=requantize),
    )


def _write(
    request: Request,
    tensors: Sequence[TensorInfo],
    header: GgufHeader,
    kept: Mapping[str, str],
    progress: Progress | None,
    command: Sequence[str] | None,
) -> TensorPlan:
    """The plan, once it is carried out."""
    total = 0  # until the plan says what it will be

    def tick() -> None:
        if progress is not None:
            progress(min(request.target.stat().st_size, total), total)

    with Quantizer(request, command) as quantizer:
        plan = quantizer.plan(tick)
        _check_plan(plan.types, tensors, kept, request.weights)
        total = header.data_offset + sum(_round_up(size) for size in _sizes(tensors, plan.types).values())
        require_space(request.target.parent, total + _HEADER_RESERVE, QuantizationError)
        quantizer.write(tick)
    if progress is not None:
        progress(total, total)
    return plan


def _overrides(kept: Mapping[str, str], wanted: QuantType) -> list[tuple[str, int]]:
    """Exact names, so that a rule means here what it means to llama.cpp.

    Overrides count only in a file of a quantized type; a float type with exceptions is one where all is overridden.
    """
    overrides = [(f"^{re.escape(name)}$", _NUMBERS[type_name]) for name, type_name in kept.items()]
    if overrides and wanted.is_float:
        overrides.append((_ANY_TENSOR, _NUMBERS[wanted.tensor_type]))
    return overrides


def _metadata(header: GgufHeader, importance: Importance | None, wanted: QuantType) -> dict[str, int | str]:
    metadata: dict[str, int | str] = dict(importance.metadata) if importance else {}
    metadata["general.file_type"] = wanted.file_type
    if header.alignment != DEFAULT_ALIGNMENT:  # llama.cpp writes with its own and would leave this one standing
        metadata["general.alignment"] = DEFAULT_ALIGNMENT
    return metadata


def require_imatrix(wanted: QuantType, imatrix: str | Path | None) -> None:
    """Raises QuantizationError if llama.cpp will not make the type without an importance matrix."""
    if wanted.imatrix == "required" and imatrix is None:
        raise QuantizationError(
            f"type {wanted.name} needs an importance matrix; make one with `edge-wsd imatrix`, give it with --imatrix"
        )


def _refuse_quantized(source: Path, header: GgufHeader, tensors: Sequence[TensorInfo]) -> None:
    quantized = Counter(each.type_name for each in tensors if len(each.shape) > 1 and each.type_name not in _FLOATS)
    if quantized:
        common = quantized.most_common(1)[0][0]
        raise QuantizationError(
            f"{source}: is quantized already (most of it {common}), and quantizing again loses more; "
            "use a file in F16, BF16 or F32, or --allow-requantize"
        )


def _check_plan(
    types: Mapping[str, str], tensors: Sequence[TensorInfo], kept: Mapping[str, str], weights: Mapping[str, object]
) -> None:
    """Holds llama.cpp's plan against what was asked for, before anything is written."""
    if set(types) != {tensor.name for tensor in tensors}:
        raise QuantizationError("llama.cpp's plan does not name the tensors of the model; use a newer edge-wsd")
    for name, type_name in kept.items():
        if types[name] != type_name:
            raise QuantizationError(
                f"{name} would be {types[name]}, not {type_name}: llama.cpp stores it in no other type; "
                "narrow the --keep pattern"
            )
    for tensor in tensors:
        new = types[tensor.name]
        if new in NEED_IMATRIX and new != tensor.type_name and tensor.name not in weights:
            raise QuantizationError(
                f"{tensor.name} would be {new}, which needs an importance matrix with numbers for it; "
                "keep it in another type or make the matrix with `edge-wsd imatrix`"
            )


def _sizes(tensors: Sequence[TensorInfo], types: Mapping[str, str]) -> dict[str, int]:
    """Bytes of each tensor in its new type."""
    sizes = {}
    for tensor in tensors:
        kind = _KINDS[types[tensor.name]]
        sizes[tensor.name] = prod(tensor.shape) // kind.block * kind.block_bytes
    return sizes


def _round_up(n_bytes: int) -> int:
    return -(-n_bytes // DEFAULT_ALIGNMENT) * DEFAULT_ALIGNMENT


def _finish(path: Path, types: Mapping[str, str]) -> int:
    """The size of the file, which must hold what was planned."""
    written = {tensor.name: tensor.type_name for tensor in check_gguf(path).tensors}
    if written != types:
        raise QuantizationError(f"{path}: llama.cpp did not write what it planned; use a newer llama-cpp-python")
    return path.stat().st_size
