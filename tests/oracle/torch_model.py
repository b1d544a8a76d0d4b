"""A GGUF file run by transformers, with a tokenizer of the `tokenizers` library built from what the file says.

transformers can rebuild a tokenizer from a GGUF too, but adds a token to it and forgets `ignore_merges`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gguf
import tokenizers
import torch
import transformers

_CONTROL = gguf.TokenType.CONTROL
_SHORT = 60  # replies with more room are written apart, so that the others need not wait
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class Row:
    """What a model thinks at one position: of the token that comes next there, and how sure its own choice is."""

    logprob: float
    choice: int
    lead: float
    """How far the choice's logit is above the second best; where it is tiny, rounding decides."""


class TorchModel:
    """Weights in float32 and a tokenizer. Texts in, tokens and log-probabilities out."""

    def __init__(self, path: Path) -> None:
        fields = gguf.GGUFReader(path).fields
        self._read = lambda name: fields[name].contents() if name in fields else None
        self.tokens: list[str] = self._read("tokenizer.ggml.tokens")
        self.bos: int = self._read("tokenizer.ggml.bos_token_id")
        self.eos: int = self._read("tokenizer.ggml.eos_token_id")
        self.tokenizer = self._tokenizer()
        self._network = transformers.AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype=torch.float32
        ).eval()

    def _tokenizer(self) -> tokenizers.Tokenizer:
        pre = self._read("tokenizer.ggml.pre")
        vocabulary = {token: index for index, token in enumerate(self.tokens)}
        merges = [tuple(merge.split(" ")) for merge in self._read("tokenizer.ggml.merges")]
        model = tokenizers.models.BPE(vocab=vocabulary, merges=merges, ignore_merges=pre == "llama-bpe")
        tokenizer = tokenizers.Tokenizer(model)
        byte_level = tokenizers.pre_tokenizers.ByteLevel
        tokenizer.pre_tokenizer = {
            "gpt-2": byte_level(add_prefix_space=False),
            "llama-bpe": tokenizers.pre_tokenizers.Sequence([
                tokenizers.pre_tokenizers.Split(tokenizers.Regex(_LLAMA3), behavior="isolated"),
                byte_level(add_prefix_space=False, use_regex=False),
            ]),
        }[pre]  # fmt: skip
        tokenizer.decoder = tokenizers.decoders.ByteLevel()
        types = self._read("tokenizer.ggml.token_type")
        specials = [token for token, type_ in zip(self.tokens, types, strict=True) if type_ == _CONTROL]
        tokenizer.add_special_tokens(specials)
        assert tokenizer.get_vocab_size() == len(self.tokens)
        return tokenizer

    # Texts

    def chat_prompt(self, messages: list[dict[str, str]]) -> str:
        """The file's own chat template; a conversation that ends in an assistant message is left open."""
        chat = transformers.PreTrainedTokenizerFast(
            tokenizer_object=self.tokenizer,
            bos_token=self.tokens[self.bos],
            eos_token=self.tokens[self.eos],
            chat_template=self._read("tokenizer.chat_template"),
        )
        opened = messages[-1]["role"] == "assistant"
        return str(
            chat.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=not opened, continue_final_message=opened
            )
        )

    def encode(self, text: str, *, special: bool) -> list[int]:
        """BOS and the tokens of `text`. Only with `special` are spellings of control tokens read as those tokens."""
        self.tokenizer.encode_special_tokens = not special
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids if ids[:1] == [self.bos] else [self.bos, *ids]

    def decode(self, ids: Sequence[int]) -> str:
        """Text without special tokens; broken UTF-8 becomes U+FFFD."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    # Numbers

    def continue_greedily(self, prompts: list[list[int]], rooms: list[int], ends: set[int]) -> list[list[int]]:
        """Behind each prompt as many tokens as there is room for, or fewer: without the end token."""
        written: dict[int, list[int]] = {}
        long = {index for index, room in enumerate(rooms) if room > _SHORT}
        for group in (sorted(long), sorted(set(range(len(prompts))) - long)):
            if group:
                rows = self._continue_together([prompts[i] for i in group], max(rooms[i] for i in group), ends)
                written.update(zip(group, rows, strict=True))
        return [written[index][:room] for index, room in enumerate(rooms)]

    @torch.inference_mode()
    def _continue_together(self, prompts: list[list[int]], n: int, ends: set[int]) -> list[list[int]]:
        longest = max(map(len, prompts))
        padded = torch.tensor([[self.eos] * (longest - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        written = self._network.generate(
            padded,
            attention_mask=mask,
            max_new_tokens=n,
            do_sample=False,
            eos_token_id=sorted(ends),
            pad_token_id=self.eos,
        )[:, longest:].tolist()
        return [row[: min((i for i, token in enumerate(row) if token in ends), default=n)] for row in written]

    @torch.inference_mode()
    def read(self, ids: list[int], first: int) -> list[Row]:
        """One pass over the whole text: a row for each of `ids[first:]`, and one for what would follow them."""
        logits = self._network(torch.tensor([ids])).logits[0, first - 1 :]
        logprobs = logits.log_softmax(-1)
        best, choices = logits.topk(2)
        leads = (best[:, 0] - best[:, 1]).tolist()
        targets = [*ids[first:], int(choices[-1, 0])]
        scores = logprobs[torch.arange(len(targets)), torch.tensor(targets)].tolist()
        return [Row(*row) for row in zip(scores, choices[:, 0].tolist(), leads, strict=True)]
