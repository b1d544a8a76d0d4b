"""docs/api.md: its examples are answered, and it names every field that is understood."""

import json
import re
from pathlib import Path

import pytest

from edge_wsd.serve import extension
from edge_wsd.serve.ollama.options import OllamaOptions
from edge_wsd.serve.ollama.wire import OllamaChatRequest, OllamaGenerateRequest
from edge_wsd.serve.openai.chat_types import ChatRequest
from edge_wsd.serve.openai.response_types import ResponsesRequest
from tests.serve.chat_client import post

TEXT = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^curl http://127.0.0.1:8686(\S+) -d '(.*?)'$", TEXT, re.DOTALL | re.MULTILINE)
NAMED = set(re.findall(r"`([a-z_]+)`", TEXT))
PARTS = (
    extension.Extension, extension.TokenDetail, extension.ScoredDetail, extension.SwitchDetail,
    extension.ReadingDetail,
)  # fmt: skip


def test_there_are_examples():
    assert {path for path, _ in EXAMPLES} >= {"/v1/chat/completions", "/v1/responses", "/api/chat"}


@pytest.mark.parametrize(("path", "body"), EXAMPLES)
def test_an_example_is_answered(live_server, path, body):
    answer = post(live_server, json.loads(body), path)
    assert answer.get("done") or answer["object"] in ("chat.completion", "text_completion", "response")


@pytest.mark.parametrize(
    "model", [ChatRequest, ResponsesRequest, OllamaChatRequest, OllamaGenerateRequest, OllamaOptions, *PARTS]
)
def test_every_field_is_named(model):
    assert set(model.model_fields) <= NAMED
