"""The chat window of Tk, on a screen in memory where there is no other."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("tkinter", reason="needs Tk: on Debian apt-get install python3-tk", exc_type=ImportError)
ROOT = Path(__file__).parents[2]
SCREEN = [] if os.environ.get("DISPLAY") else ["xvfb-run", "-a"]

PLAY = """
from examples.tk_chat import Chat
window = Chat()
said = iter(["How do I list files by size?", "", "And only directories?"])
def play():
    if window.chat and (window.stream is None or window.stream.is_over):
        question = next(said, None)
        if question is None:
            window.quit()
            return
        window.question.insert(0, question)
        window.ask()
    window.after(20, play)
play()
window.after(60000, window.quit)
window.mainloop()
text = window.text
shown = text.get("1.0", "end")
assert len(window.chat.messages) == 4, shown
for message in window.chat.messages:
    assert message.content in shown
for author in ("drafter", "base"):
    written = [span.text for turn in window.chat.written if turn for span in turn.spans if span.author == author]
    assert written
    ranges = iter(text.tag_ranges(author))
    assert "".join(text.get(begin, end) for begin, end in zip(ranges, ranges)) == "".join(written)
window.chat.pair.close()
print("done")
"""


def test_the_example_is_as_short_as_the_documents_say():
    assert len((ROOT / "examples" / "tk_chat.py").read_text("utf-8").splitlines()) <= 60
    assert "`examples/tk_chat.py`, 60 lines" in (ROOT / "docs" / "desktop.md").read_text("utf-8")


@pytest.mark.skipif(bool(SCREEN) and not shutil.which("xvfb-run"), reason="needs a screen, or xvfb-run")
def test_a_conversation_is_shown_in_the_colours_of_its_authors():
    command = [*SCREEN, sys.executable, "-c", PLAY]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"
