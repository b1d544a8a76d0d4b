"""Chooses the family of a checkpoint and converts it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

import gguf

from edge_wsd.errors import ConversionError
from edge_wsd.models.gguf.file_types import find_type
from edge_wsd.progress import Progress

from .checkpoint.folder import Checkpoint
from .checkpoint.model_card import describe_model
from .families.base import Conversion, Family, plan_tensors
from .lora import read_adapters
from .model_writer import QuantizeOptions, write_model
from .tokenizers.choose import read_vocabulary
from .writing.target import require_apart, require_target

# `architectures` in config.json -> the module and class that know it.
_FAMILIES = {
    "Gemma2ForCausalLM": (".families.gemma2", "Gemma2"),
    "Gemma3ForCausalLM": (".families.gemma3", "Gemma3"),
    "Gemma3ForConditionalGeneration": (".families.gemma3", "Gemma3WithVision"),
    "LlamaForCausalLM": (".families.llama", "Llama"),
    "MistralForCausalLM": (".families.mistral", "Mistral"),
    "Phi3ForCausalLM": (".families.phi3", "Phi3"),
    "Qwen2ForCausalLM": (".families.qwen2", "Qwen2"),
    "Qwen3ForCausalLM": (".families.qwen3", "Qwen3"),
}
_QUANTIZATION_VERSION = 2


def convert(
    source: str | Path,
    target: str | Path,
    *,
    type: str = "Q8_0",
    keep: Mapping[str, str] | None = None,
    imatrix: str | Path | None = None,
    lora: str | Path | Sequence[str | Path] = (),
    force: bool = False,
    pre_tokenizer: str | None = None,
    progress: Progress | None = None,
    command: Sequence[str] | None = None,
) -> Conversion:
    """Converts the checkpoint folder `source` to the GGUF file `target`.

    `type` is one of SUPPORTED_TYPES or an alias. F32, F16, BF16 and Q8_0 are written directly; for any other, and with
    `keep` or `imatrix` (as in `quantize`, which also takes `command`), a file of floats lies beside the target
    meanwhile. `lora` names folders of PEFT adapters that are merged into the weights.
    `force` replaces an existing target. `pre_tokenizer` names llama.cpp's pre-tokenizer where the
    checkpoint's own is not recognised. `progress(done_bytes, total_bytes)` counts what is written, of both files.
    Raises ConversionError with one line; then no target was made or changed.
    """
    source, target, wanted = Path(source), Path(target), find_type(type)
    require_target(target, force)
    checkpoint = Checkpoint(source)
    _keep_what_is_read(target, [source, *_folders(lora)], imatrix)
    family = family_of(checkpoint)
    adapters = read_adapters(lora, family)
    plan = plan_tensors(checkpoint.tensors, family, adapters)
    vocabulary = read_vocabulary(checkpoint, family.n_vocab, pre_tokenizer)
    writer = gguf.GGUFWriter(None, family.architecture)
    describe_model(writer, checkpoint)
    writer.add_quantization_version(_QUANTIZATION_VERSION)
    family.describe(writer)
    vocabulary.write(writer)
    require_target(target, force)
    merged = [note for adapter in adapters for note in adapter.notes(source)]
    how = QuantizeOptions(keep or {}, None if imatrix is None else Path(imatrix), force, command)
    written = write_model(target, writer, plan.tensors, wanted, how, progress)
    return Conversion(
        target,
        family.architecture,
        len(plan.tensors),
        target.stat().st_size,
        written.bits_per_weight,
        written.types,
        (*checkpoint.notes, *family.notes(), *plan.notes, *merged, *vocabulary.notes, *written.notes),
    )


def _folders(lora: str | Path | Sequence[str | Path]) -> list[Path]:
    return [Path(lora)] if isinstance(lora, str | Path) else [Path(folder) for folder in lora]


def _keep_what_is_read(target: Path, folders: Sequence[Path], imatrix: str | Path | None) -> None:
    """Raises ConversionError if `target` is a file of the checkpoint or of an adapter, or the importance matrix."""
    files = [file for folder in folders if folder.is_dir() for file in folder.iterdir() if file.suffix != ".gguf"]
    require_apart(target, files, "of what is to be converted")
    require_apart(target, [] if imatrix is None else [Path(imatrix)], "with the importance matrix")


def family_of(checkpoint: Checkpoint) -> Family:
    """What is known about the checkpoint's model class. Raises ConversionError for one that is not known."""
    names = checkpoint.config.get("architectures")
    name = names[0] if isinstance(names, list) and len(names) == 1 else None
    if not isinstance(name, str) or name not in _FAMILIES:
        raise ConversionError(f"config.json: architectures is {names!r:.80}; supported: {', '.join(sorted(_FAMILIES))}")
    module, cls = _FAMILIES[name]
    family: Family = getattr(import_module(module, __package__), cls)(checkpoint.config)
    return family
