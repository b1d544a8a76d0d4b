"""One run of the process that the models of an isolated pair live in, seen from the application."""

from __future__ import annotations

import itertools
import logging
import queue
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from edge_wsd import child_process
from edge_wsd._native import CancelFlag
from edge_wsd.asked import Asked, AskedText, Begun
from edge_wsd.decoding.events import Finished
from edge_wsd.engine.event_queue import EventQueue
from edge_wsd.engine.stream import Stream
from edge_wsd.errors import ClosedError, ModelLoadError, PairDiedError
from edge_wsd.frames import read_frame, write_frame
from edge_wsd.isolation.messages import (
    BeginReply,
    CancelReply,
    CloseModels,
    LoadingFailed,
    LoadingProgress,
    LoadModels,
    LogLine,
    ModelsLoaded,
    ReplyBegun,
    ReplyEvent,
    ReplyFailed,
    ReplyRefused,
    decode,
    encode,
)
from edge_wsd.pair_settings import PairProgress, PairSettings

_MODULE = "edge_wsd.isolation.worker"
_PACKAGE = "edge_wsd"
_TICK_S = 0.05
_END_S = 5.0
"""How long a process may take to end by itself, or to react when something is cancelled; then it is killed."""
_LOG_LINES = 200


class RemoteReply(EventQueue):
    """A reply that is written by the process."""

    def __init__(self, number: int, send: Callable[[object], None]) -> None:
        super().__init__()
        self.number = number
        self.beginning: queue.SimpleQueue[ReplyBegun | Exception] = queue.SimpleQueue()
        self._send = send

    def cancel(self) -> None:
        self._send(CancelReply(self.number))

    def end(self, error: Exception) -> None:
        """Hand an error to whoever waits for its beginning, and to whoever reads it."""
        self.beginning.put(error)
        self.error = error
        with suppress(RuntimeError):  # a reader whose event loop or window is gone does not hear it
            self.tell(error)


class _Patience:
    """How long a process is waited for that gives no sign of life."""

    def __init__(self) -> None:
        self._ends_at = time.monotonic() + _END_S

    def is_over(self) -> bool:
        return time.monotonic() > self._ends_at


class ModelProcess:
    """Starts the process. `load` once, then `answer`; afterwards `close`, or `kill`."""

    def __init__(self) -> None:
        try:
            self._child = child_process.start(
                child_process.python_command(_MODULE),
                **dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE),
                start_new_session=True,  # Ctrl-C in the terminal is for us
            )
        except OSError as error:
            raise ModelLoadError(f"the process for the models cannot be started: {error}") from error
        self._outgoing: queue.SimpleQueue[object] = queue.SimpleQueue()  # a signal handler may put something there
        self._loading: queue.SimpleQueue[LoadingProgress | ModelsLoaded | Exception] = queue.SimpleQueue()
        self._numbers = itertools.count()
        self._replies: dict[int, RemoteReply] = {}
        self._lock = threading.Lock()  # of the two fields around it
        self._death: PairDiedError | ClosedError | None = None
        self._is_leaving = False
        self._last_lines: deque[bytes] = deque(maxlen=_LOG_LINES)
        for work in (self._send_all, self._read_log):
            threading.Thread(target=work, name="edge-wsd model process", daemon=True).start()
        self._listener = threading.Thread(target=self._listen, name="edge-wsd model process", daemon=True)
        self._listener.start()

    @property
    def process_id(self) -> int:
        return self._child.pid

    @property
    def is_alive(self) -> bool:
        return self._death is None

    # Asking

    def load(self, settings: PairSettings, progress: PairProgress | None, cancel: CancelFlag) -> ModelsLoaded:
        """Load the models. Raises what that raises there, `PairDiedError`, and what `progress` raises.

        What others may wait for goes on after `cancel`, unless nothing is heard of it any more.
        """
        self._send(LoadModels(settings, _log_levels()))
        patience: _Patience | None = None
        while True:
            with suppress(queue.Empty):
                message = self._loading.get(timeout=_TICK_S)
                patience = None
                match message:
                    case LoadingProgress(stage, fraction):
                        if progress is not None:
                            progress(stage, fraction)
                    case ModelsLoaded() as loaded:
                        return loaded
                    case Exception() as error:
                        raise error
            if cancel.is_set:
                patience = patience or _Patience()
                if patience.is_over():
                    self._end_hung()

    def answer(self, asked: Asked | AskedText, cancel: CancelFlag) -> Begun:
        """Begin a reply. Raises what that raises there, and `PairDiedError`, also if `cancel` moves nothing there."""
        with self._lock:
            if self._death is not None:
                raise type(self._death)(str(self._death))
            reply = RemoteReply(next(self._numbers), self._send)
            self._replies[reply.number] = reply
        self._send(BeginReply(reply.number, asked))
        stream = Stream(reply)  # dropped and so cancelled, if this is interrupted
        patience: _Patience | None = None
        while True:
            with suppress(queue.Empty):
                beginning = reply.beginning.get(timeout=_TICK_S)
                if isinstance(beginning, Exception):
                    raise beginning
                return Begun(stream, beginning.n_dropped)
            if cancel.is_set and patience is None:
                patience = _Patience()
                reply.cancel()
            if patience is not None and patience.is_over():
                self._end_hung()

    # Ending

    def close(self) -> None:
        """End all replies as cancelled, and the process. Returns when it has ended."""
        self.leave()
        try:
            self._child.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
        self._child.wait()
        self._listener.join(_END_S)

    def leave(self) -> None:
        """The same without waiting."""
        self._is_leaving = True
        self._send(CloseModels())

    def kill(self) -> None:
        """End it at once. The replies end with `PairDiedError`."""
        self._child.kill()
        self._child.wait()
        self._listener.join(_END_S)

    def _end_hung(self) -> None:
        self._last_lines.append(f"it did not react for {_END_S:g} seconds and was killed".encode())
        self.kill()

    # The threads

    def _send(self, message: object) -> None:
        self._outgoing.put(message)

    def _send_all(self) -> None:
        pipe = self._child.stdin
        assert pipe is not None
        message: object = None
        try:
            while not isinstance(message, CloseModels):
                message = self._outgoing.get()
                write_frame(pipe, encode(message))
        except OSError:  # it has ended, which the other thread tells
            pass
        with suppress(OSError):
            pipe.close()

    def _read_log(self) -> None:
        """Keeps the last lines of what it says that is no message: of an assertion, for example."""
        assert self._child.stderr is not None
        with self._child.stderr as pipe:
            for line in iter(lambda: pipe.readline(1 << 12), b""):
                self._last_lines.append(line)

    def _listen(self) -> None:
        pipe = self._child.stdout
        assert pipe is not None
        with pipe:
            while (frame := read_frame(pipe)) is not None:
                try:
                    self._heard(decode(frame))
                except ValueError as error:
                    self._last_lines.append(f"it said something that is not a message: {error}".encode())
                    break
        self._mourn()

    def _heard(self, message: object) -> None:
        match message:
            case ReplyEvent(number, event):
                self._reply(number, is_over=isinstance(event, Finished)).tell(event)
            case ReplyBegun(number):
                self._reply(number).beginning.put(message)
            case ReplyRefused(number, error) | ReplyFailed(number, error):
                self._reply(number, is_over=True).end(error.unpacked())
            case LoadingFailed(error):
                self._loading.put(error.unpacked())
            case LoadingProgress() | ModelsLoaded():
                self._loading.put(message)
            case LogLine(name, level, text) if name.split(".")[0] == _PACKAGE:
                logging.getLogger(name).log(level, "%s", text)
            case _:
                raise ValueError(f"{message!r:.100}")

    def _reply(self, number: int, *, is_over: bool = False) -> RemoteReply:
        with self._lock:
            reply = self._replies.pop(number, None) if is_over else self._replies.get(number)
        if reply is None:
            raise ValueError(f"there is no reply {number}")
        return reply

    def _mourn(self) -> None:
        """It has ended, or says no more. Whoever waits for it is told."""
        self._child.kill()
        code = self._child.wait()
        self._send(CloseModels())  # ends the sending thread
        said = child_process.last_words(b"".join(self._last_lines))
        error = (
            ClosedError("this pair is closed; load it again")
            if self._is_leaving
            else PairDiedError(
                f"the process of the models has ended ({child_process.describe_ending(code)}): {said}; "
                "the next question starts it again"
            )
        )
        with self._lock:
            self._death = error
            replies = list(self._replies.values())
            self._replies.clear()
        self._loading.put(error)
        for reply in replies:
            reply.end(error)


def _log_levels() -> dict[str, int]:
    """The levels of this package's loggers in this process."""
    names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] == _PACKAGE]
    return {name: logging.getLogger(name).getEffectiveLevel() for name in (_PACKAGE, *names)}
