"""llama-server beside the pair, over HTTP: the base alone, several answers at once."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from tempfile import TemporaryFile
from typing import Any

from edge_wsd.bench.cases import Workload
from edge_wsd.bench.figures import Figures
from edge_wsd.bench.peers import ROOM, TIMEOUT_S, PeerFiles, last_words, number, program
from edge_wsd.errors import BenchError

_HOST = "127.0.0.1"
_START_S = 300.0
_STOP_S = 10.0
_TICK_S = 0.1


class LlamaServer:
    """A server that is started with the first measurement and answers until it is closed."""

    name = "llama-server"

    def __init__(self, path: str, files: PeerFiles) -> None:
        self.path, self.files = program(path), files
        self._process: subprocess.Popen[bytes] | None = None
        self._log = TemporaryFile()  # noqa: SIM115  # closed with the server
        self._port = 0

    def can(self, work: Workload) -> bool:
        """Any."""
        return True

    def measure(self, work: Workload, prompts: Sequence[str]) -> Figures:
        """All prompts at once. Times of the whole are by this side's clock, of the phases by the server's."""
        if self._process is None:
            self._start()
        began = time.perf_counter()
        with ThreadPoolExecutor(work.at_once) as pool:
            answers = list(pool.map(lambda prompt: self._complete(prompt, work.n_answer), prompts))
        return self.figures(answers, time.perf_counter() - began)

    def figures(self, answers: Sequence[dict[str, Any]], seconds: float) -> Figures:
        """From the answers' own timings."""
        timings = [answer.get("timings") for answer in answers]
        known = [one for one in timings if isinstance(one, dict)]
        if len(known) < len(timings):
            raise BenchError(f"{self.path}: an answer has no timings; is it a server of another llama.cpp?")
        names = ("prompt_n", "prompt_ms", "predicted_n", "predicted_ms")
        n_prompt, prompt_ms, n_written, written_ms = (
            sum(number(one.get(name), name, self.path) for one in known) for name in names
        )
        return Figures(
            answer_s=seconds,
            n_tokens=int(n_written),
            ttft_s=prompt_ms / len(known) / 1e3 if len(known) == 1 else None,
            base_prompt_tps=1e3 * n_prompt / prompt_ms if len(known) == 1 else None,
            base_decode_tps=1e3 * n_written / written_ms * len(known),
        )

    def close(self) -> None:
        """Stop the server."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._log.close()

    def _start(self) -> None:
        files, self._port = self.files, _free_port()
        words = [self.path, "-m", files.base, "--host", _HOST, "--port", self._port, "-np", files.most_at_once,
                 "-c", files.most_at_once * (files.longest + ROOM), *files.settings(), "--cache-ram", 0,
                 "--no-webui"]  # fmt: skip
        try:
            self._process = subprocess.Popen(
                [str(word) for word in words], stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT
            )
        except OSError as error:
            raise BenchError(f"{self.path}: cannot be started ({error.strerror or error})") from error
        deadline = time.monotonic() + _START_S
        while not self._is_ready():
            if self._process.poll() is not None:
                code, self._process = self._process.returncode, None
                raise BenchError(f"{self.path}: ended with exit code {code} before it answered{self._last_words()}")
            if time.monotonic() > deadline:
                raise BenchError(f"{self.path}: did not answer within {_START_S:.0f} s{self._last_words()}")
            time.sleep(_TICK_S)

    def _is_ready(self) -> bool:
        try:
            return self._asked("GET", "/health", None, timeout_s=5.0)[0] == 200
        except (OSError, HTTPException):  # not listening yet
            return False

    def _complete(self, prompt: str, n_tokens: int) -> dict[str, Any]:
        wish = {"prompt": prompt, "n_predict": n_tokens, "temperature": 0, "cache_prompt": False, "ignore_eos": True}
        try:
            status, text = self._asked("POST", "/completion", json.dumps(wish).encode(), timeout_s=TIMEOUT_S)
            answer = json.loads(text) if status == 200 else None
        except (OSError, HTTPException, ValueError, RecursionError) as error:
            raise BenchError(f"{self.path}: gave no answer ({error}){self._last_words()}") from error
        if not isinstance(answer, dict):
            raise BenchError(
                f"{self.path}: answered with HTTP status {status}{last_words(text.decode(errors='replace'))}"
            )
        return answer

    def _asked(self, method: str, path: str, body: bytes | None, timeout_s: float) -> tuple[int, bytes]:
        connection = HTTPConnection(_HOST, self._port, timeout=timeout_s)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def _last_words(self) -> str:
        self._log.seek(0)
        return last_words(self._log.read().decode(errors="replace"))


def _free_port() -> int:
    with socket.socket() as one:
        one.bind((_HOST, 0))
        return int(one.getsockname()[1])
