"""Breaks GGUF files on purpose: lists of small changes to a header, chosen at random and applied again from JSON.

>>> changes = choose(parsed, random.Random("seed"))
>>> header, file_size = apply(parsed, changes)
"""

from __future__ import annotations

import copy
import json
import random
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_wsd.models.gguf.header import read_header
from edge_wsd.models.gguf.types import NUMBERS, TENSOR_TYPES, ValueType

Change = list[Any]
"""A kind of change and its arguments, as JSON holds them."""

NAMES = json.loads((Path(__file__).parent / "hostile" / "corpus" / "names.json").read_text(encoding="utf-8"))
"""`architectures` and `keys` of hyperparameters that llama.cpp knows."""

INTERESTING = (
    0, 1, 2, 3, 7, 31, 32, 33, 63, 64, 127, 128, 255, 256, 257, 511, 512, 513, 1 << 15, (1 << 16) - 1, 1 << 16, 1
    << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 62) + 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1
)  # fmt: skip
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e-5, 0.5, 1e9, 3.4e38, float("inf"), float("-inf"), float("nan"))
_MOST_PADDING = 1 << 16
"""Bytes. A file that claims a larger alignment is padded to this one."""
WORDS = (
    "", "\0", " ", "<unk>", "<s>", "</s>", "<0x00>", "<0xGG>", "<0x", "llama", "gpt2", "bert", "t5", "rwkv",
    "plamo2", "none", "no_vocab", "default", "gpt-2", "llama-bpe", "qwen2", "gemma2", "gemma3", "phi3",
    "mamba", "linear", "yarn", "longrope", "▁", "Ġ", "a b", " a", "a ", "a  b", "\n", "\ufffd", "🙂", "x" * 300,
    "mistral3", "deepseek2", "clip", "rwkv6", "mpt", "falcon", "starcoder2", "command-r", "olmo2", "gemma",
    "qwen3moe", "{{", "tekken",
)  # fmt: skip
KEYS = (
    "expert_count", "expert_used_count", "attention.sliding_window", "attention.key_length",
    "attention.value_length", "rope.scaling.type", "rope.scaling.factor", "rope.scaling.original_context_length",
    "rope.dimension_sections", "attention.head_count_kv", "attn_logit_softcapping", "final_logit_softcapping",
    "nextn_predict_layers", "vocab_size", "attention.layer_norm_epsilon", "feed_forward_length",
    "expert_group_count", "leading_dense_block_count", "logit_scale", "attention.causal", "pooling_type",
    "attention.scale", "rope.scaling.attn_factor", "attention.sliding_window_pattern", "attention.key_length_swa",
    "rope.dimension_count_swa", "embedding_length_out", "classifier.output_labels", "attention.shared_kv_layers",
    "token_shift_count", "block_count"
)  # fmt: skip
TOKENIZER_KEYS = (
    "bos_token_id", "eos_token_id", "eot_token_id", "eom_token_id", "unknown_token_id", "seperator_token_id",
    "padding_token_id", "cls_token_id", "mask_token_id", "fim_pre_token_id", "fim_suf_token_id",
    "fim_mid_token_id", "fim_pad_token_id", "add_bos_token", "add_eos_token", "add_space_prefix",
    "remove_extra_whitespaces", "precompiled_charsmap", "token_type_count", "pre", "model", "add_sep_token"
)  # fmt: skip


@dataclass
class Entry:
    """One metadata value: `raw` is its payload. Of an array, `elements` holds the payloads."""

    key: str
    type: int
    raw: bytes = b""
    element_type: int | None = None
    elements: list[bytes] | None = None
    count: int | None = None
    """What the array claims to hold, if that is a lie."""

    def to_bytes(self) -> bytes:
        key = self.key.encode(errors="surrogateescape")
        head = struct.pack("<Q", len(key)) + key + struct.pack("<I", self.type & 0xFFFFFFFF)
        if self.elements is None:
            return head + self.raw
        count = len(self.elements) if self.count is None else self.count
        return head + struct.pack("<IQ", (self.element_type or 0) & 0xFFFFFFFF, count) + b"".join(self.elements)


@dataclass
class Parsed:
    """A GGUF file taken apart. Tensors are [name, shape, type, offset]."""

    entries: list[Entry]
    tensors: list[list[Any]]
    alignment: int
    data_size: int
    """Bytes behind the header."""

    def entry(self, key: str) -> Entry | None:
        return next((entry for entry in self.entries if entry.key == key), None)

    def header(self) -> bytes:
        parts = [b"GGUF", struct.pack("<IQQ", 3, len(self.tensors), len(self.entries))]
        parts += [entry.to_bytes() for entry in self.entries]
        for name, shape, type_, offset in self.tensors:
            raw = name.encode(errors="surrogateescape")
            dims = b"".join(struct.pack("<Q", size & (1 << 64) - 1) for size in shape)
            parts.append(struct.pack("<Q", len(raw)) + raw + struct.pack("<I", len(shape)) + dims)
            parts.append(struct.pack("<IQ", type_ & 0xFFFFFFFF, offset & (1 << 64) - 1))
        header = b"".join(parts)
        return header + bytes(-len(header) % self.alignment) if self.tensors else header


def parse(path: Path) -> Parsed:
    """Takes a good file apart."""
    header = read_header(path)
    entries = []
    for key, value in header.metadata.items():
        type_ = header.types[key]
        if key in header.arrays:
            entries.append(Entry(key, ValueType.ARRAY, b"", type_, [payload(type_, element) for element in value]))
        else:
            entries.append(Entry(key, type_, payload(type_, value)))
    tensors: list[list[Any]] = [[each.name, list(each.shape), each.type, each.offset] for each in header.tensors]
    return Parsed(entries, tensors, header.alignment, max(0, header.file_size - header.data_offset))


def payload(type_: ValueType, value: Any) -> bytes:
    if type_ is ValueType.STRING:
        raw = value.encode(errors="surrogateescape")
        return struct.pack("<Q", len(raw)) + raw
    return struct.pack("<" + NUMBERS[type_].code, value)


def choose(parsed: Parsed, source: random.Random) -> list[Change]:
    """One to four changes; those of the structure come before those of the bytes."""
    n = source.choice((1, 1, 1, 2, 2, 3, 4))
    if source.random() < 0.25:
        size = len(parsed.header())
        return [_choose_bytes(size, source) for _ in range(n)]
    changes = []
    for _ in range(n):
        changes.append(
            choose_tensor(parsed, source) if parsed.tensors and source.random() < 0.3 else choose_value(parsed, source)
        )
    if source.random() < 0.7:
        changes.append(["relayout"])
    return changes


def architecture_of(parsed: Parsed) -> str:
    entry = parsed.entry("general.architecture")
    return entry.raw[8:].decode(errors="replace") if entry else "llama"


def _choose_bytes(size: int, source: random.Random) -> Change:
    at = source.randrange(size)
    kind = source.randrange(4)
    if kind == 0:
        return ["truncate", at]
    if kind == 1:
        return ["integer", at, source.choice((1, 2, 4, 8)), source.choice(INTERESTING)]
    return ["flip", at, 1 << source.randrange(8) if kind == 2 else source.randrange(1, 256)]


def payload_like(type_: int, source: random.Random) -> bytes:
    try:
        kind = ValueType(type_)
    except ValueError:
        return source.randbytes(8)
    if kind is ValueType.STRING:
        return payload(kind, source.choice(WORDS))
    if kind is ValueType.ARRAY:
        return struct.pack("<IQ", source.choice((4, 5, 6, 8)), source.choice(INTERESTING[:6]))
    if kind in (ValueType.FLOAT32, ValueType.FLOAT64):
        return payload(kind, source.choice(FLOATS))
    number = NUMBERS[kind]
    return (source.choice(INTERESTING) & (1 << 8 * number.n_bytes) - 1).to_bytes(number.n_bytes, "little")


def choose_value(parsed: Parsed, source: random.Random) -> Change:
    entry = source.choice(parsed.entries)
    kind = source.choice(
        ("value", "value", "value", "retype", "drop", "twice", "exchange", "new", "new", "array", "array")
    )
    if kind == "array" or (kind == "value" and entry.elements is not None):
        arrays = [each for each in parsed.entries if each.elements]
        return _choose_array(source.choice(arrays), source) if arrays else ["drop", entry.key]
    if kind == "value":
        return ["value", entry.key, entry.type, payload_like(entry.type, source).hex()]
    if kind == "retype":
        type_ = source.choice([*range(13), 13, 255, -1])
        return ["value", entry.key, type_, payload_like(type_, source).hex()]
    if kind == "exchange":
        return ["exchange", entry.key, source.choice(parsed.entries).key]
    if kind == "new":
        prefix = architecture_of(parsed)
        key = source.choice(
            [*(f"{prefix}.{key}" for key in KEYS), *(f"tokenizer.ggml.{key}" for key in TOKENIZER_KEYS)]
        )
        type_ = source.choice((4, 4, 4, 5, 6, 6, 7, 8, 10))
        return ["value", key, type_, payload_like(type_, source).hex()]
    return [kind, entry.key]


def _choose_array(entry: Entry, source: random.Random) -> Change:
    elements = entry.elements or [b""]
    kind = source.choice(("element", "element", "element", "copy", "cut", "count", "element_type", "fill"))
    index = source.choice((0, len(elements) - 1, source.randrange(len(elements))))
    if kind == "copy":
        return ["copy", entry.key, index, source.randrange(len(elements))]
    if kind == "cut":
        return ["cut", entry.key, source.choice((0, 1, len(elements) - 1, len(elements) // 2))]
    if kind == "count":
        return ["count", entry.key, source.choice((*INTERESTING, len(elements) - 1, len(elements) + 1))]
    if kind == "element_type":
        return ["element_type", entry.key, source.choice([*range(13), 99])]
    return [kind, entry.key, index, payload_like(entry.element_type or 0, source).hex()]


def choose_tensor(parsed: Parsed, source: random.Random) -> Change:
    name, shape, _, offset = source.choice(parsed.tensors)
    kind = source.choice(
        ("shape", "shape", "rank", "type", "type", "offset", "name", "drop_tensor", "twice_tensor", "alike")
    )
    if kind == "shape":
        sizes = list(shape)
        at = source.randrange(len(sizes))
        sizes[at] = source.choice((*INTERESTING[:24], sizes[at] + 1, sizes[at] - 1, sizes[at] * 2, sizes[at] // 2))
        return ["shape", name, sizes]
    if kind == "rank":
        return [
            "shape",
            name,
            source.choice((shape[:1], [*shape, 1], [*shape, 2], shape[::-1], [1, *shape], [*shape, 1, 1, 1])),
        ]
    if kind == "type":
        return ["type", name, source.choice((*TENSOR_TYPES, 4, 5, 31, 38, 43, 255, -1))]
    if kind == "offset":
        return ["offset", name, source.choice((*INTERESTING, offset + 32, offset - 32, offset + 1))]
    if kind == "name":
        return [
            "name",
            name,
            source.choice((*WORDS[:8], "x" * 64, "blk.999.attn_q.weight", "rope_freqs.weight", name + "s")),
        ]
    if kind == "alike":
        return ["name", name, source.choice(parsed.tensors)[0]]
    return [kind, name]


def apply(parsed: Parsed, changes: list[Change]) -> tuple[bytes, int]:
    """The header with `changes`, and the size of the file whose data is left as it was (or zero)."""
    broken = copy.deepcopy(parsed)
    rest = []
    for kind, *arguments in changes:
        if kind in ("truncate", "integer", "flip"):
            rest.append((kind, arguments))
        elif kind == "weights":
            pass  # see `weights`
        elif kind == "relayout":
            _relayout(broken)
        elif kind == "architecture":
            _rename_architecture(broken, *arguments)
        elif kind == "alignment":
            broken.alignment = min(max(1, arguments[0]), _MOST_PADDING)
            _change_value(broken, "value", "general.alignment", 4, payload(ValueType.UINT32, arguments[0]).hex())
        elif kind == "long":
            key, n_bytes = arguments
            _change_value(broken, "value", key, 8, payload(ValueType.STRING, "x" * n_bytes).hex())
        elif kind in _TENSOR_CHANGES:
            _change_tensor(broken, kind, *arguments)
        else:
            _change_value(broken, kind, *arguments)
    header = bytearray(broken.header())
    size = len(header) + broken.data_size
    for kind, arguments in rest:
        if kind == "truncate":
            size = arguments[0]
        elif kind == "flip" and arguments[0] < len(header):
            header[arguments[0]] ^= arguments[1]
        elif kind == "integer":
            at, width, value = arguments
            header[at : at + width] = (value & (1 << 8 * width) - 1).to_bytes(width, "little")[
                : max(0, len(header) - at)
            ]
    return bytes(header[:size]), max(0, min(size, 1 << 26))


def weights(parsed: Parsed, changes: list[Change], data: bytes) -> bytes:
    """The `data` behind the header of a file, with those tensors filled that `changes` name."""
    filled = bytearray(data)
    places = {name: offset for name, _, _, offset in parsed.tensors}
    ends = dict(zip(places, [*list(places.values())[1:], len(filled)], strict=True))
    for kind, *arguments in changes:
        if kind == "weights":
            name, pattern = arguments
            n_bytes = ends[name] - places[name]
            filled[places[name] : ends[name]] = (bytes.fromhex(pattern) * (n_bytes // 4 + 1))[:n_bytes]
    return bytes(filled)


_TENSOR_CHANGES = frozenset(("shape", "type", "offset", "name", "drop_tensor", "twice_tensor"))


def _change_tensor(broken: Parsed, kind: str, name: str, value: Any = None) -> None:
    tensor = next((each for each in broken.tensors if each[0] == name), None)
    if tensor is None:
        return
    if kind == "drop_tensor":
        broken.tensors.remove(tensor)
    elif kind == "twice_tensor":
        broken.tensors.append(list(tensor))
    else:
        tensor[("name", "shape", "type", "offset").index(kind)] = value


def _change_value(broken: Parsed, kind: str, key: str, *arguments: Any) -> None:
    entry = broken.entry(key)
    if entry is None:
        if kind == "value":
            broken.entries.append(Entry(key, arguments[0], bytes.fromhex(arguments[1])))
        return
    if kind == "value":
        entry.type, entry.raw, entry.elements = arguments[0], bytes.fromhex(arguments[1]), None
    elif kind == "drop":
        broken.entries.remove(entry)
    elif kind == "twice":
        broken.entries.append(copy.deepcopy(entry))
    elif kind == "exchange":
        other = broken.entry(arguments[0])
        if other is not None:
            entry.key, other.key = other.key, entry.key
    elif entry.elements:
        _change_array(entry, kind, *arguments)


def _rename_architecture(broken: Parsed, name: str) -> None:
    before = architecture_of(broken) + "."
    for entry in broken.entries:
        if entry.key.startswith(before):
            entry.key = f"{name}.{entry.key.removeprefix(before)}"
    _change_value(broken, "value", "general.architecture", 8, payload(ValueType.STRING, name).hex())


def _change_array(entry: Entry, kind: str, first: Any, second: Any = None) -> None:
    elements = entry.elements
    assert elements is not None
    if kind == "count":
        entry.count = first
    elif kind == "element_type":
        entry.element_type = first
    elif kind == "cut":
        del elements[first:]
    elif first < len(elements):
        if kind == "copy":
            elements[first] = elements[second % len(elements)]
        elif kind == "element":
            elements[first] = bytes.fromhex(second)
        elif kind == "fill":
            elements[:] = [bytes.fromhex(second)] * len(elements)


def _relayout(broken: Parsed) -> None:
    """Offsets that follow from shapes and types, so that a change of these alone is not what is noticed."""
    total = 0
    for tensor in broken.tensors:
        tensor[3] = total
        kind = TENSOR_TYPES.get(tensor[2])
        n_elements = 1
        for size in tensor[1]:
            n_elements *= size
        n_bytes = n_elements // kind.block * kind.block_bytes if kind else 0
        total += max(0, -(-n_bytes // broken.alignment) * broken.alignment)
    broken.data_size = total
