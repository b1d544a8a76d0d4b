"""The session that a chat keeps: what is written to it, and when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from edge_wsd.cli.ui.interruptible import call
from edge_wsd.cli.ui.waiting import waiting_for
from edge_wsd.errors import EdgeWsdError
from edge_wsd.prompts.messages import Message
from edge_wsd.sessions.store import KeptSession
from edge_wsd.units import counted

if TYPE_CHECKING:
    from edge_wsd.session import Session


class ChatSession:
    """Writes the conversation after every turn and every change, whole or not at all; before an answer with its
    question. So whatever ends the program, at most the answer that is being written is lost.
    """

    def __init__(self, kept: KeptSession, *, save_kv: bool | None) -> None:
        """With `save_kv` what the models have in memory is kept as well, when the chat is left; None: as before."""
        self.kept = kept
        had_memory = kept.memory_path.exists()
        self._saves_memory = had_memory if save_kv is None else save_kv
        if had_memory and not self._saves_memory:
            kept.memory_path.unlink()
        self._written = kept.conversation

    @property
    def name(self) -> str:
        return self.kept.name

    def keep(self, session: Session, pair: Mapping[str, str], question: str | None = None) -> None:
        """Write the conversation, if it is another one than before; `question` is about to be answered.

        Raises `SessionError`.
        """
        saved = replace(session.saved(), pair=pair)
        if question is not None:
            saved = replace(saved, messages=(*saved.messages, Message("user", question)))
        if saved != self._written and (saved.messages or self._written is not None):
            self.kept.write(saved)
            self._written = saved

    def bring_memory_back(self, session: Session, *, quiet: bool) -> str | None:
        """Gives the models what they had in memory. Returns what there is to say of it, None for nothing."""
        if not self.kept.memory_path.exists():
            return None
        from edge_wsd.sessions.memory import bring_memory_back

        try:
            with waiting_for("bringing back what the models had in memory", quiet=quiet) as line:
                call(lambda: bring_memory_back(session, self.kept.memory_path), cancel=lambda: None, waiting=line.tick)
        except EdgeWsdError as error:
            return f"the conversation is read again: {error}"
        return None

    def leave(self, session: Session, *, quiet: bool) -> str | None:
        """Keeps the models' memory, if that is wanted. Returns what there is to say of it, None for nothing."""
        if not self._saves_memory:
            return None
        if not session.messages:
            self.kept.memory_path.unlink(missing_ok=True)
            return None
        from edge_wsd.sessions.memory import keep_memory

        try:
            with waiting_for("saving what the models have in memory", quiet=quiet) as line:
                kept = call(lambda: keep_memory(session, self.kept.memory_path), cancel=lambda: None, waiting=line.tick)
        except EdgeWsdError as error:
            return f"what the models have in memory was not kept: {error}"
        if kept is None:
            return None
        tokens = " and ".join(f"{counted(n, 'tokens')} of the {source}" for source, n in kept.n_tokens.items())
        return f"kept in memory.kv: {tokens}, {kept.n_bytes / 2**20:.1f} MiB"
