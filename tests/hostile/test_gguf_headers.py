"""Headers that are cut off, lie or repeat themselves: one clear line, and no memory is taken for what they claim."""

import io
import struct
from pathlib import Path

import pytest

from edge_wsd.errors import ModelFileError
from edge_wsd.models.gguf import header as gguf_file
from edge_wsd.models.gguf.check import check_gguf
from edge_wsd.models.gguf.header import read_header
from tests.gguf_defects import refusal
from tests.tiny_models import (
    TinyModel,
    string,
)


def boundaries(model: TinyModel) -> list[int]:
    """Lengths at which a field of the file ends, and one byte to either side."""
    raw, ends = model.to_bytes(), {4, 8, 16, 24, len(model.header())}
    names = [*model.metadata, *(tensor.name for tensor in model.tensors)]
    for name in names:
        start = raw.index(struct.pack("<Q", len(name)) + name.encode())
        ends |= {start, start + 8, start + 8 + len(name), start + 12 + len(name), start + 20 + len(name)}
    ends |= set(range(len(model.header()), len(raw), 9001)) | {len(raw)}
    return sorted({near for end in ends for near in (end - 1, end, end + 1) if 0 < near < len(raw) - 32})


def test_a_header_of_37_bytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "short.gguf"
    path.write_bytes((b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + bytes(13))[:37])
    assert "claims 1 metadata values" in refusal(path)


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    model, path = TinyModel(), tmp_path / "cut.gguf"
    raw = model.to_bytes()
    lengths = boundaries(model)
    assert len(lengths) > 200
    for length in lengths:
        path.write_bytes(raw[:length])
        refusal(path)


def patched(offset: int, raw: bytes) -> bytes:
    whole = bytearray(TinyModel().to_bytes())
    whole[offset : offset + len(raw)] = raw
    return bytes(whole)


def place_of(text: str) -> int:
    """Where the length of the first string `text` lies."""
    return TinyModel().to_bytes().index(struct.pack("<Q", len(text)) + text.encode())


HUGE = [2**31, 2**32, 2**40, 2**61, 2**63 - 1, 2**63, 2**64 - 8, 2**64 - 1]


@pytest.mark.parametrize("count", HUGE)
def test_counts_and_lengths_that_wrap_around_are_refused_and_no_memory_is_taken(tmp_path: Path, count: int) -> None:
    path, big = tmp_path / "huge.gguf", struct.pack("<Q", count)
    key = place_of("tokenizer.ggml.tokens")
    array_length = key + 8 + len("tokenizer.ggml.tokens") + 4 + 4
    for offset, reason in (
        (8, "tensors"),
        (16, "metadata values"),
        (key, "claims"),
        (place_of("llama"), "claims"),
        (array_length, "claims"),
        (array_length + 8, "needs"),
        (place_of("token_embd.weight"), "claims"),
        (place_of("token_embd.weight") + 8 + len("token_embd.weight") + 4, "larger than the file"),
    ):
        path.write_bytes(patched(offset, big))
        assert reason in refusal(path), offset


@pytest.mark.parametrize(
    ("offset", "raw", "reason"),
    [
        (4, struct.pack("<I", 1), "version 1 is not supported"),
        (4, struct.pack("<I", 4), "version 4 is not supported"),
        (4, struct.pack(">I", 3), "big-endian"),
        (place_of("general.name") + 8, b"\xff", "not valid UTF-8"),
        (place_of("general.name") + 8 + 12, struct.pack("<I", 13), "unknown type 13"),
        (place_of("tokenizer.ggml.tokens") + 8 + 21 + 4, struct.pack("<I", 9), "array of arrays"),
        (place_of("hello") + 8, b"\xc3\x28", "element 2"),
        (place_of("general.architecture"), struct.pack("<Q", 0), "has no name"),
    ],
)
def test_a_patched_header_is_refused(tmp_path: Path, offset: int, raw: bytes, reason: str) -> None:
    path = tmp_path / "patched.gguf"
    path.write_bytes(patched(offset, raw))
    assert reason in refusal(path)


def test_the_same_key_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.gguf"
    path.write_bytes(patched(place_of("llama.rope.freq_base") + 8, b"llama.rope.freq_ba5e"))
    check_gguf(path)  # a key nobody reads does no harm
    model = TinyModel()
    model.metadata["general.nama"] = string("x")
    raw = model.to_bytes().replace(b"general.nama", b"general.name")
    path.write_bytes(raw)
    assert "general.name appears twice" in refusal(path)


class Shrinking(io.BytesIO):
    """A file that was longer when its size was asked for."""

    def seek(self, offset: int, whence: int = 0) -> int:
        return super().seek(offset, whence) + (200_000 if whence else 0)


def test_a_file_that_shrinks_while_it_is_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = TinyModel().header()[:-100]
    monkeypatch.setattr(gguf_file, "open_regular", lambda path: Shrinking(raw))
    with pytest.raises(ModelFileError, match="became shorter while"):
        read_header("model.gguf")
