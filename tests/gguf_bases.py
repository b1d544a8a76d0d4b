"""Good GGUF files of many kinds, from which hostile ones are made.

>>> bases(tmp_path, families=("gemma3",))["gemma3"]
(PosixPath('.../gemma3.gguf'),)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.tiny_models import Tensor, TinyModel, i32, sentencepiece_tokenizer, u16

QUANTIZED = ("Q4_K", "IQ4_XS", "Q8_0", "IQ1_S", "TQ2_0")
_TYPES = {"Q4_K": 12, "IQ4_XS": 23, "Q8_0": 8, "IQ1_S": 19, "TQ2_0": 35}
_DEMO = Path(__file__).parent.parent / "edge_wsd" / "demo"
Files = tuple[Path, ...]


def bases(folder: Path, families: Sequence[str] = (), demo: bool = False) -> dict[str, Files]:
    """Files by name, all parts of a split one; the data of quantized ones is zero. `families` need torch."""
    made: dict[str, Files] = {
        "tiny": (TinyModel().write(folder / "tiny.gguf"),),
        "sentencepiece": (TinyModel(metadata=sentencepiece_tokenizer()).write(folder / "sentencepiece.gguf"),),
        "vocabulary": (_vocabulary(folder / "vocabulary.gguf"),),
        "split": _split(folder),
    }
    for name in QUANTIZED:
        made[name] = (_quantized(folder / f"{name}.gguf", name),)
    if families:
        from edge_wsd.converters import convert
        from tests.checkpoints import make_checkpoint

        for family in families:
            target = folder / f"{family}.gguf"
            convert(make_checkpoint(folder / f"{family}-checkpoint", family), target, type="F16")
            made[family] = (target,)
    if demo:
        made |= {f"demo-{path.stem}": (path,) for path in sorted(_DEMO.glob("*.gguf"))}
    return made


def _vocabulary(path: Path) -> Path:
    model = TinyModel()
    model.tensors = []
    return model.write(path)


def _quantized(path: Path, type_name: str) -> Path:
    from edge_wsd.models.gguf.types import TENSOR_TYPES

    model = TinyModel(n_embd=256, n_ff=256, n_layers=1)
    kind = TENSOR_TYPES[_TYPES[type_name]]
    for tensor in model.tensors:
        if len(tensor.shape) > 1:
            tensor.type = _TYPES[type_name]
            tensor.data = bytes(tensor.n_elements // kind.block * kind.block_bytes)
    return model.write(path)


def _split(folder: Path) -> Files:
    whole = TinyModel()
    tensors: list[Tensor] = whole.tensors
    half = len(tensors) // 2
    paths = []
    for number, part in enumerate((tensors[:half], tensors[half:])):
        split = {"split.no": u16(number), "split.count": u16(2), "split.tensors.count": i32(len(tensors))}
        model = TinyModel()
        model.metadata = {**model.metadata, **split} if number == 0 else split
        model.tensors = part
        paths.append(model.write(folder / f"split-{number + 1:05}-of-00002.gguf"))
    return tuple(paths)
