"""An answer that the server ends in the middle is an error for each client, not a short answer."""

import pytest

from tests.live_servers import decode_slowly, running_server

QUESTION = [{"role": "user", "content": "How do I list files by size?"}]
WITHOUT_END = {"logit_bias": ["1=-inf"], "stop_loops": False}
"""The end of the text is forbidden."""


@pytest.fixture
def server(monkeypatch):
    decode_slowly(monkeypatch)
    with running_server() as server:
        yield server


def read_on(stream, server):
    """The first piece, then all that comes once the server has been told to end its answers."""
    next(stream)
    server.call(server.serve.limits.stop)
    return list(stream)


def test_openais_client_raises_it(server):
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0) as client:
        stream = client.chat.completions.create(
            model="demo:base", messages=QUESTION, max_tokens=450, stream=True, extra_body={"edge_wsd": WITHOUT_END}
        )
        with pytest.raises(openai.APIError, match="stopping"):
            read_on(iter(stream), server)


def test_ollamas_client_raises_it(server):
    ollama = pytest.importorskip("ollama")
    schema = {"type": "string", "minLength": 2000}  # its client has no place for the extension
    stream = ollama.Client(host=server.url).chat(
        model="demo:base", messages=QUESTION, stream=True, format=schema, options={"num_predict": 450}
    )
    with pytest.raises(ollama.ResponseError, match="stopping"):
        read_on(iter(stream), server)
