"""The process that the models of an isolated pair live in. Started by `model_process`; ends with the pipe to it.

It does nothing that a pair in memory would not do: a question comes from the pipe, the events of its answer go back.
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from typing import BinaryIO, cast

from edge_wsd._native import CancelFlag
from edge_wsd.asked import Asked, AskedText, Begun
from edge_wsd.child_process import keep_crashes_quiet
from edge_wsd.decoding.events import SOURCES, Event, Finished
from edge_wsd.engine.stream import Stream
from edge_wsd.frames import read_frame, write_frame
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
    News,
    PackedError,
    PairCall,
    ReplyBegun,
    Told,
    decode,
    encode,
)
from edge_wsd.loaded_pair import LoadedPair
from edge_wsd.pair_settings import PairProgress

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
            case Ask(number, wanted):
                served.begin(number, wanted)
            case Cancel(number):
                served.cancel(number)
                sender.send(CancelHeard(number))
            case CloseModels():
                sender.send(ModelsClosing())
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
        self.call(partial(self._write, message))

    def call(self, work: Callable[[], None]) -> None:
        """Run `work` in this thread, after what was sent before it."""
        self._work.put(work)

    def _write(self, message: object) -> None:
        write_frame(self._pipe, encode(message))

    def finish(self) -> None:
        """Return once everything was written, also what the calls before this one send."""
        self.call(partial(self._work.put, None))
        self._thread.join()

    def _run(self) -> None:
        try:
            while (work := self._work.get()) is not None:
                work()
        except OSError:  # nobody reads any more
            os._exit(1)
        except BaseException:  # a bug of ours; but nobody may wait for answers that do not come
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)


class ServedPair:
    """The pair, and what was asked of it and is not over yet."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._pair: LoadedPair | None = None
        self._asking: dict[int, CancelFlag] = {}
        self._streams: dict[int, Stream] = {}
        self._lock = threading.Lock()

    def begin(self, number: int, wanted: LoadModels | Asked | AskedText | PairCall) -> None:
        """Do it in a thread of its own, and tell what comes of it."""
        flag = CancelFlag()
        with self._lock:
            self._asking[number] = flag
        threading.Thread(target=self._do, args=(number, wanted, flag), name="edge-wsd asking", daemon=True).start()

    def _do(self, number: int, wanted: LoadModels | Asked | AskedText | PairCall, flag: CancelFlag) -> None:
        try:
            if isinstance(wanted, LoadModels):
                loaded = self._load(wanted, lambda stage, share: self._tell(number, LoadingProgress(stage, share)))
                self._tell(number, loaded, is_last=True)
            elif isinstance(wanted, Asked | AskedText):
                self._hand_on(number, self._loaded.answer(wanted, flag), flag)
            else:
                found: News = self._loaded.call(cast("Callable[[LoadedPair], News]", wanted))
                self._tell(number, found, is_last=True)
        except BaseException as error:
            self._fail(number, error)

    def _load(self, wanted: LoadModels, progress: PairProgress) -> ModelsLoaded:
        _send_logs(self._sender, wanted.log_levels)
        pair = self._pair = LoadedPair.load(wanted.settings, progress)
        facts = {source: pair.about(source) for source in SOURCES}
        return ModelsLoaded(pair.plan, pair.vocabulary, pair.overlaps, facts)

    @property
    def _loaded(self) -> LoadedPair:
        assert self._pair is not None, "asked before the models were loaded"
        return self._pair

    def _hand_on(self, number: int, begun: Begun, flag: CancelFlag) -> None:
        """The events of a reply, as they come."""
        with self._lock:
            self._streams[number] = begun.stream
            if flag.is_set:
                begun.stream.cancel()
        self._tell(number, ReplyBegun(begun.n_dropped))

        def tell(event: Event) -> None:
            self._tell(number, event, is_last=isinstance(event, Finished))

        begun.stream.deliver(tell, partial(self._fail, number), call=self._sender.call)

    def cancel(self, number: int) -> None:
        """End something early, wherever it is; what has ended already stays as it is."""
        with self._lock:
            if (flag := self._asking.get(number)) is not None:
                flag.set()
            if (stream := self._streams.get(number)) is not None:
                stream.cancel()

    def close(self) -> None:
        """End all replies and free the models."""
        if self._pair is not None:
            self._pair.close()

    def _tell(self, number: int, what: News, *, is_last: bool = False) -> None:
        if is_last:
            self._forget(number)
        self._sender.send(Told(number, what, is_last))

    def _fail(self, number: int, error: BaseException) -> None:
        self._forget(number)
        self._sender.send(Failed(number, PackedError.of(error)))

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


def _send_logs(sender: Sender, levels: Mapping[str, int]) -> None:
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    logging.getLogger(_PACKAGE).addHandler(LogSender(sender))


if __name__ == "__main__":
    main(sys.argv[1:])
