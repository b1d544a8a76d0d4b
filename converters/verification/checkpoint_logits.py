"""What a checkpoint predicts when transformers computes it: 32-bit floats on the CPU, attention step by step.

>>> with CheckpointLogits(Path("my-model")) as reference:
...     for rows in reference.rows(window): ...

Memory: all weights as 32-bit floats, and one window's logits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from edge_wsd._native import CancelFlag
from edge_wsd.errors import Cancelled, VerificationError

from ..checkpoint.safetensors_file import to_float32
from ..families.base import Weight
from ..lora import LoraAdapter
from .comparison import Logits
from .logits import CHUNK
from .text_windows import Window

_INSTALL = 'comparing with a checkpoint needs transformers and torch; run: pip install "edge-wsd[convert]"'


def require_transformers() -> None:
    """Raises VerificationError where transformers or torch is not installed."""
    try:
        import torch
        import transformers
    except ImportError as error:
        raise VerificationError(f"{_INSTALL} ({error})") from error
    if not hasattr(transformers, "AutoModelForCausalLM"):  # transformers imports without torch, and has nothing then
        raise VerificationError(f"{_INSTALL} (transformers does not accept torch {torch.__version__})")


class CheckpointLogits:
    """A checkpoint in memory. Code of the checkpoint is never run and nothing is downloaded."""

    def __init__(self, folder: Path, *, adapters: Sequence[LoraAdapter] = (), cancel: CancelFlag | None = None) -> None:
        """The checkpoint in `folder` with `adapters` merged into it.

        Raises VerificationError for what transformers cannot load; `rows` raises Cancelled once `cancel` is set.
        """
        require_transformers()
        self.name = str(folder)
        self._model = _load(folder)
        if adapters:
            _merge(self._model, adapters)
        self._cancel = cancel
        for module in self._model.modules():
            module.register_forward_pre_hook(self._stop_if_cancelled)

    def rows(self, window: Window) -> Iterator[Logits]:
        import torch

        with torch.inference_mode():
            logits = self._model(input_ids=torch.from_numpy(window[:-1])[None], use_cache=False).logits[0]
        values: Logits = logits.float().numpy()
        for first in range(0, len(values), CHUNK):
            yield values[first : first + CHUNK]

    def _stop_if_cancelled(self, *_: Any) -> None:
        if self._cancel is not None and self._cancel.is_set:
            raise Cancelled("the verification was stopped")

    def __enter__(self) -> CheckpointLogits:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._model = None


def _load(folder: Path) -> Any:
    import torch
    import transformers

    with silent_transformers():
        try:
            config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
            if hasattr(config, "quantization_config"):  # left over: a checkpoint that is quantized gets no GGUF file
                del config.quantization_config
            model, report = transformers.AutoModelForCausalLM.from_pretrained(
                folder, config=config, dtype=torch.float32, attn_implementation="eager", trust_remote_code=False,
                local_files_only=True, output_loading_info=True,
            )  # fmt: skip
        except Exception as error:  # whatever it makes of a config that it does not understand
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise VerificationError(
                f"{folder}: transformers {transformers.__version__} cannot load it: {reason}; "
                "a newer transformers may know this model"
            ) from error
    # transformers only warns about tensors it did not find, and then computes with random numbers.
    for kind in ("missing_keys", "mismatched_keys"):
        if report.get(kind):
            first = sorted(map(str, report[kind]))[0]
            raise VerificationError(f"{folder}: transformers finds no values for {first!r}; the checkpoint is damaged")
    return model.eval()


def _merge(model: Any, adapters: Sequence[LoraAdapter]) -> None:
    """Adds what the adapters change to the weights. Whether a tied output follows the embedding is theirs to say."""
    import torch

    embedding, output = model.get_input_embeddings(), model.get_output_embeddings()
    apart = any(adapter.touches("lm_head.weight") or not adapter.keeps_tied() for adapter in adapters)
    if apart and output.weight is embedding.weight:
        output.weight = torch.nn.Parameter(output.weight.detach().clone())
    with torch.no_grad():
        for name, values in model.named_parameters():
            weight = Weight(name, tuple(values.shape))
            for adapter in adapters:
                replaced, update = adapter.replaced(weight), adapter.update(weight)
                if replaced is not None:
                    values.copy_(torch.tensor(to_float32(replaced.open(), replaced.dtype)))
                if update is not None:
                    left, right = update.factors()
                    values.addmm_(torch.tensor(left), torch.tensor(right))


@contextmanager
def silent_transformers() -> Iterator[None]:
    """No warnings and progress bars of transformers inside the block."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
