"""The command line: one file per command, imported when the command is used. Start with `edge-wsd --help`."""
