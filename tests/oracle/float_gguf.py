"""A GGUF file with the same model in 32-bit floats, so that torch and llama.cpp compute with equal numbers.

>>> write_float_gguf(Path("base.gguf"), tmp_path / "base-f32.gguf")
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

_WRITTEN_BY_THE_WRITER = ("general.architecture", "general.file_type", "general.quantization_version")


def write_float_gguf(source: Path, target: Path) -> Path:
    """Copy every metadata value and every tensor of `source`; the tensors as F32. Returns `target`."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in _WRITTEN_BY_THE_WRITER:
            continue
        element = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), field.types[0], sub_type=element)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, _floats(tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def _floats(tensor: gguf.ReaderTensor) -> np.ndarray:
    values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    return np.ascontiguousarray(values, dtype=np.float32)
