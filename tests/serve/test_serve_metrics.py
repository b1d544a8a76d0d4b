"""What `/metrics` tells is what happened."""

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

ASKED = {"messages": [{"role": "user", "content": "How do I list files by size?"}], "max_tokens": 30, "edge_wsd": {}}


def numbers(client):
    """Every sample: its name and labels, and its value."""
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name.removeprefix("edge_wsd_"), *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_answers_are_counted_by_author_switch_and_time(server_with):
    server = server_with()
    with server.client() as client:
        whole = client.post("/v1/chat/completions", json=ASKED).json()["edge_wsd"]
        live = client.post("/v1/chat/completions", json={**ASKED, "stream": True})
        assert live.status_code == 200
        found = numbers(client)
    stats = whole["stats"]
    assert stats["n_draft"] and stats["n_tokens"] > stats["n_draft"]  # or the test would tell little
    assert found["tokens_total", "drafter"] == 2 * stats["n_draft"]
    assert found["tokens_total", "base"] == 2 * (stats["n_tokens"] - stats["n_draft"])
    assert found["prompt_tokens_total", "base"] == 2 * stats["base_prompt_tokens"]
    assert found["prompt_tokens_reused_total", "base"] > 0  # by the second
    assert found["tokens_proposed_total",] >= found["tokens_accepted_total",] > 0
    assert found["switches_total", whole["switch"]["reason"]] == 2
    assert found["switch_position_sum",] == 2 * (whole["switch"]["index"] + 1)
    assert found["switch_position_count",] == found["draft_share_count",] == found["first_token_seconds_count",] == 2
    assert found["answers_total", "length"] + found.get(("answers_total", "stop"), 0) == 2
    assert found["pairs_loaded",] == 1
    assert (found["requests_running",], found["requests_queued",], found["requests_refused_total",]) == (0, 0, 0)


def test_requests_are_counted_by_route_and_never_by_what_a_client_made_up(server_with):
    server = server_with(api_keys=("key",))
    with server.client() as client:
        client.get("/v1/models")
        client.headers["X-Api-Key"] = "key"
        for path in ("/models/", "/v1/models/demo", "/v1/models/demo:base", "/v1/models/none", "/none", "/none/2"):
            client.get(path)
        found = numbers(client)
    assert {key[1:]: value for key, value in found.items() if key[0] == "requests_total"} == {
        ("401", "other"): 1,
        ("/v1/models", "200"): 1,
        ("/v1/models/{name}", "200"): 2,
        ("/v1/models/{name}", "404"): 1,
        ("404", "other"): 2,
    }


def test_the_guide_names_every_metric(live_server):
    guide = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
    with live_server.client() as client:
        families = [
            family
            for family in text_string_to_metric_families(client.get("/metrics").text)
            if not family.name.endswith("_created")  # when each of the others began
        ]
    names = {f"{family.name}_total" if family.type == "counter" else family.name for family in families}
    assert names == set(re.findall(r"`(edge_wsd_\w+)`", guide))
