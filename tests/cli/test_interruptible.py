"""Work in a thread that Ctrl-C stops."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import closing

import pytest

from edge_wsd.cli.ui.interruptible import Interruptible, call


def press_ctrl_c():
    """From the work's thread, so that somebody listens: where nobody does, it would end the tests."""
    os.kill(os.getpid(), signal.SIGINT)


def test_everything_is_delivered_in_order():
    job = Interruptible(lambda: iter(range(100)), cancel=lambda: None)
    assert list(job) == list(range(100)) and not job.interrupted


def test_the_work_runs_in_another_thread():
    assert call(threading.get_ident, cancel=lambda: None) != threading.get_ident()


def test_ctrl_c_cancels_and_what_is_still_yielded_arrives():
    cancelled = threading.Event()

    def work():
        yield "begun"
        press_ctrl_c()
        assert cancelled.wait(20)
        yield "ended"

    job = Interruptible(work, cancel=cancelled.set)
    assert list(job) == ["begun", "ended"] and job.interrupted


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no signals to threads")
def test_ctrl_c_is_heard_although_it_does_not_wake_who_waits():
    cancelled = threading.Event()

    def work():
        time.sleep(0.2)  # until the main thread waits
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        assert cancelled.wait(20)
        yield "ended"

    job = Interruptible(work, cancel=cancelled.set)
    assert list(job) == ["ended"] and job.interrupted


def test_ctrl_c_before_the_work_listens_is_not_lost():
    cancelled = threading.Event()

    def work():
        press_ctrl_c()
        assert cancelled.wait(20)
        cancelled.clear()  # as a session does when a stream begins
        return (cancelled.wait(20) for _ in range(1))

    assert list(Interruptible(work, cancel=cancelled.set)) == [True]


def test_an_error_of_the_work_is_raised_where_it_is_waited_for():
    def work():
        yield 1
        raise ValueError("wrong")

    cancels = []
    with pytest.raises(ValueError, match="wrong"):
        list(Interruptible(work, cancel=lambda: cancels.append(1)))
    assert cancels == []


def test_leaving_early_cancels_the_work_and_waits_for_it():
    cancelled, ended = threading.Event(), threading.Event()

    def work():
        yield 1
        cancelled.wait(20)
        ended.set()

    with closing(iter(Interruptible(work, cancel=cancelled.set))) as items:
        next(items)
    assert ended.is_set()


def test_the_signal_handler_is_as_before_afterwards():
    before = signal.getsignal(signal.SIGINT)
    list(Interruptible(lambda: iter("ab"), cancel=lambda: None))
    assert signal.getsignal(signal.SIGINT) is before


def test_a_call_that_was_interrupted_closes_what_it_made():
    class Result:
        closed = False

        def close(self):
            self.closed = True

    result = Result()
    stopped = threading.Event()

    def work():
        press_ctrl_c()
        stopped.wait(20)
        return result

    with pytest.raises(KeyboardInterrupt):
        call(work, cancel=stopped.set)
    assert result.closed


@pytest.mark.skipif(os.name == "nt", reason="Windows ends a process without a signal")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_call_is_interrupted_by_the_end_of_the_session_as_well(name):
    number, stopped = getattr(signal, name), threading.Event()
    before = signal.getsignal(number)

    def work():
        os.kill(os.getpid(), number)
        return stopped.wait(20)

    with pytest.raises(KeyboardInterrupt):
        call(work, cancel=stopped.set)
    assert stopped.is_set() and signal.getsignal(number) is before


@pytest.mark.skipif(os.name == "nt", reason="Windows has no hang-up")
def test_a_call_under_nohup_goes_on():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert call(lambda: os.kill(os.getpid(), signal.SIGHUP) or "done", cancel=lambda: None) == "done"
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_error_after_ctrl_c_is_an_interruption():
    stopped = threading.Event()

    def work():
        press_ctrl_c()
        stopped.wait(20)
        raise ValueError("stopped in the middle")

    with pytest.raises(KeyboardInterrupt):
        call(work, cancel=stopped.set)
