"""Writes what the models have in memory of a conversation beside it: nobody waits for that.

>>> writer = MemoryWriter(kept.memory_path)
>>> writer.write(chat)  # after every turn
>>> writer.wait()  # at the end
"""

from __future__ import annotations

import threading
from pathlib import Path

from edge_wsd.files import write_atomically
from edge_wsd.memory_files.memory_file import KeptMemory
from edge_wsd.session import Session
from edge_wsd.sessions.memory import keep_memory


class MemoryWriter:
    """Keeps the file of one conversation, in a thread of its own that ends whenever all is written.

    Of what comes while it is busy, only the newest is written next. So there is never more than one copy of the models'
    memory in this process, and one file beside the one that it is about to replace.
    """

    def __init__(self, path: Path) -> None:
        self.kept: KeptMemory | None = None
        """What was written last."""
        self.problem: Exception | None = None
        """Why the last writing failed; None if it did not."""
        self._path = path
        self._lock = threading.Lock()
        self._next: Session | None = None
        self._thread: threading.Thread | None = None

    def write(self, session: Session) -> None:
        """Begin to write the conversation as it is now, and return at once. One without messages has an empty file."""
        with self._lock:
            self._next = session.fork()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="edge-wsd memory", daemon=True)
                self._thread.start()

    def wait(self) -> None:
        """Until all is written, or has failed: while the pair is still open."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while (session := self._take()) is not None:
            try:
                self._keep(session)
                self.problem = None
            except Exception as error:  # for whoever asks
                self.problem = error

    def _take(self) -> Session | None:
        with self._lock:
            session, self._next = self._next, None
            if session is None:
                self._thread = None
            return session

    def _keep(self, session: Session) -> None:
        if session.messages:
            self.kept = keep_memory(session, self._path) or self.kept
        else:
            self.kept = None
            write_atomically(self._path, b"")
