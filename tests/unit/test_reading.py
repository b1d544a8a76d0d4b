"""What is read has a bound, whatever lies at the path."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_wsd.cli.ui.texts import read_conversation, read_text
from edge_wsd.converters.checkpoint.json_files import read_json
from edge_wsd.converters.checkpoint.safetensors_file import read_tensors
from edge_wsd.converters.quantization.calibration import read_calibration_text
from edge_wsd.converters.quantization.imatrix import read_imatrix
from edge_wsd.converters.quantization.imatrix_dat import read_dat
from edge_wsd.converters.tokenizers.sentencepiece_file import read_sentencepiece
from edge_wsd.errors import EdgeWsdError
from edge_wsd.models.gguf.check import check_gguf
from edge_wsd.models.gguf.header import read_header
from edge_wsd.models.pairs.file import PairsFile
from edge_wsd.models.store.manifest import read_manifest
from edge_wsd.prompts.choose import base_template
from edge_wsd.reading import open_regular, parse_json, read_bounded
from edge_wsd.session import Session

needs_pipes = pytest.mark.skipif(sys.platform == "win32", reason="named pipes and device files")


def test_a_file_is_read_whole_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 2048)
    assert read_bounded(path, 2048) == b"x" * 2048
    with pytest.raises(OSError, match="it is larger than 1 KiB"):
        read_bounded(path, 2047)


def test_a_file_of_holes_is_refused_by_its_size(tmp_path: Path) -> None:
    path = tmp_path / "holes"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(OSError, match="it is larger than 16 MiB"):
        read_bounded(path, 16 << 20)


@needs_pipes
def test_a_named_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    # `chat --load PIPE` waited for ever for somebody to write
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(OSError, match="a device or a pipe"):
        read_bounded(path, 100)
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(OSError, match="a device or a pipe"):
        open_regular(link)


@needs_pipes
@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev/random"])
def test_a_device_is_refused(device: str) -> None:
    # `chat --load /dev/zero` grew to 23 GB
    with pytest.raises(OSError, match="a device or a pipe"):
        read_bounded(device, 100)


@needs_pipes
def test_a_pipe_that_the_shell_opened_is_read_up_to_the_limit() -> None:
    ours, theirs = os.pipe()
    try:
        os.write(theirs, b"from a command")
        os.close(theirs)
        assert read_bounded(f"/dev/fd/{ours}", 100) == b"from a command"
    finally:
        os.close(ours)


def test_a_folder_and_an_impossible_name_are_told(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="it is a folder"):
        read_bounded(tmp_path, 100)
    with pytest.raises(FileNotFoundError):
        read_bounded(tmp_path / "none", 100)
    for name in ("a\0b", "a\ud800b"):
        with pytest.raises(OSError):
            read_bounded(f"{tmp_path}/{name}", 100)


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, "[" * 200_000 + "]" * 200_000])
def test_deep_json_is_a_value_error(text: str) -> None:
    # it was a RecursionError, which nobody expected
    with pytest.raises(ValueError, match="too many brackets"):
        parse_json(text)


@pytest.mark.parametrize("text", [r'"\ud800"', r'{"a": ["x\uDfFf"]}', r'{"\udc00": 1}', r'"\ude42\ud83d"'])
def test_half_a_character_in_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="half a character"):
        parse_json(text)


@pytest.mark.parametrize("value", ["🙂 é \\ud800", {"a": [1, None, "\n"]}, "\\\\ud83d"])
def test_sound_json_is_read(value: object) -> None:
    assert parse_json(json.dumps(value)) == value
    assert parse_json(b"\xef\xbb\xbf" + json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize("data", [b"\xff\xfe[]", b"", b"{", b"9" * 5000])
def test_what_is_no_json_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        parse_json(data)


def test_a_number_that_python_does_not_read_is_told_without_advice_on_python() -> None:
    with pytest.raises(ValueError, match=r"^it holds a number of thousands of digits$"):
        parse_json("9" * 5000)


READERS: dict[str, Callable[[Path], Any]] = {
    "a prompt": lambda path: read_text(str(path)),
    "messages": lambda path: read_conversation(str(path)),
    "a saved conversation": lambda path: Session.load(path, None),  # type: ignore[arg-type]
    "a template": lambda path: base_template(str(path), None, bos="", eos=""),
    "a calibration text": read_calibration_text,
    "an importance matrix": read_imatrix,
    "an old importance matrix": read_dat,
    "a GGUF header": read_header,
    "a model": check_gguf,
    "a manifest": read_manifest,
    "the pairs": lambda path: PairsFile(path).read(),
    "a config": lambda path: read_json(path.parent, path.name),
    "a tokenizer": lambda path: read_sentencepiece(path.parent, path.name),
    "weights": read_tensors,
}


@needs_pipes
@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_no_reader_waits_at_a_pipe_or_swallows_a_device(read: Callable[[Path], Any], tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to("/dev/zero")
    for path in (pipe, link, tmp_path):
        with pytest.raises((EdgeWsdError, OSError), match=r"pipe|folder|regular|directory"):
            read(path)


@pytest.mark.parametrize("text", ["[" * 200_000, r'{"format": "edge-wsd conversation 1", "system": "\ud800"}'])
@pytest.mark.parametrize("name", ["messages", "a saved conversation", "a manifest", "a config"])
def test_no_reader_of_json_stumbles_over_brackets_or_half_a_character(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text(text)
    with pytest.raises(EdgeWsdError, match=r"brackets|half a character"):
        READERS[name](path)
