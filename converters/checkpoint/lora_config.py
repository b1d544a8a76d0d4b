"""adapter_config.json of a PEFT LoRA adapter: how strong each update is, and what cannot be merged."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from edge_wsd.errors import ConversionError

from .config import Config

_Number = TypeVar("_Number", int, float)

FILE = "adapter_config.json"
# Options that make an adapter something else than W + scale * B A, and what that is.
_REFUSED = {
    "use_dora": "DoRA, which also rescales whole columns",
    "use_qalora": "QALoRA, which works on groups of inputs",
    "use_bdlora": "block-diagonal LoRA",
    "lora_bias": "a bias inside the update",
    "layer_replication": "layers that are there several times",
    "alora_invocation_tokens": "an activated LoRA, which is switched on by some tokens only",
    "arrow_config": "an Arrow router over several adapters",
    "trainable_token_indices": "single tokens trained apart",
    "target_parameters": "updates of bare parameters",
}
# Ways to begin that leave the base as it is; the others take a part out of it that is not in the adapter's folder.
_PLAIN_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
_MODULE_NAME = re.compile(r"\^?[\w.]+\$?")


@dataclass(frozen=True)
class LoraConfig:
    """`ranks` and `alphas` hold the exceptions from `rank` and `alpha`, by the end of a module's name."""

    rank: int
    alpha: float
    ranks: Mapping[str, int]
    alphas: Mapping[str, float]
    by_root: bool
    keeps_tied: bool
    base_name: str
    ignores_transposition: bool

    def rank_of(self, module: str) -> int:
        return _lookup(self.ranks, module, self.rank)

    def scale_of(self, module: str) -> float:
        """What the product of the two factors is multiplied with."""
        rank = self.rank_of(module)
        return _lookup(self.alphas, module, self.alpha) / (math.sqrt(rank) if self.by_root else rank)


def parse_lora_config(values: Mapping[str, Any], folder: Path) -> LoraConfig:
    """Raises ConversionError, naming the option, for an adapter that is no plain LoRA."""
    config = Config(values, f"{folder.name}: {FILE}")
    kind = config.word("peft_type")
    if kind != "LORA":
        raise ConversionError(f"{config.origin}: peft_type is {kind!r:.40}, only LORA can be merged into its base")
    for key, meaning in _REFUSED.items():
        if values.get(key):
            raise ConversionError(f"{config.origin}: {key} is set: it is {meaning}; merge it with PEFT first")
    if config.word("bias", "none") != "none":
        raise ConversionError(
            f"{config.origin}: bias is {config.get('bias')!r:.40}: the adapter trains biases of the base; "
            "merge it with PEFT first"
        )
    start = values.get("init_lora_weights", True)
    if start not in _PLAIN_STARTS:
        raise ConversionError(
            f"{config.origin}: init_lora_weights is {start!r:.40}, which changes the base as well; save the adapter "
            "as a plain LoRA first (PEFT's path_initial_model_for_weight_conversion)"
        )
    ranks, alphas = _patterns(config, "rank_pattern"), _patterns(config, "alpha_pattern")
    return LoraConfig(
        rank=config.integer("r", 8),
        alpha=config.number("lora_alpha", 8.0),
        ranks={key: ranks.integer(key) for key in ranks.values},
        alphas={key: alphas.number(key) for key in alphas.values},
        by_root=config.flag("use_rslora", False),
        keeps_tied=config.flag("ensure_weight_tying", False),
        base_name=config.word("base_model_name_or_path", ""),
        ignores_transposition=config.flag("fan_in_fan_out", False),
    )


def _patterns(config: Config, key: str) -> Config:
    """PEFT takes the keys for regular expressions; only names are, so that none can run forever."""
    patterns = config.section(key) or Config({}, config.origin)
    for pattern in patterns.values:
        if not _MODULE_NAME.fullmatch(pattern):
            raise ConversionError(
                f"{patterns.origin} has the pattern {pattern!r:.80}, expected the name of a module or its end; "
                "merge the adapter with PEFT first"
            )
    return patterns


def _lookup(exceptions: Mapping[str, _Number], module: str, usual: _Number) -> _Number:
    """The first exception whose name is `module` or its end."""
    for pattern, value in exceptions.items():
        name = pattern.removesuffix("$")
        whole = name.startswith("^") and module == name[1:]
        if whole or module == name or module.endswith("." + name):
            return value
    return usual
