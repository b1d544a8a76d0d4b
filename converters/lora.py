"""PEFT LoRA adapters: what they add to the weights of their base, while it is converted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from edge_wsd.errors import ConversionError

from .checkpoint.json_files import read_json
from .checkpoint.lora_config import FILE, LoraConfig, parse_lora_config
from .checkpoint.low_rank import LowRank
from .checkpoint.safetensors_file import StoredTensor, read_tensors
from .families.base import Family, Weight

_WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."
_FACTOR = re.compile(r"(?P<module>.+)\.lora_(?P<part>A|B|embedding_A|embedding_B)(?:\.weight)?")
_ODD = re.compile(r"\.lora_|\.(?:token_adapter|trainable_tokens)")


def read_adapters(folders: str | Path | Sequence[str | Path], family: Family) -> list[LoraAdapter]:
    """One folder or several, whose updates are added up."""
    listed = [folders] if isinstance(folders, (str, Path)) else folders
    return [LoraAdapter(Path(folder), family) for folder in listed]


class LoraAdapter:
    """The folder of an adapter, read for a base of `family`. Raises ConversionError unless it is a plain LoRA."""

    def __init__(self, folder: Path, family: Family) -> None:
        self.folder = folder
        values = read_json(folder, FILE) if folder.is_dir() else None
        if values is None:
            raise ConversionError(f"{folder} is not a PEFT adapter: it has no {FILE}")
        self.config: LoraConfig = parse_lora_config(values, folder)
        self._factors: dict[str, dict[str, StoredTensor]] = {}
        self._modules: dict[str, str] = {}
        self._replaced: dict[str, StoredTensor] = {}
        self._left_out: list[str] = []
        for key, tensor in _read_weights(folder).items():
            self._sort_in(key, tensor, family)

    def touches(self, name: str) -> bool:
        return name in self._factors or name in self._replaced

    def replaced(self, weight: Weight) -> StoredTensor | None:
        tensor = self._replaced.get(weight.name)
        if tensor is not None and tensor.shape != weight.shape:
            raise ConversionError(
                f"{self.folder.name} holds {weight.name!r} of shape {list(tensor.shape)}, its base "
                f"{list(weight.shape)}; if the vocabulary was resized, merge the adapter with PEFT first"
            )
        return tensor

    def update(self, weight: Weight) -> LowRank | None:
        factors = self._factors.get(weight.name)
        if factors is None:
            return None
        module = self._modules[weight.name]
        scale, rank = self.config.scale_of(module), self.config.rank_of(module)
        for first, second, swapped in (("B", "A", False), ("embedding_A", "embedding_B", True)):
            if factors.keys() == {first, second}:
                rows, columns = (weight.shape[0], rank), (rank, weight.shape[-1])
                expected = (rows[::-1], columns[::-1]) if swapped else (rows, columns)
                if (factors[first].shape, factors[second].shape) != expected or len(weight.shape) != 2:
                    raise ConversionError(
                        f"{self.folder.name}: the factors of {module!r} have shapes {list(factors[first].shape)} and "
                        f"{list(factors[second].shape)}, base and {FILE} make them {list(expected[0])} and "
                        f"{list(expected[1])}"
                    )
                return LowRank(factors[first], factors[second], scale, swapped)
        raise ConversionError(f"{self.folder.name}: {module!r} has {' and '.join(sorted(factors))}, expected A and B")

    def keeps_tied(self) -> bool:
        return self.config.keeps_tied

    def require_used(self, names: Iterable[str]) -> None:
        lost = sorted((self._factors.keys() | self._replaced.keys()) - set(names))
        if lost:
            raise ConversionError(
                f"{self.folder.name} changes {len(lost)} tensor(s) that its base does not have, first {lost[0]!r}; "
                "it belongs to another model"
            )

    def notes(self, base: Path) -> Iterable[str]:
        """What the user should know about merging this adapter into the checkpoint `base`."""
        trained_on = self.config.base_name.rstrip("/").rpartition("/")[2]
        if trained_on and trained_on.lower() != base.resolve().name.lower():
            yield f"{self.folder.name} was trained on {self.config.base_name!r}, it is merged into {str(base)!r}"
        if self.config.ignores_transposition:
            yield f"{self.folder.name}: fan_in_fan_out is set but no layer is stored that way; ignored, as PEFT does"
        if self._left_out:
            yield (
                f"{self.folder.name}: {len(self._left_out)} tensor(s) change parts outside the language model and are "
                f"left out, first {self._left_out[0]!r}"
            )
        if any((self.folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
            yield f"{self.folder.name} has its own tokenizer; tokenizer and chat template are those of the base"

    def _sort_in(self, key: str, tensor: StoredTensor, family: Family) -> None:
        if not key.startswith(_PREFIX):
            raise ConversionError(f"{self.folder.name}: {_WEIGHTS} has the key {key!r}, expected {_PREFIX}...")
        own = key.removeprefix(_PREFIX)
        factor = _FACTOR.fullmatch(own)
        if factor is None and _ODD.search(own):
            what = "DoRA's magnitudes" if "magnitude" in own else "no part of a plain LoRA"
            raise ConversionError(f"{self.folder.name}: {key!r} is {what}; merge the adapter with PEFT first")
        plain = own.replace(".modules_to_save.", ".").replace(".base_layer.", ".")
        name = family.known_as(factor["module"] + ".weight" if factor else plain)
        if family.is_left_out(name):
            self._left_out.append(key)
        elif factor is None:
            self._replaced[name] = tensor
        else:
            self._factors.setdefault(name, {})[factor["part"]] = tensor
            self._modules[name] = factor["module"]


def _read_weights(folder: Path) -> dict[str, StoredTensor]:
    if (folder / _WEIGHTS).is_file():
        return read_tensors(folder / _WEIGHTS)
    if (folder / "adapter_model.bin").is_file():
        raise ConversionError(
            f"{folder} has only pickled weights (adapter_model.bin): loading them runs code of the file, so they are "
            "refused; save the adapter with safe_serialization=True"
        )
    raise ConversionError(f"{folder} has no {_WEIGHTS}")
