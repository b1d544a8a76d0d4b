"""A model in memory, and how a conversation becomes its prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from edge_wsd.decoding.common_prefix import common_prefix
from edge_wsd.errors import ContextFullError, TemplateError
from edge_wsd.llama.context import Context
from edge_wsd.llama.model import Model
from edge_wsd.prompts.mark import free_mark, restored
from edge_wsd.prompts.messages import Message
from edge_wsd.prompts.template import Template
from edge_wsd.prompts.tools import Tool

_LONG_TOKEN = 16
"""Characters per token that only unusual texts reach: longer prompts are measured before they are tokenised."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation in one model's tokens. `opening`, at the end of `tokens`, is the given beginning of the reply."""

    tokens: list[int]
    opening: list[int]
    text: str

    @property
    def before_opening(self) -> list[int]:
        return self.tokens[: len(self.tokens) - len(self.opening)]


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What can be said of a model in memory. `n_ctx` is the length of its context, 0 for `n_ctx_train` is unknown."""

    path: Path
    n_params: int
    size_bytes: int
    n_ctx: int
    n_ctx_train: int
    bos: str | None
    """The text of this token, as of the next one; None where the model has none."""
    eos: str | None
    chat_template: str | None
    """As it stands in the file."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A drafter or a base: weights, context, and the template of its prompts."""

    model: Model
    context: Context
    template: Template

    @property
    def facts(self) -> ModelFacts:
        """What can be said of it."""
        model, vocab = self.model, self.model.vocab
        bos, eos = (None if token is None else vocab.text(token) for token in (vocab.bos, vocab.eos))
        return ModelFacts(
            path=Path(model.path),
            n_params=model.n_params,
            size_bytes=model.size_bytes,
            n_ctx=self.context.n_ctx,
            n_ctx_train=model.n_ctx_train,
            bos=bos,
            eos=eos,
            chat_template=model.chat_template,
        )

    def encode(self, messages: Sequence[Message], tools: Sequence[Tool] = (), *, special: bool = False) -> Prompt:
        """The conversation as this model's prompt. A final assistant message is left open, to be continued.

        White space at the end of that message is dropped: the model writes its own. Text that looks like a control
        token stays text, unless `special` turns it into the token. Raises `TemplateError`, and `ContextFullError` for
        a text that cannot fit into this context; such a text is not even tokenised.
        """
        mark = None
        if not special and self.template.parses_special:
            given: list[Message | Tool] = [*messages, *tools]
            mark = free_mark([text for part in given for text in part.texts()])
            broken = partial(self.model.vocab.special_texts.broken, mark=mark)
            messages, tools = [message.mapped(broken) for message in messages], [tool.mapped(broken) for tool in tools]
        special = special or self.template.parses_special
        if not messages or messages[-1].role != "assistant":
            text = self._render(messages, tools, mark)
            return Prompt(self._tokenize(text, special, mark), [], _without(mark, text))
        # A space that only one of the two models saw would be lost between the words.
        last = replace(messages[-1], content=messages[-1].content.rstrip())
        text = self._render([*messages[:-1], last], tools, mark)
        tokens = self._tokenize(text, special, mark)
        before = self._tokenize(self._render(messages[:-1], tools, mark), special, mark)
        # There must be a token before the opening, so that the base can score the opening's first token.
        return Prompt(tokens, tokens[max(1, common_prefix(before, tokens)) :], _without(mark, text))

    def encode_text(self, text: str, *, special: bool = False) -> Prompt:
        """The text as it stands, without the template; behind BOS where the model's texts begin with it. Raises as
        `encode` does.
        """
        vocab = self.model.vocab
        if not text and not (vocab.add_bos and vocab.bos is not None):
            raise TemplateError("the prompt is empty; give it some text")
        return Prompt(self._tokenize(text, special, None), [], text)

    def encode_tokens(self, tokens: Sequence[int]) -> Prompt:
        """Tokens of this model as they stand. Raises `VocabularyError` for an id that it does not have."""
        if not tokens:
            raise TemplateError("the prompt has no tokens; give it some text")
        text = b"".join(map(self.model.vocab.piece, tokens)).decode("utf-8", errors="replace")
        return Prompt(list(tokens), [], text)

    def _render(self, messages: Sequence[Message], tools: Sequence[Tool], mark: str | None) -> str:
        text = self.template.render(messages, tools)
        return text if mark is None else restored(text, mark)

    def _tokenize(self, text: str, special: bool, mark: str | None) -> list[int]:
        vocab = self.model.vocab
        self._refuse_endless(text)
        # Many chat templates write BOS themselves; no model has seen a prompt with two of them.
        has_bos = special and vocab.bos is not None and text.startswith(vocab.text(vocab.bos))
        tokens = vocab.tokenize(text, special=special, bos=vocab.add_bos and not has_bos, mark=mark)
        if not tokens:
            raise TemplateError(f"the {self.template.name} template turns this conversation into an empty prompt")
        return tokens

    def _refuse_endless(self, text: str) -> None:
        n_ctx = self.context.n_ctx
        if len(text) <= _LONG_TOKEN * n_ctx or (fewest := self.model.vocab.fewest_tokens(text)) <= n_ctx:
            return
        raise ContextFullError(
            f"a prompt of {len(text)} characters has at least {fewest} tokens, and the context of "
            f"{self.model.path.name} holds {n_ctx}; shorten the prompt or raise context_length (--ctx)",
            needed=fewest,
            available=n_ctx,
        )


def _without(mark: str | None, text: str) -> str:
    return text if mark is None else text.replace(mark, "")
