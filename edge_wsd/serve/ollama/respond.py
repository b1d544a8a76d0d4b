"""From a request to its answer: loads or unloads, answers whole, or line by line as newline-delimited JSON."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from fastapi import Request, Response
from starlette.responses import StreamingResponse

from edge_wsd.decoding.events import Event, Finished
from edge_wsd.engine.stream import Stream
from edge_wsd.serve.errors import ClientGone, ollama_error, failure_of
from edge_wsd.serve.ollama.answer import AnswerForm, as_json
from edge_wsd.serve.ollama.durations import keep_alive_seconds
from edge_wsd.serve.ollama.names import served_name
from edge_wsd.serve.ollama.wire import OllamaAsked

if TYPE_CHECKING:
    from edge_wsd.serve.app import Serve
    from edge_wsd.serve.served_models import Served

LINES = "application/x-ndjson"
