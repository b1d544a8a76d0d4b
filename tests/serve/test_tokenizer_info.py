"""The routes of vLLM by which lm-evaluation-harness uses a server's tokenizer."""

from __future__ import annotations

from tests.live_servers import LiveServer


def test_a_tokenizer_can_be_used_from_elsewhere(live_server: LiveServer) -> None:
    with live_server.client() as client:
        info = client.get("/tokenizer_info").json()
        tokens = client.post("/tokenize", json={"prompt": "ls -l", "add_special_tokens": False}).json()["tokens"]
        assert client.post("/tokenize", json={"content": "ls -l"}).json()["tokens"] == tokens
        assert client.post("/detokenize", json={"tokens": tokens}).json() == {"content": "ls -l", "prompt": "ls -l"}
        (eos,) = client.post("/tokenize", json={"prompt": info["eos_token"]}).json()["tokens"]
        with_bos = client.post("/tokenize", json={"prompt": "ls -l", "add_special_tokens": True}).json()["tokens"]
        assert client.post("/tokenize", json={"prompt": info["bos_token"]}).json()["tokens"] + tokens == with_bos
        assert eos not in with_bos
        drafter = client.get("/tokenizer_info", params={"model": "demo:drafter"}).json()
        assert drafter["chat_template"] and drafter["tokenizer_class"] == info["tokenizer_class"]
