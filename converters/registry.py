"""Chooses the family of a checkpoint and converts it."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import gguf

from edge_wsd.errors import ConversionError

from .base import Conversion, Family, plan_tensors
from .checkpoint import Checkpoint
from .model_card import describe_model
from .storage import file_type, require_supported
from .tokenizer import read_vocabulary
from .writer import Progress, write_gguf

# `architectures` in config.json -> the module and class that know it.
_FAMILIES = {"LlamaForCausalLM": (".llama", "Llama")}
_QUANTIZATION_VERSION = 2


def convert(
    source: str | Path,
    target: str | Path,
    *,
    type: str = "Q8_0",
    force: bool = False,
    pre_tokenizer: str | None = None,
    progress: Progress | None = None,
) -> Conversion:
    """Converts the checkpoint folder `source` to the GGUF file `target`.

    `type` is one of SUPPORTED_TYPES. `force` replaces an existing target. `pre_tokenizer` names llama.cpp's
    pre-tokenizer where the checkpoint's own is not recognised. `progress(done_bytes, total_bytes)` is called
    as tensor data is written. Raises ConversionError with one line; then no target was made or changed.
    """
    source, target = Path(source), Path(target)
    require_supported(type)
    _require_target(target, force)
    checkpoint = Checkpoint(source)
    family = family_of(checkpoint)
    plan = plan_tensors(checkpoint, family)
    vocabulary = read_vocabulary(checkpoint, family.n_vocab, pre_tokenizer)
    writer = gguf.GGUFWriter(None, family.architecture)
    describe_model(writer, checkpoint)
    writer.add_file_type(file_type(type))
    writer.add_quantization_version(_QUANTIZATION_VERSION)
    family.describe(writer)
    vocabulary.write(writer)
    _require_target(target, force)
    types = write_gguf(target, writer, plan, type, progress)
    notes = (*vocabulary.notes, *_type_notes(type, types))
    return Conversion(target, family.architecture, len(plan), target.stat().st_size, dict(types), notes)


def _type_notes(type_name: str, types: dict[str, int]) -> tuple[str, ...]:
    if type_name == "F16" or not types.get("F16"):
        return ()
    return (f"{types['F16']} tensor(s) stored as F16: their rows do not divide into {type_name} blocks",)


def family_of(checkpoint: Checkpoint) -> Family:
    """What is known about the checkpoint's model class. Raises ConversionError for one that is not known."""
    names = checkpoint.config.get("architectures")
    name = names[0] if isinstance(names, list) and len(names) == 1 else None
    if not isinstance(name, str) or name not in _FAMILIES:
        raise ConversionError(f"config.json: architectures is {names!r:.80}; supported: {', '.join(sorted(_FAMILIES))}")
    module, cls = _FAMILIES[name]
    family: Family = getattr(import_module(module, __package__), cls)(checkpoint.config)
    return family


def _require_target(target: Path, force: bool) -> None:
    if target.is_dir():
        raise ConversionError(f"{target} is a folder; name the GGUF file to write")
    if target.exists() and not force:
        raise ConversionError(f"{target} exists already; choose another name or use --force")
    if not target.parent.is_dir():
        raise ConversionError(f"folder {target.parent} does not exist; make it first")
