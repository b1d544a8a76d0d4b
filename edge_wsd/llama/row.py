"""What is kept of a row of logits."""

from __future__ import annotations

Row = tuple[float, int, float]
"""Log-probability of the token asked about, the most probable token, its log-probability."""
