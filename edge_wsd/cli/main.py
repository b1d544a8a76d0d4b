"""The command `edge-wsd`: finds a command's file, runs it, turns a failure into one line and an exit code.

Nothing but click is imported here, so `edge-wsd --help` answers at once.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edge_wsd import __version__
from edge_wsd.errors import EdgeWsdError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

PROGRAM = "edge-wsd"
COMPLETE_VARIABLE = "_EDGE_WSD_COMPLETE"
"""In the environment while a shell asks for completions."""
DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130

_OF_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF, errno.EPIPE)

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

COMMANDS = {
    "run": "Write one answer.",
    "chat": "Hold a conversation in the terminal.",
    "sessions": "List, show, rename, remove and export the conversations of `chat --session`.",
    "trace": "Show how an answer comes about, token by token.",
    "calibrate": "Find the setting of the switch that suits a pair.",
    "serve": "Answer over HTTP, as OpenAI and Ollama do, with a page.",
    "batch": "Answer a file of questions, line by line.",
    "eval": "Measure a pair: how aligned and how right its answers are.",
    "bench": "Measure how fast a pair is, against its base alone and llama.cpp's programs.",
    "pairs": "Name pairs of models, and choose the default one.",
    "models": "List, show and remove the models of the store.",
    "pull": "Download a model from the hub into the store.",
    "convert": "Turn a Hugging Face checkpoint into a GGUF file.",
    "quantize": "Store a GGUF file in fewer bits.",
    "imatrix": "Measure which weights matter, for a better quantization.",
    "verify": "Compare a converted file with its checkpoint, or types of one model.",
    "plan": "Show where a pair goes in memory, and whether it fits.",
    "worker": "Lend this machine's devices to a pair on another machine.",
    "check": "Compare the vocabularies of a drafter and a base.",
    "completion": "Let the shell complete commands, options and names.",
    "doctor": "Show versions, devices and what to install for a GPU.",
}
"""Each command is `command` in `edge_wsd.cli.commands.<name>`."""

EPILOG = """\b
Exit codes: 0 done (also when the reader of a pipe left early), 1 an error,
told in one line on stderr, 2 wrong usage, 130 interrupted by Ctrl-C.
Answers go to stdout, everything else to stderr; a chat in a terminal shows
all on stdout.
"""

F = TypeVar("F", bound=Callable[..., Any])


def debug_option(function: F) -> F:
    """`--debug`, understood before and after the command's name."""

    def remember(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
        if value:
            ctx.find_root().meta["edge_wsd.debug"] = True

    option = click.option(
        "--debug",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=remember,
        help="Show the traceback of an error.",
    )
    return option(function)


class _Formatter(click.HelpFormatter):
    """Fits narrow terminals too; click's own lines have 50 columns at least."""

    _LEAST, _NAMES = 50, 8

    def __init__(self, indent_increment: int = 2, width: int | None = None, max_width: int | None = None) -> None:
        super().__init__(indent_increment, width, max_width)
        n_columns = shutil.get_terminal_size().columns - 2
        self._is_narrow = width is None and n_columns < self._LEAST
        self.width = max(n_columns, 2 * self._NAMES) if self._is_narrow else self.width

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        super().write_dl(rows, self._NAMES if self._is_narrow else col_max, col_spacing)

    def getvalue(self) -> str:
        if not self._is_narrow:
            return super().getvalue()
        from edge_wsd.cli.ui.rows import hanging_lines

        return "\n".join(hanging_lines(super().getvalue().split("\n"), self.width + 1))


class _Context(click.Context):
    formatter_class = _Formatter


class AdvisingGroup(click.Group):
    """A group that tells what to type instead of a command that it does not have."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, but for a word that is no command the way is told."""
        known = self.list_commands(ctx)
        if args[0] not in known:
            raise click.UsageError(self.advice(args, known), ctx)
        return super().resolve_command(ctx, args)

    def advice(self, args: list[str], known: Sequence[str]) -> str:
        """What to type instead of `args`, which begin with no command."""
        from edge_wsd.cli.habits import unknown_subcommand

        return unknown_subcommand(self.name or PROGRAM, args[0], known)


class LazyGroup(AdvisingGroup):
    """A group that knows its commands by name and imports one only to run it or to show its help."""

    context_class = _Context

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        from edge_wsd.cli.warnings import hear_warnings

        hear_warnings()
        command: click.Command = import_module(f"edge_wsd.cli.commands.{cmd_name}").command
        inner = command.commands.values() if isinstance(command, click.Group) else ()
        for each in (command, *inner):
            each.context_class = _Context
            if all(param.name != "debug" for param in each.params):
                debug_option(each)  # click adds it to the command's parameters
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """As a group does it, but without importing every command."""
        from click.shell_completion import CompletionItem

        names = [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def advice(self, args: list[str], known: Sequence[str]) -> str:
        from edge_wsd.cli.habits import unknown_command

        return unknown_command(args, known)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings=SETTINGS)
@click.version_option(__version__, prog_name=PROGRAM, message="%(prog)s %(version)s")
@debug_option
def cli() -> None:
    """Weak-to-strong decoding: a small aligned model begins the answer, a large base model finishes it.

    \b
    edge-wsd chat                      talk to the demo pair
    edge-wsd run "How do I ...?"       one answer
    """


def main(args: Sequence[str] | None = None) -> None:
    """Run the program and exit with its code."""
    if COMPLETE_VARIABLE in os.environ:
        cli.main(args=args, prog_name=PROGRAM)
    from edge_wsd.cli.ui.guard import guard_streams
    from edge_wsd.cli.ui.terminal_state import watch_terminal

    guard_streams()
    watch_terminal()
    sys.exit(run(list(sys.argv[1:] if args is None else args)))


def run(args: list[str]) -> int:
    """Run the program. Returns the exit code; prints at most one line about a failure."""
    _write_any_character()
    context = click.Context(cli, info_name=PROGRAM)
    debug = _asks_for_debug(args)
    try:
        code = _invoke(context, args)
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where a full disk or a broken pipe can still be told
        return code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        asked = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else PROGRAM
        text = _advice(error, args) or error.format_message()
        complain(text if "--help" in text else f"{text} (see {asked} --help)")
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        _abandon_stdout()
        return DONE
    except Exception as error:
        if debug:
            show_traceback(error)
        else:
            complain(explained(error))
        return FAILED


def _invoke(context: click.Context, args: list[str]) -> int:
    try:
        with cli.make_context(PROGRAM, args) as ctx:
            result = cli.invoke(ctx)
        return result if isinstance(result, int) else DONE
    except click.exceptions.Exit as leaving:
        return leaving.exit_code


def _advice(error: click.ClickException, args: list[str]) -> str | None:
    """What to type instead of an option or an argument that is not understood, where that is known."""
    if isinstance(error, click.NoSuchOption):
        from edge_wsd.cli.habits import unknown_option, words_behind_dashes

        in_group = error.ctx is not None and error.ctx.parent is None
        known = unknown_option(error.option_name, args, outside_command=in_group)
        return (known or error.format_message().rstrip(".")) + words_behind_dashes(error.option_name, args)
    extra = "unexpected extra argument" in error.message
    if extra and isinstance(error, click.UsageError) and error.ctx is not None and error.ctx.info_name == "chat":
        from edge_wsd.cli.habits import argument_of_chat

        return argument_of_chat(args)
    return None


def _asks_for_debug(args: list[str]) -> bool:
    """Also true for an error that comes before the options have been read."""
    before_dashes = args[: args.index("--")] if "--" in args else args
    return "--debug" in before_dashes or _environment_asks()


def _environment_asks() -> bool:
    return os.environ.get("EDGE_WSD_DEBUG", "").lower() not in ("", "0", "false", "no", "off")


def debug_wanted(context: click.Context) -> bool:
    """Whether errors are shown with their tracebacks."""
    return bool(context.find_root().meta.get("edge_wsd.debug")) or _environment_asks()


def explained(error: Exception) -> str:
    """What the user is told of an error: what it says itself, or that it is a mistake of ours."""
    if isinstance(error, EdgeWsdError):
        return str(error)
    if isinstance(error, OSError):
        if error.filename or error.errno in _OF_OUTPUT:
            return f"{error.filename or 'the output cannot be written'}: {error.strerror or error}"
        return f"the operating system refused: {error.strerror or error}; run again with --debug to see where"
    return f"internal error: {type(error).__name__}: {error}; run again with --debug to see where"


def complain(text: str) -> None:
    """One line on stderr, whatever the text holds."""
    from edge_wsd.cli.ui.terminal import one_line
    from edge_wsd.redaction import redacted

    _abandon_stdout_if_unwritable()
    click.echo(f"{PROGRAM}: error: {one_line(redacted(text))}", err=True)


def show_traceback(error: Exception) -> None:
    """The traceback of an error on stderr, for `--debug`, without secrets."""
    import traceback

    from edge_wsd.cli.ui.terminal import neutralise
    from edge_wsd.redaction import redacted

    _abandon_stdout_if_unwritable()
    click.echo(neutralise(redacted("".join(traceback.format_exception(error)))), err=True, nl=False)


def _write_any_character() -> None:
    """A terminal without UTF-8 shows `?` for what it lacks instead of failing in the middle of an answer."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _abandon_stdout() -> None:
    """Nobody reads any more: point stdout at nothing, or the interpreter complains while it exits."""
    with contextlib.suppress(OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)


def _abandon_stdout_if_unwritable() -> None:
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        _abandon_stdout()
