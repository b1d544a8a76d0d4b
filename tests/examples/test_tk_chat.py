"""The chat window of Tk, on a screen in memory where there is no other."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("tkinter", exc_type=ImportError)
ROOT = Path(__file__).parents[2]
SCREEN = [] if os.environ.get("DISPLAY") else ["xvfb-run", "-a"]

PLAY = """
import sys
from edge_wsd import ModelSettings, Pair
from examples.tk_chat import Chat
one = ModelSettings(threads=1)
window = Chat(lambda: Pair.demo(isolate=True, drafter_settings=one, base_settings=one))
said = iter(["How do I list files by size?", "And only directories?"])
def play():
    if window.chat and window.stream is None:
        question = next(said, None)
        if question is None:
            window.quit()
            return
        window.question.insert(0, question)
        window.button.invoke()
    window.after(20, play)
play()
window.after(60000, window.quit)
window.mainloop()
text = window.text
assert len(window.chat.messages) == 4, window.status["text"]
for message in window.chat.messages:
    assert message.content in text.get("1.0", "end")
assert text.tag_ranges("drafter") and text.tag_ranges("base"), "one of the two wrote nothing"
assert window.button["text"] == "Ask" and "took over after" in window.status["text"]
window.pair.close()
print("done")
"""


@pytest.mark.skipif(bool(SCREEN) and not shutil.which("xvfb-run"), reason="there is no screen, and no Xvfb")
def test_a_conversation_is_shown_in_the_colours_of_its_authors():
    command = [*SCREEN, sys.executable, "-c", PLAY]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"
