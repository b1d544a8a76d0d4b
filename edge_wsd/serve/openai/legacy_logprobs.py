"""Log-probabilities in the form of `/v1/completions`: lists side by side, with a place in the text for each token.

>>> listed = LegacyEntries(2)
>>> listed.add_prompt(reply.prompt, prompt)
>>> listed.add(reply.tokens)
>>> listed.taken(longest=len(text))
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Sequence

from edge_wsd.asked import RawPrompt
from edge_wsd.decoding.events import Alternative, ScoredToken, Token
from edge_wsd.serve.extension import floored_logprob
from edge_wsd.serve.openai.completion_types import LegacyLogprobs


class LegacyEntries:
    """Collects tokens in the order of the text, and hands them out once."""

    def __init__(self, n_top: int) -> None:
        """`n_top` alternatives are listed for each, and the token itself."""
        self._n_top = n_top
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._offset = 0
        self._new = _empty()

    def add_prompt(self, tokens: Sequence[ScoredToken], prompt: RawPrompt) -> None:
        """The tokens of a prompt that is part of the text. A BOS that its sender has not written is left out."""
        for number, token in enumerate(without_bos(tokens, prompt)):
            self._add(token.text, token.piece, token.piece or token.text.encode(), token.logprob, token.top, not number)

    def add(self, tokens: Iterable[Token | ScoredToken]) -> None:
        """Tokens of an answer, or the one that ended it."""
        for token in tokens:
            text = token.text if isinstance(token, ScoredToken) else token.piece.decode("utf-8", errors="replace")
            self._add(text, token.piece, token.piece, token.logprob, token.top, False)

    def _add(
        self, text: str, piece: bytes, shown: bytes, logprob: float | None, top: Sequence[Alternative], is_first: bool
    ) -> None:
        name, new = token_name(text, piece), self._new
        known = None if logprob is None or is_first else floored_logprob(logprob)
        likeliest: dict[str, float] = {}
        for one in top[: self._n_top]:  # two may have the same name: the likelier one counts
            likeliest.setdefault(token_name(one.text, one.piece), floored_logprob(one.logprob))
        if known is not None:
            likeliest.setdefault(name, known)
        new.tokens.append(name)
        new.token_logprobs.append(known)
        new.top_logprobs.append(None if known is None else likeliest)
        new.text_offset.append(self._offset)
        self._offset += len(self._decoder.decode(shown))

    @property
    def has_new(self) -> bool:
        """Whether there is anything to hand out."""
        return bool(self._new.tokens)

    def taken(self, longest: int) -> LegacyLogprobs | None:
        """What was added since the last call; None if nothing was. No token begins behind the text's `longest`."""
        taken, self._new = self._new, _empty()
        taken.text_offset = [min(offset, longest) for offset in taken.text_offset]
        return taken if taken.tokens else None


def without_bos(tokens: Sequence[ScoredToken], prompt: RawPrompt) -> Sequence[ScoredToken]:
    """The tokens that the sender of a prompt knows of: a text's BOS is the model's own affair."""
    first = tokens[0]
    is_added = isinstance(prompt, str) and not first.piece and not prompt.startswith(first.text)
    return tokens[1:] if is_added else tokens


def token_name(text: str, piece: bytes) -> str:
    """What a token is called where only texts are allowed: half a character by its bytes, as OpenAI does."""
    try:
        piece.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)
    return text


def _empty() -> LegacyLogprobs:
    return LegacyLogprobs(tokens=[], token_logprobs=[], top_logprobs=[], text_offset=[])
