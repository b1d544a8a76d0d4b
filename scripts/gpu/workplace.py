"""A folder where the steps work: its Python environment, what was built, and what each step found."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
OUT_OF_TIME = 75
"""Exit status when the time is over and the same command goes on where it stopped (EX_TEMPFAIL)."""
STOPPED = 124
_STDERR = 2


class Workplace:
    """Runs commands until `minutes` are over, and keeps results as JSON files, so that a step can be repeated."""

    def __init__(self, folder: Path, minutes: float, library_folders: Sequence[Path] = ()) -> None:
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.library_folders = library_folders
        self._ends = time.monotonic() + 60 * minutes

    @property
    def python(self) -> Path:
        return self.folder / "venv" / "bin" / "python"

    def make_environment(self) -> None:
        """It also sees the packages of the Python that runs this, be that one an environment itself or not."""
        venv = self.folder / "venv"
        outer = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
        inner = sysconfig.get_path("purelib", "venv", {"base": str(venv), "platbase": str(venv)})
        link = Path(inner, "outer.pth")
        if not link.is_file():
            self.run([sys.executable, "-m", "venv", "--without-pip", venv])
            link.write_text("".join(f"{path}\n" for path in outer), encoding="utf-8")

    def run(
        self, command: Sequence[object], log: str | None = None, limit_s: float | None = None, **variables: str
    ) -> int:
        """Run to the end. With a `log`, a file for its output, the exit status is returned; else it must be 0.

        When `limit_s` is over the command is stopped, and the status is `STOPPED`; when the time of all is over this
        program ends as well.
        """
        words = [str(word) for word in command]
        print("+", *words, file=sys.stderr, flush=True)
        left = max(0.0, self._ends - time.monotonic())
        path = self.folder / (log or os.devnull)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as output:
            process = subprocess.Popen(
                words,
                cwd=ROOT,
                env=self._environment(variables),
                stdin=subprocess.DEVNULL,
                stdout=output if log else _STDERR,
                start_new_session=True,
            )
            try:
                status = process.wait(left if limit_s is None else min(limit_s, left))
            except subprocess.TimeoutExpired:
                if time.monotonic() >= self._ends:
                    print("The time is over: run the same command again, it goes on from here.", file=sys.stderr)
                    sys.exit(OUT_OF_TIME)
                status = STOPPED
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        if status and log is None:
            sys.exit(f"{words[0]} ended with status {status}")
        return status

    def _environment(self, more: dict[str, str]) -> dict[str, str]:
        folders = {
            name: os.pathsep.join(filter(None, [*map(str, self.library_folders), os.environ.get(name, "")]))
            for name in ("LD_LIBRARY_PATH", "LIBRARY_PATH")  # of the loader, and of the linker
        }
        return {
            **os.environ,
            "PATH": os.pathsep.join([str(self.python.parent), os.environ.get("PATH", os.defpath)]),
            **folders,
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "GIT_CEILING_DIRECTORIES": str(self.folder),  # or llama.cpp takes this repository's commit for its own
            **more,
        }

    def read(self, name: str) -> Any:
        """What `write` wrote under this name, None if nothing."""
        path = self._result(name)
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def write(self, name: str, value: Any) -> None:
        path = self._result(name)
        write_whole(path, json.dumps(value, indent=1) + "\n")

    def _result(self, name: str) -> Path:
        return self.folder / "results" / f"{name}.json"


def n_cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))


def write_whole(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
