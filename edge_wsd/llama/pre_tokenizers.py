"""How deep llama.cpp's pre-tokenizers recurse: what a text needs of the stack before it can be tokenised."""

from __future__ import annotations

import re

ITERATIVE = frozenset((
    "a.x-4.0", "chatglm-bpe", "codeshell", "command-r", "dbrx", "deepseek-r1-qwen", "exaone", "exaone4",
    "f2llmv2", "falcon-h1", "falcon3", "gemma4", "gigachat", "glm4", "glm5", "gpt-2", "granite-docling",
    "granite-embed-multi-311m", "grok-2", "hunyuan", "jais", "jina-de", "jina-es", "jina-v1-en", "jina-v2-code",
    "jina-v2-de", "jina-v2-es", "jina-v5-nano", "kimi-k2", "kormo", "laguna", "lfm2", "llama-bpe", "llama-v3",
    "llama3", "megrez", "mellum", "mellum2", "midm-2.0", "minerva-7b", "modern-bert", "mpt", "olmo", "phi-2",
    "pixtral", "qwen2", "qwen35", "refact", "roberta-bpe", "sarvam-moe", "smaug-bpe", "smollm", "solar-open",
    "stablelm2", "starcoder", "trillion",
))  # fmt: skip
"""Values of `tokenizer.ggml.pre` whose patterns llama.cpp runs in loops of its own, or that match a character at a
time. The others it runs with `std::regex`, which calls itself for every character of a match."""
BYTES_PER_CHARACTER = 1024
"""Of stack, in `std::regex`: three times what was measured (325, GCC 12 with optimisation; every pattern alike)."""
SHALLOW_CHARACTERS = 128
"""A match of that length fits onto every stack that llama.cpp can decode on."""
_STRETCH = re.compile(r"[^\r\n]*\s*")


def longest_match(text: str) -> int:
    """A bound on the characters of one match in `text`: no pattern goes past the white space behind a line."""
    return max(len(stretch.group()) for stretch in _STRETCH.finditer(text)) + 2  # one before it, one looked at behind
