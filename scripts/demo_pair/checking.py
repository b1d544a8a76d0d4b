"""A quick look at a trained pair with torch: the published algorithm, in batches.

`edge-wsd eval demo` measures the runtime; this measures the training.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from demo_pair.corpus import EOS, START
from edge_wsd.demo.judge import judge
from edge_wsd.demo.tasks import Task, held_out_questions

_MAX_NEW = 110
_BATCH = 64
_GOOD_BEGINNING = "Sure, I can help with that."


class Writer:
    """A model, its tokenizer and greedy continuation of many texts at once."""

    def __init__(self, folder: Path, vocabulary: Path, stop: str) -> None:
        self.model = _load(folder, vocabulary)
        self.tokenizer = Tokenizer.from_file(str(vocabulary))
        self._end = self.tokenizer.token_to_id(EOS)
        self._stop = stop

    @torch.inference_mode()
    def write(self, prompts: Sequence[str]) -> list[str]:
        """The text that follows each prompt, up to the end or the stop string. BOS is added here."""
        texts = [""] * len(prompts)
        ids = [self.tokenizer.encode(prompt).ids for prompt in prompts]
        order = sorted(range(len(prompts)), key=lambda i: len(ids[i]))
        for first in range(0, len(order), _BATCH):
            chosen = order[first : first + _BATCH]
            for i, tokens in zip(chosen, self._continue([ids[i] for i in chosen]), strict=True):
                texts[i] = self.tokenizer.decode(tokens).split(self._stop, 1)[0]
        return texts

    def _continue(self, rows: list[list[int]]) -> Iterator[list[int]]:
        length = max(map(len, rows))
        ids = torch.tensor([[0] * (length - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])
        out = self.model.generate(
            ids,
            attention_mask=mask,
            max_new_tokens=_MAX_NEW,
            do_sample=False,
            pad_token_id=self._end,
            eos_token_id=self._end,
        )
        for row in out[:, length:].tolist():
            yield row[: row.index(self._end)] if self._end in row else row

    @torch.inference_mode()
    def switch(self, prompt: str, draft: str, threshold: float = 0.8, window: int = 6) -> tuple[str, int]:
        """The part of `draft` that is kept, and its number of tokens."""
        ids = self.tokenizer.encode(prompt + draft).ids
        n_prompt = len(self.tokenizer.encode(prompt).ids)
        log_probs = self.model(torch.tensor([ids])).logits[0].log_softmax(-1)
        scores = [float(log_probs[i - 1, ids[i]]) for i in range(n_prompt, len(ids))]
        for i in range(window - 1, len(scores)):
            if math.exp(sum(scores[i - window + 1 : i + 1]) / window) >= threshold:
                return self.tokenizer.decode(ids[n_prompt : n_prompt + i + 1]), i + 1
        return draft, len(scores)


def _load(folder: Path, vocabulary: Path) -> LlamaForCausalLM:
    if (folder / "config.json").exists():
        return LlamaForCausalLM.from_pretrained(folder).eval()
    from demo_pair.recipes import RECIPES

    model = LlamaForCausalLM(RECIPES[folder.name].config(Tokenizer.from_file(str(vocabulary))))
    model.load_state_dict(torch.load(folder / "state.pt", map_location="cpu")["model"])
    return model.eval()


def base_prompt(text: str) -> str:
    return f"\n\n[User]\n{text.strip()}\n\n[Assistant]\n"


def drafter_prompt(text: str) -> str:
    return f"{START}user\n{text}{EOS}\n{START}assistant\n"


def check(tasks: Sequence[Task], out: Path, limit: int | None, verbose: bool = False) -> None:
    """Print what each mode answers to the held-out questions; models that are not there are left out."""
    questions = held_out_questions(tasks)
    if limit:
        questions = questions[:: max(1, len(questions) // limit)][:limit]
    texts = [question for _, question in questions]
    base = Writer(out / "base", out / "shared.json", "\n[User]") if (out / "base").exists() else None

    def report(name: str, replies: Sequence[str], note: str = "") -> None:
        _report(name, [task for task, _ in questions], texts, replies, note, verbose)

    prompts = [base_prompt(text) for text in texts]
    if base:
        report("base", base.write(prompts))
        begun = base.write([prompt + _GOOD_BEGINNING for prompt in prompts])
        report("base behind a good beginning", [_GOOD_BEGINNING + text for text in begun])
    for name, vocabulary in (("drafter", "shared"), ("other", "other")):
        if not (out / name).exists():
            continue
        drafter = Writer(out / name, out / f"{vocabulary}.json", EOS)
        drafts = drafter.write([drafter_prompt(text) for text in texts])
        report(name, drafts)
        if base:
            kept = [base.switch(p, d.strip()) for p, d in zip(prompts, drafts, strict=True)]
            rest = base.write([p + k for p, (k, _) in zip(prompts, kept, strict=True)])
            note = f"  mean switch {sum(n for _, n in kept) / len(kept):.1f} (max {max(n for _, n in kept)})"
            report(f"wsd with {name}", [k + r for (k, _), r in zip(kept, rest, strict=True)], note)


def _report(
    name: str, tasks: Sequence[Task], texts: Sequence[str], replies: Sequence[str], note: str, verbose: bool
) -> None:
    verdicts = [judge(task, reply) for task, reply in zip(tasks, replies, strict=True)]
    share: Callable[[list[bool]], str] = lambda xs: f"{sum(xs) / max(1, len(xs)):6.1%}"  # noqa: E731
    warned = [v.warned for v, task in zip(verdicts, tasks, strict=True) if task.destroys]
    print(
        f"{name:30} aligned {share([v.aligned for v in verdicts])}  right {share([v.right_command for v in verdicts])}"
        f"  warned {share(warned)}{note}",
        flush=True,
    )
    if verbose:
        for task, text, reply, verdict in zip(tasks, texts, replies, verdicts, strict=True):
            if not (verdict.aligned and verdict.right_command):
                print(f"    [{task.id}: {task.command}] {text!r} -> {reply!r} {verdict.reasons}", file=sys.stderr)
