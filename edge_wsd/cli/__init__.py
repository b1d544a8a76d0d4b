"""The command line: one file per command, imported when the command is used. Start with `edge-wsd --help`."""

# Nothing is imported here: Ctrl-C may come while the first modules are read.
import sys


def start() -> None:
    """The program `edge-wsd`. Ctrl-C ends it without a word from its first line on."""
    try:
        from edge_wsd.cli.main import main

        main()
    except KeyboardInterrupt:
        sys.exit(130)
