"""A small checkpoint written by hand, whose parts a test breaks; and what converting it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge_wsd.converters import convert
from edge_wsd.errors import ConversionError
from tests.tiny_llama import llama_config, llama_tensors, safetensors_bytes, safetensors_header
from tests.tiny_models import byte_characters

N_VOCAB = 300
PICKLE = b"\x80\x04K\x00."
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 7\n" % (b"0" * 64)


class Folder:
    """A small correct checkpoint whose parts a test changes before `write`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = llama_config(N_VOCAB)
        self.tensors = llama_tensors(N_VOCAB)
        self.tokenizer: dict[str, Any] = {
            "added_tokens": [{"id": 256, "content": "<s>", "special": True}],
            "normalizer": None,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
            "post_processor": None,
            "model": {
                "type": "BPE",
                "vocab": {letter: token for token, letter in enumerate([*byte_characters(), "<s>", "th"])},
                "merges": ["t h"],
            },
        }

    def header(self) -> dict[str, Any]:
        return safetensors_header(self.tensors)

    def write(self, header: dict[str, Any] | None = None) -> None:
        said = self.header() if header is None else header
        self.save("model.safetensors", safetensors_bytes(said, self.tensors))
        self.save("config.json", json.dumps(self.config).encode())
        self.save("tokenizer.json", json.dumps(self.tokenizer).encode())

    def save(self, name: str, content: bytes) -> None:
        (self.path / name).write_bytes(content)


def refusal(folder: Folder, **options: Any) -> str:
    """The message of a refused conversion, after checking that it is one line and nothing was written."""
    target = folder.path.parent / "out.gguf"
    with pytest.raises(ConversionError) as caught:
        convert(folder.path, target, **options)
    assert "\n" not in str(caught.value)
    assert sorted(folder.path.parent.iterdir()) == [folder.path]
    return str(caught.value)
