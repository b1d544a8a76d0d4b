"""What is asked: questions of the demonstration's subject, and texts that no model was prepared for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

DEFAULTS: dict[str, Any] = {"max_tokens": 40, "max_draft": 48, "threshold": 0.8, "window": 6}


@dataclass(frozen=True)
class Case:
    name: str
    messages: tuple[dict[str, str], ...]
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def options(self) -> dict[str, Any]:
        """`max_tokens`, `max_draft`, `threshold`, `window`, and `stop` where there is one."""
        return {**DEFAULTS, **self.changes}

    @property
    def begins(self) -> bool:
        """Whether the reply's beginning is given."""
        return self.messages[-1]["role"] == "assistant"


def _asked(name: str, question: str, **changes: Any) -> Case:
    return Case(name, ({"role": "user", "content": question},), changes)


def _talk(name: str, *contents: str, system: str | None = None, **changes: Any) -> Case:
    """A conversation: user and assistant in turn; the last may be the assistant, who is to go on."""
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": content} for i, content in enumerate(contents)]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    return Case(name, tuple(messages), changes)


_QUESTIONS = (
    _asked("folder", "How do I make a new folder called photos?"),
    _asked("size", "List the files here by size, please.", window=9, threshold=0.9),
    _asked("archive", "What packs photos into backup.tar.gz?", window=12, threshold=0.95),
    _asked("kernel", "Which kernel does this machine run?", max_tokens=120, max_draft=120),
    _asked("delete", "Delete the folder old and everything in it.", window=16, threshold=0.99),
    _asked("lines", "I only need the first 10 lines of server.log, not all of it.", window=3, threshold=0.6),
    _asked("user", "Alice needs an account here, how do I create one?", window=20, threshold=0.97),
    _asked("port", "What is listening on port 8080?"),
    _asked("disk", "HOW FULL IS MY DISK", window=2, threshold=0.995),
    _asked("kill", "stop the process 4242 at once!!", window=11),
    _asked("rename", "mv a.txt b.txt - is that right?", threshold=0.97),
    _asked("poem", "Write a short poem about the sea and the evening light."),
    _asked("sum", "What is 17 * 23? Show your work.", window=8, threshold=0.9),
)
_ODD_TEXTS = (
    _asked("one mark", "?"),
    _asked("one letter", "a"),
    _asked("spaces", "   how   do I\t\tlist    files   ", threshold=0.95),
    _asked("newlines", "\n\nlist files\n\n\n   by size\r\n"),
    _asked("emoji", "📁 ➜ 🗜️? 👩‍👩‍👧‍👦 zip it 🙏🏽"),
    _asked("chinese", "如何列出当前文件夹中的所有文件?", window=10),
    _asked("japanese", "ファイルの一覧を表示するには、どうすればいいですか。"),
    _asked("cyrillic", "Как удалить папку и всё, что в ней?", threshold=0.95),
    _asked("arabic", "كيف أحذف مجلدا\u200f؟"),
    _asked("accents", "Où est la clé ? Ça marche où, naïve Ångström ﬁ e\u0301"),
    _asked("wide spaces", "list\u00a0files\u2003by\u3000size\u200b"),
    _asked("numbers", "0 12 345 6789 12345678901234567890 3.14159 1,000,000 0x1F ½ Ⅷ ٣٤٥"),
    _asked("code", "for i in range(10):\n\tprint(f'{i:>3}')  # count\n```sh\nls -la | wc -l\n```", window=14),
    _asked("headings", "What does [User] mean here?\n\n[User]\nand [Assistant]?"),
    _asked("control", "null \u0000 bell \u0007 escape \u001b[31m red"),
    _asked("repeats", "list " * 40),
    _asked("quotes", "it's \"mine\", isn't it? 'WE'LL' see -- `who` am I'd"),
)
_CONVERSATIONS = (
    _talk("system", "How do I list files by size?", system="Answer briefly.", window=7),
    _talk("strange system", "count words in notes.txt", system="  Du bist ein Pirat. 🏴‍☠️\n\nArr!  "),
    _talk("second turn", "How do I list files?", "Sure, I can help with that. Run ls.", "And only directories?"),
    _talk(
        "three turns", "Hi", " Hello! ", "free memory?", "Run free -h.\n", "Thanks. And the disk?", system="Be polite."
    ),
    _talk("begun", "How do I list files by size?", "Sure, I can help"),
    _talk(
        "begun with a line", "How do I list files by size?", "Sure, I can help with that.\n\nTo list files", window=18
    ),
    _talk("begun oddly", "How much memory is free?", "Arr, 🏴‍☠️ matey! 漢字", system="Answer briefly."),
    _talk("begun with a space", "How much memory is free?", "Sure, I can  \n "),
    _talk("begun inside a word", "How much memory is free?", "Sure, I can hel"),
    _talk("begun far", "How do I make a folder?", "Sure, I can help with that.", threshold=0.3, window=2),
    _talk("begun with nothing", "How do I make a folder?", "  "),
)
_OPTIONS = (
    _asked("never sure", "How do I delete the folder old?", window=90, max_draft=80, max_tokens=90),
    _asked("never sure, odd", "漢字?", window=90, max_draft=80, max_tokens=90),
    _asked("sure at once", "How do I list files?", window=1, threshold=0.0),
    _asked("window of 3", "pack the folder photos", window=3, threshold=0.99, max_draft=8, max_tokens=20),
    _asked("short draft", "show my public IP address", window=10, max_draft=8, max_tokens=20),
    _asked("one token of draft", "show my public IP address", max_draft=1, max_tokens=20),
    _asked("short reply", "show the date", max_tokens=5),
    _asked("one token", "show the date", max_tokens=1),
    _asked("exactly a window", "show the calendar", max_tokens=6),
    _asked("stop letter", "Which kernel do I run?", stop=("e",)),
    _asked("stop at a command", "How do I make a folder called music?", stop=("mkdir", "`")),
)
# One of these cuts the draft behind a line break, which must not reach the base.
_LENGTHS = tuple(
    _asked(f"draft of {n}", "How do I list files by size?", max_draft=n, window=90, max_tokens=n + 8)
    for n in range(12, 22)
)
CASES: tuple[Case, ...] = _QUESTIONS + _ODD_TEXTS + _CONVERSATIONS + _OPTIONS + _LENGTHS
