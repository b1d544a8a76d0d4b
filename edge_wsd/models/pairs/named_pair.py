"""Two models under one name.

>>> NamedPair("mine", drafter="someone/Pilot-3B:Q8_0", base="base.gguf").options
{}
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from edge_wsd.models.store.model_name import LocalFile, parse_model_name

MODEL_KEYS = ("drafter", "base")
TEMPLATE_KEYS = ("drafter_template", "base_template")
TEMPLATES = ("chat", "plain")
"""What a template is beside the path of a Jinja file."""
OPTION_KEYS = ("threshold", "window", "max_draft")
"""Fields of `edge_wsd.decoding.options.Options`, which has their defaults and their ranges."""
KEYS = (*MODEL_KEYS, *TEMPLATE_KEYS, *OPTION_KEYS)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NAME_RULE = "letters, digits, dots, dashes and underscores, at most 64 of them, and a letter or digit first"


@dataclass(frozen=True, slots=True)
class NamedPair:
    """Two models under one name, and how they are used together. What is None has its usual default."""

    name: str
    drafter: str
    """The model as a user names it: a file, a model of the store, or REPO:TYPE. So `base`."""
    base: str
    drafter_template: str | None = None
    """`chat`, `plain` or a Jinja file."""
    base_template: str | None = None
    threshold: float | None = None
    window: int | None = None
    max_draft: int | None = None
    about: str = ""
    """One line about a pair that is built in; empty for a user's own."""

    @property
    def is_built_in(self) -> bool:
        return bool(self.about)

    @property
    def options(self) -> dict[str, Any]:
        """The fields of `Options` that this pair sets."""
        return self._given(OPTION_KEYS)

    @property
    def templates(self) -> dict[str, Any]:
        """The templates that this pair sets, as `Pair.load` takes them."""
        given = self._given(TEMPLATE_KEYS)
        return {key: os.path.expanduser(text) for key, text in given.items()}

    def as_dict(self) -> dict[str, Any]:
        """Every key of the file that is set, in the file's order."""
        return self._given(KEYS)

    def anywhere(self) -> NamedPair:
        """The same pair, with paths that do not depend on the current folder. Raises `StoreError` for no model name."""
        changes: dict[str, Any] = {}
        for key in MODEL_KEYS:
            text = getattr(self, key)
            name = parse_model_name(text)
            is_path = isinstance(name, LocalFile)
            changes[key] = str(name) if not is_path else text if text.startswith("~") else str(Path(text).absolute())
        for key in TEMPLATE_KEYS:
            text = getattr(self, key)
            if text is not None and text not in TEMPLATES and not text.startswith("~"):
                changes[key] = str(Path(text).absolute())
        return replace(self, **changes)

    def _given(self, keys: tuple[str, ...]) -> dict[str, Any]:
        return {key: value for key in keys if (value := getattr(self, key)) is not None}

    def find_models(self) -> tuple[Path, Path]:
        """Files of the drafter and the base. Raises `ModelFileError` or `StoreError` that says what to pull."""
        from edge_wsd.models.store.local import find_model  # which locks and folders of the platform come with

        return find_model(self.drafter), find_model(self.base)


assert {field.name for field in fields(NamedPair)} == {"name", *KEYS, "about"}


def is_pair_name(text: str) -> bool:
    """Whether a pair can be called so."""
    return _NAME.fullmatch(text) is not None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean 'demo'? `, or nothing if no known word is close."""
    lower = {text.lower(): text for text in known}
    found = get_close_matches(word.lower(), lower, n=1)
    return f"did you mean {lower[found[0]]!r}? " if found else ""
