"""llama.cpp's quantizer in a child process: first its plan for every tensor, then the file.

A crash of llama.cpp ends only the child, and leaving the block ends it at once, whatever it is doing.

>>> with Quantizer(Request(source, target, file_type=15)) as quantizer:
...     quantizer.plan().types["output.weight"]
...     quantizer.write()
'Q6_K'
"""

from __future__ import annotations

import json
import queue
import re
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
import numpy.typing as npt

from edge_wsd import child_process
from edge_wsd.errors import QuantizationError

_MODULE = "edge_wsd.llama.tools.quantizer_child"
_TICK_S = 0.1
_ERROR_LEVEL = 4
_LONGEST_REASON = 300
_TENSOR = re.compile(r"\[ *\d+/ *\d+\] (?P<name>.*?) +- \[.*?\], type = +(?P<stored>\w+), size = .*?(?P<new>\(\w+\))?")
_FALLBACK = re.compile(r"warning: (?P<name>.*?) +- ncols .* -> falling back to +(?P<type>\w+)")
_FAILED = "failed to quantize: "
_ADVICE = {
    "iostream error": "the file could not be written to its end: is the disk full?",
    "has invalid data": "the file is damaged: fetch or convert it again",
    "data validation failed": "some values are no numbers or too large for the type; BF16 has the range of F32",
    "importance matrix": "make one with `edge-wsd imatrix` and give it with --imatrix",
    "imatrix": "make one with `edge-wsd imatrix` and give it with --imatrix",
}
Tick = Callable[[], None]


def _nothing() -> None:
    """Nobody wants to know."""


@dataclass(frozen=True)
class Request:
    """What `llama_model_quantize` is asked for."""

    source: Path
    target: Path
    file_type: int
    """A number of `llama_ftype`."""
    overrides: Sequence[tuple[str, int]] = ()
    """ggml types by pattern of tensor names (a regular expression, searched for); the first that matches counts."""
    weights: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    """Importance by tensor name: one number per column, for each expert in turn."""
    metadata: Mapping[str, int | str] = field(default_factory=dict)
    """Values to write beside those of the source."""
    threads: int = 1
    requantize: bool = False


@dataclass(frozen=True)
class TensorPlan:
    """The type each tensor will have, by name, and those whose rows do not fit into the type meant for them."""

    types: Mapping[str, str]
    fallbacks: Mapping[str, str]


class Quantizer:
    """A child process that serves one request. A context manager: its end is the end of the child."""

    def __init__(self, request: Request, command: Sequence[str] | None = None) -> None:
        """`command` starts `quantizer_child.main`; None is `child_process.python_command`."""
        self._request = request
        command = child_process.python_command(_MODULE) if command is None else list(command)
        self._errors: list[str] = []
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        try:
            self._child = child_process.start(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr
            )
        except OSError as error:
            self._stderr.close()
            raise QuantizationError(f"llama.cpp's quantizer does not start: {command[0]}: {error}") from error
        self._listener = threading.Thread(target=self._listen, args=(self._child.stdout,), daemon=True)
        self._listener.start()

    def __enter__(self) -> Quantizer:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._child.kill()
        self._listener.join()  # to the end of what it reads, before that is closed
        child_process.end(self._child)
        self._stderr.close()

    def plan(self, tick: Tick = _nothing) -> TensorPlan:
        """What llama.cpp will make of each tensor; nothing is written. Raises QuantizationError.

        `tick` is called at least ten times a second; what it raises ends the work.
        """
        request = self._request
        asked = {
            "source": str(request.source),
            "target": str(request.target),
            "file_type": request.file_type,
            "overrides": list(request.overrides),
            "metadata": dict(request.metadata),
            "threads": request.threads,
            "requantize": request.requantize,
            "weights": [(name, values.size) for name, values in request.weights.items()],
        }
        self._send(json.dumps(asked).encode() + b"\n")
        for values in request.weights.values():
            self._send(np.ascontiguousarray(values, np.float32).tobytes())
        types, fallbacks = {}, {}
        for line in self._log_until("plan", tick):
            if found := _TENSOR.fullmatch(line):
                types[found["name"]] = (found["new"] or found["stored"]).strip("()").upper()
            elif found := _FALLBACK.fullmatch(line):
                fallbacks[found["name"]] = found["type"].upper()
        return TensorPlan(types, fallbacks)

    def write(self, tick: Tick = _nothing) -> None:
        """Writes the target, after `plan`, with the same `tick`.

        Raises QuantizationError with llama.cpp's reason; then the target is no complete file.
        """
        self._send(b"write\n")
        for _ in self._log_until("write", tick):
            pass

    def _listen(self, stdout: IO[bytes]) -> None:
        for line in stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _send(self, data: bytes) -> None:
        stdin = self._child.stdin
        assert stdin is not None
        try:
            stdin.write(data)
            stdin.flush()
        except OSError:  # the child is gone
            raise self._ended() from None

    def _log_until(self, step: str, tick: Tick) -> Iterator[str]:
        """The lines of llama.cpp's log until the child reports that `step` is done."""
        self._errors.clear()
        while True:
            try:
                line = self._lines.get(timeout=_TICK_S)
            except queue.Empty:
                tick()
                continue
            if line is None:
                raise self._ended()
            said = child_process.read_report(line)
            if said.get("done") == step:
                if said.get("ok") is not True:
                    raise self._refused()
                return
            text = said.get("line")
            if isinstance(text, str):
                if said.get("level") == _ERROR_LEVEL:
                    self._errors.append(text)
                yield text
            tick()

    def _refused(self) -> QuantizationError:
        reason = next((line for line in reversed(self._errors) if _FAILED in line), None)
        why = reason.partition(_FAILED)[2] if reason else " ".join(self._errors[-1:]) or "it does not say why"
        advice = next((f"; {advice}" for sign, advice in _ADVICE.items() if sign in why), "")
        return QuantizationError(f"{self._request.source}: llama.cpp gives up: {why[:_LONGEST_REASON]}{advice}")

    def _ended(self) -> QuantizationError:
        """Why there is no child any more: its ending and its last words."""
        code = self._child.wait()
        self._stderr.seek(0)
        words = child_process.last_words(self._stderr.read())
        return QuantizationError(
            f"{self._request.source}: llama.cpp's quantizer ended early "
            f"({child_process.describe_ending(code)}): {words[-_LONGEST_REASON:]}"
        )
