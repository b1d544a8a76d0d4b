"""A checkpoint folder: its JSON files and the tensors of its safetensors files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edge_wsd.errors import ConversionError

from .config import Config
from .safetensors_file import StoredTensor, read_tensors

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


class Checkpoint:
    """A folder with config.json and safetensors weights. Raises ConversionError for anything else."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise ConversionError(
                f"{folder} is not a folder; expected a checkpoint folder with config.json and *.safetensors"
            )
        self.folder = folder
        values = self.json("config.json")
        if values is None:
            raise ConversionError(f"{folder} has no config.json; expected a Hugging Face checkpoint folder")
        self.config = Config(values, "config.json")
        for name in ("config.json", "tokenizer_config.json"):
            if (self.json(name) or {}).get("auto_map"):
                raise ConversionError(
                    f"{name} asks for code from the repository (auto_map), which is never run here; "
                    "use a checkpoint in the standard format of transformers"
                )
        if "quantization_config" in values:
            raise ConversionError(
                "config.json has a quantization_config: its weights are already quantized; "
                "convert the original checkpoint"
            )
        self.tensors = self._read_weights()

    def json(self, name: str) -> dict[str, Any] | None:
        """The object in a JSON file of the folder; None when there is no such file."""
        text = self.text(name)
        if text is None:
            return None
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConversionError(f"{name} is not valid JSON ({error}); download it again") from None
        if not isinstance(values, dict):
            raise ConversionError(f"{name} holds a {type(values).__name__}, expected a JSON object")
        return values

    def text(self, name: str) -> str | None:
        """The UTF-8 text of a file of the folder; None when there is no such file."""
        path = self.folder / name
        if not path.is_file():
            return None
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ConversionError(f"{name} is not UTF-8 ({error}); download it again") from None

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
        if (self.folder / "adapter_model.safetensors").is_file():
            return f"{self.folder} is a LoRA adapter, not a model; merge it into its base model first"
        return f"{self.folder} has neither {_SINGLE} nor {_INDEX}"
