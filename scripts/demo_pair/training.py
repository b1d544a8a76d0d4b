"""Training one model on a stream of documents, with checkpoints to go on from."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM

from demo_pair.corpus import BOS, EOS, Document, Source
from demo_pair.muon import Muon

CONTEXT_LENGTH = 1024
_DOCUMENTS_PER_CHUNK = 4096
_WARM_UP = 0.02
_DECAY = 0.45
_LOG_EVERY_S = 15.0
_SAVE_EVERY_S = 90.0


@dataclass(frozen=True)
class Recipe:
    """Size of a model and how long it learns."""

    name: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    feed_forward: int
    tokens: int
    """Training tokens, padding included."""
    batch_tokens: int
    learning_rate: float
    seed: int
    parent: str | None = None
    """Name of the trained model to go on from."""

    def config(self, tokenizer: Tokenizer) -> LlamaConfig:
        return LlamaConfig(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=self.hidden,
            intermediate_size=self.feed_forward,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            head_dim=self.hidden // self.heads,
            max_position_embeddings=CONTEXT_LENGTH,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.token_to_id(BOS),
            eos_token_id=tokenizer.token_to_id(EOS),
            rms_norm_eps=1e-5,
            use_cache=True,
        )


@dataclass(frozen=True)
class Batch:
    ids: torch.Tensor
    """[documents, tokens]; padded at the end with 0."""
    weights: torch.Tensor
    """[documents, tokens]: how much predicting this token counts; 0 for padding."""


def chunk_of_batches(source: Source, tokenizer: Tokenizer, seed: int, index: int, batch_tokens: int) -> list[Batch]:
    """Chunk number `index` of the endless corpus: documents of like lengths stand in one batch."""
    rng = random.Random(f"{seed}/{index}")
    rows = _encode([source(rng) for _ in range(_DOCUMENTS_PER_CHUNK)], tokenizer)
    rows.sort(key=lambda row: len(row[0]) + rng.random() * 4)
    groups: list[list[tuple[list[int], list[float]]]] = [[]]
    for row in rows:
        if (len(groups[-1]) + 1) * len(row[0]) > batch_tokens and groups[-1]:
            groups.append([])
        groups[-1].append(row)
    rng.shuffle(groups)
    return [_pad(group) for group in groups]


def _encode(documents: list[Document], tokenizer: Tokenizer) -> list[tuple[list[int], list[float]]]:
    rows = []
    encodings = tokenizer.encode_batch([d.text for d in documents], add_special_tokens=False)
    for document, encoding in zip(documents, encodings, strict=True):
        stretches = iter(document.stretches)
        end, weight = next(stretches)
        weights = []
        for start, _ in encoding.offsets:
            while start >= end:  # an empty stretch is passed over
                end, weight = next(stretches)
            weights.append(weight)
        if any(weights[1:CONTEXT_LENGTH]):  # a question longer than the context leaves nothing to learn
            rows.append((encoding.ids[:CONTEXT_LENGTH], weights[:CONTEXT_LENGTH]))
    return rows


def _pad(rows: list[tuple[list[int], list[float]]]) -> Batch:
    length = max(len(ids) for ids, _ in rows)
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    weights = torch.zeros(len(rows), length)
    for i, (row_ids, row_weights) in enumerate(rows):
        ids[i, : len(row_ids)] = torch.tensor(row_ids)
        weights[i, : len(row_weights)] = torch.tensor(row_weights)
    return Batch(ids, weights)


@dataclass(frozen=True)
class Worker:
    """One of `count` processes that share each batch; threads would wait for each other at every layer."""

    index: int = 0
    count: int = 1

    def part(self, batch: Batch) -> Batch:
        """Every `count`-th document, padded no further than needed; a batch of fewer is read by all."""
        if len(batch.ids) < self.count:
            return batch
        ids, weights = batch.ids[self.index :: self.count], batch.weights[self.index :: self.count]
        used = int((weights > 0).any(0).nonzero().max()) + 1
        return Batch(ids[:, :used], weights[:, :used])

    def average(self, model: LlamaForCausalLM) -> None:
        """Replace the gradients by the mean of all workers'."""
        if self.count == 1:
            return
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        torch.distributed.all_reduce(flat)
        for gradient, mean in zip(gradients, flat.div_(self.count).split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))


def loss_of(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    """Weighted mean cross-entropy; logits are made only where a token counts."""
    hidden = model.model(input_ids=batch.ids, use_cache=False).last_hidden_state[:, :-1]
    weights = batch.weights[:, 1:]
    counts = weights > 0
    logits = model.lm_head(hidden[counts])
    losses = cross_entropy(logits, batch.ids[:, 1:][counts], reduction="none")
    return (losses * weights[counts]).sum() / weights[counts].sum()


class _Optimizers:
    """Muon for the matrices inside the layers, AdamW for the embedding and the norms."""

    def __init__(self, model: LlamaForCausalLM, recipe: Recipe) -> None:
        inner = [p for p in model.model.layers.parameters() if p.ndim == 2]
        chosen = set(map(id, inner))
        others = [p for p in model.parameters() if id(p) not in chosen]
        adamw = torch.optim.AdamW(others, lr=recipe.learning_rate, betas=(0.9, 0.97), weight_decay=0.0)
        self._all = (Muon(inner, recipe.learning_rate), adamw)
        self._learning_rate = recipe.learning_rate

    def step(self, rate: float) -> None:
        """One step at `rate` (0 to 1) of the full learning rate; the gradients are gone afterwards."""
        for optimizer in self._all:
            for group in optimizer.param_groups:
                group["lr"] = self._learning_rate * rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        return [optimizer.state_dict() for optimizer in self._all]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        for optimizer, state in zip(self._all, states, strict=True):
            optimizer.load_state_dict(state)


def _rate(done: float) -> float:
    """Share of the full learning rate when `done` (0 to 1) is behind: warm-up, level, down to 0."""
    if done < _WARM_UP:
        return 0.02 + 0.98 * done / _WARM_UP
    return min(1.0, max(0.01, (1 - done) / _DECAY))


@dataclass
class _State:
    """What is saved to go on later. Chunks are whole, so the stream goes on where it was."""

    chunk: int = 0
    tokens: int = 0


def train(
    recipe: Recipe, source: Source, tokenizer: Tokenizer, folder: Path, device: str, worker: Worker
) -> LlamaForCausalLM:
    """Train or go on training; the finished model is saved in `folder` and loaded from there the next time."""
    if (folder / "config.json").exists():
        return LlamaForCausalLM.from_pretrained(folder).to(device)
    torch.manual_seed(recipe.seed)
    model = _beginning(recipe, tokenizer, folder).to(device)
    optimizers = _Optimizers(model, recipe)
    state = _State()
    checkpoint = folder / "state.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=device)
        model.load_state_dict(saved["model"])
        optimizers.load_state_dict(saved["optimizers"])
        state = _State(saved["chunk"], saved["tokens"])
    folder.mkdir(parents=True, exist_ok=True)
    n = sum(p.numel() for p in model.parameters())
    _say(f"{recipe.name}: {n / 1e6:.2f} M parameters, {recipe.tokens / 1e6:.1f} M tokens, on {device}")
    for _ in _steps(model, optimizers, recipe, source, tokenizer, state, device, worker):
        if worker.index:
            continue
        saved = {"model": model.state_dict(), "optimizers": optimizers.state_dict(), **vars(state)}
        torch.save(saved, checkpoint.with_suffix(".tmp"))
        checkpoint.with_suffix(".tmp").replace(checkpoint)
    if worker.index:
        return model
    model.save_pretrained(folder)
    checkpoint.unlink(missing_ok=True)
    return model


def _beginning(recipe: Recipe, tokenizer: Tokenizer, folder: Path) -> LlamaForCausalLM:
    """The model before its training: random, or what its parent has learned."""
    if recipe.parent is None:
        return LlamaForCausalLM(recipe.config(tokenizer))
    return LlamaForCausalLM.from_pretrained(folder.parent / recipe.parent)


def _steps(
    model: LlamaForCausalLM,
    optimizers: _Optimizers,
    recipe: Recipe,
    source: Source,
    tokenizer: Tokenizer,
    state: _State,
    device: str,
    worker: Worker,
) -> Iterator[None]:
    """Train to the end; yields at the end of a chunk when a checkpoint is due."""
    model.train()
    logged = saved = time.monotonic()
    tokens_logged, losses = state.tokens, []
    while state.tokens < recipe.tokens:
        for batch in chunk_of_batches(source, tokenizer, recipe.seed, state.chunk, recipe.batch_tokens):
            part = worker.part(batch)
            loss = loss_of(model, Batch(part.ids.to(device), part.weights.to(device)))
            loss.backward()
            worker.average(model)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizers.step(_rate(state.tokens / recipe.tokens))
            state.tokens += batch.ids.numel()
            losses.append(loss.detach())
            now = time.monotonic()
            if now - logged > _LOG_EVERY_S and not worker.index:
                speed = (state.tokens - tokens_logged) / (now - logged)
                mean = float(torch.stack(losses).mean())
                done = state.tokens / recipe.tokens
                _say(f"{recipe.name}: {done:6.1%}  loss {mean:.4f}  {speed:,.0f} tokens/s")
                logged, tokens_logged, losses = now, state.tokens, []
            if state.tokens >= recipe.tokens:
                break
        state.chunk += 1
        if time.monotonic() - saved > _SAVE_EVERY_S:
            saved = time.monotonic()
            yield
    model.eval()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
