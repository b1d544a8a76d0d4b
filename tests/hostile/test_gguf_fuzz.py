"""Files broken at random: none gets past the checker and kills llama.cpp. `scripts/fuzz_gguf.py` tries many more."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_wsd.errors import ModelFileError
from edge_wsd.models.gguf import check as gguf_check
from edge_wsd.models.gguf.check import check_gguf
from edge_wsd.models.gguf.types import TENSOR_TYPES, ValueType
from scripts import fuzz_gguf
from scripts.fuzz_gguf import Fuzzer
from tests.gguf_bases import bases
from tests.gguf_mutations import NAMES, apply, parse, payload
from tests.tiny_models import TinyModel, string, strings

CORPUS = json.loads((Path(__file__).parent / "corpus" / "gguf.json").read_text(encoding="utf-8"))
MEANINGS = json.loads((Path(__file__).parent / "corpus" / "meanings.json").read_text(encoding="utf-8"))
EPSILON = payload(ValueType.FLOAT32, 1e-5).hex()
# The tokens of a byte-level vocabulary under another name: without tokens for bytes llama.cpp ends the process.
DEADLY = ("tiny", 0, [["value", "tokenizer.ggml.model", 8, "05000000000000006c6c616d61"]])


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory):
    return Fuzzer(bases(tmp_path_factory.mktemp("bases")), tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def user(tmp_path_factory):
    """Files are used as `run` does."""
    return Fuzzer(bases(tmp_path_factory.mktemp("bases")), tmp_path_factory.mktemp("work"), uses=True)


def test_a_file_without_changes_is_the_same_again(tmp_path):
    for paths in bases(tmp_path).values():
        for path in paths:
            header, size = apply(parse(path), [])
            assert path.read_bytes()[: len(header)] == header and path.stat().st_size == size


def test_every_base_passes_and_all_with_weights_load(fuzzer):
    names = fuzzer.names
    outcome = fuzzer.try_all([(name, 0, [["drop", "no.such.key"]]) for name in names])
    assert outcome.counts == {"loaded": len(names) - 1, "refused by llama.cpp": 1}, outcome  # the vocabulary


def test_a_few_hundred_broken_files_are_refused_or_harmless(fuzzer):
    outcome = fuzzer.try_all([fuzzer.case(20, index) for index in range(400)])
    assert outcome.killed == []
    assert sum(outcome.counts.values()) == 400
    assert all(outcome.counts[what] > 10 for what in ("refused by the checker", "refused by llama.cpp", "loaded"))


def test_the_corpus_is_refused(fuzzer):
    """Each of these killed llama.cpp without a check, or is refused with a line of its own."""
    cases = [(name, part, changes) for name, part, changes in CORPUS]
    outcome = fuzzer.try_all(cases)
    assert outcome.killed == [] and outcome.counts == {"refused by the checker": len(cases)}


def test_what_once_passed_every_check_and_ended_a_run_is_refused_or_answers(user):
    outcome = user.try_all([(name, part, changes) for name, part, changes in MEANINGS])
    assert outcome.killed == [] and outcome.counts["refused by the checker"] == 7 and outcome.counts["loaded"] == 2


def test_no_name_of_an_architecture_over_known_tensors_ends_a_run(user):
    cases = []
    for name in NAMES["architectures"]:
        keys = (f"{name}.attention.layer_norm_epsilon", f"{name}.attention.layer_norm_rms_epsilon")
        cases.append(("tiny", 0, [["architecture", name], *(["value", key, 6, EPSILON] for key in keys), ["relayout"]]))
    outcome = user.try_all(cases)
    assert outcome.killed == []
    assert all(outcome.counts[what] > 10 for what in ("refused by llama.cpp", "loaded", "answers"))


@pytest.mark.slow
def test_no_type_of_any_tensor_ends_a_run(user):
    names = [name for name, *_ in parse(user.files["Q8_0"][0]).tensors]
    cases = [("Q8_0", 0, [["type", name, type_], ["relayout"]]) for name in names for type_ in TENSOR_TYPES]
    outcome = user.try_all(cases)
    assert outcome.killed == []
    assert outcome.counts["refused by the checker"] > 100 and outcome.counts["loaded"] > 100


def test_files_of_other_meanings_are_refused_or_harmless(user):
    outcome = user.try_all([user.case(21, index) for index in range(100)])
    assert outcome.killed == []
    assert all(outcome.counts[what] > 5 for what in ("refused by the checker", "refused by llama.cpp", "answers"))


def test_a_file_that_kills_the_loader_is_named(fuzzer, monkeypatch):
    assert fuzzer.try_all([DEADLY]).counts == {"refused by the checker": 1}
    for name in ("check_gguf", "summarize"):  # which checks as well
        monkeypatch.setattr(fuzz_gguf, name, lambda *_, **__: None)
    harmless = ("tiny", 0, [["drop", "general.name"]])
    outcome = fuzzer.try_all([harmless, DEADLY, harmless])
    assert [(case, what) for case, what, _ in outcome.killed] == [(DEADLY, "loader")]
    assert outcome.counts == {"loaded": 2, "killed the loader": 1}


def test_a_checker_that_fails_is_noticed(fuzzer, monkeypatch):
    monkeypatch.setattr(gguf_check, "check_tokenizer", lambda *_: 1 // 0)
    outcome = fuzzer.try_all([("tiny", 0, [["drop", "general.name"]])])
    assert [what for _, what, _ in outcome.killed] == ["checker"]


def test_an_rwkv_vocabulary_needs_a_token_for_each_first_byte(tmp_path):
    """Without one llama.cpp searches the same place of a text for ever and takes memory meanwhile."""
    model = TinyModel(metadata={"tokenizer.ggml.model": string("rwkv")})
    tokens = [f"\\x{byte:02x}" for byte in range(256) if byte not in b"\t\n"] + ["\\t", "\\n"]
    tokens += [f"\\n{index}" for index in range(len(model.tokens) - len(tokens))]
    model.metadata["tokenizer.ggml.tokens"] = strings(tokens)
    check_gguf(model.write(tmp_path / "good.gguf"))
    model.metadata["tokenizer.ggml.tokens"] = strings([token if token != "\\n" else "other" for token in tokens])
    with pytest.raises(ModelFileError, match="no token for the byte 0x0a"):
        check_gguf(model.write(tmp_path / "bad.gguf"))
