"""A chat window of Qt: `python examples/qt_chat.py [DRAFTER.gguf BASE.gguf]`, after `pip install PySide6-Essentials`.

Before Python 3.12 take `"PySide6-Essentials<6.10"`: 6.12.0 miscounts references there, and Python aborts at its end.

What the drafter wrote is orange and in italics, what the base wrote is blue. The bar shows how sure the base is of what
the drafter writes, against the threshold at which it takes over. The models live in a process of their own, so that
the window survives whatever happens to them.
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Callable

from PySide6.QtCore import QObject, Qt, Signal, Slot
from PySide6.QtGui import QCloseEvent, QColor, QFont, QTextCharFormat, QTextCursor
from PySide6.QtWidgets import (
    QApplication,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMainWindow,
    QProgressBar,
    QPushButton,
    QTextEdit,
    QVBoxLayout,
    QWidget,
)

from edge_wsd import Dropped, EdgeWsdError, Event, Finished, Pair, Reading, Scored, Session, Stream, Switched, Token

COLOURS = {"drafter": "#b45309", "base": "#1d4ed8", "you": "#111827"}
STAGES = {"probe": "trying the model files", "drafter": "loading the drafter", "base": "loading the base"}


class Caller(QObject):
    """Runs functions in the thread that it was made in: Qt queues a signal that comes from another thread."""

    _asked = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._asked.connect(self._run, Qt.ConnectionType.QueuedConnection)

    def call(self, work: Callable[[], object]) -> None:
        """Run `work` soon. From any thread."""
        self._asked.emit(work)

    @Slot(object)
    def _run(self, work: Callable[[], object]) -> None:
        work()


class ChatWindow(QMainWindow):
    """A conversation with a pair, which is loaded in the background."""

    def __init__(self, load: Callable[[Callable[[str, float], None]], Pair]) -> None:
        super().__init__()
        self.setWindowTitle("edge-wsd")
        self.resize(760, 560)
        self.caller = Caller()
        self.pair: Pair | None = None
        self.chat: Session | None = None
        self.stream: Stream | None = None
        self._lay_out()
        threading.Thread(target=self._load, args=[load], name="loading", daemon=True).start()

    def _lay_out(self) -> None:
        self.text = QTextEdit(readOnly=True)
        self.text.setFont(QFont("DejaVu Sans", 11))
        self.text.setAccessibleName("Conversation")
        self.status = QLabel("loading")
        self.confidence = QProgressBar(maximum=1000, textVisible=True)
        self.confidence.setFormat("confidence: none yet")
        self.question = QLineEdit(placeholderText="Ask a question about the command line")
        self.ask_button, self.stop_button = QPushButton("Ask"), QPushButton("Stop")
        self.question.returnPressed.connect(self.ask)
        self.ask_button.clicked.connect(self.ask)
        self.stop_button.clicked.connect(self.stop)
        whole, row = QVBoxLayout(), QHBoxLayout()
        for widget in (self.question, self.ask_button, self.stop_button):
            row.addWidget(widget)
        for widget in (self.text, self.confidence, self.status):
            whole.addWidget(widget)
        whole.addLayout(row)
        centre = QWidget()
        centre.setLayout(whole)
        self.setCentralWidget(centre)
        self._enable()

    # Loading

    def _load(self, load: Callable[[Callable[[str, float], None]], Pair]) -> None:
        """In a thread of its own."""
        try:
            pair = load(lambda stage, share: self.caller.call(lambda: self._tell_loading(stage, share)))
        except EdgeWsdError as error:
            problem = str(error)
            self.caller.call(lambda: self.status.setText(problem))
        else:
            self.caller.call(lambda: self._loaded(pair))

    def _tell_loading(self, stage: str, share: float) -> None:
        self.status.setText(f"{STAGES[stage]}, {share:.0%}")

    def _loaded(self, pair: Pair) -> None:
        self.pair, self.chat = pair, pair.session()
        self.status.setText(f"{pair.name} is ready")
        self._enable()

    # Asking

    def ask(self) -> None:
        question = self.question.text().strip()
        if self.chat is None or self.stream is not None or not question:
            return
        self.question.clear()
        self._write(f"{question}\n", "you")
        try:
            self.stream = self.chat.stream(question)
        except EdgeWsdError as error:
            self._failed(error)
            return
        self._enable()
        self.stream.deliver(self._show, self._failed, call=self.caller.call)

    def stop(self) -> None:
        if self.stream is not None:
            self.stream.cancel()

    def _show(self, event: Event) -> None:
        match event:
            case Token(text=text, source=source):
                self._write(text, source)
            case Scored(confidences=confidences) if confidences[-1:] and confidences[-1] is not None:
                self._tell_confidence(confidences[-1])
            case Switched(index=index, reason=reason, confidence=confidence):
                if confidence is not None:
                    self._tell_confidence(confidence)
                self.status.setText(f"the base took over after {index + 1} tokens ({reason})")
            case Reading(model=model, n_read=n_read, n_tokens=n_tokens):
                self.status.setText(f"the {model} reads the conversation: {n_read} of {n_tokens} tokens")
            case Dropped(n_messages=n_messages):
                self.status.setText(f"{n_messages} old messages no longer fit")
            case Finished(reply=reply):
                self._write("\n\n", "base")
                share = f"{reply.stats.draft_share:.0%} of {len(reply.tokens)} tokens drafted"
                self.status.setText(f"{self.status.text()}; {share}; {reply.finish_reason}")
                self._over()

    def _failed(self, error: BaseException) -> None:
        self.status.setText(str(error))
        self._over()

    def _over(self) -> None:
        self.stream = None
        self._enable()

    # Showing

    def _tell_confidence(self, confidence: float) -> None:
        assert self.chat is not None
        self.confidence.setValue(round(1000 * confidence))
        self.confidence.setFormat(
            f"confidence {confidence:.2f}, the base takes over at {self.chat.options.threshold:g}"
        )

    def _write(self, text: str, who: str) -> None:
        form = QTextCharFormat()
        form.setForeground(QColor(COLOURS[who]))
        form.setFontItalic(who == "drafter")
        form.setFontWeight(QFont.Weight.Bold if who == "you" else QFont.Weight.Normal)
        cursor = self.text.textCursor()
        cursor.movePosition(QTextCursor.MoveOperation.End)
        cursor.insertText(text, form)
        self.text.setTextCursor(cursor)
        self.text.ensureCursorVisible()

    def _enable(self) -> None:
        self.ask_button.setEnabled(self.chat is not None and self.stream is None)
        self.stop_button.setEnabled(self.stream is not None)

    def closeEvent(self, event: QCloseEvent) -> None:
        if self.pair is not None:
            self.pair.close()
        super().closeEvent(event)


def main() -> None:
    parser = argparse.ArgumentParser(description="A chat window of Qt.")
    parser.add_argument("models", nargs="*", help="a drafter and a base; without them the demonstration pair")
    models = parser.parse_args().models
    app = QApplication(sys.argv[:1])

    def load(progress: Callable[[str, float], None]) -> Pair:
        if models:
            return Pair.load(*models, isolate=True, progress=progress)
        return Pair.demo(isolate=True, progress=progress)

    window = ChatWindow(load)
    window.show()
    sys.exit(app.exec())


if __name__ == "__main__":
    main()
