"""What the comparison rests on: the oracle's own rule, its numbers and its tokens."""

from __future__ import annotations

import gguf
import numpy as np
import pytest

from tests.oracle.conftest import VOCABULARIES
from tests.oracle.published import base_prompt, last_kept

pytestmark = pytest.mark.oracle
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TEXT = (
    "\n\n[User]\nHow do I list 12345 files?  naïve 漢字 😀 it's\n\n\n[Assistant]\n"
    "Sure, I can help with that. To list files, run this command.\n```\nls -lS\n```\n"
)


@pytest.mark.parametrize(
    ("probabilities", "threshold", "window", "kept"),
    [
        ([], 0.8, 6, None),
        ([1.0] * 5, 0.8, 6, None),
        ([1.0] * 6, 0.8, 6, 5),
        ([0.1, *[0.9] * 6], 0.8, 6, 6),
        ([*[0.2] * 4, *[0.95] * 10], 0.8, 6, 9),
        ([0.79] * 10, 0.8, 6, None),
        ([1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1], 0.8, 6, 9),
        ([0.25, *[1.0] * 6], 0.8, 6, 6),
        ([0.5, 0.9], 0.8, 1, 1),
        ([0.9, 0.5], 0.8, 1, 0),
        ([0.6] * 8, 0.6, 2, 1),
    ],
)
def test_the_oracles_rule_gives_the_published_cases(probabilities, threshold, window, kept):
    assert last_kept(probabilities, threshold, window) == kept


def test_the_oracles_base_prompt_is_the_published_one():
    messages = [{"role": "system", "content": " Be brief. "}, {"role": "user", "content": "Hi\n"}]
    assert base_prompt(messages) == "\n\n[System]\nBe brief.\n\n[User]\nHi\n\n[Assistant]\n"


@pytest.mark.parametrize("name", ["base", *VOCABULARIES.values()])
def test_the_float_copy_holds_the_same_numbers_and_metadata(name, folder, float_model):
    shipped, copy = gguf.GGUFReader(folder / f"{name}.gguf"), gguf.GGUFReader(float_model(name))
    assert [tensor.name for tensor in copy.tensors] == [tensor.name for tensor in shipped.tensors]
    for mine, theirs in zip(copy.tensors, shipped.tensors, strict=True):
        assert mine.tensor_type == gguf.GGMLQuantizationType.F32
        assert np.array_equal(mine.data, gguf.quants.dequantize(theirs.data, theirs.tensor_type))
    changed = {"general.file_type", "general.quantization_version"}
    names = {field for field in shipped.fields if not field.startswith("GGUF.")} - changed
    assert all(copy.fields[field].contents() == shipped.fields[field].contents() for field in names)


@pytest.mark.parametrize("name", ["base", *VOCABULARIES.values()])
def test_torch_and_the_runtime_agree_far_closer_than_the_tolerance(name, pairs, torch_model):
    pair = pairs["different" if name == "drafter-other" else "same"]
    loaded = pair.base if name == "base" else pair.drafter
    ids = loaded.model.vocab.tokenize(TEXT, bos=True)
    rows = torch_model(name).read(ids, 1)
    sequence = loaded.context.sequence()
    scores = sequence.score(ids[:1], ids[1:])
    sequence.close()
    assert scores.logprobs == pytest.approx([row.logprob for row in rows[:-1]], abs=1e-4)


@pytest.mark.parametrize("name", ["base", *VOCABULARIES.values()])
def test_the_oracles_tokens_are_those_of_the_tokenizer_that_transformers_makes(name, float_model, torch_model):
    path = float_model(name)
    theirs = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    assert torch_model(name).encode(TEXT, special=False)[1:] == theirs.encode(TEXT, add_special_tokens=False)
