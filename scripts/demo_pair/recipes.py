"""Sizes, seeds and lengths of training: the only home of these numbers."""

from __future__ import annotations

from demo_pair.training import Recipe
from demo_pair.vocabulary import Splitter

SEED = 20261126
FINISHES = tuple(f"finish-{n}" for n in range(1, 6))
"""The base is finished five times from one beginning, and ships as the mean of their weights: better than each."""
OUTSIDE_SHARES = {"early": 0.36, "drafter": 0.36, "other": 0.36, **dict.fromkeys(FINISHES, 0.42)}
"""Of the questions, those that no task answers. At its end the base reads more of them, and tells them better apart."""
WORKERS = 2
"""Processes that train the base together."""
RECIPES = {
    "early": Recipe("early", 256, 6, 8, 2, 512, 18_000_000, 4096, 4.0e-3, SEED),
    **{
        name: Recipe(name, 256, 6, 8, 2, 512, 2_400_000, 4096, 2.0e-3, SEED + 3 + i, "early")
        for i, name in enumerate(FINISHES)
    },
    "drafter": Recipe("drafter", 128, 4, 4, 1, 320, 4_000_000, 3072, 5.0e-3, SEED + 1),
    "other": Recipe("other", 128, 4, 4, 1, 320, 4_000_000, 3072, 5.0e-3, SEED + 2),
}
VOCABULARIES: dict[str, tuple[int, Splitter]] = {"shared": (3072, "llama3"), "other": (2560, "gpt2")}
