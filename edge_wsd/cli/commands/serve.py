"""`edge-wsd serve`: a pair behind the HTTP interfaces of OpenAI and Ollama, and a page."""

from __future__ import annotations

import functools
import json
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from edge_wsd.cli.option_types import DurationType
from edge_wsd.cli.options import GIVEN, PER_MODEL_NOTE, default_of, parallel_option, reply_options_without
from edge_wsd.cli.pair_choice import PairChoice, demo_remarks, pair_options
from edge_wsd.cli.sections import SectionCommand, SectionOption
from edge_wsd.cli.ui.rows import tell
from edge_wsd.decoding.options import Options
from edge_wsd.errors import EdgeWsdError, OptionError
from edge_wsd.reading import read_bounded
from edge_wsd.serve.settings import MIB, ServeSettings

API_KEY_VARIABLE = "EDGE_WSD_API_KEY"
_LONGEST_KEY_FILE = 1 << 16
F = TypeVar("F", bound=Callable[..., Any])

_FLAGS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "host": ("--host", "The address to listen on; one that other machines reach needs an API key.", {}),
    "port": ("--port", "0 for any that is free.", {"type": click.IntRange(0, 65535), "metavar": "N"}),
    "allow_origins": (
        "--allow-origin",
        "Let pages of this site use the server, such as https://example.com; * for all. May be given several times.",
        {"metavar": "ORIGIN", "multiple": True},
    ),
    "allow_hosts": (
        "--allow-host",
        "Another name of this machine that requests may be sent to. May be given several times.",
        {"metavar": "NAME", "multiple": True},
    ),
    "keep_alive_s": (
        "--keep-alive",
        "How long an idle pair stays in memory, such as 5m; -1 for ever.",
        {"type": DurationType()},
    ),
    "max_queued": ("--max-queued", "Requests that may wait for their turn.", {"type": int, "metavar": "N"}),
    "max_body_bytes": ("--max-body", "Largest body of a request, in MiB.", {"type": int, "metavar": "N"}),
    "max_prompt_tokens": ("--max-prompt-tokens", "Longest prompt.", {"type": int, "metavar": "N"}),
    "deadline_s": ("--deadline", "Seconds from a request to the end of its answer.", {"type": float, "metavar": "X"}),
    "shutdown_s": (
        "--shutdown-time",
        "Seconds that answers may go on after Ctrl-C.",
        {"type": float, "metavar": "X"},
    ),
}
"""Field of `ServeSettings` -> flag, help, further arguments of the option."""
_SHOWN = {"allow_origins": "none", "allow_hosts": "none", "keep_alive_s": "30m", "max_prompt_tokens": "the context"}


def _server_options(function: F) -> F:
    """Adds an option for each of `_FLAGS`; the command gets what was given as `given`."""

    @functools.wraps(function)
    def command(**values: Any) -> Any:
        taken = {name: values.pop(name) for name in _FLAGS}
        asked = click.get_current_context().get_parameter_source
        given = {name: value for name, value in taken.items() if asked(name) is ParameterSource.COMMANDLINE}
        return function(given=given, **values)

    decorated: Any = command
    for name, (flag, text, more) in reversed(_FLAGS.items()):
        default = default_of(ServeSettings, name)
        shown = _SHOWN.get(name, default // MIB if name == "max_body_bytes" else default)
        help_text = f"{text}  [default: {shown}]"
        decorated = click.option(
            flag, name, cls=SectionOption, section="The server", default=None, help=help_text, **more
        )(decorated)
    return decorated  # type: ignore[no-any-return]


@click.command(cls=SectionCommand, epilog=PER_MODEL_NOTE)
@_server_options
@click.option(
    "--api-key",
    metavar="KEY",
    cls=SectionOption,
    section="The server",
    help=f"A key that requests must carry. Other users may see it here: {API_KEY_VARIABLE} or --api-key-file hides it.",
)
@click.option(
    "--api-key-file",
    metavar="FILE",
    cls=SectionOption,
    section="The server",
    help="A file with one key in each line.",
)
@click.option(
    "--ready-fd",
    type=int,
    metavar="N",
    cls=SectionOption,
    section="The server",
    help="Write one line of JSON here once requests are taken.",
)
@click.option(
    "--until-stdin-closes",
    is_flag=True,
    cls=SectionOption,
    section="The server",
    help="Stop when the parent process is gone.",
)
@click.option("-q", "--quiet", is_flag=True, help="Nothing on stderr but errors and the line with the address.")
@parallel_option
@reply_options_without("top_logprobs")
@pair_options
@click.pass_context
def command(
    context: click.Context,
    *,
    given: dict[str, Any],
    api_key: str | None,
    api_key_file: str | None,
    ready_fd: int | None,
    until_stdin_closes: bool,
    quiet: bool,
    options: Options,
    pair_choice: PairChoice,
) -> None:
    """Answer over HTTP, as OpenAI (/v1) and Ollama (/api) do, until Ctrl-C; / is a page to talk to the pair.

    A request's model is a pair's name, or NAME:base or NAME:drafter for one of its models alone. Other pairs than the
    one named here are loaded when they are asked for. Only this machine reaches the server, unless --host says
    otherwise; requests then need a key.

    \b
    edge-wsd serve
    EDGE_WSD_API_KEY=... edge-wsd serve --host 0.0.0.0 --pair pilot-llama-8b
    """
    settings = _settings(given, _keys(api_key, api_key_file), pair_choice.loading["parallel"])
    from edge_wsd.serve.app import create_app
    from edge_wsd.serve.served_models import ServedModels
    from edge_wsd.serve.server import HttpServer, listen

    sock = listen(settings)  # before the models are loaded, which may take long
    with sock, pair_choice.open(quiet=quiet) as pair:
        pair.options = options
        models = ServedModels(
            pair_choice.pair,
            pair_choice.loading,
            changes=context.meta[GIVEN],
            keep_alive_s=settings.keep_alive_s,
        )
        models.put(pair)
        if not quiet:
            pair_choice.warn(pair)
            if pair_choice.is_demo:
                tell(*demo_remarks()[:1])

        def ready(url: str) -> None:
            tell(f"serving {models.default_name} at {url} until Ctrl-C")
            if ready_fd is not None:
                _announce(ready_fd, {"url": url, "model": models.default_name, "pid": os.getpid()})

        server = HttpServer(create_app(settings, models), settings, on_ready=ready)
        if until_stdin_closes:
            threading.Thread(target=_stop_with_parent, args=[server], name="edge-wsd parent", daemon=True).start()
        server.run(sockets=[sock])


def _settings(given: dict[str, Any], keys: tuple[str, ...], parallel: int) -> ServeSettings:
    """A value out of range is wrong usage, and named by its flag."""
    if "max_body_bytes" in given:
        given = {**given, "max_body_bytes": given["max_body_bytes"] * MIB}
    try:
        return ServeSettings(**given, api_keys=keys, parallel=parallel)
    except OptionError as error:
        name, _, rest = str(error).partition(" ")
        hint = f"; set {API_KEY_VARIABLE}, or give --api-key-file FILE" if name == "host" and not keys else ""
        flag = f"a key of --api-key, --api-key-file or {API_KEY_VARIABLE}" if name == "api_key" else _FLAGS[name][0]
        raise click.UsageError(f"{flag} {rest}{hint}") from error


def _keys(given: str | None, path: str | None) -> tuple[str, ...]:
    """The keys that open the server: those of an option and of a file, else that of the environment."""
    keys = [] if given is None else [given]
    if path is not None:
        lines = read_bounded(path, _LONGEST_KEY_FILE).decode("utf-8-sig", errors="replace").splitlines()
        in_file = [line.strip() for line in lines if line.strip()]
        if not in_file:
            raise EdgeWsdError(f"{path} holds no key; expected one in each line")
        keys += in_file
    if not keys and (of_environment := os.environ.get(API_KEY_VARIABLE)):
        keys.append(of_environment)
    return tuple(keys)


def _announce(descriptor: int, what: dict[str, Any]) -> None:
    try:
        with os.fdopen(descriptor, "w") as pipe:
            pipe.write(json.dumps(what) + "\n")
    except OSError as error:
        raise EdgeWsdError(f"--ready-fd {descriptor} cannot be written: {error.strerror}") from error


def _stop_with_parent(server: Any) -> None:
    """Stdin ends when whoever holds its other end is gone, however that happened."""
    with suppress(OSError, ValueError):
        while sys.stdin is not None and sys.stdin.buffer.read(4096):
            pass
    server.should_exit = True
