"""Pairs by name: those of the user's file, and those that are built in.

>>> find_pair("pilot-llama-8b").base
'meta-llama/Llama-3.1-8B:Q4_K_M'
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from edge_wsd.errors import PairsFileError
from edge_wsd.redaction import logger_without_secrets

MODEL_KEYS = ("drafter", "base")
TEMPLATE_KEYS = ("drafter_template", "base_template")
TEMPLATES = ("chat", "plain")
"""What a template is beside the path of a Jinja file."""
OPTION_KEYS = ("threshold", "window", "max_draft")
"""Fields of `edge_wsd.decoding.options.Options`, which has their defaults and their ranges."""
KEYS = (*MODEL_KEYS, *TEMPLATE_KEYS, *OPTION_KEYS)

_LOG = logger_without_secrets(__name__)
FIRST_PAIR = "demo"
"""The default pair where the user has set none."""

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
        from edge_wsd.models.model_name import LocalFile, parse_model_name

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
        from edge_wsd.models.store import find_model

        return find_model(self.drafter), find_model(self.base)


assert {field.name for field in fields(NamedPair)} == {"name", *KEYS, "about"}


def is_pair_name(text: str) -> bool:
    """Whether a pair can be called so."""
    return _NAME.fullmatch(text) is not None


def known_pairs() -> dict[str, NamedPair]:
    """Every pair by its name: the user's, then those built in. A user's pair hides a built-in one of the same name.

    A pair whose entry in the file has a mistake is left out.
    """
    from edge_wsd.models.pairs_file import PairsFile

    return with_built_in(PairsFile().read().pairs)


def with_built_in(own: Mapping[str, NamedPair]) -> dict[str, NamedPair]:
    """The user's `own` pairs, then the built-in ones that they do not hide."""
    from edge_wsd.models.built_in_pairs import BUILT_IN_PAIRS

    return {**own, **{name: pair for name, pair in BUILT_IN_PAIRS.items() if name not in own}}


def find_pair(name: str) -> NamedPair:
    """The pair of this name. Raises `PairsFileError` that lists the known names, the closest first.

    A mistake in the entry of another pair does not matter, nor one in the whole file to a pair that is built in.
    """
    from edge_wsd.models.built_in_pairs import BUILT_IN_PAIRS
    from edge_wsd.models.pairs_file import PairsFile

    try:
        pairs = PairsFile().read()
    except PairsFileError as error:
        if name not in BUILT_IN_PAIRS:
            raise
        _LOG.warning("%s; pair %s is taken as it is built in", error, name)
        return BUILT_IN_PAIRS[name]
    pairs.require("pairs", name)
    known = with_built_in(pairs.pairs)
    if name in known:
        return known[name]
    pairs.require("pairs")
    raise PairsFileError(f"there is no pair named {name!r}; {closest(name, known)}known pairs: {', '.join(known)}")


def default_name() -> str:
    """The pair that is used where none is named. Raises `PairsFileError` if the file does not say it as it should."""
    from edge_wsd.models.pairs_file import PairsFile

    pairs = PairsFile().read()
    pairs.require("default")
    return pairs.default or FIRST_PAIR


def closest(word: str, known: Any) -> str:
    """`did you mean 'demo'? `, or nothing if no known word is close."""
    lower = {text.lower(): text for text in known}
    found = get_close_matches(word.lower(), lower, n=1)
    return f"did you mean {lower[found[0]]!r}? " if found else ""
