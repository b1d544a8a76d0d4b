"""The process that the models of an isolated pair live in. Started by `model_process`; ends with the pipe to it.

It does nothing that a pair in memory would not do: a question comes from the pipe, the events of its answer go back.
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import BinaryIO

from edge_wsd._native import CancelFlag
from edge_wsd.asked import Asked, AskedText
from edge_wsd.child_process import keep_crashes_quiet
from edge_wsd.decoding.events import SOURCES, Event, Finished
from edge_wsd.engine.stream import Stream
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
    PackedError,
    ReplyBegun,
    ReplyEvent,
    ReplyFailed,
    ReplyRefused,
    decode,
    encode,
)
from edge_wsd.loaded_pair import LoadedPair
from edge_wsd.pair_settings import PairSettings

_PACKAGE = "edge_wsd"


def main(_arguments: list[str]) -> None:
    """Do what the application on the other side of stdin and stdout says, until it closes or is gone.

    It leaves at once then, whatever a thread is at in native code.
    """
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # whatever a library prints is no answer
    keep_crashes_quiet()
    sender = Sender(answers)
    served = ServedPair(sender)
    while (frame := read_frame(requests)) is not None:
        match decode(frame):
            case LoadModels(settings, log_levels):
                _send_logs(sender, dict(log_levels))
                threading.Thread(target=served.load, args=(settings,), name="edge-wsd loading", daemon=True).start()
            case BeginReply(number, asked):
                served.begin(number, asked)
            case CancelReply(number):
                served.cancel(number)
            case CloseModels():
                served.close()
                sender.finish()
                os._exit(0)
    os._exit(1)  # nobody is there any more


class Sender:
    """One thread that writes all answers, and hands out the events of all streams: their order is kept."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="edge-wsd sender", daemon=True)
        self._thread.start()

    def send(self, message: object) -> None:
        """Write a message after those that were sent before it. From any thread."""
        self.call(partial(self.write, message))

    def call(self, work: Callable[[], None]) -> None:
        """Run `work` in this thread, after what was sent before it."""
        self._work.put(work)

    def write(self, message: object) -> None:
        """For this thread: write a message at once."""
        write_frame(self._pipe, encode(message))

    def finish(self) -> None:
        """Return once everything was written."""
        self._work.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            while (work := self._work.get()) is not None:
                work()
        except OSError:  # nobody reads any more
            os._exit(1)


class ServedPair:
    """The pair, and which replies of it are being written."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._pair: LoadedPair | None = None
        self._asking: dict[int, CancelFlag] = {}
        self._streams: dict[int, Stream] = {}
        self._lock = threading.Lock()

    def load(self, settings: PairSettings) -> None:
        """Load the models, and say so, or why not."""
        try:
            pair = LoadedPair.load(settings, lambda stage, share: self._sender.send(LoadingProgress(stage, share)))
        except BaseException as error:
            self._sender.send(LoadingFailed(PackedError.of(error)))
            return
        self._pair = pair
        facts = {source: pair.about(source) for source in SOURCES}
        self._sender.send(ModelsLoaded(pair.plan, pair.vocabulary, pair.overlaps, facts))

    def begin(self, number: int, asked: Asked | AskedText) -> None:
        """Begin a reply, and send its events as they come. Its prompts are made in a thread of their own."""
        flag = CancelFlag()
        with self._lock:
            self._asking[number] = flag
        threading.Thread(target=self._answer, args=(number, asked, flag), name="edge-wsd asking", daemon=True).start()

    def _answer(self, number: int, asked: Asked | AskedText, flag: CancelFlag) -> None:
        try:
            assert self._pair is not None, "asked before the models were loaded"
            begun = self._pair.answer(asked, flag)
        except BaseException as error:
            self._sender.send(ReplyRefused(number, PackedError.of(error)))
            self._forget(number)
            return
        with self._lock:
            self._streams[number] = begun.stream
            if flag.is_set:
                begun.stream.cancel()
        self._sender.send(ReplyBegun(number, begun.n_dropped))
        begun.stream.deliver(partial(self._tell, number), partial(self._fail, number), call=self._sender.call)

    def cancel(self, number: int) -> None:
        """End a reply early, wherever it is; one that has ended already stays as it is."""
        with self._lock:
            if (flag := self._asking.get(number)) is not None:
                flag.set()
            if (stream := self._streams.get(number)) is not None:
                stream.cancel()

    def close(self) -> None:
        """End all replies and free the models."""
        if self._pair is not None:
            self._pair.close()

    def _tell(self, number: int, event: Event) -> None:
        self._sender.write(ReplyEvent(number, event))
        if isinstance(event, Finished):
            self._forget(number)

    def _fail(self, number: int, error: BaseException) -> None:
        self._sender.write(ReplyFailed(number, PackedError.of(error)))
        self._forget(number)

    def _forget(self, number: int) -> None:
        with self._lock:
            self._asking.pop(number, None)
            self._streams.pop(number, None)


class LogSender(logging.Handler):
    """Hands the log on to the application."""

    def __init__(self, sender: Sender) -> None:
        super().__init__()
        self._sender = sender

    def emit(self, record: logging.LogRecord) -> None:
        self._sender.send(LogLine(record.name, record.levelno, self.format(record)))


def _send_logs(sender: Sender, levels: dict[str, int]) -> None:
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    logging.getLogger(_PACKAGE).addHandler(LogSender(sender))


if __name__ == "__main__":
    main(sys.argv[1:])
