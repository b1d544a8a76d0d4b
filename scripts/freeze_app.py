"""Freeze a small application with PyInstaller, and run it with the demonstration pair: does the hook find everything?

    pip install pyinstaller
    python scripts/freeze_app.py FOLDER                  # build, run, and print sizes and times
    FOLDER/dist/app/app "How do I list files by size?"
    FOLDER/dist/app/app serve                            # the same program as a sidecar

The application is edge-wsd as `pip install` puts it there, not the working tree, so that its entry point is found.
Other packages of the environment come along wherever something tries to import them: measure sizes in a clean one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
APPLICATION = """
import sys

from edge_wsd import child_process

child_process.use_program([sys.executable, "edge-wsd-child"])  # first: children start children too
if sys.argv[1:2] == ["edge-wsd-child"]:
    sys.exit(child_process.main(sys.argv[2:]))

if sys.argv[1:2] == ["serve"]:
    from edge_wsd.cli import start

    sys.exit(start())

from edge_wsd import Pair

with Pair.demo(isolate="--isolate" in sys.argv) as pair:
    print(pair.generate([one for one in sys.argv[1:] if not one.startswith("-")][0]).text)
"""
# What other packages use where it happens to be installed, as it is in a maintainer's environment.
NOT_NEEDED = ("IPython", "PIL", "PySide6", "matplotlib", "mypy", "pytest", "torch", "transformers")
QUESTION = "How do I list files by size?"


def freeze(folder: Path) -> Path:
    """The program, in a folder with all that it needs."""
    installed = folder / "installed"
    if not installed.exists():
        options = ["-q", "--no-deps", "--no-build-isolation", "--target", str(installed)]
        subprocess.run([sys.executable, "-m", "pip", "install", *options, str(ROOT)], check=True)
    (folder / "app.py").write_text(APPLICATION, encoding="utf-8")
    excluded = [part for name in NOT_NEEDED for part in ("--exclude-module", name)]
    command = [sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level", "WARN", *excluded, "app.py"]
    subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(installed)}, check=True)
    return folder / "dist" / "app" / "app"


def without_python() -> dict[str, str]:
    """The environment of somebody who has neither Python nor this repository."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}


def run(program: Path, *arguments: str) -> tuple[str, float, float]:
    """What the program says, and how many seconds that takes, on the clock and of processors."""
    begin, before = time.perf_counter(), os.times()
    command = [str(program), QUESTION, *arguments]
    done = subprocess.run(command, cwd=program.parent, env=without_python(), capture_output=True, check=False)
    seconds, after = time.perf_counter() - begin, os.times()
    if done.returncode != 0:
        raise SystemExit(f"{program} ended with {done.returncode}: {done.stderr.decode(errors='replace')[-2000:]}")
    computing = after.children_user + after.children_system - before.children_user - before.children_system
    return done.stdout.decode(), seconds, computing


def size(folder: Path) -> int:
    """Bytes of all files, links not counted."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()
    program = freeze(folder)
    print(f"frozen in {time.perf_counter() - begin:.0f} s; {size(program.parent) / 2**20:.0f} MiB")
    run(program)  # files are read and tried for the first time
    for arguments in ([], ["--isolate"]):
        answer, seconds, computing = min((run(program, *arguments) for _ in range(5)), key=lambda each: each[1])
        name = " ".join(["app", *arguments])
        print(f"{name}: {seconds:.2f} s, {computing:.2f} s of processor time: {answer.splitlines()[0]}")


if __name__ == "__main__":
    main()
