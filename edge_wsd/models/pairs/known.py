"""Pairs by name: those of the user's file, and those that are built in.

>>> find_pair("pilot-llama-8b").base
'meta-llama/Llama-3.1-8B:Q4_K_M'
"""

from __future__ import annotations

from collections.abc import Mapping

from edge_wsd.errors import PairsFileError
from edge_wsd.models.pairs.built_in import BUILT_IN_PAIRS
from edge_wsd.models.pairs.file import PairsFile
from edge_wsd.models.pairs.named_pair import NamedPair, did_you_mean
from edge_wsd.redaction import logger_without_secrets

_LOG = logger_without_secrets(__name__)
FIRST_PAIR = "demo"
"""The default pair where the user has set none."""


def known_pairs() -> dict[str, NamedPair]:
    """Every pair by its name: the user's, then those built in. A user's pair hides a built-in one of the same name.

    A pair whose entry in the file has a mistake is left out.
    """
    return with_built_in(PairsFile().read().pairs)


def with_built_in(own: Mapping[str, NamedPair]) -> dict[str, NamedPair]:
    """The user's `own` pairs, then the built-in ones that they do not hide."""
    return {**own, **{name: pair for name, pair in BUILT_IN_PAIRS.items() if name not in own}}


def find_pair(name: str) -> NamedPair:
    """The pair of this name. Raises `PairsFileError` that lists the known names, the closest first.

    A mistake in the entry of another pair does not matter, nor one in the whole file to a pair that is built in.
    """
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
    raise PairsFileError(f"there is no pair named {name!r}; {did_you_mean(name, known)}known pairs: {', '.join(known)}")


def default_name() -> str:
    """The pair that is used where none is named. Raises `PairsFileError` if the file does not say it as it should."""
    pairs = PairsFile().read()
    pairs.require("default")
    return pairs.default or FIRST_PAIR
