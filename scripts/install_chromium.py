"""Installs Debian's Chromium for the tests of the page, where apt and the right to use it are at hand.

    python scripts/install_chromium.py

Without a browser those tests are skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys


def main() -> None:
    if shutil.which("chromium"):
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        print("no Chromium, and no apt-get that may be used: the tests of the page are skipped", file=sys.stderr)
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-qq"], env=environment, check=True)
    subprocess.run(
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"], env=environment, check=True
    )


if __name__ == "__main__":
    main()
