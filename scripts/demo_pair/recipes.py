"""Sizes, seeds and lengths of training: the only home of these numbers."""

from __future__ import annotations

from demo_pair.training import Recipe
from demo_pair.vocabulary import Splitter

SEED = 20250611
RECIPES = {
    "base": Recipe("base", 256, 6, 8, 2, 512, 2_000_000, 4096, 4.0e-3, SEED),
    # A second pass with more friendly threads: the base should stay unaligned by itself, but follow a good beginning.
    "finished": Recipe("finished", 256, 6, 8, 2, 512, 2_400_000, 3072, 3.0e-3, SEED + 3, parent="base"),
    "drafter": Recipe("drafter", 128, 3, 4, 2, 288, 2_600_000, 2048, 5.0e-3, SEED + 1),
    "other": Recipe("other", 128, 3, 4, 1, 256, 2_600_000, 2048, 5.0e-3, SEED + 2),
}
VOCABULARIES: dict[str, tuple[int, Splitter]] = {"shared": (3072, "llama3"), "other": (2048, "gpt2")}
