"""One reply: two prompts, two memories, the loop, and the result."""

from __future__ import annotations

import secrets
from bisect import bisect_left
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from edge_wsd._native import CancelFlag
from edge_wsd.decoding.bridge import anchor_of
from edge_wsd.decoding.drafter import Drafter
from edge_wsd.decoding.events import Event, Reply, Source, Switched
from edge_wsd.decoding.loop import LoopWatch
from edge_wsd.decoding.meter import Meter
from edge_wsd.decoding.options import N_SEEDS, Options
from edge_wsd.decoding.repetition import Repetition
from edge_wsd.decoding.sequence import rewind_to
from edge_wsd.decoding.signal import ConfidenceWindow
from edge_wsd.decoding.stop_strings import StopStrings
from edge_wsd.decoding.weak_to_strong import Reader, alone, weak_to_strong
from edge_wsd.decoding.writer import ReplyWriter
from edge_wsd.errors import Cancelled, ContextFullError
from edge_wsd.llama.sampler import Penalties, Sampler, token_biases
from edge_wsd.prompts.messages import Message

if TYPE_CHECKING:
    from edge_wsd.pair import LoadedModel, Pair, Prompt


@dataclass(frozen=True, slots=True)
class Fitted:
    """The prompts of the models that take part, and how many of the oldest messages were left out of them."""

    prompts: dict[Source, Prompt]
    n_dropped: int
    question: str
    """The user's last message; empty without one."""


def fit(
    pair: Pair, system: Sequence[Message], messages: Sequence[Message], options: Options, cancel: CancelFlag
) -> Fitted:
    """Prompts that leave room for a reply. Whole turns are left out where they do not, the same ones for both models.

    Then half of each context is made free at once: a beginning that moves with every turn would have everything behind
    it read again. Raises `ContextFullError` if even the last turn is too long, and `Cancelled`.
    """
    models = {source: model for model, source in _roles(pair) if options.mode in ("wsd", source)}
    starts = [i for i, message in enumerate(messages) if message.role == "user" or i == 0]

    @cache
    def encoded(source: Source, start: int) -> Prompt | ContextFullError:
        if cancel.is_set:
            raise Cancelled("cancelled")
        try:
            return models[source].encode([*system, *messages[start:]], special=options.special)
        except ContextFullError as error:  # longer than could ever fit, so it was not even cut into tokens
            return error

    def half_is_free(start: int) -> bool:
        for source, model in models.items():
            prompt = encoded(source, start)
            if isinstance(prompt, ContextFullError) or len(prompt.tokens) > model.context.n_ctx // 2:
                return False
        return True

    start = 0
    if any(_full(model, encoded(source, 0), options) for source, model in models.items()):
        start = starts[min(bisect_left(starts, True, lo=1, key=half_is_free), len(starts) - 1)]
    fitted: dict[Source, Prompt] = {}
    for source, model in models.items():
        prompt = encoded(source, start)
        if error := _full(model, prompt, options):
            raise error
        assert not isinstance(prompt, ContextFullError)
        fitted[source] = prompt
    question = next((message.content for message in reversed(messages) if message.role == "user"), "")
    return Fitted(fitted, start, question)


def _roles(pair: Pair) -> tuple[tuple[LoadedModel, Source], ...]:
    return ((pair.drafter, "drafter"), (pair.base, "base"))


def _full(model: LoadedModel, prompt: Prompt | ContextFullError, options: Options) -> ContextFullError | None:
    """The error to raise if the prompt leaves too little room; a short reply is better than none, down to a quarter."""
    if isinstance(prompt, ContextFullError):
        return prompt
    n_ctx, n_prompt = model.context.n_ctx, len(prompt.tokens)
    reserve = min(options.max_tokens, max(1, n_ctx // 4))
    if n_prompt + reserve <= n_ctx:
        return None
    shorter = ", lower max_tokens (--max-tokens)" if n_prompt < n_ctx else ""
    return ContextFullError(
        f"the prompt has {n_prompt} tokens, which leaves {max(0, n_ctx - n_prompt)} of the {n_ctx} of the context of "
        f"{model.model.path.name} for a reply of up to {options.max_tokens}; shorten the prompt{shorter} or raise "
        "context_length (--ctx)",
        needed=n_prompt + reserve,
        available=n_ctx,
    )


def write_reply(
    pair: Pair, fitted: Fitted, options: Options, cancel: CancelFlag, meter: Meter
) -> Generator[Event, None, Reply]:
    """Events of one reply, without `Finished`, and the reply. `cancel` ends it early, with what is written so far."""
    prompts = fitted.prompts
    with ExitStack() as stack:
        if options.seed is None and options.temperature > 0:
            options = options.with_changes(seed=secrets.randbelow(N_SEEDS))
        # The two draw independently, or the same luck would strike both.
        drafter_sampler = stack.enter_context(_sampler(pair, "drafter", prompts, options, 0))
        base_sampler = stack.enter_context(_sampler(pair, "base", prompts, options, 0x9E3779B9))
        for model, _ in _roles(pair):
            model.context.watch(cancel)
        rule = _rule(pair, options, fitted.question)
        drafter: Drafter | None = None
        switch: Switched | None = None
        source: Source = "drafter" if options.mode == "drafter" else "base"
        model, prompt = (pair.drafter if source == "drafter" else pair.base), prompts[source]
        writer = _writer(model, prompt, options, fitted.question)
        try:
            reader = _reader(model, prompt, source, meter, drafter_sampler if source == "drafter" else base_sampler)
            if options.mode == "wsd":
                # A batch must hold a proposal whole, or what was drawn from could be gone.
                options = options.with_changes(chunk=max(1, min(options.chunk, model.context.batch_size // 2)))
                drafter = _drafter(pair, prompts, options, meter, drafter_sampler)
                events = weak_to_strong(drafter, reader, options, writer, meter, rule)
            else:
                events = alone(reader, source, writer, meter)
            for event in events:
                if isinstance(event, Switched):
                    switch = event
                with meter.paused():
                    yield event
        except Cancelled:
            yield from writer.end("cancelled")
        return _reply(writer, switch, rule, len(prompt.opening), drafter, meter, options.seed)


def _writer(model: LoadedModel, prompt: Prompt, options: Options, question: str) -> ReplyWriter:
    """The reply to be, of the model that finishes it."""
    vocabulary = model.model.vocab
    stops = (*model.template.stops, *options.stop)
    strings = StopStrings.of(stops, vocabulary.special_texts.pieces)
    return ReplyWriter(
        vocabulary,
        max_tokens=min(options.max_tokens, model.context.n_ctx - len(prompt.tokens)),
        stops=strings.patterns,
        stop_tokens=_stop_tokens(model, stops),
        marks=strings.marks,
        loops=LoopWatch(vocabulary.piece, question) if options.stop_loops else None,
    )


def _rule(pair: Pair, options: Options, question: str) -> ConfidenceWindow:
    """The switch rule, over the base's tokens."""
    repetition = Repetition(pair.base.model.vocab.piece, question) if options.ignore_repeated else None
    return ConfidenceWindow(threshold=options.threshold, window=options.window, repetition=repetition)


def _stop_tokens(model: LoadedModel, stops: Sequence[str]) -> dict[int, str]:
    """The stop strings that are control tokens of this model, which are never part of a text."""
    ids = model.model.vocab.special_texts.ids
    return {ids[stop]: stop for stop in stops if stop in ids}


def _reader(model: LoadedModel, prompt: Prompt, source: Source, meter: Meter, sampler: Sampler | None) -> Reader:
    unread = rewind_to(model.sequence, prompt.before_opening)
    meter.read_prompt(source, n_tokens=len(prompt.tokens), n_reused=len(model.sequence.tokens))
    return Reader(model.sequence, unread, prompt.opening, sampler)


def _drafter(
    pair: Pair, prompts: Mapping[Source, Prompt], options: Options, meter: Meter, sampler: Sampler | None
) -> Drafter:
    model, prompt, base_prompt = pair.drafter, prompts["drafter"], prompts["base"]
    drafter = Drafter(
        model.sequence,
        prompt.tokens,
        model.model.vocab,
        pair.bridge,
        pair.bridge.draft(anchor_of(base_prompt.text), strip=not base_prompt.opening),
        anchor=anchor_of(prompt.text),
        stop_tokens=_stop_tokens(model, options.stop),
        sampler=sampler,
        max_draft=options.max_draft,
        n_ctx=model.context.n_ctx,
    )
    meter.read_prompt("drafter", n_tokens=len(prompt.tokens), n_reused=len(model.sequence.tokens))
    return drafter


@contextmanager
def _sampler(
    pair: Pair, source: Source, prompts: Mapping[Source, Prompt], options: Options, offset: int
) -> Iterator[Sampler | None]:
    if options.is_greedy or source not in prompts:
        yield None
        return
    vocab = (pair.drafter if source == "drafter" else pair.base).model.vocab
    own_ids = source == "base" or pair.vocabulary.same or options.mode == "drafter"
    sampler = Sampler(
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        min_p=options.min_p,
        seed=((options.seed or 0) + offset) % N_SEEDS,
        biases=token_biases(options.logit_bias, vocab, ids=own_ids),
        penalties=Penalties(
            options.repeat_last_n, options.repeat_penalty, options.presence_penalty, options.frequency_penalty
        ),
        prompt=prompts[source].tokens if options.has_penalties else (),
    )
    try:
        yield sampler
    finally:
        sampler.close()


def _reply(
    writer: ReplyWriter,
    switch: Switched | None,
    rule: ConfidenceWindow,
    n_opening: int,
    drafter: Drafter | None,
    meter: Meter,
    seed: int | None,
) -> Reply:
    """The result. Drafted tokens get the log-probabilities and confidences that the base gave them."""
    tokens = list(writer.tokens)
    confidences: list[float | None] = [None] * len(tokens)
    n_drafted = sum(token.source == "drafter" for token in tokens) if drafter else 0
    n_scored = min(n_drafted, len(rule.logprobs) - n_opening)
    for i in range(n_scored):
        repeated = rule.repeated[n_opening + i] if rule.repeated else None
        tokens[i] = replace(tokens[i], logprob=rule.logprobs[n_opening + i], repeated=repeated)
        confidences[i] = rule.confidences[n_opening + i]
    assert writer.finish is not None
    return Reply(
        text=writer.text,
        tokens=tuple(tokens),
        confidences=tuple(confidences),
        finish_reason=writer.finish,
        switch=switch,
        stats=meter.statistics(
            n_tokens=len(tokens),
            n_draft=sum(token.source == "drafter" for token in tokens),
            first_shown_s=writer.first_shown_s,
        ),
        stop=writer.stop,
        seed=seed,
        note=None if writer.loop is None else str(writer.loop),
    )
