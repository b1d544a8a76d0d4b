"""The Python examples of docs/recipes.md run, against a server of this test."""

import re
from pathlib import Path

import pytest

RECIPES = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8686"
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", RECIPES, re.DOTALL | re.MULTILINE)


def imported(example):
    return re.findall(r"^(?:import|from) (\w+)", example, re.MULTILINE)


def test_there_is_an_example_for_each_client_that_is_a_library():
    assert {name for example in EXAMPLES for name in imported(example)} >= {"openai", "ollama", "litellm"}


@pytest.mark.parametrize("example", EXAMPLES, ids=["-".join(imported(example)) for example in EXAMPLES])
def test_an_example_runs(example, address):
    for name in imported(example):
        pytest.importorskip(name)
    assert ADDRESS in example
    exec(compile(example.replace(ADDRESS, address), "docs/recipes.md", "exec"), {})
