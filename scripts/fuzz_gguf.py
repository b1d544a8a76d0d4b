"""Breaks GGUF files at random and holds checker and probe to their word: what passes must not kill llama.cpp.

    python -m scripts.fuzz_gguf --cases 20000 [--seed 1] [--families llama gemma3 ...] [--demo] [--out FOLDER] [--use]

Each case is one broken file. `check_gguf` must pass it or refuse it with `ModelFileError`; what passes is loaded by
`edge_wsd.models.probe.child` (vocabulary, model, tiny context), many files to a child. With `--use` the files are whole
and mean something else: other architectures' names, types, lengths. They are used by the probe, which may die of those
whose architecture the checker does not know, and what passes that writes replies (`scripts.fuzz_run_child`). Counts go
to stdout, the changes that killed something to stdout as JSON lines, their files to FOLDER. The exit code is 1 if there
are any.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edge_wsd import child_process
from edge_wsd.errors import ModelFileError
from edge_wsd.llama.settings import ModelSettings
from edge_wsd.models.gguf.check import check_gguf
from edge_wsd.models.gguf.header import read_header
from edge_wsd.models.gguf.hyperparameters import is_checked_whole
from edge_wsd.models.summary import summarize
from tests.gguf_bases import bases
from tests.gguf_meanings import choose_meaning
from tests.gguf_mutations import Change, Parsed, apply, choose, parse, weights

_BATCH = 100
_TIMEOUT_S = 300
Case = tuple[str, int, list[Change]]
"""Name of the base, number of the part that is broken, changes."""


@dataclass
class Outcome:
    """What became of the cases. `killed`: case, what was killed, how."""

    counts: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    killed: list[tuple[Case, str, str]] = field(default_factory=list)


class Fuzzer:
    """Makes cases of the files in `bases` and tries them in `folder`."""

    def __init__(self, made: dict[str, tuple[Path, ...]], folder: Path, *, uses: bool = False) -> None:
        """`uses`: see `--use`."""
        self._uses = uses
        self._settings = asdict(ModelSettings()) if uses else None
        self.files = made
        self._folder = folder
        self._parsed: dict[Path, Parsed] = {path: parse(path) for paths in made.values() for path in paths}

    @property
    def names(self) -> list[str]:
        """Names of the bases."""
        return sorted(self.files)

    def case(self, seed: int, index: int) -> Case:
        source = random.Random(f"{seed}:{index}")
        name = self.names[index % len(self.files)]
        part = source.randrange(len(self.files[name]))
        change = choose_meaning if self._uses else choose
        return name, part, change(self._parsed[self.files[name][part]], source)

    def write(self, case: Case, label: str) -> Path:
        """The file of a case (the first part of a split one), in a folder of its own."""
        name, broken, changes = case
        folder = self._folder / label
        folder.mkdir(exist_ok=True)
        for number, original in enumerate(self.files[name]):
            target = folder / original.name
            if number != broken:
                target.write_bytes(original.read_bytes())
                continue
            parsed = self._parsed[original]
            header, size = apply(parsed, changes)
            with target.open("wb") as file:
                file.write(header)
                if self._uses and parsed.data_size:
                    file.write(weights(parsed, changes, original.read_bytes()[-parsed.data_size :]))
                file.truncate(size)  # a sparse file: what the weights are does not matter where they are not used
        return folder / self.files[name][0].name

    def try_all(self, cases: list[Case]) -> Outcome:
        outcome = Outcome()
        passed: dict[str, Case] = {}
        for number, case in enumerate(cases):
            path = self.write(case, str(number % _BATCH))
            kept = False
            try:
                check_gguf(path, need_weights=case[0] != "vocabulary")
                json.dumps(summarize(path))  # what is told of a file must stand whatever is in it
                kept = True
            except ModelFileError as error:
                outcome.counts["refused by the checker"] += 1
                outcome.refusals[_kind_of(str(error), path)] += 1
                if "\n" in str(error):
                    outcome.killed.append((case, "checker", "an error of more than one line"))
            except Exception as error:
                outcome.counts["checker failed"] += 1
                outcome.killed.append((case, "checker", f"{type(error).__name__}: {error}"))
            if kept:
                passed[str(path)] = case
            if (number + 1) % _BATCH == 0 or number + 1 == len(cases):
                self._load(passed, outcome)
                passed = {}
        return outcome

    def _load(self, passed: dict[str, Case], outcome: Outcome) -> None:
        sound = []
        requests = {path: json.dumps({"path": path, "settings": self._settings}) for path in passed}
        for path, report, how in _in_children("edge_wsd.models.probe.child", requests):
            if report is not None:
                what = "refused by llama.cpp"
                if report["loads"]:
                    what = "loaded" if report.get("computes", True) else "refused for its numbers"
                    sound += [path] if what == "loaded" else []
                outcome.counts[what] += 1
            elif self._uses and not is_checked_whole(read_header(path)):
                outcome.counts["refused by the probe"] += 1
            else:
                outcome.counts["killed the loader"] += 1
                outcome.killed.append((passed[path], "loader", how))
        if not self._uses:
            return
        for path, report, how in _in_children("scripts.fuzz_run_child", {path: path for path in sound}):
            result = "killed the run" if report is None else str(report["result"])
            outcome.counts[result.partition(":")[0]] += 1
            if report is None or result.startswith("failed"):
                outcome.killed.append((passed[path], "run", how or result))


def _in_children(module: str, requests: dict[str, str]) -> Iterator[tuple[str, dict[str, Any] | None, str]]:
    """Path, report and, where there is none, how the child ended. The next child goes on behind the culprit."""
    left = list(requests)
    while left:
        command = child_process.python_command(module)
        child = child_process.run([*command, *(requests[path] for path in left)], timeout_s=_TIMEOUT_S)
        ended = [report for report in child.reports() if "end" in report]
        for report in ended:
            yield report["end"], report, ""
        if child.returncode != 0:
            tail = b" ".join(child.stderr.splitlines()[-3:]).decode(errors="replace")[-300:]
            yield left[min(len(ended), len(left) - 1)], None, f"{child.ending}: {tail}"
        left = left[len(ended) + 1 :] if child.returncode != 0 else []


def _kind_of(message: str, path: Path) -> str:
    """A message without what differs from file to file."""
    message = message.replace(str(path), "").replace(str(path.parent), "")
    return re.sub(r"'[^']*'|\[[^\]]*\]|-?\d+(\.\d+)?", "#", message)[:120]


def minimal(fuzzer: Fuzzer, case: Case, what: str) -> Case:
    """The case with as few changes as still kill the same."""
    name, part, changes = case
    for index in reversed(range(len(changes))):
        fewer = changes[:index] + changes[index + 1 :]
        if fewer and any(killed[1] == what for killed in fuzzer.try_all([(name, part, fewer)]).killed):
            changes = fewer
    return name, part, changes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--families", nargs="*", default=())
    parser.add_argument("--demo", action="store_true", help="break the files of the demo pair as well")
    parser.add_argument("--use", action="store_true", help="whole files of another meaning, used by probe and run")
    parser.add_argument("--out", type=Path, help="keep the files that killed something")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made, tempfile.TemporaryDirectory() as work:
        fuzzer = Fuzzer(bases(Path(made), arguments.families, arguments.demo), Path(work), uses=arguments.use)
        whole = Outcome()
        step = 10 * _BATCH
        for first in range(arguments.first, arguments.first + arguments.cases, step):
            last = min(first + step, arguments.first + arguments.cases)
            found = fuzzer.try_all([fuzzer.case(arguments.seed, index) for index in range(first, last)])
            whole.counts += found.counts
            whole.refusals += found.refusals
            for case, what, how in found.killed:
                small = minimal(fuzzer, case, what)
                whole.killed.append((small, what, how))
                print(json.dumps({"case": small, "killed": what, "how": how}), flush=True)
                if arguments.out is not None:
                    arguments.out.mkdir(parents=True, exist_ok=True)
                    path = fuzzer.write(small, "kept")
                    (arguments.out / f"{len(whole.killed)}-{path.name}").write_bytes(path.read_bytes())
            print(f"{last - arguments.first} cases: {dict(whole.counts)}", file=sys.stderr, flush=True)
    print(json.dumps({"cases": arguments.cases, **whole.counts, "kinds of refusals": len(whole.refusals)}))
    return 1 if whole.killed else 0


if __name__ == "__main__":
    sys.exit(main())
