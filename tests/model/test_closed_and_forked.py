"""Whatever is used after it was closed, or in a forked child, ends in a named error: it must not end the process."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge_wsd.errors import ModelLoadError
from edge_wsd.llama import library
from edge_wsd.llama.context import Context
from edge_wsd.llama.model import Model
from tests.devices import FORKED_END
from tests.model.uses_after_close import CLOSED, HARMLESS, SETTINGS
from tests.tiny_models import TinyModel, string

QUIET = ("leave a with block", "nothing")
ROOT = Path(__file__).parents[2]


def run(*command):
    """A child process, which may end by a signal or hang."""
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


def test_everything_that_is_used_after_it_was_closed_is_a_named_error(files):
    """`cut` and `close` of a sequence used a pointer of the context that was freed, and ended the process (139)."""
    done = run("-m", "tests.model.uses_after_close", str(files["drafter"]))
    assert done.returncode == 0, done.stderr[-2000:]
    expected = {
        f"{owner}: {name}": "done" if name in HARMLESS else "ClosedError"
        for owner, (_, uses) in CLOSED.items()
        for name in (uses | HARMLESS)
    }
    assert json.loads(done.stdout) == expected


def test_a_closed_sequence_does_not_touch_the_one_that_took_its_place(files):
    with Model.load(files["drafter"]) as model, Context(model, SETTINGS) as context:
        old = context.sequence()
        old.extend([1, 2, 3])
        old.close()
        new = context.sequence()
        new.extend([4, 5, 6])
        old.close()
        assert new.tokens == [4, 5, 6]
        assert new.score([6], [7]).logprobs == new_score(model)


def new_score(model):
    with Context(model, SETTINGS) as context:
        sequence = context.sequence()
        sequence.extend([4, 5, 6])
        return sequence.score([6], [7]).logprobs


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize(("threads", "device_signal"), [("1", "off"), ("2", "off"), ("1", "on")])
def test_what_a_forked_child_inherits_is_refused_at_once_and_its_end_is_quiet(files, threads, device_signal):
    """The child of a process with a pair of several threads waited for ever for threads that it did not have."""
    models = (str(files["drafter"]), str(files["base"]))
    done = run("-m", "tests.model.uses_in_a_fork", *models, threads, device_signal)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.pop("multiprocessing") == "ForkedError, 0"
    quiet = {name: outcome for name, outcome in found.items() if "close" in name or name in QUIET}
    assert set(quiet.values()) == {f"done, {FORKED_END}"}
    # OpenMP cannot start its threads anew in a child; with one thread there are none.
    loaded = found.pop("load")
    assert loaded == ("done, 0" if threads == "1" and not library.supports_offload() else f"ForkedError, {FORKED_END}")
    refused = {outcome for name, outcome in found.items() if name not in quiet}
    assert refused == {f"ForkedError, {FORKED_END}"}
    assert "leaked" not in done.stderr


STILL_AT_WORK = """
import sys, threading
from edge_wsd import ModelSettings, Pair

settings = ModelSettings(threads=1, context_length=256)
pair = Pair.load(sys.argv[1], sys.argv[2], drafter_settings=settings, base_settings=settings)
begun = threading.Event()

def work():
    for event in pair.session().stream("hello"):
        begun.set()
        threading.Event().wait()  # a reader that never comes back

threading.Thread(target=work, daemon=True).start()
begun.wait()
"""


def test_a_process_that_ends_while_a_thread_writes_a_reply_says_nothing(files):
    """It ended with "nanobind: leaked 3 instances!" of the flag that would have cancelled the reply."""
    done = run("-c", STILL_AT_WORK, str(files["drafter"]), str(files["base"]))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


SIGNALLED = """
import signal, sys
from edge_wsd import BusyError, Finished, ModelSettings, Pair
from edge_wsd.llama.vocab import Vocab

settings = ModelSettings(threads=1, context_length=256)

def load():
    return Pair.load(sys.argv[1], sys.argv[2], drafter_settings=settings, base_settings=settings)

def close(*_):
    try:
        pair.close()
    except BusyError as error:
        print("refused:", error)

signal.signal(signal.SIGUSR1, close)
pair = load()
for event in pair.session().stream("hello"):
    if not isinstance(event, Finished):
        signal.raise_signal(signal.SIGUSR1)
print(event.reply.finish_reason)

pair = load()
tokenize = Vocab.tokenize

def interrupted(vocab, *arguments, **options):
    signal.raise_signal(signal.SIGUSR1)
    return tokenize(vocab, *arguments, **options)

Vocab.tokenize = interrupted
print(pair.generate("hello").finish_reason)
pair.close()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="this system has no such signal")
def test_a_signal_handler_may_close_the_pair_that_it_interrupts_or_is_told_why_not(files):
    """One in the thread that asked waited for ever for the reply that it had interrupted."""
    done = run("-c", SIGNALLED, str(files["drafter"]), str(files["base"]))
    assert done.returncode == 0, done.stderr
    finish, *refusals, after = done.stdout.splitlines()
    assert finish == "cancelled" and after in ("stop", "length")  # what was refused changes nothing
    assert refusals and all(line.startswith("refused: a pair cannot be closed") for line in refusals)


def test_a_model_that_keeps_nothing_of_what_it_read_is_refused(tmp_path):
    """Its context has no memory, of which llama.cpp was asked nevertheless."""
    tiny = TinyModel()
    tiny.metadata = {key.replace("llama.", "llada."): value for key, value in tiny.metadata.items()}
    tiny.metadata["general.architecture"] = string("llada")
    with (
        Model.load(tiny.write(tmp_path / "diffusion.gguf")) as model,
        pytest.raises(ModelLoadError, match=r"diffusion\.gguf: this kind of model keeps nothing"),
    ):
        Context(model, SETTINGS)
