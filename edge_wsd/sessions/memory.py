"""What both models have in memory of a conversation, kept in a file beside it: `memory_files`, for a `Session`.

>>> keep_memory(chat, kept.memory_path)
>>> bring_memory_back(chat, kept.memory_path)  # in another process, of the same conversation
"""

from __future__ import annotations

from pathlib import Path

from edge_wsd.memory_files.memory_file import BringMemoryBack, KeepMemory, KeptMemory
from edge_wsd.session import Session


def keep_memory(session: Session, path: Path) -> KeptMemory | None:
    """Write what the pair has in memory of the conversation. Returns and raises as `KeepMemory`."""
    asked = KeepMemory(
        path.absolute(),
        session.system,
        session.messages,
        session.tools,
        session.options.special,
        session.n_left_out,
    )
    return session.pair.call(asked)


def bring_memory_back(session: Session, path: Path) -> KeptMemory:
    """Bring it back for this conversation, which may have gone on since; it leaves out the messages that were left out
    then. Raises as `BringMemoryBack`.
    """
    brought = session.pair.call(BringMemoryBack(path.absolute(), session.system, session.messages))
    session.leave_out(brought.n_left_out)
    return brought
