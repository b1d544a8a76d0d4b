"""Pulling checkpoints, which are converted, from a hub on this machine."""

from __future__ import annotations

import hashlib
import json

import pytest

from edge_wsd.converters.verification.tokenizer_agreement import Agreement
from edge_wsd.errors import ConversionError, EdgeWsdError
from edge_wsd.models.gguf.check import check_gguf
from tests.tiny_hub import FILE, GGUF, left_over


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    from tests.checkpoints import make_checkpoint

    folder = make_checkpoint(tmp_path_factory.mktemp("checkpoint"), "llama", shards=True)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


JUNK = {"pytorch_model.bin": b"x" * 5000, "consolidated.safetensors": b"x" * 5000, "original/a.pth": b"x" * 5000}


def test_a_checkpoint_is_fetched_converted_and_compared(server, store, get, checkpoint):
    server.add("someone/Check", {**checkpoint, **JUNK, "README.md": b"card"})
    stages = []
    model = get("someone/Check:q8_0", progress=lambda step: stages.append(step.stage))
    assert model.name == "someone/Check:Q8_0" and model.path.name == "Check-Q8_0.gguf"
    about = model.manifest
    assert about.made == "converted" and about.tokenizer_texts >= 1000
    assert about.tokenizer_equal >= 0.999 * about.tokenizer_texts
    assert about.files[0].sha256 == hashlib.sha256(model.path.read_bytes()).hexdigest()
    assert list(dict.fromkeys(stages)) == ["look up", "download", "convert", "verify", "check"]
    assert check_gguf(model.path).metadata["general.name"] == "Check"
    asked = {one.path.rpartition("/")[2] for one in server.requests}
    assert not asked & {"pytorch_model.bin", "consolidated.safetensors", "a.pth"}
    assert left_over(store) == []  # the checkpoint takes no room once it is converted


def test_a_ready_file_of_the_type_wins_over_a_checkpoint(server, get, checkpoint):
    server.add("someone/Both", {**checkpoint, FILE: GGUF})
    assert get("someone/Both").path.read_bytes() == GGUF


@pytest.mark.parametrize("change", [{"architectures": ["NewForCausalLM"]}, {"auto_map": {"AutoModel": "x.Y"}}])
def test_a_checkpoint_that_cannot_be_converted_is_refused_before_its_weights_come(
    server, store, get, checkpoint, change
):
    config = json.dumps({**json.loads(checkpoint["config.json"]), **change}).encode()
    server.add("someone/New", {**checkpoint, "config.json": config})
    with pytest.raises(ConversionError, match=r"someone/New:Q8_0: .*; nothing was stored"):
        get("someone/New:Q8_0")
    assert server.bytes_sent(".safetensors") == 0


def test_a_tokenizer_that_differs_is_not_stored_and_the_checkpoint_is_kept(server, store, get, checkpoint, monkeypatch):
    found = Agreement(n_texts=1000, n_equal=998, first_difference=None)
    monkeypatch.setattr(
        "edge_wsd.converters.verification.tokenizer_agreement.tokenizer_agreement", lambda *_args, **_how: found
    )
    server.add("someone/Check", checkpoint)
    with pytest.raises(EdgeWsdError, match="tokenizer differs"):
        get("someone/Check:Q8_0")
    assert store.models() == [] and left_over(store)
    server.requests.clear()
    assert get("someone/Check:Q8_0", verify=False).manifest.tokenizer_texts is None
    assert server.bytes_sent() == 0


def test_what_a_conversion_lacks_is_told_before_anything_is_fetched(server, get, checkpoint, monkeypatch):
    server.add("someone/Check", checkpoint)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConversionError, match=r"pip install 'edge-wsd\[convert\]'"):
        get("someone/Check:Q8_0")
    with pytest.raises(ConversionError, match="type 'Q4_WHAT' is unknown"):
        get("someone/Check:Q4_WHAT")
    monkeypatch.undo()
    with pytest.raises(ConversionError, match="IQ2_XXS needs an importance matrix"):
        get("someone/Check:IQ2_XXS")
    assert server.bytes_sent() == 0
