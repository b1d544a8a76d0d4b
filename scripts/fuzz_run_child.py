"""Uses model files as `edge-wsd run` does, in a process of its own that may die of them. Started by `fuzz_gguf`.

Each argument is the path of a model that was checked and tried. One JSON line goes to stdout when it is begun, one when
it is done with.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from edge_wsd import Options, Pair, pair
from edge_wsd.child_process import keep_crashes_quiet
from edge_wsd.errors import EdgeWsdError
from edge_wsd.llama.settings import ModelSettings

_SETTINGS = (ModelSettings(), ModelSettings(context_length=48, batch=16, kv_type="f32", flash_attention="off"))
_OPTIONS = (
    Options(max_tokens=12, switch_at=3),
    Options(max_tokens=12, switch_at=5, temperature=0.8, seed=1),
    Options(max_tokens=6, mode="base"),
)
_PROMPTS = ("List the files by size.", "the list of files is " * 120)


def use(path: Path) -> str:
    """What came of it: `answers` where any of the replies did, else the error of the last."""
    result = "nothing"
    for settings in _SETTINGS:
        try:
            with Pair.load(
                path, path, drafter_settings=settings, base_settings=settings, drafter_template="plain"
            ) as loaded:
                for prompt in _PROMPTS:
                    for options in _OPTIONS:
                        result = _answer(loaded, prompt, options, result)
        except EdgeWsdError as error:
            result = result if result == "answers" else type(error).__name__
    return result


def _answer(loaded: Pair, prompt: str, options: Options, before: str) -> str:
    try:
        loaded.generate(prompt, options)
    except EdgeWsdError as error:
        return before if before == "answers" else type(error).__name__
    return "answers"


def main(paths: list[str]) -> None:
    """One pair of lines for each path. The models were tried before, by the caller."""
    keep_crashes_quiet()
    pair.probe_models = lambda *_arguments, **_names: None
    for path in paths:
        print(json.dumps({"begin": path}), flush=True)
        try:
            result = use(Path(path))
        except Exception as error:
            result = f"failed: {type(error).__name__}: {error}"
        print(json.dumps({"end": path, "result": result}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
