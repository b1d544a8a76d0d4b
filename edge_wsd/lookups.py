"""What can be found out about texts with the models of a pair, wherever these live.

>>> pair.call(TokensOf("base", ("How do I list files?",)))

Each is a question that can be sent to another process, and called with the models there.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_wsd.decoding.alternatives import shown_bytes
from edge_wsd.decoding.events import Source
from edge_wsd.loaded_pair import LoadedPair
from edge_wsd.prompts.messages import Message
from edge_wsd.prompts.tools import Tool


@dataclass(frozen=True, slots=True)
class TokensOf:
    """The tokens of texts, one after the other; ids among these stay as they are.

    `special` reads the texts of control tokens as those tokens; `bos` puts BOS in front of a text that comes first,
    where the model's texts begin with it. Raises `VocabularyError` for an id that the model does not have.
    """

    source: Source
    parts: tuple[str | int, ...]
    special: bool = False
    bos: bool = False

    def __call__(self, pair: LoadedPair) -> tuple[int, ...]:
        vocab = pair.model(self.source).model.vocab
        found: list[int] = []
        for number, part in enumerate(self.parts):
            if isinstance(part, str):
                found += vocab.tokenize(part, special=self.special, bos=self.bos and vocab.add_bos and number == 0)
            else:
                vocab.piece(part)  # raises for an id that there is not
                found.append(part)
        return tuple(found)


@dataclass(frozen=True, slots=True)
class PiecesOf:
    """The bytes that each token stands for; of a control token its name. Raises `VocabularyError`."""

    source: Source
    tokens: tuple[int, ...]

    def __call__(self, pair: LoadedPair) -> tuple[bytes, ...]:
        vocab = pair.model(self.source).model.vocab
        return tuple(shown_bytes(vocab, token) for token in self.tokens)


@dataclass(frozen=True, slots=True)
class PromptOf:
    """A conversation as the model reads it: the text of its prompt. Raises as `LoadedModel.encode` does."""

    source: Source
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()

    def __call__(self, pair: LoadedPair) -> str:
        return pair.model(self.source).encode(self.messages, self.tools).text


@dataclass(frozen=True, slots=True)
class CountOf:
    """How many tokens of the base texts have in all: exactly, or, if a bound from below is over `most`, that bound.

    So an endless text is not even tokenised.
    """

    texts: tuple[str, ...]
    most: int

    def __call__(self, pair: LoadedPair) -> int:
        vocab = pair.base.model.vocab
        fewest = sum(map(vocab.fewest_tokens, self.texts))
        return fewest if fewest > self.most else sum(len(vocab.tokenize(text)) for text in self.texts)


Lookup = TokensOf | PiecesOf | PromptOf | CountOf
