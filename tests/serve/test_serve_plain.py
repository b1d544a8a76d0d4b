"""What every client asks first: is it there, what can it do."""


def test_health_and_models(live_server):
    with live_server.client() as client:
        assert client.get("/health").json() == {"status": "ok"}
        names = [card["id"] for card in client.get("/v1/models").json()["data"]]
    assert names[:3] == ["demo", "demo:base", "demo:drafter"]
