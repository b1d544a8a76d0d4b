"""Everything about a model file that can be known without loading it.

>>> check_gguf("model.gguf").metadata["general.architecture"]
'llama'
"""

from __future__ import annotations

import re
from pathlib import Path

from edge_wsd.errors import ModelFileError
from edge_wsd.models.gguf.fields import Fields
from edge_wsd.models.gguf.file_kind import describe_foreign
from edge_wsd.models.gguf.header import MAGIC, GgufHeader, TensorInfo, read_header
from edge_wsd.models.gguf.hyperparameters import check_model, check_vocabulary_only
from edge_wsd.models.gguf.tokenizer import check_tokenizer
from edge_wsd.models.gguf.types import ValueType
from edge_wsd.reading import open_regular

_PART_NAME = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
_HEAD_BYTES = 1024
_MAX_PARTS = 1000
_NOT_LANGUAGE_MODELS = {
    "clip": "an image encoder",
    "controlvector": "a control vector",
    "bert": "an embedding model",
    "modern-bert": "an embedding model",
    "nomic-bert": "an embedding model",
    "nomic-bert-moe": "an embedding model",
    "neo-bert": "an embedding model",
    "jina-bert-v2": "an embedding model",
    "jina-bert-v3": "an embedding model",
    "eurobert": "an embedding model",
    "gemma-embedding": "an embedding model",
    "llama-embed": "an embedding model",
    "t5": "an encoder-decoder model",
    "t5encoder": "an encoder",
    "wavtokenizer-dec": "an audio decoder",
}
_OTHER_TYPES = {"adapter": "a LoRA adapter", "imatrix": "an importance matrix", "mmproj": "an image projector"}


def check_gguf(path: str | Path, *, need_weights: bool = True) -> GgufHeader:
    """Header of the model at `path` (of the first part, if it is split).

    Raises `ModelFileError` with one line that names the file, the first defect and the way out. With
    `need_weights=False` a vocabulary-only file passes.
    """
    path = Path(path)
    _check_is_gguf(path)
    header = read_header(path)
    fields = Fields(path, header)
    tensors = _all_tensors(fields)
    _check_purpose(fields)
    n_tokens = check_tokenizer(fields)
    if not tensors:
        if need_weights:
            raise fields.error("it holds a vocabulary and no weights", "give the file with the whole model")
        check_vocabulary_only(fields)
        return header
    check_model(fields, tensors, n_tokens)
    return header


def _check_is_gguf(path: Path) -> None:
    try:
        if path.is_dir():
            raise ModelFileError(f"{path}: is a directory; {_in_directory(path)}")
        if not path.exists():
            raise ModelFileError(f"{path}: no such file; check the name")
        if not path.is_file():
            raise ModelFileError(f"{path}: is not a regular file; give a model in GGUF format")
        with open_regular(path) as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}; check its permissions") from error
    except ValueError as error:  # a NUL byte in the name
        raise ModelFileError(f"{str(path)!r}: is not a file name: {error}") from error
    if not head.startswith(MAGIC):
        description = describe_foreign(head) or f"it begins with {head[:8]!r}; give a model in GGUF format"
        raise ModelFileError(f"{path}: is not a GGUF file: {description}")


def _in_directory(path: Path) -> str:
    inside = sorted(entry.name for entry in path.iterdir() if entry.suffix.lower() == ".gguf")
    if inside:
        return f"give a file in it, such as {inside[0]}"
    if (path / "config.json").is_file():
        return "it looks like a checkpoint: make a GGUF of it with `edge-wsd convert`"
    return "give a model file in GGUF format"


def _check_purpose(fields: Fields) -> None:
    """Refuses GGUF files that hold something else than a language model."""
    kind = fields.scalar("general.type", ValueType.STRING)
    if kind in _OTHER_TYPES:
        raise fields.error(f"it is {_OTHER_TYPES[kind]}, not a language model", "give the model itself")
    architecture = fields.scalar("general.architecture", ValueType.STRING)
    if not architecture:
        raise fields.error("general.architecture is missing")
    if architecture in _NOT_LANGUAGE_MODELS:
        what = _NOT_LANGUAGE_MODELS[architecture]
        raise fields.error(f"it is {what} ({architecture}), which does not continue text", "give a language model")


def part_paths(path: str | Path, n_parts: int) -> tuple[Path, ...]:
    """Paths of all parts of the split model whose first part is `path`. Raises `ModelFileError` for a bad name."""
    path = Path(path)
    if n_parts <= 1:
        return (path,)
    match = _PART_NAME.fullmatch(path.name)
    if match is None or int(match["count"]) != n_parts:
        raise ModelFileError(
            f"{path}: is one of {n_parts} parts, but not named NAME-00001-of-{n_parts:05}.gguf; rename the parts"
        )
    if int(match["number"]) != 1:
        first = f"{match['stem']}-00001-of-{n_parts:05}.gguf"
        raise ModelFileError(f"{path}: is part {int(match['number'])} of {n_parts}; give the first, {first}")
    return tuple(
        path.with_name(f"{match['stem']}-{number:05}-of-{n_parts:05}.gguf") for number in range(1, n_parts + 1)
    )


def n_parts(header: GgufHeader) -> int:
    """How many files the model is split into, by what its first part says."""
    return int(header.metadata.get("split.count") or 1)


def _all_tensors(fields: Fields) -> dict[str, TensorInfo]:
    """Tensors of all parts by name."""
    count = fields.scalar("split.count", ValueType.UINT16) or 1
    if count > _MAX_PARTS:
        raise fields.error(f"split.count is {count}, expected at most {_MAX_PARTS}")
    tensors = {tensor.name: tensor for tensor in fields.header.tensors}
    for number, path in enumerate(part_paths(fields.path, count)):
        if number == 0:
            part = fields
        else:
            if not path.is_file():
                raise ModelFileError(
                    f"{path}: part {number + 1} of {count} is missing; fetch all parts into one folder"
                )
            _check_is_gguf(path)
            part = Fields(path, read_header(path))
        if count > 1 and part.scalar("split.no", ValueType.UINT16) != number:
            raise part.error(f"split.no should be {number}, not {part.header.metadata.get('split.no')}")
        if number:
            for tensor in part.header.tensors:
                if tensor.name in tensors:
                    raise part.error(f"tensor {tensor.name} is in an earlier part as well")
                tensors[tensor.name] = tensor
    expected = fields.scalar("split.tensors.count", ValueType.INT32)
    if count > 1 and expected is not None and expected != len(tensors):
        raise fields.error(f"its parts hold {len(tensors)} tensors, but split.tensors.count is {expected}")
    return tensors
