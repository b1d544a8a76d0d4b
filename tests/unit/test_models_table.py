"""The tables about built-in pairs are computed, not typed."""

from __future__ import annotations

import re

from edge_wsd.models.pairs.built_in import BUILT_IN_PAIRS
from edge_wsd.models.plan.known_shapes import KNOWN_MODELS
from scripts.models_table import FILES, TABLES, TYPES, files_table, memory_table, renewed


def test_the_tables_in_the_document_are_fresh():
    texts = [file.read_text(encoding="utf-8") for file in FILES]
    assert [renewed(text) for text in texts] == texts, "run python scripts/models_table.py"
    assert sorted(TABLES) == sorted(re.findall(r"<!-- begin ([a-z-]+):", "".join(texts)))


def test_only_what_is_between_the_marks_is_written():
    text = "before\n<!-- begin model-files: x -->\nold\n<!-- end model-files -->\n"
    text += "<!-- begin other: x -->\nkept\n<!-- end other -->\n"
    after = renewed(text)
    assert after == text.replace("old\n", files_table())


def test_every_model_and_pair_that_can_be_pulled_has_its_rows():
    assert [row.split(" | ")[0][2:] for row in files_table().splitlines()[2:]] == list(KNOWN_MODELS)
    pulled = [pair.name for pair in BUILT_IN_PAIRS.values() if pair.base.partition(":")[0] in KNOWN_MODELS]
    rows = memory_table().splitlines()[2:]
    assert len(pulled) == 7 and len(rows) == len(pulled) * (len(TYPES) - 1)
    assert {row.split("`")[1] for row in rows} == set(pulled)


def test_a_length_that_a_model_was_not_trained_for_is_left_out():
    for row in memory_table().splitlines()[2:]:
        assert row.endswith("| – |") == ("gemma" in row or "smollm" in row)
