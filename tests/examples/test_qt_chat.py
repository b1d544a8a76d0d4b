"""The chat window of Qt, without a screen: streamed, coloured by author, stopped, and alive when its models are not."""

import gc
import os
import signal
import time

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
widgets = pytest.importorskip("PySide6.QtWidgets", reason='needs Qt: pip install -e ".[desktop]"', exc_type=ImportError)
core = pytest.importorskip("PySide6.QtCore", exc_type=ImportError)

from edge_wsd import ModelSettings, Options, Pair  # noqa: E402
from examples.qt_chat import COLOURS, ChatWindow  # noqa: E402

SETTINGS = ModelSettings(threads=1)
QUESTION = "How do I list files by size?"


@pytest.fixture(scope="module")
def app():
    return widgets.QApplication.instance() or widgets.QApplication([])


@pytest.fixture
def window(app):
    def load(progress):
        return Pair.demo(isolate=True, drafter_settings=SETTINGS, base_settings=SETTINGS, progress=progress)

    window = ChatWindow(load)
    window.show()
    run(app, lambda: window.chat is not None)
    yield window
    window.close()
    window.deleteLater()  # now, and not when the collector comes by in another thread: the process would end with it
    app.sendPostedEvents(None, core.QEvent.Type.DeferredDelete)
    gc.collect()


def run(app, until, seconds=60):
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "nothing happens in the window"
        app.processEvents()
        time.sleep(0.002)


def ask(app, window, question=QUESTION, *, wait=True):
    window.question.setText(question)
    window.ask_button.click()
    if wait:
        run(app, lambda: window.stream is None)


def colours(window):
    found, block = set(), window.text.document().begin()
    while block.isValid():
        fragments = block.begin()
        while not fragments.atEnd():
            found.add(fragments.fragment().charFormat().foreground().color().name())
            fragments += 1
        block = block.next()
    return found


def test_an_answer_is_shown_in_the_colours_of_its_authors(app, window):
    ask(app, window)
    shown = window.text.toPlainText()
    assert shown.startswith(QUESTION) and window.chat.last.text in shown
    assert colours(window) == set(COLOURS.values())
    assert "the base took over after" in window.status.text() and "confidence 0." in window.confidence.format()
    ask(app, window, "And only directories?")
    assert len(window.chat.messages) == 4


def test_stop_keeps_what_is_written(app, window):
    window.chat.options = Options(max_tokens=400, stop_loops=False, logit_bias={1: -float("inf")})
    ask(app, window, wait=False)
    run(app, lambda: len(window.text.toPlainText()) > len(QUESTION) + 20)
    assert window.stop_button.isEnabled() and not window.ask_button.isEnabled()
    window.stop_button.click()
    run(app, lambda: window.stream is None)
    assert window.chat.last.finish_reason == "cancelled" and "cancelled" in window.status.text()
    assert window.ask_button.isEnabled()


def test_the_window_outlives_its_models(app, window):
    window.chat.options = Options(max_tokens=400, stop_loops=False, logit_bias={1: -float("inf")})
    ask(app, window, wait=False)
    run(app, lambda: len(window.text.toPlainText()) > len(QUESTION) + 20)
    os.kill(window.pair.process_id, signal.SIGKILL)
    run(app, lambda: window.stream is None)
    assert "the next question starts it again" in window.status.text()
    window.chat.options = Options()
    ask(app, window)
    assert window.chat.last.finish_reason == "stop"
