"""Tokenises long runs of characters with a tiny vocabulary and many pre-tokenizers: run by the tests.

In a process of its own, since each of these once ended the process or could:
`python -m tests.model.tokenize_long_runs FOLDER STACK_KIB LENGTH NAME...`. Prints the names that were right.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from edge_wsd.llama.model import Model
from tests.tiny_models import TinyModel, string

UNITS = ("A", "a", "1", " ", "\n", "!", "é", "中", "aA", "<sentinel:1")
"""`<sentinel:` is what one of the patterns looks for before it follows a run of digits."""
NOT_BYTE_LEVEL = ("gemma4", "granite-embed-multi-311m", "sarvam-moe")
"""For other vocabularies than the tiny one, whose texts they do not give back."""


def check(path: Path, name: str, length: int) -> None:
    """Every run comes out as it went in."""
    model = TinyModel()
    model.metadata["tokenizer.ggml.pre"] = string(name)
    model.tensors = []
    model.write(path)
    with Model.load(path, vocab_only=True) as loaded:
        for unit in UNITS:
            text = unit[:-1] + unit[-1:] * length if unit.startswith("<") else (unit * length)[:length]
            tokens = loaded.vocab.tokenize(text)
            if name not in NOT_BYTE_LEVEL and b"".join(map(loaded.vocab.piece, tokens)) != text.encode():
                raise ValueError(f"{name}: a run of {unit!r} came out as another text")
    print(name, flush=True)


def main() -> None:
    folder, stack_kib, length, *names = sys.argv[1:]
    threading.stack_size(int(stack_kib) << 10)

    def run() -> None:
        for name in names:
            check(Path(folder) / "vocabulary.gguf", name, int(length))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


if __name__ == "__main__":
    main()
