"""The embedded demonstration pair: two tiny models for the command line. A demonstration, not an assistant."""

from __future__ import annotations

from edge_wsd.demo.examples import EXAMPLES

__all__ = ["EXAMPLES"]
