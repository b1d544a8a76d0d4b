"""The session that a chat keeps: what is written to it, and when."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edge_wsd.cli.pair_choice import PairChoice
from edge_wsd.cli.session_pair import with_pair
from edge_wsd.cli.ui.interruptible import call
from edge_wsd.cli.ui.waiting import waiting_for
from edge_wsd.errors import EdgeWsdError
from edge_wsd.prompts.messages import Message
from edge_wsd.sessions.store import KeptSession
from edge_wsd.units import counted

if TYPE_CHECKING:
    from edge_wsd.session import Session
    from edge_wsd.sessions.memory_writer import MemoryWriter


class ChatSession:
    """Writes the conversation after every turn and every change, whole or not at all; before an answer with its
    question. So whatever ends the program, at most the answer that is being written is lost.
    """

    def __init__(self, kept: KeptSession, *, save_kv: bool | None) -> None:
        """With `save_kv` what the models have in memory is kept as well, after every turn; None: as before."""
        self.kept = kept
        had_memory = kept.memory_path.exists()  # be it empty: that it is to be kept
        self._saves_memory = had_memory if save_kv is None else save_kv
        if self._saves_memory and not had_memory:
            kept.memory_path.touch(0o600)
        elif had_memory and not self._saves_memory:
            kept.memory_path.unlink()
        self._written = kept.conversation
        self._writer: MemoryWriter | None = None
        self._told: str | None = None

    @property
    def name(self) -> str:
        return self.kept.name

    def keep(self, session: Session, choice: PairChoice, question: str | None = None) -> None:
        """Write the conversation, if it is another one than before; `question` is about to be answered.

        What the models have in memory follows by itself. Raises `SessionError`.
        """
        saved, before = with_pair(session.saved(), choice), self._written
        if question is not None:
            saved = replace(saved, messages=(*saved.messages, Message("user", question)))
        if saved == before or not (saved.messages or before):
            return
        self.kept.write(saved)
        self._written = saved
        was_said = before is not None and (saved.system, saved.messages) == (before.system, before.messages)
        if self._saves_memory and question is None and not was_said:
            self._memory_writer().write(session)

    def _memory_writer(self) -> MemoryWriter:
        if self._writer is None:
            from edge_wsd.sessions.memory_writer import MemoryWriter

            self._writer = MemoryWriter(self.kept.memory_path)
        return self._writer

    def bring_memory_back(self, session: Session, *, quiet: bool) -> str | None:
        """Gives the models what they had in memory. Returns what there is to say of it, None for nothing."""
        if not self.kept.memory_path.exists() or not self.kept.memory_path.stat().st_size:
            return None
        from edge_wsd.sessions.memory import bring_memory_back

        try:
            with waiting_for("bringing back what the models had in memory", quiet=quiet) as line:
                call(lambda: bring_memory_back(session, self.kept.memory_path), cancel=lambda: None, waiting=line.tick)
        except EdgeWsdError as error:
            return f"the conversation is read again: {error}"
        return None

    def settle(self, *, quiet: bool) -> None:
        """Return once what the models have in memory is written, so that the pair may be closed."""
        if self._writer is not None:
            with waiting_for("saving what the models have in memory", quiet=quiet) as line:
                call(self._writer.wait, cancel=lambda: None, waiting=line.tick)

    def problem(self) -> str | None:
        """What there is to say of the models' memory that could not be kept, once; None for nothing."""
        problem = None if self._writer is None else self._writer.problem
        told, self._told = self._told, None if problem is None else str(problem)
        return None if self._told in (None, told) else f"what the models have in memory was not kept: {problem}"

    def leave(self, *, quiet: bool) -> str | None:
        """Waits for what is still to be written. Returns what there is to say of it, None for nothing."""
        self.settle(quiet=quiet)
        if (problem := self.problem()) is not None:
            return problem
        kept = None if self._writer is None or self._writer.problem else self._writer.kept
        if kept is None:
            return None
        tokens = " and ".join(f"{counted(n, 'tokens')} of the {source}" for source, n in kept.n_tokens.items())
        return f"kept in memory.kv: {tokens}, {kept.n_bytes / 2**20:.1f} MiB"
