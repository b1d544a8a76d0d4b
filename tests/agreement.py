"""How far apart transformers and llama.cpp are on a random text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edge_wsd.llama.context import Context  # noqa: E402
from edge_wsd.llama.model import Model  # noqa: E402
from edge_wsd.llama.settings import ModelSettings  # noqa: E402
from tests.checkpoint_tokenizers import N_VOCAB  # noqa: E402

EXACT = ModelSettings(gpu_layers=0, threads=1, kv_type="f32", flash_attention="off", context_length=512)
N_TOKENS = 300


def random_tokens(n: int = N_TOKENS) -> list[int]:
    return [int(token) for token in np.random.default_rng(3).integers(0, N_VOCAB, n)]


def converted_logprobs(path: Path, tokens: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities of each token after the first, and of the most probable one there."""
    with Model.load(path, EXACT) as model, Context(model, EXACT) as context:
        scores = context.sequence().score(tokens[:1], tokens[1:])
        best = [scores.choose(row)[1] for row in range(len(tokens))]
        return np.array(scores.logprobs), np.array(best)


def expected_logprobs(model: Any, tokens: list[int]) -> tuple[np.ndarray, np.ndarray]:
    with torch.no_grad():
        rows = torch.log_softmax(model(torch.tensor([tokens])).logits[0].double(), -1)
    given = rows[:-1].gather(1, torch.tensor(tokens[1:])[:, None])[:, 0]
    return given.numpy(), rows.max(-1).values.numpy()


def largest_difference(model: Any, path: Path, tokens: list[int] | None = None) -> float:
    """The largest difference of log-probabilities between `model` of transformers and the GGUF file at `path`."""
    tokens = tokens or random_tokens()
    pairs = zip(converted_logprobs(path, tokens), expected_logprobs(model, tokens), strict=True)
    return max(float(np.abs(got - wanted).max()) for got, wanted in pairs)
