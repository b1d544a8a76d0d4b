"""Whatever is used after it was closed, or in a forked child, ends in a named error: it must not end the process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edge_wsd.errors import ModelLoadError
from edge_wsd.llama.context import Context
from edge_wsd.llama.model import Model
from tests.model.uses_after_close import CLOSED, HARMLESS, SETTINGS
from tests.tiny_models import TinyModel, string

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
        assert context.memory and new.score([], [7]).logprobs == new_score(model)


def new_score(model):
    with Context(model, SETTINGS) as context:
        sequence = context.sequence()
        sequence.extend([4, 5, 6])
        return sequence.score([], [7]).logprobs


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
