"""The process of the models, seen from within: what it sends, and that all of it arrives."""

import io
import threading
from functools import partial

from edge_wsd.frames import read_frame
from edge_wsd.isolation.messages import CancelHeard, decode
from edge_wsd.isolation.worker import Sender


def test_what_a_call_sends_is_written_before_the_end():
    """The end of an answer was lost where the models were freed sooner than its last events were handed out."""
    pipe, is_asked = io.BytesIO(), threading.Event()
    sender = Sender(pipe)
    sender.call(is_asked.wait)
    sender.call(partial(sender.send, CancelHeard(1)))
    threading.Timer(0.1, is_asked.set).start()
    sender.finish()
    pipe.seek(0)
    assert decode(read_frame(pipe)) == CancelHeard(1)
