"""Simon Willison's `llm`, with the server named in extra-openai-models.yaml of a home of its own."""

import json

import pytest
from click.testing import CliRunner

pytest.importorskip("llm")

QUESTION = "How do I list files by size?"
MODELS = """
- model_id: wsd
  model_name: demo
  api_base: {address}/v1
  supports_schema: true
- model_id: wsd-responses
  model_name: demo
  api_base: {address}/v1
  responses: true
- model_id: wsd-text
  model_name: demo
  api_base: {address}/v1
  completion: true
"""


@pytest.fixture
def llm(address, tmp_path, monkeypatch):
    """Runs `llm` with these arguments; returns what it prints, or its error if it `fails`."""
    from llm.cli import cli

    (tmp_path / "extra-openai-models.yaml").write_text(MODELS.format(address=address), encoding="utf-8")
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path))
    monkeypatch.setenv("OPENAI_API_KEY", "unused")

    def run(*arguments, fails=False):
        done = CliRunner().invoke(cli, arguments)
        assert (done.exit_code != 0) == fails, done.output
        return done.stderr if fails else done.stdout

    return run


def test_a_question_is_answered_streamed_or_not_and_continued(llm):
    streamed = llm("-m", "wsd", QUESTION)
    assert "ls" in streamed
    assert llm("-m", "wsd", "--no-stream", QUESTION) == streamed
    assert llm("-c", "And only directories?").strip()


def test_options_reach_the_answer(llm):
    short = llm("-m", "wsd", "-o", "max_tokens", "5", "-o", "seed", "1", "-o", "temperature", "0.5", QUESTION)
    assert 0 < len(short) < len(llm("-m", "wsd", QUESTION))


def test_a_schema_is_followed(llm):
    found = json.loads(llm("-m", "wsd", "--schema", "root bool", QUESTION))
    assert isinstance(found["root"], bool)


def test_the_interface_of_responses_and_that_of_completions_work_as_well(llm):
    assert "ls" in llm("-m", "wsd-responses", QUESTION)
    assert llm("-m", "wsd-text", "To list files by size").strip()


def test_an_error_is_shown_as_the_server_words_it(llm):
    assert "max_tokens" in llm("-m", "wsd", "-o", "max_tokens", "0", QUESTION, fails=True)
