"""One reply: two prompts, two memories, the loop, and the result."""

from __future__ import annotations

import secrets
from bisect import bisect_left
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from edge_wsd import checks
from edge_wsd._native import CancelFlag
from edge_wsd.decoding.bridge import anchor_of
from edge_wsd.decoding.drafter import Drafter
from edge_wsd.decoding.events import SOURCES, Reply, ScoredToken, Source
from edge_wsd.decoding.loop_watch import LoopWatch
from edge_wsd.decoding.meter import Meter
from edge_wsd.decoding.nudge_reply import NudgeReply
from edge_wsd.decoding.options import N_SEEDS, Options
from edge_wsd.decoding.prompt_scores import score_prompt
from edge_wsd.decoding.protocols import Writing
from edge_wsd.decoding.repetition import Repetition
from edge_wsd.decoding.reply_state import PromptedModel, ReplyState
from edge_wsd.decoding.signal import ConfidenceWindow
from edge_wsd.decoding.stop_strings import StopStrings
from edge_wsd.decoding.weak_to_strong import weak_to_strong
from edge_wsd.decoding.window_reply import WindowReply
from edge_wsd.decoding.writer import ReplyWriter
from edge_wsd.engine.engine import Memories
from edge_wsd.errors import Cancelled, ContextFullError
from edge_wsd.json_schema.grammar import grammar_of_schema
from edge_wsd.llama.grammar import Grammar
from edge_wsd.llama.sampler import Penalties, Sampler, token_biases
from edge_wsd.llama.sequence import Sequence as ModelSequence
from edge_wsd.loaded_model import LoadedModel, Prompt
from edge_wsd.prompts.messages import Message
from edge_wsd.prompts.tools import Tool

if TYPE_CHECKING:
    from edge_wsd.loaded_pair import LoadedPair

_OF_THE_BASE = 0x9E3779B9


@dataclass(frozen=True, slots=True)
class Fitted:
    """The prompts of the models that take part, and what is to be done with them."""

    prompts: dict[Source, Prompt]
    stops: tuple[str, ...]
    """Stop strings of the template that they were made with."""
    strips: bool
    """Whether white space at the beginning of the draft is dropped: a template has put there what belongs there."""
    n_dropped: int = 0
    """How many of the oldest messages were left out of them."""
    question: str = ""
    """The user's last message; empty without one."""
    scores_prompt: bool = False
    """Whether the model that finishes the reply tells what it thinks of its prompt."""
    writes: bool = True
    """Whether anything is written behind it."""


def fit(
    pair: LoadedPair,
    system: Sequence[Message],
    messages: Sequence[Message],
    options: Options,
    cancel: CancelFlag,
    tools: Sequence[Tool] = (),
) -> Fitted:
    """Prompts that leave room for a reply. If they are too long, whole turns are left out, the same for both models.

    Then half of each context is made free at once: if the beginning moved with every turn, everything after it would
    be read again each time. Raises `ContextFullError` if even the last turn is too long, and `Cancelled`.
    """
    models = {source: pair.model(source) for source in SOURCES if options.mode in ("wsd", source)}
    starts = [i for i, message in enumerate(messages) if message.role == "user" or i == 0]

    @cache
    def encoded(source: Source, start: int) -> Prompt | ContextFullError:
        if cancel.is_set:
            raise Cancelled("cancelled")
        try:
            return models[source].encode([*system, *messages[start:]], tools, special=options.special)
        except ContextFullError as error:  # too long to ever fit, so it was not even tokenised
            return error

    def half_is_free(start: int) -> bool:
        for source, model in models.items():
            prompt = encoded(source, start)
            if isinstance(prompt, ContextFullError) or len(prompt.tokens) > model.context.n_ctx // 2:
                return False
        return True

    start = 0
    if any(_full(model, encoded(source, 0), options.max_tokens) for source, model in models.items()):
        start = starts[min(bisect_left(starts, True, lo=1, key=half_is_free), len(starts) - 1)]
    fitted: dict[Source, Prompt] = {}
    for source, model in models.items():
        prompt = encoded(source, start)
        fitted[source] = require_fit(model, prompt, options.max_tokens)
    question = next((message.content for message in reversed(messages) if message.role == "user"), "")
    finisher: Source = "drafter" if options.mode == "drafter" else "base"
    stops, strips = models[finisher].template.stops, not fitted[finisher].opening
    return Fitted(fitted, stops, strips, n_dropped=start, question=question)


def require_fit(model: LoadedModel, prompt: Prompt | ContextFullError, max_tokens: int) -> Prompt:
    """The prompt, if it leaves room for a reply of up to `max_tokens`. Raises `ContextFullError`."""
    if error := _full(model, prompt, max_tokens):
        raise error
    assert not isinstance(prompt, ContextFullError)
    return prompt


def _full(model: LoadedModel, prompt: Prompt | ContextFullError, max_tokens: int) -> ContextFullError | None:
    """The error to raise if the prompt leaves too little room: less than the reply needs and less than a quarter."""
    if isinstance(prompt, ContextFullError):
        return prompt
    n_ctx, n_prompt = model.context.n_ctx, len(prompt.tokens)
    reserve = min(max_tokens, max(1, n_ctx // 4))
    if n_prompt + reserve <= n_ctx:
        return None
    is_bounded = max_tokens < checks.LARGEST
    shorter = ", lower max_tokens (--max-tokens)" if n_prompt < n_ctx and is_bounded else ""
    up_to = f" of up to {max_tokens}" if is_bounded else ""
    return ContextFullError(
        f"the prompt has {n_prompt} tokens, which leaves {max(0, n_ctx - n_prompt)} of the {n_ctx} in the context of "
        f"{model.model.path.name} for a reply{up_to}; shorten the prompt{shorter} or raise "
        "context_length (--ctx)",
        needed=n_prompt + reserve,
        available=n_ctx,
    )


def write_reply(pair: LoadedPair, fitted: Fitted, options: Options, meter: Meter, memories: Memories) -> Writing[Reply]:
    """Yields the events of one reply except `Finished`, and returns it. Throw `Cancelled` in to end it early.

    Where the prompt is to be scored, that comes first.
    """
    if options.seed is None and options.temperature > 0:
        options = options.with_changes(seed=secrets.randbelow(N_SEEDS))
    with ExitStack() as held:
        state = _Parts(pair, fitted, options, meter, memories, held).state()
        prompt: tuple[ScoredToken, ...] = ()
        try:
            if fitted.scores_prompt:
                prompt = yield from score_prompt(state.base, state.writer.vocabulary, options.top_logprobs)
            if fitted.writes:
                yield from weak_to_strong(state)
            else:
                yield from state.writer.end("length")
        except Cancelled:
            yield from state.writer.end("cancelled")
        return _reply(state, options.seed, prompt)


@dataclass(frozen=True, slots=True)
class _Parts:
    """Makes the parts that a reply is written with. `held` releases sequences and samplers at the end."""

    pair: LoadedPair
    fitted: Fitted
    options: Options
    meter: Meter
    memories: Memories
    held: ExitStack

    def state(self) -> ReplyState:
        """The state of a new reply, with its switch rule."""
        options, writer, meter = self.options, self.writer(), self.meter
        experience = self.pair.experience
        if options.mode != "wsd":
            return ReplyState(self.prompted(options.mode), options, writer, meter, experience=experience)
        drafter, base = self.drafter(), self.prompted("base")
        if options.rule == "nudge":
            return NudgeReply(base, options, writer, meter, drafter, experience, strip=self.fitted.strips)
        return WindowReply(base, options, writer, meter, drafter, self.window(), experience)

    def prompted(self, source: Source) -> PromptedModel:
        """The model that finishes the reply."""
        prompt = self.fitted.prompts[source]
        return PromptedModel(
            self.sequence(source, prompt.before_opening),
            prompt.before_opening,
            prompt.opening,
            source,
            self.sampler(source),
            most_proposed=max(1, self.pair.model(source).context.batch_size // 2),
        )

    def drafter(self) -> Drafter:
        """The model that begins it."""
        prompt, base_prompt = self.fitted.prompts["drafter"], self.fitted.prompts["base"]
        model = self.pair.drafter
        drafter = Drafter(
            self.sequence("drafter", prompt.tokens),
            prompt.tokens,
            model.model.vocab,
            self.pair.bridge,
            self.pair.bridge.draft(anchor_of(base_prompt.text), strip=self.fitted.strips),
            anchor=anchor_of(prompt.text),
            stop_tokens=_stop_tokens(model, self.options.stop),
            sampler=self.sampler("drafter"),
            max_draft=self.options.max_draft,
            n_ctx=model.context.n_ctx,
        )
        drafter.overlaps = self.pair.overlaps
        return drafter

    def writer(self) -> ReplyWriter:
        """The writer of the text, in tokens of the model that finishes it."""
        source: Source = "drafter" if self.options.mode == "drafter" else "base"
        model, n_prompt = self.pair.model(source), len(self.fitted.prompts[source].tokens)
        vocabulary = model.model.vocab
        stops = (*self.fitted.stops, *self.options.stop)
        strings = StopStrings.of(stops, vocabulary.special_texts.pieces)
        return ReplyWriter(
            vocabulary,
            max_tokens=min(self.options.max_tokens, model.context.n_ctx - n_prompt),
            stops=strings.patterns,
            stop_tokens=_stop_tokens(model, stops),
            marks=strings.marks,
            loops=LoopWatch(vocabulary.piece, self.fitted.question) if self.options.stop_loops else None,
        )

    def window(self) -> ConfidenceWindow:
        """The window of the published rule, over the base's tokens."""
        options, piece = self.options, self.pair.base.model.vocab.piece
        repetition = Repetition(piece, self.fitted.question) if options.ignore_repeated else None
        return ConfidenceWindow(threshold=options.threshold, window=options.window, repetition=repetition)

    def sequence(self, source: Source, text: list[int]) -> ModelSequence:
        """A sequence that holds as much of `text` as was in memory."""
        memory = self.memories[source]
        sequence = memory.take(text)
        self.held.callback(memory.give_back, sequence)
        n_tokens = len(self.fitted.prompts[source].tokens)
        self.meter.read_prompt(source, n_tokens=n_tokens, sequence=sequence)
        return sequence

    def sampler(self, source: Source) -> Sampler | None:
        """What chooses a model's tokens; None if that is always the most probable one."""
        options, vocab = self.options, self.pair.model(source).model.vocab
        if options.is_greedy:
            return None
        own_ids = source == "base" or self.pair.vocabulary.same or options.mode == "drafter"
        sampler = Sampler(
            temperature=options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
            min_p=options.min_p,
            # The two models draw independently of each other.
            seed=((options.seed or 0) + (_OF_THE_BASE if source == "base" else 0)) % N_SEEDS,
            biases=token_biases(options.logit_bias, vocab, ids=own_ids),
            penalties=Penalties(
                options.repeat_last_n, options.repeat_penalty, options.presence_penalty, options.frequency_penalty
            ),
            prompt=self.fitted.prompts[source].tokens if options.has_penalties else (),
            grammar=self.grammar(source),
        )
        self.held.callback(sampler.close)
        return sampler

    def grammar(self, source: Source) -> Grammar | None:
        """The grammar of a model's tokens. A pair's drafter has one from the start or not at all."""
        options = self.options
        from_start = options.grammar_from == "start" or options.mode != "wsd"
        if not options.has_grammar or (source == "drafter" and not from_start):
            return None
        text = options.grammar if options.json_schema is None else grammar_of_schema(options.json_schema)
        assert text is not None
        return Grammar(text, self.pair.model(source).model, from_start=from_start)


def _stop_tokens(model: LoadedModel, stops: Sequence[str]) -> dict[int, str]:
    """The stop strings that are control tokens of this model; those are never part of a text."""
    ids = model.model.vocab.special_texts.ids
    return {ids[stop]: stop for stop in stops if stop in ids}


def _reply(state: ReplyState, seed: int | None, prompt: tuple[ScoredToken, ...]) -> Reply:
    """The result."""
    writer = state.writer
    assert writer.finish is not None
    return Reply(
        text=writer.text,
        tokens=tuple(writer.tokens),
        confidences=writer.confidences,
        finish_reason=writer.finish,
        switch=state.switch,
        stats=state.meter.statistics(
            n_tokens=len(writer.tokens),
            n_draft=sum(token.source == "drafter" for token in writer.tokens),
            first_shown_s=writer.first_shown_s,
        ),
        stop=writer.stop,
        seed=seed,
        note=None if writer.loop is None else str(writer.loop),
        prompt=prompt,
        end=writer.end_token,
    )
