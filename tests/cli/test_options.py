"""The dataclasses are the only home of defaults, and the command line reaches all of them."""

from __future__ import annotations

import re
from dataclasses import fields

import click
import pytest

from edge_wsd.cli.chat_options import parsed, value_text
from edge_wsd.cli.main import cli
from edge_wsd.cli.options import MODEL_FLAGS, REPLY_FLAGS, default_of, model_options, reply_options
from edge_wsd.decoding.options import Options
from edge_wsd.llama.settings import ModelSettings

GIVEN = {
    "mode": ("base", "base"),
    "max_tokens": ("7", 7),
    "threshold": ("0.5", 0.5),
    "window": ("3", 3),
    "max_draft": ("9", 9),
    "chunk": ("2", 2),
    "worker_timeout": ("2.5", 2.5),
    "propose": ("3", 3),
    "switch_at": ("0", 0),
    "temperature": ("0.7", 0.7),
    "top_k": ("40", 40),
    "top_logprobs": ("3", 3),
    "top_p": ("0.9", 0.9),
    "min_p": ("0.1", 0.1),
    "seed": ("5", 5),
    "stop": ("END", ("END",)),
    "rule": ("nudge", "nudge"),
    "proposers": ("both", "both"),
    "nudge_below": ("0.25", 0.25),
    "repeat_penalty": ("1.3", 1.3),
    "repeat_last_n": ("-1", -1),
    "presence_penalty": ("-0.5", -0.5),
    "frequency_penalty": ("0.2", 0.2),
    "logit_bias": ("a=b=-2", (("a=b", -2.0),)),
    "grammar": ('root ::= "a"', 'root ::= "a"'),
    "json_schema": ('{"type": "string"}', '{"type": "string"}'),
    "grammar_from": ("start", "start"),
    "gpu_layers": ("0", 0),
    "main_gpu": ("1", 1),
    "threads": ("2", 2),
    "cache_ram": ("300", 300),
    "kv_type": ("q8_0", "q8_0"),
    "flash_attention": ("off", "off"),
    "device_signal": ("on", "on"),
    "context_length": ("128", 128),
    "batch": ("64", 64),
    "extra_buffers": ("off", "off"),
}
OF_THE_PAIR = {"parallel"}
"""One number for both models, where a command writes several answers."""


def parse(decorate, *arguments):
    """What a command with these options gets from these arguments."""
    got = {}
    command = click.command()(decorate(lambda **values: got.update(values)))
    command.main(list(arguments), standalone_mode=False)
    return got


@pytest.mark.parametrize("owner, flags", [(Options, REPLY_FLAGS), (ModelSettings, MODEL_FLAGS)])
def test_every_field_has_a_flag_and_every_flag_a_field(owner, flags):
    assert set(flags) == {field.name for field in fields(owner)} - OF_THE_PAIR


def test_without_options_the_defaults_of_the_dataclasses_hold():
    assert parse(reply_options) == {"options": Options()}
    assert parse(model_options) == {"drafter_settings": ModelSettings(), "base_settings": ModelSettings()}


@pytest.mark.parametrize("name", [field.name for field in fields(Options) if not isinstance(field.default, bool)])
def test_every_option_of_a_reply_can_be_given(name):
    text, value = GIVEN[name]
    assert parse(reply_options, REPLY_FLAGS[name][0], text)["options"] == Options(**{name: value})


def test_a_grammar_may_stand_in_a_file(tmp_path):
    path = tmp_path / "answer.gbnf"
    path.write_text('\ufeffroot ::= "ß"\n', encoding="utf-8")
    assert parse(reply_options, "--grammar", f"@{path}")["options"] == Options(grammar='root ::= "ß"\n')
    path.write_bytes(b"root ::= \xff")
    with pytest.raises(click.BadParameter, match="is not UTF-8 text"):
        parse(reply_options, "--grammar", f"@{path}")
    with pytest.raises(click.BadParameter, match="cannot be read"):
        parse(reply_options, "--json-schema", f"@{tmp_path / 'missing'}")
    with pytest.raises(click.UsageError, match=r"--grammar must be GBNF; line 1: there is no rule 'x'"):
        parse(reply_options, "--grammar", "root ::= x")


@pytest.mark.parametrize("biases", [{"it's": -1.5, " two words": 2, 7: float("-inf")}, {'say "yes"': 1}])
def test_set_takes_biases_as_it_shows_them(biases):
    """As /set shows a value, so it can be typed again."""
    given = Options(logit_bias=biases)
    again = parsed("logit_bias", value_text(given.logit_bias), Options())
    assert Options(logit_bias=again) == given


def test_switches_can_be_turned_off_and_on():
    assert parse(reply_options, "--special")["options"] == Options(special=True)
    assert parse(reply_options, "--no-speculation")["options"] == Options(speculation=False)
    assert parse(reply_options, "--special")["options"] == Options(special=True)
    assert parse(model_options, "--exact")["base_settings"] == ModelSettings(exact=True)
    assert parse(model_options, "--base-exact")["drafter_settings"] == ModelSettings()
    assert parse(model_options, "--no-mmap")["base_settings"] == ModelSettings(mmap=False)
    assert parse(model_options, "--no-memory-check")["drafter_settings"] == ModelSettings(memory_check=False)


def test_workers_are_the_bases_unless_the_drafter_is_named():
    """Each of the drafter's short passes would wait for the network."""
    wanted = ModelSettings(workers=("a:1", "b:2"))
    both = {"drafter_settings": wanted, "base_settings": wanted}
    assert parse(model_options, "--workers", "a:1,b:2") == {**both, "drafter_settings": ModelSettings()}
    assert parse(model_options, "--workers", "a:1", "--workers", "b:2")["base_settings"] == wanted
    assert parse(model_options, "--workers", "a:1,b:2", "--drafter-workers", "a:1, b:2") == both


@pytest.mark.parametrize(
    "name",
    [name for name in MODEL_FLAGS if name != "workers" and not isinstance(default_of(ModelSettings, name), bool)],
)
def test_every_setting_can_be_given_for_both_models_and_for_each(name):
    text, value = GIVEN[name]
    flag, wanted = MODEL_FLAGS[name][0], ModelSettings(**{name: value})
    assert parse(model_options, flag, text) == {"drafter_settings": wanted, "base_settings": wanted}
    for role, other in (("drafter", "base"), ("base", "drafter")):
        got = parse(model_options, flag.replace("--", f"--{role}-"), text)
        assert got == {f"{role}_settings": wanted, f"{other}_settings": ModelSettings()}


def test_a_setting_of_one_model_wins_over_that_of_both():
    got = parse(model_options, "--threads", "2", "--base-threads", "4")
    assert got == {"drafter_settings": ModelSettings(threads=2), "base_settings": ModelSettings(threads=4)}


@pytest.mark.parametrize("owner, flags", [(Options, REPLY_FLAGS), (ModelSettings, MODEL_FLAGS)])
def test_the_help_shows_every_default(program, owner, flags):
    text = " ".join(program("run", "--help").stdout.split())
    for name, (flag, _) in flags.items():
        shown = re.search(rf"{flag}\b.*?\[default: (.*?)\]", text)
        default = default_of(owner, name)
        assert shown is not None, flag
        if isinstance(default, bool):
            assert shown[1].replace(" ", "") == ("" if default else "no-") + flag.removeprefix("--")
        elif default not in (None, ()):
            assert shown[1] == str(default), flag
        else:
            assert shown[1] not in ("None", "()"), flag


@pytest.mark.parametrize(
    ("name", "offered"), [("run", True), ("trace", True), ("batch", True), ("chat", False), ("serve", False)]
)
def test_alternatives_are_offered_where_tokens_are_written_as_json(name, offered):
    """`chat` shows none, and in `serve` each request says how many it wants."""
    command = cli.get_command(click.Context(cli), name)
    assert ("--top-logprobs" in {flag for param in command.params for flag in param.opts}) == offered


def test_settings_reach_the_pair(played):
    done = played("run", "x", "--drafter", "show-settings.gguf", "--base", "b.gguf", "--ctx", "64", "--base-ctx", "128")
    drafter, base = done.stderr.splitlines()[0].split(") ")
    assert "context_length=64" in drafter and "context_length=128" in base
