"""What a type checker sees of the library: the documented uses pass, and misspelt ones do not."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import edge_wsd
from edge_wsd import errors
from edge_wsd.errors import EdgeWsdError

ROOT = Path(__file__).parents[2]
RIGHT = """\
from collections.abc import Iterator
from edge_wsd import (
    Batch, BusyError, Event, EdgeWsdError, FinishReason, Message, ModelSettings, OptionChanges, Options, Pair, Reply,
    Session,
)

settings = ModelSettings(threads=1)
with Pair.demo(drafter_settings=settings, base_template="plain") as pair, Pair.named("demo", base_settings=settings):
    chat: Session = pair.session(system="Be brief.", messages=[Message("user", "Hello"), Message("assistant", "Hi")])
    stream = chat.stream("And now?")
    events: Iterator[Event] = stream
    stream.close()
    chat.regenerate().close()
    changes: OptionChanges = {"max_tokens": 3, "stop": "END", "seed": None}
    reply: Reply = pair.generate("hi", **changes)
    reason: FinishReason = reply.finish_reason
    seed: int | None = reply.seed
    chat.options = Options().with_changes(stop=["a", "b"], switch_at=3)
    for row, answer in Batch(pair, [{"text": "hi"}], lambda row: row["text"], options=chat.options):
        key: str = row["text"]
        ended: Reply | Exception = answer
    raised: type[EdgeWsdError] = BusyError
    stream = pair.complete([1, 2], score_prompt=True, mode="base", max_tokens=3)
    scores: list[float | None] = [token.logprob for token in pair.score("hi", "drafter").result().prompt]
"""
WRONG = {
    'pair.generate("hi", max_tokenz=3)': "max_tokenz",
    'pair.generate("hi", max_tokens="3")': "max_tokens",
    'Options().with_changes(modus="base")': "modus",
    'Options().with_changes(mode="both")': "mode",
    "Pair.demo(drafter_setting=None)": "drafter_setting",
    'Pair.named("demo", base_template=3)': "base_template",
    'pair.session().stream("hi").cloze()': "cloze",
    'pair.score("hi", "both")': "both",
    "pair.complete(3)": "complete",
}


def test_mypy_passes_what_is_documented_and_names_what_is_misspelt(tmp_path):
    """`generate("hi", max_tokenz=3)` once passed, and `close()` of a stream, which the documents advise, did not."""
    program = tmp_path / "program.py"
    program.write_text(RIGHT + "".join(f"{line}\n" for line in WRONG))
    command = [sys.executable, "-m", "mypy", "--follow-imports=silent", "--no-error-summary", "--config-file="]
    done = subprocess.run(
        [*command, "--ignore-missing-imports", f"--cache-dir={tmp_path / 'cache'}", str(program)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = dict(re.findall(r"program\.py:(\d+): error: (.*)", done.stdout))
    first = RIGHT.count("\n") + 1
    assert [int(line) for line in found] == list(range(first, first + len(WRONG))), done.stdout + done.stderr
    for complaint, word in zip(found.values(), WRONG.values(), strict=True):
        assert word in complaint


CONVERTERS = """\
from edge_wsd.converters import convert
from edge_wsd.models.gguf.file_types import find_type

name: str = find_type("Q4_K_M").name
find_type(3)
find_type(3, 4, nonsense=True)
number: int = find_type("Q4_0").name
convert("a", "b", typ="Q4_0")
"""


@pytest.mark.parametrize("options", [[], ["--config-file=", "--ignore-missing-imports", "--follow-imports=silent"]])
def test_mypy_sees_across_the_converters(tmp_path, options):
    """Everything of `edge_wsd.converters` was Any, at last only without this project's settings: any call passed."""
    program = tmp_path / "program.py"
    program.write_text(CONVERTERS)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", f"--cache-dir={tmp_path / 'cache'}", *options, str(program)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = re.findall(r"program\.py:(\d+): error:", done.stdout)
    assert sorted(set(map(int, found))) == [5, 6, 7, 8], done.stdout + done.stderr


def test_whatever_a_user_may_catch_or_name_is_in_the_package():
    for name in edge_wsd.__all__:
        assert getattr(edge_wsd, name) is not None
    raised = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, EdgeWsdError)}
    assert raised <= set(edge_wsd.__all__)
