"""What the check lets pass never kills llama.cpp, which dies of what the check refuses."""

import json
import os
import random
import struct
import subprocess
from pathlib import Path

import pytest

from edge_wsd.errors import ModelFileError
from edge_wsd.models.gguf.check import check_gguf
from edge_wsd.models.probe.trial import probe_command
from tests.gguf_defects import DEFECTS
from tests.tiny_models import (
    TinyModel,
    Value,
    byte_level_vocabulary,
    sentencepiece_tokenizer,
)


def load_in_child(paths: list[Path]) -> dict[str, bool | None]:
    """Whether llama.cpp loads each file; None for one that killed the child."""
    verdicts: dict[str, bool | None] = {}
    waiting = [str(path) for path in paths]
    while waiting:
        environment = {**os.environ, "GGML_NO_BACKTRACE": "1"}
        child = subprocess.run(
            [*probe_command(), *(json.dumps({"path": path, "settings": None}) for path in waiting)],
            capture_output=True,
            env=environment,
            timeout=120,
            check=False,
        )
        reports = [json.loads(line) for line in child.stdout.splitlines()]
        ended = {report["end"]: report["loads"] for report in reports if "end" in report}
        verdicts |= ended
        waiting = waiting[len(ended) :]
        if child.returncode:
            assert waiting, child.stderr.decode(errors="replace")
            verdicts[waiting.pop(0)] = None
    return verdicts


def flipped(raw: bytes, header: int, source: random.Random) -> bytes:
    """One bit of the header turned, or four bytes of it replaced by a number that often breaks something."""
    broken = bytearray(raw)
    if source.random() < 0.7:
        broken[source.randrange(24, header)] ^= 1 << source.randrange(8)
    else:
        place = source.randrange(24, header - 4)
        broken[place : place + 4] = struct.pack("<I", source.choice([0, 1, 3, 33, 512, 65536, 2**31, 2**32 - 1]))
    return bytes(broken)


@pytest.mark.slow
@pytest.mark.parametrize("metadata", [{}, sentencepiece_tokenizer()], ids=["byte pairs", "sentencepiece"])
def test_what_passes_the_check_never_kills_llama_cpp(tmp_path: Path, metadata: dict[str, Value]) -> None:
    """A flipped bit in a token's text once made two tokens the same, on which llama.cpp 0.3.36 aborts."""
    model, source = TinyModel(metadata=metadata), random.Random(20)
    raw, header, passed = model.to_bytes(), len(model.header()), []
    for number in range(600):
        path = tmp_path / f"{number}.gguf"
        path.write_bytes(flipped(raw, header, source))
        try:
            check_gguf(path)
        except ModelFileError as error:
            assert "\n" not in str(error)
            path.unlink()
        else:
            passed.append(path)
    assert 20 < len(passed) < 500
    verdicts = load_in_child(passed)
    assert len(verdicts) == len(passed)
    killers = [path for path, loads in verdicts.items() if loads is None]
    assert killers == []
    assert sum(loads is True for loads in verdicts.values()) > len(passed) // 2


@pytest.mark.slow
def test_the_checks_are_needed_llama_cpp_dies_of_what_they_refuse(tmp_path: Path) -> None:
    """If this fails, llama.cpp has become more careful, and the named checks may go."""
    paths = []
    for defect in ("tokens twice", "tokens twice behind NUL", "no layers", "too many layers", "experts nobody uses"):
        model = TinyModel()
        DEFECTS[defect][0](model)
        paths.append(model.write(tmp_path / f"{defect}.gguf"))
    assert set(load_in_child(paths).values()) == {None}


def test_the_tiny_model_is_whole(tmp_path: Path) -> None:
    tokens, merges = byte_level_vocabulary()
    assert len(set(tokens)) == len(tokens) and len(tokens) == 256 + len(merges)
    assert load_in_child([TinyModel().write(tmp_path / "tiny.gguf")]) == {str(tmp_path / "tiny.gguf"): True}
