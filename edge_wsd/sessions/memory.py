"""What both models have in memory of a conversation, kept in a file, so that it need not be read again.

>>> keep_memory(chat, kept.memory_path)
>>> bring_memory_back(chat, kept.memory_path)  # in another process, of the same conversation

The file holds llama.cpp's own bytes, and llama.cpp trusts them. So nothing of a file reaches it before the file is
known to be whole, sealed by this user's own program, and made of the same models with the same settings. Nor is it
used for a conversation that does not begin as the one that it was made of.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from edge_wsd.decoding.events import SOURCES, Source
from edge_wsd.engine.engine import Memories
from edge_wsd.errors import ContextFullError, DecodeError, SessionError
from edge_wsd.files import replacing
from edge_wsd.llama.attention import Attention
from edge_wsd.llama.installation import installation_stamp
from edge_wsd.llama.sequence_state import SequenceState
from edge_wsd.pair import Pair
from edge_wsd.prompts.messages import Message
from edge_wsd.reading import open_regular, parse_json
from edge_wsd.session import Session
from edge_wsd.sessions.fingerprint import fingerprint
from edge_wsd.sessions.secret import is_sealed, seal

MEMORY_FORMAT = "edge-wsd memory 2"
_LONGEST_HEADER = 1 << 20
_SEAL_LENGTH = 64
_PIECE = 1 << 20
_TOKEN = np.dtype("<i4")


class MemoryFileError(SessionError):
    """What a file holds of the models' memory is damaged, of others, or cannot be read or written."""


@dataclass(frozen=True, slots=True)
class KeptMemory:
    """What was kept or brought back: the number of tokens by model, and the size of the file in bytes."""

    n_tokens: Mapping[Source, int]
    n_bytes: int


def keep_memory(session: Session, path: Path) -> KeptMemory | None:
    """Write what the pair has in memory of the conversation; None, and no file is touched, if that is nothing.

    Raises `SessionError`: a `MemoryFileError` for a file that cannot be written.
    """
    pair = session.pair
    _require_in_memory(pair)
    texts = _texts(session)

    def states_of(memories: Memories) -> dict[Source, SequenceState]:
        found = {source: memories[source].state_of(text) for source, text in texts.items()}
        return {source: state for source, state in found.items() if state is not None}

    try:
        states = pair.loaded.engine.call(states_of) if texts else {}
    except DecodeError as error:
        raise MemoryFileError(f"what the models have in memory cannot be saved: {error}") from error
    if not states:
        return None
    parts = [(source, part) for source, state in states.items() for part in (state, *state.checkpoints)]
    header = {
        "format": MEMORY_FORMAT,
        "n_messages": len(session.messages),
        "conversation": _digest(session, len(session.messages)),
        "n_left_out": session.n_left_out,
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
    return KeptMemory({source: len(state.tokens) for source, state in states.items()}, path.stat().st_size)


def bring_memory_back(session: Session, path: Path) -> KeptMemory:
    """Put what the file holds into the memory of the pair's models, for this conversation, which may have gone on
    since; it leaves out the messages that were left out then.

    Raises `SessionError`, mostly a `MemoryFileError` that says why it cannot be used; then the texts are just read.
    """
    pair = session.pair
    _require_in_memory(pair)
    try:
        with open_regular(path) as file:
            header = _header(file, path)
            if header["conversation"] != _digest(session, header["n_messages"]):
                raise MemoryFileError(f"{path}: is of another conversation, or of this one before a change")
            states = _states(file, header, pair, path)
            n_bytes = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise MemoryFileError(f"{path}: cannot be read ({error.strerror})") from error

    def adopt(memories: Memories) -> None:
        for source, state in states.items():
            memories[source].adopt(state)

    try:
        pair.loaded.engine.call(adopt)
    except (DecodeError, MemoryError) as error:
        raise MemoryFileError(f"{path}: does not fit into the memory of this pair ({error})") from error
    session.leave_out(header["n_left_out"])
    return KeptMemory({source: len(state.tokens) for source, state in states.items()}, n_bytes)


def _require_in_memory(pair: Pair) -> None:
    if pair.is_isolated:
        raise MemoryFileError("the memory of an isolated pair (--isolate) is neither kept nor brought back")


def _texts(session: Session) -> dict[Source, list[int]]:
    """The conversation in each model's tokens; of those in whose context it fits."""
    system = [] if session.system is None else [Message("system", session.system)]
    messages, texts = [*system, *session.messages[session.n_left_out :]], {}
    for source in SOURCES if session.messages else ():
        try:
            model, special = session.pair.model(source), session.options.special
            texts[source] = model.encode(messages, session.tools, special=special).tokens
        except ContextFullError:
            continue
    return texts


def _digest(session: Session, n: int) -> str:
    """Of the system text and the first `n` messages, or of all that there are: they have it alone."""
    said = [session.system, *(message.as_dict() for message in session.messages[:n])]
    return sha256(json.dumps(said).encode()).hexdigest()


# The file: a header of one line, its seal, and then of each part its tokens and llama.cpp's bytes


def _made_with(pair: Pair, source: Source) -> dict[str, str]:
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


def _states(file: BinaryIO, header: Mapping[str, Any], pair: Pair, path: Path) -> dict[Source, SequenceState]:
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
