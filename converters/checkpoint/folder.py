"""A checkpoint folder: its JSON files and the tensors of its safetensors files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge_wsd.errors import ConversionError

from .config import Config
from .json_files import read_json, text_of
from .safetensors_file import StoredTensor, read_tensors

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
_PLAIN = frozenset({"F64", "F32", "F16", "BF16", "I64", "BOOL"})
"""Types of tensors that are not quantized, buffers included."""
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


class Checkpoint:
    """A folder with config.json and safetensors weights. Raises ConversionError for anything else."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            hint = "; `edge-wsd quantize` stores a GGUF file in another type" if folder.suffix == ".gguf" else ""
            raise ConversionError(
                f"{folder} is not a folder; expected a checkpoint folder with config.json and *.safetensors{hint}"
            )
        self.folder = folder
        self._read: dict[str, dict[str, Any] | None] = {}
        values = self.json("config.json")
        if values is None:
            raise ConversionError(
                self._why_adapter() or f"{folder} has no config.json; expected a Hugging Face checkpoint folder"
            )
        self.config = Config(values, "config.json")
        for name in ("config.json", "tokenizer_config.json"):
            if (self.json(name) or {}).get("auto_map"):
                raise ConversionError(
                    f"{name} asks for code from the repository (auto_map), which is never run here; "
                    "use a checkpoint in the standard format of transformers"
                )
        self.tensors = self._read_weights()
        self.notes = self._quantization_notes(self.weight_types())

    def weight_types(self) -> frozenset[str]:
        """The types of all tensors, as safetensors calls them."""
        return frozenset(tensor.dtype for tensor in self.tensors.values())

    def _quantization_notes(self, types: frozenset[str]) -> tuple[str, ...]:
        """A word about a quantization_config that was left over. Raises ConversionError for weights it is true of."""
        section = self.config.get("quantization_config")
        if not section:
            return ()
        quantized = sorted(types - _PLAIN)
        if quantized:
            raise ConversionError(
                f"config.json has a quantization_config and the weights are quantized ({quantized[0]}); "
                "convert the original checkpoint"
            )
        method = section.get("quant_method") if isinstance(section, dict) else None
        return (f"config.json has a quantization_config ({method!r:.40}) that its plain weights are none of; left out",)

    def json(self, name: str) -> dict[str, Any] | None:
        """The object in a JSON file of the folder; None when there is no such file."""
        if name not in self._read:
            self._read[name] = read_json(self.folder, name)
        return self._read[name]

    def text(self, name: str) -> str | None:
        """The UTF-8 text of a file of the folder; None when there is no such file."""
        return text_of(self.folder, name)

    def _read_weights(self) -> dict[str, StoredTensor]:
        if (self.folder / _SINGLE).is_file():
            return read_tensors(self.folder / _SINGLE)
        index = self.json(_INDEX)
        if index is None:
            raise ConversionError(self._why_no_weights())
        return self._read_shards(index)

    def _read_shards(self, index: dict[str, Any]) -> dict[str, StoredTensor]:
        """All tensors of all shards; the index and the shards must agree in both directions."""
        home = index.get("weight_map")
        if not isinstance(home, dict) or not all(isinstance(shard, str) for shard in home.values()):
            raise ConversionError(f"{_INDEX} has no weight_map from tensor names to files; download it again")
        tensors: dict[str, StoredTensor] = {}
        for shard in sorted(set(home.values())):
            if Path(shard).name != shard or "\\" in shard:
                raise ConversionError(f"{_INDEX} names {shard!r}, which is not a file of this folder")
            if not (self.folder / shard).is_file():
                raise ConversionError(f"shard {shard} named by {_INDEX} is missing; download it")
            for name, tensor in read_tensors(self.folder / shard).items():
                if home.get(name) != shard:
                    raise ConversionError(
                        f"{shard} holds tensor {name!r}, which {_INDEX} does not place there; "
                        "the files belong to different checkpoints"
                    )
                tensors[name] = tensor
        missing = next((name for name in home if name not in tensors), None)
        if missing is not None:
            raise ConversionError(f"tensor {missing!r} is not in {home[missing]}, where {_INDEX} places it")
        return tensors

    def _why_no_weights(self) -> str:
        pickle = next((path for pattern in _PICKLES for path in sorted(self.folder.glob(pattern))), None)
        if pickle is not None:
            return (
                f"{self.folder} has only pickled weights ({pickle.name}): loading them runs code of "
                "the file, so they are refused; save the model with safe_serialization=True first"
            )
        return self._why_adapter() or f"{self.folder} has neither {_SINGLE} nor {_INDEX}"

    def _why_adapter(self) -> str | None:
        """What to do with a folder that holds an adapter; None for any other."""
        if not any((self.folder / name).is_file() for name in _ADAPTER):
            return None
        base = (self.json(_ADAPTER[0]) or {}).get("base_model_name_or_path")
        of_base = f" of {base!r:.100}" if isinstance(base, str) and base else ""
        return (
            f"{self.folder} is a LoRA adapter{of_base}, not a model; convert its base and merge it in with "
            f"--lora {self.folder}"
        )
