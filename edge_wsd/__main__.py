"""`python -m edge_wsd` is the command `edge-wsd`."""

from __future__ import annotations

from edge_wsd.cli.main import main

if __name__ == "__main__":
    main()
