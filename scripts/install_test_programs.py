"""Installs Debian's packages that some tests need, where apt and the right to use it are at hand.

    python scripts/install_test_programs.py

A browser for the page, shells that complete commands, and a screen in memory for the window of Tk.
Without them those tests are skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

PROGRAMS = {"chromium": "chromium", "zsh": "zsh", "fish": "fish", "xvfb-run": "xvfb", "xauth": "xauth"}
"""What is called, and the package that has it."""


def main() -> None:
    if all(map(shutil.which, PROGRAMS)):
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        print("no apt-get that may be used: tests whose programs are missing are skipped", file=sys.stderr)
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-qq"], env=environment, check=True)
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends"]
    subprocess.run([*install, *PROGRAMS.values()], env=environment, check=True)


if __name__ == "__main__":
    main()
