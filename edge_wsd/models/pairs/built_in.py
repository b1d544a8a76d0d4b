"""Pairs that every installation knows by name.

>>> BUILT_IN_PAIRS["pilot-gemma-9b"].drafter
'songff/Pilot-3B:Q8_0'
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_wsd.demo import files
from edge_wsd.models.pairs.named_pair import NamedPair

# The drafter decides how an answer begins and is small, so its weights are kept nearly exact. The base is as large as
# the machine allows, and four bits a weight are where a larger model still beats a smaller one of more bits.
DRAFTER_TYPE, BASE_TYPE = "Q8_0", "Q4_K_M"

PILOT = "songff/Pilot-3B"


@dataclass(frozen=True, slots=True)
class Terms:
    """Under which licence a repository's weights are given, and whether the hub asks to accept it first."""

    licence: str
    gated: bool


_LLAMA_3_1 = Terms("Llama 3.1 Community License", gated=True)
_GEMMA = Terms("Gemma Terms of Use", gated=True)
_APACHE = Terms("Apache License 2.0", gated=False)

TERMS = {
    PILOT: Terms("Llama 3.2 Community License", gated=False),
    "meta-llama/Llama-3.1-8B": _LLAMA_3_1,
    "meta-llama/Llama-3.1-70B": _LLAMA_3_1,
    "google/gemma-2-9b": _GEMMA,
    "google/gemma-2-27b": _GEMMA,
    "Qwen/Qwen2.5-1.5B-Instruct": _APACHE,
    "Qwen/Qwen2.5-7B": _APACHE,
    "Qwen/Qwen2.5-32B": _APACHE,
    "HuggingFaceTB/SmolLM2-360M-Instruct": _APACHE,
    "HuggingFaceTB/SmolLM2-1.7B": _APACHE,
}
"""What is known of the repositories below without asking the hub. Pilot-3B was made from Llama-3.2-3B-Instruct."""


def _pilot(name: str, base: str) -> NamedPair:
    about = f"Pilot-3B begins, {base.partition('/')[2]} finishes"
    return NamedPair(name, f"{PILOT}:{DRAFTER_TYPE}", f"{base}:{BASE_TYPE}", about=about)


def _open(name: str, drafter: str, base: str) -> NamedPair:
    """A pair that needs no account: an aligned model drafts for a larger base of its own family.

    The paper has no such pairs. They are our choice, and their drafters were not trained for this.
    """
    begins, finishes = (repo.partition("/")[2] for repo in (drafter, base))
    about = f"{begins} begins, {finishes} finishes; needs no account, chosen by edge-wsd and not the paper's"
    return NamedPair(name, f"{drafter}:{DRAFTER_TYPE}", f"{base}:{BASE_TYPE}", about=about)


DEMO_PAIRS = ("demo", "demo-other")
"""Those whose models are part of the package."""

BUILT_IN_PAIRS = {
    pair.name: pair
    for pair in (
        NamedPair(
            "demo", str(files.drafter_path()), str(files.base_path()), about="the embedded demonstration, no assistant"
        ),
        NamedPair(
            "demo-other",
            str(files.other_drafter_path()),
            str(files.base_path()),
            about="the same with a drafter of another vocabulary",
        ),
        _pilot("pilot-llama-8b", "meta-llama/Llama-3.1-8B"),
        _pilot("pilot-llama-70b", "meta-llama/Llama-3.1-70B"),
        _pilot("pilot-gemma-9b", "google/gemma-2-9b"),
        _pilot("pilot-gemma-27b", "google/gemma-2-27b"),
        _open("smollm2", "HuggingFaceTB/SmolLM2-360M-Instruct", "HuggingFaceTB/SmolLM2-1.7B"),
        _open("qwen-7b", "Qwen/Qwen2.5-1.5B-Instruct", "Qwen/Qwen2.5-7B"),
        _open("qwen-32b", "Qwen/Qwen2.5-1.5B-Instruct", "Qwen/Qwen2.5-32B"),
    )
}
"""By name. `pairs add` does not take these names; a pair of such a name in the user's file is the user's will and
hides the built-in one, so that a name which a later edition adds never breaks a file or changes what it means."""
