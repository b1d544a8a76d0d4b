"""lm-evaluation-harness against the server: its own model `local-completions`, a task of its own format, no network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_wsd import Pair
from tests.live_servers import CPU, LiveServer, demo_models, running_server

pytest.importorskip("lm_eval", reason="needs lm-eval[api]")
pytest.importorskip("aiohttp", reason="needs lm-eval[api]")

EXACT = replace(CPU, exact=True)  # so a score does not depend on what is computed beside it
QUESTIONS = [
    {"question": "To list files by size, type", "choices": [" ls -lS", " rm -rf", " cat"], "answer": 0},
    {"question": "To show the free disk space, type", "choices": [" df -h", " echo no"], "answer": 0},
    {"question": "The command grep", "choices": [" searches", " deletes", " files"], "answer": 0},
]
TASKS = {
    "choosing": """\
task: choosing
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{data}"}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
target_delimiter: ""
metric_list: [{{metric: acc}}]
""",
    "writing": """\
task: writing
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{data}"}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{choices[answer]}}}}"
generation_kwargs: {{until: ["\\n"], max_gen_toks: 12, do_sample: false}}
metric_list: [{{metric: exact_match}}]
""",
}


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    models = demo_models(loading={"drafter_settings": EXACT, "base_settings": EXACT, "parallel": 2})
    with running_server(models, parallel=2) as server:
        yield server


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with Pair.demo(drafter_settings=EXACT, base_settings=EXACT) as pair:
        yield pair


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with tasks over a local file."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    data = tmp_path / "questions.jsonl"
    data.write_text("".join(json.dumps(question) + "\n" for question in QUESTIONS))
    folder = tmp_path / "tasks"
    folder.mkdir()
    for name, text in TASKS.items():
        (folder / f"{name}.yaml").write_text(text.format(data=data))
    return folder


def evaluated(server: LiveServer, tasks: Path, name: str, **more: Any) -> dict[str, Any]:
    """What the harness says of a task, with a line for each question."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    arguments = {"base_url": f"{server.url}/v1/completions", "max_length": 512, "max_retries": 1, **more}
    manager = TaskManager(include_path=str(tasks), include_defaults=False)
    found = simple_evaluate(
        model="local-completions", model_args=arguments, tasks=[name], task_manager=manager, bootstrap_iters=0
    )
    assert found is not None
    return dict(found)


def likelihood(pair: Pair, source: Any, context: str, continuation: str) -> tuple[float, bool]:
    """By the library: the sum over the continuation's tokens, and whether each is the likeliest at its place."""
    vocab = pair.model(source).model.vocab
    context_ids, whole = vocab.tokenize(context, special=True), vocab.tokenize(context + continuation, special=True)
    scored = pair.score(whole, source, top_logprobs=1).result().prompt[len(context_ids) :]
    return sum(token.logprob or 0.0 for token in scored), all(token.top[0].id == token.id for token in scored)


@pytest.mark.parametrize(
    ("model", "more"),
    [
        ("demo:base", {"num_concurrent": 1}),
        ("demo:base", {"num_concurrent": 2, "batch_size": 3}),
        ("demo:base", {"tokenized_requests": False}),
        ("demo:drafter", {"num_concurrent": 2}),
        ("demo", {}),
    ],
)
def test_likelihoods_are_the_librarys(
    server: LiveServer, pair: Pair, tasks: Path, model: str, more: dict[str, Any]
) -> None:
    """Its tokenizer is the server's, which it asks for by itself. Requests are ids of tokens, or texts."""
    source = "drafter" if model == "demo:drafter" else "base"
    if source == "drafter":
        more = {**more, "tokenizer_backend": "remote"}
    found = evaluated(server, tasks, "choosing", model=model, **more)
    for sample in found["samples"]["choosing"]:
        question = sample["doc"]
        told = [tuple(each[0]) for each in sample["resps"]]
        with_bos = model == "demo:base" and more.get("tokenized_requests") is False
        for (logprob, is_greedy), choice in zip(told, question["choices"], strict=True):
            expected, greedy = likelihood(pair, source, _sent(pair, question["question"], with_bos), choice)
            assert logprob == pytest.approx(expected, abs=1e-6) and is_greedy == greedy
    assert found["results"]["choosing"]["acc,none"] == pytest.approx(
        sum(_best(sample) == sample["doc"]["answer"] for sample in found["samples"]["choosing"]) / len(QUESTIONS)
    )


def _sent(pair: Pair, text: str, with_bos: bool) -> str:
    """A text gets the model's BOS, ids do not."""
    bos = pair.base.model.vocab.bos
    assert bos is not None
    return pair.base.model.vocab.text(bos) + text if with_bos else text


def _best(sample: dict[str, Any]) -> int:
    likelihoods = [each[0][0] for each in sample["resps"]]
    return likelihoods.index(max(likelihoods))


@pytest.mark.parametrize(
    ("model", "more"),
    [("demo", {}), ("demo:base", {"num_concurrent": 2}), ("demo", {"tokenizer_backend": None})],
)
def test_what_is_written_is_what_the_library_writes(
    server: LiveServer, pair: Pair, tasks: Path, model: str, more: dict[str, Any]
) -> None:
    found = evaluated(server, tasks, "writing", model=model, **more)
    end = pair.base.model.vocab.text(pair.base.model.vocab.eos or 0)
    for sample in found["samples"]["writing"]:
        mode: Any = "base" if model == "demo:base" else "wsd"
        prompt: Any = sample["doc"]["question"]
        if more.get("tokenizer_backend", "remote") is not None:  # sent as ids, which get no BOS
            prompt = pair.base.model.vocab.tokenize(prompt)
        expected = pair.complete(prompt, mode=mode, max_tokens=12, stop=["\n", end], special=True).result()
        assert sample["resps"] == [[expected.text]]
