"""The picture of the chat window of Qt in docs/desktop.md: `python scripts/render_qt_chat.py docs/qt-chat.png`.

Needs PySide6; no screen.
"""

from __future__ import annotations

import os
import sys
import time

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtWidgets import QApplication

from edge_wsd import Pair
from examples.qt_chat import ChatWindow

QUESTIONS = ("How do I list files by size?", "And only directories?")


def main(path: str) -> None:
    app = QApplication([])
    window = ChatWindow(lambda progress: Pair.demo(isolate=True, progress=progress))
    window.show()
    for question in QUESTIONS:
        while window.chat is None or window.stream is not None:
            app.processEvents()
            time.sleep(0.005)
        window.question.setText(question)
        window.ask()
    while window.stream is not None:
        app.processEvents()
        time.sleep(0.005)
    app.processEvents()
    if not window.grab().save(path):
        raise SystemExit(f"{path} cannot be written")
    window.close()


if __name__ == "__main__":
    sys.path.insert(0, os.getcwd())
    main(*sys.argv[1:])
