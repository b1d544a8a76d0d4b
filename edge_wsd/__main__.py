"""`python -m edge_wsd` is the command `edge-wsd`."""

# No `from __future__`: Python puts the current folder first on the path, and whatever lies there would be imported.
import os
import sys


def _forget_current_folder() -> None:
    """Nothing is imported from it, unless this package itself lies there."""
    home = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    try:
        here = os.path.realpath(os.getcwd())
    except OSError:  # it was removed
        return
    if here != home and sys.path and os.path.realpath(sys.path[0]) == here:
        del sys.path[0]


if __name__ == "__main__":
    _forget_current_folder()
    from edge_wsd.cli import start

    start()
