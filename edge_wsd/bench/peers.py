"""llama.cpp's own programs beside the pair, over the same files, prompts and threads.

Each knows the workloads that it can do, and reads its figures from what the program prints.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Protocol

from edge_wsd.bench.cases import Workload
from edge_wsd.bench.figures import Figures
from edge_wsd.errors import BenchError

TIMEOUT_S = 1800.0
ROOM = 64
"""Tokens of context beyond prompt and answer."""
_TRIES = 5
_LAST_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class PeerFiles:
    """What a peer works with."""

    drafter: Path
    base: Path
    threads: int
    batch: int
    micro_batch: int
    flash: str
    """Flash attention: on, off or auto."""
    kv_type: str
    drafter_layers: int
    """Layers on the GPU, -1 for all. So for the base."""
    base_layers: int
    propose: int
    """Tokens that are proposed at most."""
    most_at_once: int
    longest: int
    """Tokens of prompt and answer together in the longest workload."""

    def settings(self, *, least_batch: int = 0) -> list[object]:
        """Options that all programs have: they compute as the pair's base does, if that is possible."""
        return [
            "-t", self.threads, "-b", max(self.batch, least_batch), "-ub", self.micro_batch, "-fa", self.flash,
            "-ctk", self.kv_type, "-ctv", self.kv_type, "-ngl", self.base_layers,
        ]  # fmt: skip


class Peer(Protocol):
    """A program to compare with. Close it at the end."""

    @property
    def name(self) -> str:
        """As its rows are called."""

    def can(self, work: Workload) -> bool:
        """Whether it has a figure for this workload."""

    def measure(self, work: Workload, prompts: Sequence[str]) -> Figures:
        """One repetition. Raises `BenchError`."""

    def close(self) -> None:
        """End what is still running."""


def program(path: str) -> str:
    """The program at `path`, or of this name on PATH. Raises `BenchError` if it cannot be started."""
    found = shutil.which(path)
    if found is None:
        state = "is not executable" if os.path.isfile(path) else "does not exist"
        raise BenchError(
            f"{path}: {state}; expected a program of llama.cpp (docs/benchmarks.md says how to build them)"
        )
    return found


def output_of(arguments: Sequence[object], timeout_s: float = TIMEOUT_S) -> tuple[str, str]:
    """What the program writes to stdout and stderr. Raises `BenchError` unless it ends well and in time."""
    words = [str(word) for word in arguments]
    try:
        done = subprocess.run(words, capture_output=True, stdin=subprocess.DEVNULL, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise BenchError(f"{words[0]}: did not end within {timeout_s:.0f} s") from None
    except OSError as error:
        raise BenchError(f"{words[0]}: cannot be started ({error.strerror or error})") from error
    out, err = (each.decode(errors="replace") for each in (done.stdout, done.stderr))
    if done.returncode != 0:
        raise BenchError(f"{words[0]}: failed with exit code {done.returncode}{last_words(err or out)}")
    return out, err


def last_words(text: str) -> str:
    """The end of what a program has said, for an error message."""
    line = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
    return f": {line[-_LAST_CHARACTERS:]}" if line else ""


def number(value: object, name: str, of: str) -> float:
    """A positive number that `of` has told as `name`. Raises `BenchError` for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf"):
        return float(value)
    raise BenchError(f"{of}: {name} is {value!r}; expected a positive number. Is it a program of another llama.cpp?")


def _unread(of: str, what: str, text: str) -> BenchError:
    return BenchError(f"{of}: told no {what}; is it a program of another llama.cpp?{last_words(text)}")


def json_lines(text: str, of: str) -> list[dict[str, Any]]:
    """Objects in the output: a list of them, or one a line among other lines. Raises `BenchError` if there is none."""
    try:
        whole = json.loads(text)
        found = whole if isinstance(whole, list) else [whole]
    except (ValueError, RecursionError):
        found = []
        for line in text.splitlines():
            if line.startswith("{"):
                try:
                    found.append(json.loads(line))
                except (ValueError, RecursionError):
                    raise _unread(of, "JSON that can be read", line) from None
    found = [one for one in found if isinstance(one, dict)]
    if not found:
        raise _unread(of, "JSON", text)
    return found


@contextmanager
def prompt_file(prompt: str) -> Iterator[Path]:
    """The prompt in a file, as the programs read it: without a line break at its end."""
    with TemporaryDirectory(prefix="edge-wsd-bench-") as folder:
        path = Path(folder) / "prompt.txt"
        path.write_bytes(prompt.encode())
        yield path


class _OneShot:
    """A program that is started for each measurement."""

    kind: ClassVar[str]

    def __init__(self, path: str, files: PeerFiles) -> None:
        self.path, self.files = program(path), files

    @property
    def name(self) -> str:
        return self.kind

    def can(self, work: Workload) -> bool:
        return work.at_once == 1

    def close(self) -> None:
        """Nothing is running."""


class LlamaBench(_OneShot):
    """The base alone: the rate of the prompt, and of prompt and answer in one run."""

    kind = "llama-bench"

    def measure(self, work: Workload, prompts: Sequence[str]) -> Figures:
        """Its prompts are random tokens, as many as in `prompts`."""
        files = self.files
        out, _ = output_of(
            [self.path, "-m", files.base, "-p", work.n_prompt, "-n", 0, "-pg", f"{work.n_prompt},{work.n_answer}",
             "-r", 1, *files.settings(), "-o", "json"]
        )  # fmt: skip
        return self.figures(out, work)

    def figures(self, out: str, work: Workload) -> Figures:
        """From its JSON."""
        seconds: dict[object, float] = {}
        for row in json_lines(out, self.path):
            seconds[row.get("n_gen")] = number(row.get("avg_ns"), "avg_ns", self.path) / 1e9
        if not {0, work.n_answer} <= seconds.keys():
            raise _unread(self.path, f"row of {work.n_answer} tokens", out)
        return _of_one(work, seconds[0], seconds[work.n_answer] - seconds[0])


class LlamaBatchedBench(_OneShot):
    """The base alone, several at once."""

    kind = "llama-batched-bench"

    def can(self, work: Workload) -> bool:
        """Any."""
        return True

    def measure(self, work: Workload, prompts: Sequence[str]) -> Figures:
        """Its prompts are random tokens."""
        files, n_ctx = self.files, work.at_once * (work.n_prompt + work.n_answer + ROOM)
        out, _ = output_of(
            [self.path, "-m", files.base, "-npp", work.n_prompt, "-ntg", work.n_answer, "-npl", work.at_once,
             "-c", n_ctx, *files.settings(), "--output-format", "jsonl"]
        )  # fmt: skip
        return self.figures(out, work)

    def figures(self, out: str, work: Workload) -> Figures:
        """From its JSON lines."""
        row = json_lines(out, self.path)[-1]
        prompt_s, answer_s = (number(row.get(name), name, self.path) for name in ("t_pp", "t_tg"))
        n_tokens = work.n_answer * work.at_once
        return Figures(
            answer_s=prompt_s + answer_s,
            n_tokens=n_tokens,
            base_prompt_tps=work.n_prompt * work.at_once / prompt_s,
            base_decode_tps=n_tokens / answer_s,
        )


class LlamaCompletion(_OneShot):
    """The base alone, as its command-line program writes."""

    kind = "llama-completion"
    _LINE = r"{} time =\s+([\d.]+) ms /\s+(\d+) (?:tokens|runs)"

    def measure(self, work: Workload, prompts: Sequence[str]) -> Figures:
        """Of the first prompt."""
        files = self.files
        with prompt_file(prompts[0]) as file:
            out, err = output_of(
                [self.path, "-m", files.base, "-f", file, "-n", work.n_answer, *files.settings(),
                 "-c", work.n_prompt + work.n_answer + ROOM, "--temp", 0, "--ignore-eos", "-no-cnv",
                 "--no-display-prompt", "--perf"]
            )  # fmt: skip
        return self.figures(out + err, work)

    def figures(self, text: str, work: Workload) -> Figures:
        """From llama.cpp's timings, of which the last ones count."""
        prompt = re.findall(self._LINE.format("prompt eval"), text)
        answer = re.findall(self._LINE.format(r"(?<!prompt )eval"), text)
        if not prompt or not answer:
            raise _unread(self.path, "timings", text)
        prompt_s = number(float(prompt[-1][0]), "prompt eval time", self.path) / 1e3
        n_steps = number(int(answer[-1][1]), "the number of runs", self.path)
        step_s = number(float(answer[-1][0]), "eval time", self.path) / 1e3 / n_steps
        return _of_one(work, prompt_s, step_s * (work.n_answer - 1), n_steps=work.n_answer - 1)


class LlamaSpeculativeSimple(_OneShot):
    """The base with the drafter's proposals, from the first token on: llama.cpp's example of speculative decoding."""

    kind = "llama-speculative-simple"

    def measure(self, work: Workload, prompts: Sequence[str]) -> Figures:
        """Of the first prompt. The program may end before the thread that writes its log has: then once more."""
        for tries_left in reversed(range(_TRIES)):
            text = self._run(work, prompts[0])
            try:
                return self.figures(text, work)
            except BenchError:
                if not tries_left:
                    raise
        raise AssertionError("the last try returns or raises")

    def _run(self, work: Workload, prompt: str) -> str:
        files = self.files
        with prompt_file(prompt) as file:
            out, err = output_of(
                [self.path, "-m", files.base, "-md", files.drafter, "-f", file, "-n", work.n_answer,
                 *files.settings(least_batch=work.n_prompt),
                 "-ngld", files.drafter_layers, "--spec-type", "draft-simple", "--spec-draft-n-max", files.propose,
                 "-c", work.n_prompt + work.n_answer + files.propose + ROOM, "--temp", 0, "--ignore-eos"]
            )  # fmt: skip
        return out + err

    def figures(self, text: str, work: Workload) -> Figures:
        """From its report. It writes a proposal to its end, so its time is scaled to the length of the answer."""
        found = {
            name: re.search(rf"{name}\s+(\d+) tokens in\s+([\d.]+) seconds", text) for name in ("encoded", "decoded")
        }
        counts = {name: re.search(rf"{name}\s*=\s*(\d+)", text) for name in ("n_drafted", "n_accept")}
        encoded, decoded = found["encoded"], found["decoded"]
        if encoded is None or decoded is None:
            raise _unread(self.path, "times", text)
        n_decoded = number(int(decoded[1]), "the number of tokens", self.path)
        answer_s = number(float(decoded[2]), "decoded", self.path) * work.n_answer / n_decoded
        drafted, accepted = counts["n_drafted"], counts["n_accept"]
        share = int(accepted[1]) / int(drafted[1]) if drafted and accepted and int(drafted[1]) else None
        one = _of_one(work, number(float(encoded[2]), "encoded", self.path), answer_s)
        return Figures(one.answer_s, one.n_tokens, base_decode_tps=one.base_decode_tps, accepted=share)


def _of_one(work: Workload, prompt_s: float, answer_s: float, n_steps: int | None = None) -> Figures:
    """Figures of one answer of the base, from the times of its two phases."""
    if answer_s <= 0:
        return Figures(prompt_s, work.n_answer, base_prompt_tps=work.n_prompt / prompt_s)
    return Figures(
        answer_s=prompt_s + answer_s,
        n_tokens=work.n_answer,
        base_prompt_tps=work.n_prompt / prompt_s,
        base_decode_tps=(work.n_answer if n_steps is None else n_steps) / answer_s,
    )
