"""A character that marks, through the rendering of a template, what must stay a text behind it."""

from __future__ import annotations

import json
from collections.abc import Collection
from itertools import chain

from edge_wsd.errors import TemplateError

_CANDIDATES = tuple(map(chr, chain(range(0xFDD0, 0xFDF0), range(0xE000, 0xF900))))
"""Characters that Unicode keeps for a program's own use, those that no text may have first."""


def free_mark(texts: Collection[str]) -> str:
    """A character that is in none of the texts, neither itself nor as JSON may write it. Raises `TemplateError`."""
    used = set().union(*texts)
    for mark in _CANDIDATES:
        if mark not in used and not any(_in_json(mark) in text for text in texts):
            return mark
    raise TemplateError("the messages hold every character that Unicode keeps for private use; leave some out")


def restored(rendered: str, mark: str) -> str:
    """What a template made of marked messages, with the marks as they were where it wrote them as JSON."""
    return rendered.replace(_in_json(mark), mark)


def _in_json(mark: str) -> str:
    return json.dumps(mark)[1:-1]
