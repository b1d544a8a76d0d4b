"""A person at a terminal, played: types, waits for what should appear, presses Ctrl-C."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import subprocess
import termios
import time

_SEQUENCE = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07]*\x07|[()][A-Z0-9]|[=>])")


class Person:
    """Runs a program in a pseudo terminal of 90 columns."""

    def __init__(self, command: list[str], environment: dict[str, str], folder: object) -> None:
        self._ours, theirs = os.openpty()
        environment = {**environment, "PROMPT_TOOLKIT_NO_CPR": "1", "COLUMNS": "90", "LINES": "30"}

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

    def types(self, text: str) -> None:
        os.write(self._ours, text.encode())

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
        self._raw += data.decode(errors="replace")
        return bool(data)

    def leaves(self, *, seconds: float = 30) -> int:
        """Waits until the program ends. Returns its exit code."""
        end = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < end:
            self._read(0.1)
        return self.process.wait(timeout=1)

    def echoes(self) -> bool:
        """Whether the terminal shows what is typed."""
        return bool(termios.tcgetattr(self._ours)[3] & termios.ECHO)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        os.close(self._ours)
