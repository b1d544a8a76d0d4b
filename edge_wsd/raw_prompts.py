"""A text as it stands, without messages and without a template: to be written on, or scored.

>>> pair.complete("Once upon a time").result().text
>>> pair.score("The capital of France is Paris").result().prompt[-1].logprob
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_wsd.asked import AskedText, RawPrompt
from edge_wsd.decoding.alternatives import shown_bytes
from edge_wsd.decoding.events import SOURCES, Source
from edge_wsd.decoding.options import Options
from edge_wsd.loaded_model import Prompt
from edge_wsd.reply import Fitted, require_fit

if TYPE_CHECKING:
    from edge_wsd.loaded_pair import LoadedPair


def fit_raw(pair: LoadedPair, asked: AskedText) -> Fitted:
    """The same text for each model that takes part. Where nothing is written it needs no room for a reply.

    Raises `ContextFullError`, `TemplateError` for no text at all, `VocabularyError` for ids that are no tokens.
    """
    prompts: dict[Source, Prompt] = {}
    for source in reversed(SOURCES):  # ids are the base's: it knows best what is wrong with them
        if asked.options.mode in ("wsd", source):
            prompt = _encoded(pair, source, asked.prompt, asked.options)
            prompts[source] = require_fit(pair.model(source), prompt, asked.options.max_tokens if asked.writes else 0)
    return Fitted(prompts, stops=(), strips=False, scores_prompt=asked.scores_prompt, writes=asked.writes)


def _encoded(pair: LoadedPair, source: Source, prompt: RawPrompt, options: Options) -> Prompt:
    model = pair.model(source)
    if isinstance(prompt, str):
        return model.encode_text(prompt, special=options.special)
    if source == "drafter" and options.mode == "wsd":  # the ids are the base's
        vocab = pair.base.model.vocab
        if not pair.vocabulary.same:
            tokens = prompt[1:] if prompt[0] == vocab.bos else prompt
            text = b"".join(shown_bytes(vocab, token) for token in tokens)
            return model.encode_text(text.decode("utf-8", errors="replace"), special=True)
        n_known = model.model.vocab.n_tokens  # the base may have more, which mean nothing
        prompt = [token for token in prompt if token < n_known]
    return model.encode_tokens(prompt)
