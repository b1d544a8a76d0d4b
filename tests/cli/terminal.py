"""A person at a terminal, played: types, waits for what should appear, presses Ctrl-C."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path

import pyte

_SEQUENCE = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07]*\x07|[()][A-Z0-9]|[=>])")


class Person:
    """Runs a program in a pseudo terminal."""

    def __init__(
        self, command: list[str], environment: dict[str, str], folder: object, *, columns: int = 90, rows: int = 60
    ) -> None:
        self._ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        environment = {**environment, "PROMPT_TOOLKIT_NO_CPR": "1"}
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.Stream(self._screen)

        def take_the_terminal() -> None:  # so that the byte of Ctrl-C becomes a signal
            os.setsid()
            fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=folder,
            env=environment,
            preexec_fn=take_the_terminal,  # noqa: PLW1509  (the tests start no threads meanwhile)
        )
        os.close(theirs)
        self._raw = ""
        self._read_to = 0

    @property
    def seen(self) -> str:
        """Everything shown so far, without colours and cursor movements."""
        return _SEQUENCE.sub("", self._raw).replace("\r", "")

    @property
    def raw(self) -> str:
        """Everything the terminal got."""
        return self._raw

    @property
    def lines(self) -> list[str]:
        """What stands on the screen now, without empty lines."""
        return [line.rstrip() for line in self._screen.display if line.strip()]

    def types(self, text: str | bytes) -> None:
        os.write(self._ours, text.encode() if isinstance(text, str) else text)

    def line(self, text: str) -> None:
        self.types(text)
        time.sleep(0.05)  # a line break right behind text could be taken for one that was pasted
        self.types("\r")

    def waits_for(self, text: str, *, seconds: float = 30) -> None:
        """Until this text appears behind what was waited for before."""
        end = time.monotonic() + seconds
        while (found := self.seen.find(text, self._read_to)) < 0:
            if time.monotonic() > end or not self._read(0.2):
                raise AssertionError(f"{text!r} did not appear; seen: {self.seen[self._read_to :]!r}")
        self._read_to = found + len(text)

    def _read(self, seconds: float) -> bool:
        if not select.select([self._ours], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # Linux tells the end of a terminal that way
            return False
        text = data.decode(errors="replace")
        self._raw += text
        self._stream.feed(text)
        return bool(data)

    def rests(self, seconds: float = 0.5) -> None:
        """Until nothing more is shown for a moment, and the program has not just been kept from its work."""
        while True:
            if select.select([self._ours], [], [], seconds)[0]:
                if not self._read(0):
                    return
            elif not self._has_work():
                return

    def _has_work(self) -> bool:
        """Whether one of its threads wants a processor. Where the system does not tell, none does."""
        for path in Path(f"/proc/{self.process.pid}/task").glob("*/stat"):
            with contextlib.suppress(OSError):  # a thread that has ended meanwhile
                if path.read_text().rpartition(") ")[2][0] in "RD":
                    return True
        return False

    def leaves(self, *, seconds: float = 30) -> int:
        """Waits until the program ends. Returns its exit code."""
        end = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < end:
            self._read(0.1)
        code = self.process.wait(timeout=1)
        while select.select([self._ours], [], [], 0)[0] and self._read(0):
            pass
        return code

    def echoes(self) -> bool:
        """Whether the terminal shows what is typed, and hands it over line by line."""
        both = termios.ECHO | termios.ICANON
        return termios.tcgetattr(self._ours)[3] & both == both

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        os.close(self._ours)
