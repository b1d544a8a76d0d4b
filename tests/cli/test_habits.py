"""What people type who know other programs: each gets the right way told, in one line."""

from __future__ import annotations

from importlib import import_module

import pytest

from edge_wsd.cli import habits
from edge_wsd.cli.chat_commands import SLASH_COMMANDS
from edge_wsd.cli.main import COMMANDS as PROGRAM_COMMANDS
from edge_wsd.cli.options import REPLY_FLAGS


@pytest.mark.parametrize(
    "line, way",
    [
        ("exit", "/quit"),
        ("quit", "/quit"),
        (" Quit ", "/quit"),
        ("help", "/help"),
        ("!end", '"""'),
        ("!fragment", "/read FILE"),
        ("!edit", "needs a terminal"),
        ("/set temprature 0.5", "/set temperature 0.5"),
        ("/set format", "/set format json"),
        ("/set model other", "/pair NAME"),
        ("/set history", "/clear"),
        ("/set wordwrap", "between words"),
        ("/set template x", "--drafter-template"),
        ("/set think", "drafter's template"),
        ("/set nothink", "drafter's template"),
        ("/nothink", "drafter's template"),
        ("/set noverbose", "/set quiet"),
        ("/?nonsense", "/help lists"),
        ("/show license", "edge-wsd models show"),
        ("/show template", "--template"),
        ("/model", "/pair NAME"),
        ("/continue", "/regen"),
        ("/branch", "/save FILE"),
        ("/set num_ctx 4096", "--ctx"),
        ("/set kv_type q8_0", "--kv-type"),
        ("/set mirostat 2", "penalties"),
        ("/temperature 0.5", "/set temperature 0.5"),
        ("/max_tokens 5", "/set max_tokens 5"),
        ("/show modelfile", "edge-wsd models show"),
        ("/show nonsense", "/show messages"),
        ("/sta", "/stats"),
        ("/hlep", "/help"),
        ("/forget", "/clear"),
        ("/image cat.png", "text"),
        ("/audio a.wav", "text"),
        ("/glob", "/glob src/*.py"),
        ("/glob *.nothing", "no file is named like"),
        ("/zzzz", "/help"),
        ("/", "/help"),
        ("/ps", "/show"),
        ("/run", "without a command"),
        ("/goodbye", "/quit"),
        (":wq", "/quit"),
    ],
)
def test_a_chat_tells_the_right_way_in_one_line(played, line, way):
    done = played("chat", "-q", stdin=f"{line}\n")
    assert done.returncode == 1 and done.stdout == ""
    assert way in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("line", ['"""exit"""', "exit the loop", "Help me!", "/etc/hosts is gone"])
def test_a_message_that_only_looks_like_a_command_is_answered(played, line):
    assert played("chat", "-q", stdin=f"{line}\n").stdout.startswith("Sure, you said ")


@pytest.mark.parametrize("topic, shown", [("set", "/set [NAME"), ("/set", "/set [NAME"), ("shortcuts", "Alt-Enter")])
@pytest.mark.parametrize("question", ["/? ", "/?", "/help "])
def test_help_may_be_asked_about_one_thing(played, question, topic, shown):
    done = played("chat", "-q", stdin=f"{question}{topic}\n")
    assert done.returncode == 0 and shown in done.stderr and "/quit" not in done.stderr


@pytest.mark.parametrize(
    "arguments, way",
    [
        (["list"], "edge-wsd models"),
        (["ps"], "edge-wsd models"),
        (["server"], "edge-wsd serve"),
        (["help"], "edge-wsd --help"),
        (["help", "run"], "edge-wsd run --help"),
        (["version"], "edge-wsd --version"),
        (["-V"], "edge-wsd --version"),
        (["-v"], "edge-wsd --version"),
        (["rm", "some-model"], "edge-wsd models rm"),
        (["models", "remove", "some-model"], "edge-wsd models rm"),
        (["models", "pull", "some/model"], "edge-wsd pull"),
        (["models", "shwo", "some-model"], "edge-wsd models show"),
        (["models", "nonsense"], "there are list, rm, show"),
        (["pairs", "delete", "mine"], "edge-wsd pairs rm"),
        (["pairs", "use", "mine"], "edge-wsd pairs default"),
        (["pairs", "ad", "mine"], "edge-wsd pairs add"),
        (["sessions", "delete", "work"], "edge-wsd sessions rm"),
        (["sessions", "resume", "work"], "edge-wsd chat --session"),
        (["upgrade"], "pip install --upgrade"),
        (["generate"], "edge-wsd run"),
        (["chta"], "edge-wsd chat"),
        (["How", "do", "I", "list", "files?"], 'edge-wsd run "How do I list files?"'),
        (["How do I list files?"], 'edge-wsd run "How do I list files?"'),
        (["hello"], 'edge-wsd run "hello"'),
        (["chat", "hello", "there"], "edge-wsd run"),
        (["run", "-p", "hello"], "edge-wsd run"),
        (["run", "--temp", "0.5", "hello"], "--temperature"),
        (["run", "-ngl", "99", "hello"], "--gpu-layers"),
        (["run", "-ctk", "q8_0", "hello"], "--kv-type"),
        (["chat", "-ctk", "q8_0"], "--kv-type"),
        (["chat", "-c", "4096"], "--ctx 4096"),
        (["run", "--continue", "hello"], "edge-wsd chat --continue"),
        (["sessions", "last"], "edge-wsd chat --continue"),
        (["run", "-n", "99", "hello"], "--max-tokens"),
        (["bench", "--prompt", "32", "--nonsense"], "--nonsense"),
        (["run", "--model=x.gguf", "hello"], "--pair NAME"),
        (["-m", "x.gguf", "-p", "hello"], "--pair NAME"),
        (["--pair", "demo", "chat"], "edge-wsd chat --pair"),
        (["eval"], "edge-wsd eval demo"),
        (["eval", "mmlu"], "edge-wsd eval demo"),
    ],
)
def test_the_program_tells_the_right_way_in_one_line(played, arguments, way):
    """`edge-wsd eval` said "Missing argument '{demo}'"; `edge-wsd models remove` that there is no such command. Of a
    command that has --prompt, another option that does not exist was told as "there is no option --prompt"."""
    done = played(*arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert way in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "line, shown",
    [
        ('/set temperature "0.5"', "temperature = 0.5"),
        ("/set mode 'drafter'", "mode = drafter"),
        ('/system "Be brief."\n/system', "system: Be brief.\n"),
        ('/system Say "yes".\n/system', 'system: Say "yes".\n'),
        ('/system Be brief.\n/system ""\n/system', "system: (none)\n"),
        ("/help set threshold", "/set [NAME"),
    ],
)
def test_quotes_around_a_value_are_not_part_of_it(played, line, shown):
    """`/set temperature "0.5"` was told to be no number, `/system ""` set a text of two quotes."""
    done = played("chat", "-q", stdin=f"{line}\n")
    assert done.returncode == 0 and shown in done.stderr


def test_no_habit_stands_in_the_way_of_what_there_is():
    for name, group in habits.COMMANDS_OF_GROUPS.items():
        assert not set(group) & set(import_module(f"edge_wsd.cli.commands.{name}").command.commands)
    assert not set(habits.FOREIGN_COMMANDS) & set(PROGRAM_COMMANDS)
    assert not set(habits.FOREIGN_SLASH_COMMANDS) & set(SLASH_COMMANDS)
    assert not set(habits.SET_NAMES) & set(REPLY_FLAGS)
    assert set(habits.SAME_OPTIONS.values()) <= set(REPLY_FLAGS)


@pytest.mark.parametrize("name, known, meant", [("se", ["set", "send"], None), ("sen", ["set", "send"], "send")])
def test_what_is_meant_is_not_guessed_among_several_beginnings(name, known, meant):
    assert habits.best_match(name, known) == meant


def test_no_habit_names_an_option_that_a_command_has():
    import click

    from edge_wsd.cli.main import cli
    from edge_wsd.cli.options import SectionOption  # noqa: F401  (what the options are made of)

    with click.Context(cli) as context:
        for name in ("run", "chat"):
            command = cli.get_command(context, name)
            own = {flag for param in command.params for flag in (*param.opts, *param.secondary_opts)}
            of_chat_alone = {"-c", "--continue"} if name == "chat" else set()  # and so told in others
            assert own & set(habits.OPTIONS) == of_chat_alone
