"""What both models have in memory of a conversation, in a file, so that it need not be read again.

>>> pair.call(KeepMemory(path, None, chat.messages))
>>> pair.call(BringMemoryBack(path, None, chat.messages))  # in another process

The file holds llama.cpp's own bytes, and llama.cpp trusts them. So nothing of a file reaches it before the file is
known to be whole, sealed by this user's own program, and made of the same models with the same settings. Nor is it
used for a conversation that does not begin as the one that it was made of.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from edge_wsd.decoding.events import SOURCES, Source
from edge_wsd.engine.engine import Memories
from edge_wsd.errors import ContextFullError, DecodeError, MemoryFileError
from edge_wsd.files import replacing
from edge_wsd.llama.attention import Attention
from edge_wsd.llama.installation import installation_stamp
from edge_wsd.llama.sequence_state import SequenceState
from edge_wsd.loaded_pair import LoadedPair
from edge_wsd.memory_files.fingerprint import fingerprint
from edge_wsd.memory_files.secret import is_sealed, seal
from edge_wsd.prompts.messages import Message
from edge_wsd.prompts.tools import Tool
from edge_wsd.reading import open_regular, parse_json

MEMORY_FORMAT = "edge-wsd memory 2"
_LONGEST_HEADER = 1 << 20
_SEAL_LENGTH = 64
_PIECE = 1 << 20
_TOKEN = np.dtype("<i4")


@dataclass(frozen=True, slots=True)
class KeptMemory:
    """What was kept or brought back: the number of tokens by model, and the size of the file in bytes."""

    n_tokens: Mapping[Source, int]
    n_bytes: int
    n_left_out: int
    """The first messages of the conversation, which the models do not read any more."""


@dataclass(frozen=True, slots=True)
class KeepMemory:
    """Writes what the pair has in memory of the conversation; None, and no file is touched, if that is nothing.

    Raises `SessionError`: a `MemoryFileError` for a file that cannot be written.
    """

    path: Path
    system: str | None
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    special: bool = False
    """`Options.special`."""
    n_left_out: int = 0

    def __call__(self, pair: LoadedPair) -> KeptMemory | None:
        texts = self._texts(pair)

        def states_of(memories: Memories) -> dict[Source, SequenceState]:
            found = {source: memories[source].state_of(text) for source, text in texts.items()}
            return {source: state for source, state in found.items() if state is not None}

        try:
            states = pair.engine.call(states_of) if texts else {}
        except DecodeError as error:
            raise MemoryFileError(f"what the models have in memory cannot be saved: {error}") from error
        return self._written(pair, states) if states else None

    def _texts(self, pair: LoadedPair) -> dict[Source, list[int]]:
        """The conversation in each model's tokens; of those in whose context it fits."""
        system = [] if self.system is None else [Message("system", self.system)]
        messages, texts = [*system, *self.messages[self.n_left_out :]], {}
        for source in SOURCES if self.messages else ():
            with suppress(ContextFullError):
                texts[source] = pair.model(source).encode(messages, self.tools, special=self.special).tokens
        return texts

    def _written(self, pair: LoadedPair, states: Mapping[Source, SequenceState]) -> KeptMemory:
        path, parts = self.path, [(source, part) for source, one in states.items() for part in (one, *one.checkpoints)]
        header = {
            "format": MEMORY_FORMAT,
            "n_messages": len(self.messages),
            "conversation": _digest(self.system, self.messages),
            "n_left_out": self.n_left_out,
            "made_with": {source: _made_with(pair, source) for source in states},
            "parts": [_described(source, part) for source, part in parts],
        }
        head = json.dumps(header).encode() + b"\n"
        try:
            with replacing(path) as file:
                os.chmod(file.name, 0o600)
                file.write(head + seal(head).encode() + b"\n")
                for _, part in parts:
                    file.write(np.asarray(part.tokens, _TOKEN).data)
                    file.write(_data(part))
        except OSError as error:
            raise MemoryFileError(f"{path}: cannot be written ({error.strerror})") from error
        n_tokens = {source: len(state.tokens) for source, state in states.items()}
        return KeptMemory(n_tokens, path.stat().st_size, self.n_left_out)


@dataclass(frozen=True, slots=True)
class BringMemoryBack:
    """Puts what the file holds into the memory of the pair's models, for this conversation, which may have gone on
    since; it must leave out the messages that were left out then.

    Raises `SessionError`, mostly a `MemoryFileError` that says why it cannot be used; then the texts are just read.
    """

    path: Path
    system: str | None
    messages: tuple[Message, ...]

    def __call__(self, pair: LoadedPair) -> KeptMemory:
        path = self.path
        try:
            with open_regular(path) as file:
                header = _header(file, path)
                if header["conversation"] != _digest(self.system, self.messages[: header["n_messages"]]):
                    raise MemoryFileError(f"{path}: is of another conversation, or of this one before a change")
                states = _states(file, header, pair, path)
                n_bytes = os.fstat(file.fileno()).st_size
        except OSError as error:
            raise MemoryFileError(f"{path}: cannot be read ({error.strerror})") from error

        def adopt(memories: Memories) -> None:
            for source, state in states.items():
                memories[source].adopt(state)

        try:
            pair.engine.call(adopt)
        except (DecodeError, MemoryError) as error:
            raise MemoryFileError(f"{path}: does not fit into the memory of this pair ({error})") from error
        n_tokens = {source: len(state.tokens) for source, state in states.items()}
        return KeptMemory(n_tokens, n_bytes, header["n_left_out"])


def _digest(system: str | None, messages: Sequence[Message]) -> str:
    """Of the system text and the messages: they have it alone."""
    return sha256(json.dumps([system, *(message.as_dict() for message in messages)]).encode()).hexdigest()


# The file: a header of one line, its seal, and then of each part its tokens and llama.cpp's bytes


def _made_with(pair: LoadedPair, source: Source) -> dict[str, str]:
    """Everything that llama.cpp's bytes depend on."""
    model, made_with = pair.model(source), {"llama.cpp": installation_stamp()}
    if pair.plan is not None:
        settings = (pair.plan.drafter if source == "drafter" else pair.plan.base).settings
        attention = Attention.of(settings, on_gpu=model.model.on_gpu)
        made_with |= {"KV type": settings.kv_type, "flash attention": attention.flash, "exact": str(settings.exact)}
    return {**made_with, "model file": fingerprint(model.model.path), "context": str(model.context.n_ctx)}


def _described(source: Source, state: SequenceState) -> dict[str, Any]:
    digest = sha256(np.asarray(state.tokens, _TOKEN).data)
    digest.update(_data(state))
    return {
        "model": source,
        "n_tokens": len(state.tokens),
        "n_bytes": len(state.data),
        "fewest": state.fewest,
        "n_checkpoints": len(state.checkpoints),
        "sha256": digest.hexdigest(),
    }


def _data(state: SequenceState) -> memoryview:
    return np.frombuffer(state.data, np.uint8).data


def _states(file: BinaryIO, header: Mapping[str, Any], pair: LoadedPair, path: Path) -> dict[Source, SequenceState]:
    for source, made_with in header["made_with"].items():
        now = _made_with(pair, source)
        if differs := next((key for key in {**now, **made_with} if now.get(key) != made_with.get(key)), None):
            raise MemoryFileError(f"{path}: was made with another {differs} of the {source}")
    expected = file.tell() + sum(part["n_tokens"] * _TOKEN.itemsize + part["n_bytes"] for part in header["parts"])
    size = os.fstat(file.fileno()).st_size
    if size != expected:
        raise MemoryFileError(f"{path}: is damaged (it has {size} bytes, not {expected})")
    parts, states = iter(header["parts"]), {}
    for part in parts:
        state = _part(file, part, path)
        checkpoints = tuple(_part(file, next(parts), path) for _ in range(part["n_checkpoints"]))
        states[part["model"]] = SequenceState(state.tokens, state.data, part["fewest"], checkpoints)
    return states


def _header(file: BinaryIO, path: Path) -> dict[str, Any]:
    """The header, once the seal says that this program wrote it."""
    head, mark = file.readline(_LONGEST_HEADER), file.readline(_SEAL_LENGTH + 1)
    if not head.startswith(b"{") or not is_sealed(head, mark.decode("latin-1").rstrip("\n")):
        raise MemoryFileError(f"{path}: is damaged, or was not written by this user's edge-wsd")
    header: dict[str, Any] = parse_json(head)
    if header["format"] != MEMORY_FORMAT:
        raise MemoryFileError(f"{path}: was written by another version of edge-wsd")
    return header


def _part(file: BinaryIO, part: Mapping[str, Any], path: Path) -> SequenceState:
    tokens, data = np.empty(part["n_tokens"], _TOKEN), np.empty(part["n_bytes"], np.uint8)
    digest = sha256()
    for piece in (*_pieces(tokens), *_pieces(data)):
        if file.readinto(piece) != len(piece):  # type: ignore[attr-defined]
            raise MemoryFileError(f"{path}: is damaged (it ends early)")
        digest.update(piece)
    if digest.hexdigest() != part["sha256"]:
        raise MemoryFileError(f"{path}: is damaged (its bytes have changed)")
    return SequenceState(tuple(map(int, tokens)), data)


def _pieces(array: Any) -> Iterator[memoryview]:
    view = memoryview(array).cast("B")
    for start in range(0, len(view), _PIECE):
        yield view[start : start + _PIECE]
