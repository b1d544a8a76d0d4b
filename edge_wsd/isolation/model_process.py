"""One run of the process that the models of an isolated pair live in, seen from the application."""

from __future__ import annotations

import itertools
import logging
import queue
import subprocess
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Any

from edge_wsd import child_process
from edge_wsd._native import CancelFlag
from edge_wsd.asked import Asked, AskedText, Begun
from edge_wsd.engine.stream import Stream
from edge_wsd.errors import Cancelled, ClosedError, ModelLoadError, PairDiedError
from edge_wsd.frames import read_frame, write_frame
from edge_wsd.isolation.exchange import Exchange
from edge_wsd.isolation.messages import (
    Ask,
    Cancel,
    CancelHeard,
    CloseModels,
    Failed,
    LoadingProgress,
    LoadModels,
    LogLine,
    ModelsClosing,
    ModelsLoaded,
    PairCall,
    ReplyBegun,
    Told,
    decode,
    encode,
)
from edge_wsd.memory_files.memory_file import KeptMemory
from edge_wsd.pair_settings import PairProgress, PairSettings

_MODULE = "edge_wsd.isolation.worker"
_PACKAGE = "edge_wsd"
_TICK_S = 0.05
_SILENT_S = 5.0
"""How long a process may take to say that it has heard a cancel; then it hangs, and is killed."""
_STUCK_S = 60.0
"""How long nothing may be told of what was cancelled: longer than any decode, which may have to end first."""
_CLOSING_HEARD_S = 2.0
"""How long a process may take to say that it closes, or to have done so."""
_CLOSE_S = 5.0
"""How much longer it may take to close."""
_LISTENED_S = 5.0
"""How long a process that was killed may take to end, and what it has said to be heard."""
_LOG_LINES = 200


class ModelProcess:
    """Starts the process. `load` once, then `answer` and `call`; afterwards `close`, or `kill`."""

    def __init__(self) -> None:
        try:
            self._child = child_process.start(
                child_process.python_command(_MODULE),
                **dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE),
                start_new_session=True,  # Ctrl-C in the terminal is for us
            )
        except OSError as error:
            raise ModelLoadError(f"the process for the models cannot be started: {error}") from error
        # Queues of this kind may be used in a signal handler, and so in `Exchange.cancel`.
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._cancelled: queue.SimpleQueue[Exchange | None] = queue.SimpleQueue()
        self._numbers = itertools.count()
        self._exchanges: dict[int, Exchange] = {}
        self._lock = threading.Lock()  # of the two fields around it
        self._death: PairDiedError | ClosedError | None = None
        self._is_leaving = False
        self._closing_heard = False
        self._last_lines: deque[bytes] = deque(maxlen=_LOG_LINES)
        for work in (self._send_all, self._read_log, self._watch):
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

    def load(
        self, settings: PairSettings, progress: PairProgress | None, cancel: CancelFlag, *, at_once: bool
    ) -> ModelsLoaded:
        """Load the models. Raises what that raises there, `PairDiedError`, and what `progress` raises.

        With `at_once`, `cancel` raises `Cancelled`. Else others may wait for the models, and loading goes on, unless
        it hangs.
        """
        exchange = self._asked(LoadModels(settings, _log_levels()))
        while True:
            match self._next(exchange, (LoadingProgress, ModelsLoaded), cancel, at_once=at_once):
                case LoadingProgress(stage, fraction) if progress is not None:
                    progress(stage, fraction)
                case ModelsLoaded() as loaded:
                    return loaded

    def answer(self, asked: Asked | AskedText, cancel: CancelFlag) -> Begun:
        """Begin a reply. Raises what that raises there, and `PairDiedError`, also if `cancel` moves nothing there."""
        exchange = self._asked(asked)
        stream = Stream(exchange)  # dropped and so cancelled, if this is interrupted
        return Begun(stream, self._next(exchange, (ReplyBegun,), cancel).n_dropped)

    def call(self, work: PairCall, cancel: CancelFlag) -> object:
        """What is found there. Raises as `answer`."""
        return self._next(self._asked(work), (str, int, tuple, KeptMemory, type(None)), cancel)

    def _asked(self, wanted: LoadModels | Asked | AskedText | PairCall) -> Exchange:
        exchange = Exchange(next(self._numbers), self._cancel)
        message = encode(Ask(exchange.number, wanted))  # here, where it raises what cannot be sent
        with self._lock:
            if self._death is not None:
                raise type(self._death)(str(self._death))
            self._exchanges[exchange.number] = exchange
        self._outgoing.put(message)
        return exchange

    def _next(self, exchange: Exchange, kinds: tuple[type, ...], cancel: CancelFlag, *, at_once: bool = False) -> Any:
        """What is told next, which is of one of these kinds. Raises the error that is told instead."""
        has_cancelled = False
        while True:
            with suppress(queue.Empty):
                told = exchange.answers.get(timeout=_TICK_S)
                if isinstance(told, Exception):
                    raise told
                if isinstance(told, kinds):
                    return told
                self._end(f"it said something that is not an answer: {told!r:.100}")
            if cancel.is_set and at_once:
                raise Cancelled("loading was cancelled")
            if cancel.is_set and not has_cancelled:
                has_cancelled = True
                exchange.cancel()

    def _cancel(self, exchange: Exchange) -> None:
        """May be called from any thread, a signal handler or `__del__`: takes no lock."""
        self._outgoing.put(encode(Cancel(exchange.number)))
        self._cancelled.put(exchange)

    # Ending

    def close(self) -> None:
        """End all replies as cancelled, and the process. Returns when it has ended."""
        self.leave()
        if not self._has_ended_within(_CLOSING_HEARD_S) and self._closing_heard:
            self._has_ended_within(_CLOSE_S)
        self.kill()

    def leave(self) -> None:
        """The same without waiting."""
        self._is_leaving = True
        self._outgoing.put(encode(CloseModels()))
        self._outgoing.put(None)

    def kill(self) -> None:
        """End it at once. What was asked of it ends with `PairDiedError`."""
        self._child.kill()
        self._has_ended_within(_LISTENED_S)
        self._listener.join(_LISTENED_S)

    def _has_ended_within(self, seconds: float) -> bool:
        """Takes no lock, as waiting without a limit does: a signal handler may close a pair that is being closed."""
        try:
            self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _end(self, why: str) -> None:
        self._last_lines.append(why.encode())
        self.kill()

    # The threads

    def _send_all(self) -> None:
        pipe = self._child.stdin
        assert pipe is not None
        with suppress(OSError), pipe:  # if it has ended, the other thread tells that
            while (message := self._outgoing.get()) is not None:
                write_frame(pipe, message)

    def _read_log(self) -> None:
        """Keeps the last lines of what it says that is no message: of an assertion, for example."""
        assert self._child.stderr is not None
        with self._child.stderr as pipe:
            for line in iter(lambda: pipe.readline(1 << 12), b""):
                self._last_lines.append(line)

    def _watch(self) -> None:
        """Ends a process that does not react to a cancel: nobody might ask for anything any more, and notice."""
        while (exchange := self._cancelled.get()) is not None:
            since = time.monotonic()
            while not exchange.over.wait(_TICK_S):
                now = time.monotonic()
                if not exchange.cancel_heard and now - since > _SILENT_S:
                    self._end(f"it did not react for {_SILENT_S:g} seconds and was killed")
                elif now - max(since, exchange.told_at) > _STUCK_S:
                    self._end(f"it did not end what was cancelled for {_STUCK_S:g} seconds and was killed")

    def _listen(self) -> None:
        pipe = self._child.stdout
        assert pipe is not None
        with pipe:
            while (frame := read_frame(pipe)) is not None:
                try:
                    self._hear(decode(frame))
                except Exception as error:  # whatever is wrong with it: this thread must go on to tell of the death
                    self._last_lines.append(f"it said something that is not a message: {error}".encode())
                    break
        self._mourn()

    def _hear(self, message: object) -> None:
        match message:
            case Told(number, what, is_last):
                self._exchange(number, is_over=is_last).tell_of(what, is_last=is_last)
            case Failed(number, error):
                failure = error.unpacked()  # which may fail itself, while the exchange is still known
                self._exchange(number, is_over=True).fail(failure)
            case CancelHeard(number):
                if (exchange := self._exchanges.get(number)) is not None:  # else it is over
                    exchange.cancel_heard = True
            case ModelsClosing():
                self._closing_heard = True
            case LogLine(name, level, text) if name.split(".")[0] == _PACKAGE:
                logging.getLogger(name).log(level, "%s", text)
            case _:
                raise ValueError(f"{message!r:.100}")

    def _exchange(self, number: int, *, is_over: bool) -> Exchange:
        with self._lock:
            found = self._exchanges.pop(number, None) if is_over else self._exchanges.get(number)
        if found is None:
            raise ValueError(f"nothing was asked under {number}")
        return found

    def _mourn(self) -> None:
        """It has ended, or says no more. Whoever waits for it is told."""
        self._child.kill()
        code = self._child.wait()
        self._outgoing.put(None)  # ends the sending thread
        self._cancelled.put(None)  # and the watching one
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
            exchanges = list(self._exchanges.values())
            self._exchanges.clear()
        for exchange in exchanges:
            exchange.fail(error)


def _log_levels() -> dict[str, int]:
    """The levels of this package's loggers in this process."""
    names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] == _PACKAGE]
    return {name: logging.getLogger(name).getEffectiveLevel() for name in (_PACKAGE, *names)}
