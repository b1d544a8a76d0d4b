"""Whether a GGUF file turns conversations into the same prompts as its checkpoint.

>>> template_agreement(tokenizer, model).first_difference
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edge_wsd.errors import TemplateError, TemplateStoppedError, VerificationError
from edge_wsd.llama.model import Model
from edge_wsd.prompts.chat_template import ChatTemplate
from edge_wsd.prompts.messages import Message

from ..checkpoint.folder import Checkpoint
from ..tokenizers.special_tokens import chat_template

_SYSTEM = Message("system", "Answer in one sentence.")
_ASK = Message("user", "How do I list files by size?")
_ANSWER = Message("assistant", "Use `ls -lS`.")
_ASK_AGAIN = Message("user", "And only directories?")
CONVERSATIONS: Mapping[str, tuple[Message, ...]] = {
    "one question": (_ASK,),
    "several turns": (_ASK, _ANSWER, _ASK_AGAIN),
    "a system message and turns": (_SYSTEM, _ASK, _ANSWER, _ASK_AGAIN),
    "two questions in a row": (_ASK, _ASK_AGAIN),
    "an answer to continue": (_ASK, Message("assistant", "Use `ls")),
    "a system message and an answer to continue": (_SYSTEM, _ASK, Message("assistant", "Use")),
    "letters of many scripts": (Message("user", "Größe? 大小？ حجم 👩‍👩‍👧 e\u0301 \u200f\u00a0\u2028 ok"),),
    "white space around the text": (Message("user", "\n  two lines\n\tand a tab \n\n"), _ANSWER, _ASK_AGAIN),
    "text that looks like markup": (
        Message("user", "{{ bos_token }} {% if x %} <b>&amp;\"'\\n</b> <|im_end|> [INST]"),
    ),
}
_EXCERPT_CHARACTERS = 40


@dataclass(frozen=True, slots=True)
class TemplateDifference:
    """The first conversation whose prompts differ, from character `position` on. A refusal stands in brackets."""

    conversation: str
    position: int
    expected: str
    found: str

    def __str__(self) -> str:
        return (
            f"{self.conversation}: differs at character {self.position}: the checkpoint has {self.expected}, "
            f"the GGUF has {self.found}"
        )


@dataclass(frozen=True, slots=True)
class TemplateAgreement:
    """How many conversations both sides render alike; `n_refused` of the equal ones are refused by both.

    `missing` says that no template is there: in both (which is agreement), or in one of the two.
    """

    n_conversations: int
    n_equal: int
    n_refused: int = 0
    first_difference: TemplateDifference | None = None
    missing: Literal["both", "checkpoint", "gguf"] | None = None

    @property
    def holds(self) -> bool:
        return self.missing in (None, "both") and self.n_equal == self.n_conversations


@dataclass(frozen=True, slots=True)
class _Refusal:
    reason: str
    stopped: bool = False
    """By us, for the time or memory it takes."""


def read_chat_tokenizer(checkpoint: Checkpoint) -> Any:
    """A tokenizer of transformers that renders the checkpoint's chats; it is for nothing else.

    Raises VerificationError for one that transformers cannot load.
    """
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    folder = checkpoint.folder
    try:
        if (folder / "tokenizer.json").is_file():
            load: Callable[..., Any] = PreTrainedTokenizerFast.from_pretrained
            return load(str(folder), local_files_only=True, trust_remote_code=False)
        # Reading tokenizer.model depends on the class of each family; template and special tokens are all it takes.
        bare, template = Tokenizer(models.BPE()), chat_template(checkpoint)
        return PreTrainedTokenizerFast(tokenizer_object=bare, chat_template=template, **_stated(checkpoint))
    except Exception as error:  # the tokenizers library raises plain Exception
        reason = " ".join(str(error).split())
        raise VerificationError(f"transformers cannot load the tokenizer of {folder}: {reason:.300}") from error


def _stated(checkpoint: Checkpoint) -> dict[str, str]:
    """BOS and EOS as the files beside the tokenizer name them."""
    found = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        for kind in ("bos_token", "eos_token"):
            value = (checkpoint.json(name) or {}).get(kind)
            text = value.get("content") if isinstance(value, dict) else value
            if isinstance(text, str):
                found[kind] = text
    return found


def template_agreement(
    tokenizer: Any, model: Model, conversations: Mapping[str, Sequence[Message]] = CONVERSATIONS
) -> TemplateAgreement:
    """Compares transformers' `tokenizer.apply_chat_template` with the template stored in `model`'s file.

    `model` may be loaded with its vocabulary alone. A conversation that both refuse counts as equal.
    """
    source = model.chat_template
    there = bool(getattr(tokenizer, "chat_template", None)), bool(source)
    if not (source and all(there)):
        return TemplateAgreement(0, 0, missing="both" if not any(there) else "gguf" if there[0] else "checkpoint")
    vocab = model.vocab
    bos, eos = (vocab.text(token) if token is not None else "" for token in (vocab.bos, vocab.eos))
    template = ChatTemplate(source, bos=bos, eos=eos, name="chat template of the GGUF")
    trial = ChatTemplate(_source_of(tokenizer), bos=bos, eos=eos, name="chat template of the checkpoint")
    n_equal, n_refused, first = 0, 0, None
    for name, messages in conversations.items():
        expected = _expected(tokenizer, messages, trial)
        found = _attempt(lambda messages=messages: template.render_as_given(messages))  # type: ignore[misc]
        both_refuse = isinstance(expected, _Refusal) and isinstance(found, _Refusal)
        if both_refuse or expected == found:
            n_equal, n_refused = n_equal + 1, n_refused + both_refuse
        elif first is None:
            first = _difference(name, expected, found)
    return TemplateAgreement(len(conversations), n_equal, n_refused, first)


def _source_of(tokenizer: Any) -> str:
    """The template that transformers takes of those the tokenizer has; empty if it cannot decide."""
    try:
        return str(tokenizer.get_chat_template())
    except ValueError:
        return ""


def _expected(tokenizer: Any, messages: Sequence[Message], trial: ChatTemplate) -> str | _Refusal:
    """What transformers makes of the conversation; unless `trial` is stopped, as transformers stops no template."""
    tried = _attempt(lambda: trial.render_as_given(messages))
    if isinstance(tried, _Refusal) and tried.stopped:
        return tried
    return _attempt(lambda: _apply(tokenizer, messages))


def _apply(tokenizer: Any, messages: Sequence[Message]) -> str:
    continues = messages[-1].role == "assistant"
    conversation = [{"role": message.role, "content": message.content} for message in messages]
    try:
        prompt: str = tokenizer.apply_chat_template(
            conversation, tokenize=False, add_generation_prompt=not continues, continue_final_message=continues
        )
    except Exception as error:  # a template is a program: it can fail in every way that Python knows
        raise TemplateError(str(error)) from error
    return prompt


def _attempt(render: Callable[[], str]) -> str | _Refusal:
    try:
        return render()
    except TemplateError as error:
        return _Refusal(" ".join(str(error).split()), isinstance(error, TemplateStoppedError))


def _difference(name: str, expected: str | _Refusal, found: str | _Refusal) -> TemplateDifference:
    if isinstance(expected, _Refusal) or isinstance(found, _Refusal):
        return TemplateDifference(name, 0, _shown(expected, 0), _shown(found, 0))
    shorter = min(len(expected), len(found))
    position = next((at for at in range(shorter) if expected[at] != found[at]), shorter)
    return TemplateDifference(name, position, _shown(expected, position), _shown(found, position))


def _shown(prompt: str | _Refusal, position: int) -> str:
    if isinstance(prompt, _Refusal):
        return f"[refused: {prompt.reason}]"
    if position == len(prompt):
        return "nothing more"
    end = position + _EXCERPT_CHARACTERS
    return f"{prompt[position:end]!r}{'…' if end < len(prompt) else ''}"
