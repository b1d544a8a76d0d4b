"""What loading a pair costs, and what of it grows with the vocabulary: the check of the files, and the comparison.

    python -m scripts.bench_load [--vocab 128256] [--runs 5] [--python OTHER/.venv/bin/python ...]

Loads, each in a process of its own and in turns, so that a drifting machine hits all alike: the demonstration pair, and
two small pairs of random weights with large vocabularies, one of two equal vocabularies and one of two that differ.
`--python` names the interpreters of other checkouts to compare with, which take part in the turns. Prints medians in
milliseconds, and as its last line one JSON object. The first load of a file also tries it in a child process; it is not
counted.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf

from scripts.random_model import RandomModel, Shape

_CHILD = """
import json, sys, time
begin = time.perf_counter()
import edge_wsd.loaded_pair as module
from edge_wsd import ModelSettings, Pair
seconds = {"import": time.perf_counter() - begin}

def timed(name):
    function = getattr(module, name)
    def call(*arguments, **named):
        start = time.perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start
    setattr(module, name, call)

timed("check_gguf")
timed("compare_vocabularies")
settings = dict.fromkeys(("drafter_settings", "base_settings"), ModelSettings(context_length=256))
start = time.perf_counter()
if len(sys.argv) == 1:
    pair = Pair.demo(**settings)
else:
    pair = Pair.load(*sys.argv[1:], drafter_template="plain", **settings)
seconds["load"] = time.perf_counter() - start
start = time.perf_counter()
draft = pair.bridge.draft("\\n", strip=True)
for token in pair.drafter.model.vocab.tokenize("a beginning, and more"):
    draft.push(token)
seconds["first hand-over"] = time.perf_counter() - start
pair.close()
print(json.dumps(seconds))
"""


_LETTERS = "etaoinshrdlu\u0120"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocab", type=int, default=128_256, help="entries of the large vocabularies (128256)")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--python", nargs="*", default=[], help="interpreters of other checkouts")
    arguments = parser.parse_args()
    if arguments.vocab < 1000:
        parser.error("needs at least 1000 entries")
    pythons = [sys.executable, *arguments.python]
    with tempfile.TemporaryDirectory() as folder:
        pairs = {"demo": [], **write_pairs(Path(folder), arguments.vocab)}
        found: dict[str, dict[str, list[float]]] = {}
        for run in range(arguments.runs + 1):
            for name, files in pairs.items():
                for python in pythons:
                    row = load(python, files)
                    for key, seconds in row.items() if run else ():
                        found.setdefault(f"{name}, {python}", {}).setdefault(key, []).append(seconds)
    medians = {name: {key: statistics.median(all_) for key, all_ in rows.items()} for name, rows in found.items()}
    for name, row in medians.items():
        print(name)
        for key, seconds in row.items():
            print(f"  {key:24}{1000 * seconds:10.1f} ms")
    print(json.dumps({"arguments": vars(arguments), "median_s": medians}))


def load(python: str, files: list[str]) -> dict[str, float]:
    """Seconds of one load in a fresh process."""
    run = subprocess.run([python, "-c", _CHILD, *files], capture_output=True, text=True, check=True, cwd="/")
    row: dict[str, float] = json.loads(run.stdout)
    return row


def write_pairs(folder: Path, n_vocab: int) -> dict[str, list[str]]:
    """Files of a pair with one vocabulary, and of one with two."""
    model = RandomModel(Shape.of_width(256, 1), n_vocab, "Q4_0", 8.0)
    paths = [folder / f"{name}.gguf" for name in ("drafter", "base", "other")]
    for path, letters in zip(paths, (_LETTERS, _LETTERS, _LETTERS[::-1]), strict=True):
        model.write(path, model.inner, lambda writer, letters=letters: write_vocabulary(writer, n_vocab, letters))
    drafter, base, other = map(str, paths)
    return {"equal": [drafter, base], "different": [other, base]}


def write_vocabulary(writer: gguf.GGUFWriter, n_vocab: int, letters: str) -> None:
    """A byte-level vocabulary as trained ones are: every word is made of two others, in several ways."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    spare = iter(range(0x100, 0x200))
    tokens = {chr(byte) if byte in printable else chr(next(spare)): None for byte in range(256)}
    words = ("".join(word) for n in itertools.count(2) for word in itertools.product(letters, repeat=n))
    merges: list[str] = []
    for word in itertools.islice(words, n_vocab - 2 - len(tokens)):
        tokens[word] = None
        splits = ((word[:at], word[at:]) for at in range(1, len(word)))
        merges += [f"{left} {right}" for left, right in splits if left in tokens and right in tokens]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([*tokens, "<|begin|>", "<|end|>"])
    writer.add_token_types([gguf.TokenType.NORMAL] * len(tokens) + [gguf.TokenType.CONTROL] * 2)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(n_vocab - 2)
    writer.add_eos_token_id(n_vocab - 1)
    writer.add_add_bos_token(True)


if __name__ == "__main__":
    main()
