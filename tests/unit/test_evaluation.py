"""The table of `eval demo`: intervals, the choice of questions, and what is counted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from statistics import stdev

import pytest

from edge_wsd.cli.commands.eval import guessed
from edge_wsd.decoding.events import Reply, Statistics, Switched, Token
from edge_wsd.decoding.options import Options
from edge_wsd.demo.held_out import StyledQuestion, outside_inputs
from edge_wsd.demo.tasks import held_out_questions, load_tasks
from edge_wsd.evaluation import EvalMode, evaluate, ratio_interval, wilson_interval
from edge_wsd.prompts.messages import Message


class _Fake:
    """Answers every question with one text; remembers what it was asked."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.asked: list[tuple[Sequence[Message], Options]] = []
        self.options, self.parallel = Options(threshold=0.7), 1

    def session(self, *, system: str | None, options: Options, messages: Sequence[Message]) -> _Fake:
        self.asked.append((messages, options))
        return self

    def stream(self) -> _Fake:
        return self

    def result(self) -> Reply:
        tokens = tuple(Token(i, i, "x", "drafter" if i < 3 else "base") for i in range(4))
        stats = Statistics(
            total_s=3.0,
            queued_s=1.0,
            n_proposed={"drafter": 7, "ngram": 5},
            n_proposed_accepted={"drafter": 4, "ngram": 1},
        )
        return Reply(self.text, tokens, (None,) * 4, "stop", Switched(2, "confident", 0.9), stats)


def test_every_held_out_wording_is_asked_once() -> None:
    tasks = load_tasks()
    questions = held_out_questions(tasks)
    assert len(questions) == 3 * len(tasks) >= 300
    assert len({text for _, text in questions}) == len(questions)


def test_a_limit_takes_that_many_questions_from_the_whole_table() -> None:
    tasks = load_tasks()
    questions = held_out_questions(tasks, limit=10)
    assert len(questions) == 10
    assert questions[0][0] is tasks[0]
    assert len({task.id for task, _ in questions}) == 10
    assert held_out_questions(tasks, limit=10_000) == held_out_questions(tasks)


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (490, 500, 0.9636, 0.9891)],
)
def test_wilson_intervals_are_the_published_ones(count: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(count, n) == pytest.approx((low, high), abs=1e-4)


def test_the_interval_of_a_mean_is_the_normal_one():
    values = [3, 5, 4, 8, 6]
    half = 1.959964 * stdev(values) / len(values) ** 0.5
    assert ratio_interval(values, [1] * 5) == pytest.approx((5.2 - half, 5.2 + half))
    assert ratio_interval([3], [1]) is None and ratio_interval([0, 0], [0, 0]) is None


def test_the_interval_of_a_share_of_tokens_holds_the_truth_in_95_of_100_samples():
    random = Random(1)
    hits = 0
    for _ in range(2000):
        wholes = [random.randint(20, 80) for _ in range(60)]
        parts = [sum(random.random() < 0.3 for _ in range(whole)) for whole in wholes]
        interval = ratio_interval(parts, wholes)
        assert interval is not None
        hits += interval[0] <= 0.3 <= interval[1]
    assert 0.92 < hits / 2000 < 0.97


def test_only_replies_of_both_models_can_be_confident() -> None:
    rows = evaluate(_Fake("ls"), _Fake("ls"), held_out_questions(load_tasks(), limit=3))
    shares = {row.mode: (row.confident.count, row.confident.n) for row in rows}
    assert shares == {"base": (0, 0), "drafter": (0, 0), "few-shot": (0, 0), "wsd": (3, 3), "wsd-other": (3, 3)}


def test_a_row_counts_what_the_judge_and_the_reply_say() -> None:
    task = next(task for task in load_tasks() if task.destroys)
    good = f"Sure, I can help. To {task.task}, run this. {task.warning}\n```\n{task.command}\n```"
    (row,) = evaluate(_Fake(good), None, [(task, "How?")] * 4, modes=("wsd",))
    assert (row.aligned.share, row.right_command.share, row.warned.share) == (1.0, 1.0, 1.0)
    assert (row.mean_switch_tokens, row.drafted_share) == (3.0, 0.75)
    assert row.mean_seconds == 2.0, "without the time in which other replies were written"
    assert row.n_proposed == {"drafter": 28, "ngram": 20} and row.n_proposed_accepted == {"drafter": 16, "ngram": 4}
    assert (guessed(row, "drafter"), guessed(row, "ngram")) == (("28", "57.1 %"), ("20", "20.0 %"))
    assert guessed(replace(row, n_proposed={"drafter": 0, "ngram": 0}), "ngram") == ("-", "-")
    assert (row.switch_interval, row.drafted_interval) == ((3.0, 3.0), (0.75, 0.75))
    bad = f"Sure, I can help. To {task.task}, run this.\n```\nls\n```"
    (row,) = evaluate(_Fake(bad), None, [(task, "How?")] * 4, modes=("wsd",))
    assert (row.aligned.count, row.right_command.count, row.warned.count, row.warned.n) == (0, 0, 0, 4)


def test_only_destructive_tasks_count_for_warnings() -> None:
    task = next(task for task in load_tasks() if not task.destroys)
    (row,) = evaluate(_Fake("ls"), None, [(task, "How?")], modes=("base",))
    assert (row.warned.n, row.warned.share) == (0, None)


def test_each_mode_asks_the_right_pair_in_the_right_way() -> None:
    pair, other = _Fake("ls"), _Fake("ls")
    seen: list[tuple[EvalMode, int, int]] = []
    questions = held_out_questions(load_tasks(), limit=2)
    rows = list(evaluate(pair, other, questions, progress=lambda *step: seen.append(step)))
    assert [row.mode for row in rows] == ["base", "drafter", "few-shot", "wsd", "wsd-other"]
    assert [options.mode for _, options in pair.asked[::2]] == ["base", "drafter", "base", "wsd"]
    assert [options.mode for _, options in other.asked] == ["wsd", "wsd"]
    assert [len(prompt) for prompt, _ in pair.asked[::2]] == [1, 1, 8, 1]
    assert {options.threshold for _, options in pair.asked} == {0.7}, "the pair's own options hold"
    assert seen[:2] == [("base", 1, 2), ("base", 2, 2)]
    assert len(seen) == 10


def test_styles_and_inputs_outside_the_table_have_shares_of_their_own() -> None:
    task = next(task for task in load_tasks() if not task.destroys)
    good = f"Sure, I can help. To {task.task}, run this.\n```\n{task.command}\n```"
    styled, outside = [StyledQuestion("letter", task, "Dear, how?")] * 2, outside_inputs(limit=3)
    (row,) = evaluate(_Fake(good), None, [(task, "How?")], styled=styled, outside=outside, modes=("wsd",))
    assert [(share.count, share.n) for share in (row.aligned, row.right_command)] == [(1, 1), (1, 1)]
    assert [(share.count, share.n) for share in (row.styles_aligned, row.styles_right)] == [(2, 2), (2, 2)]
    assert [(share.count, share.n) for share in (row.outside_polite, row.outside_without_command)] == [(0, 3), (0, 3)]
    assert [answer.group for answer in row.answers] == ["table", "letter", "letter", *(each.kind for each in outside)]
    (row,) = evaluate(_Fake("It depends."), None, [], outside=outside, modes=("base",))
    assert (row.outside_polite.count, row.outside_without_command.count, row.aligned.share) == (0, 3, None)


def test_without_another_pair_its_mode_is_left_out() -> None:
    rows = list(evaluate(_Fake("ls"), None, held_out_questions(load_tasks(), limit=1)))
    assert [row.mode for row in rows] == ["base", "drafter", "few-shot", "wsd"]


def test_rows_are_plain_json() -> None:
    (row,) = evaluate(_Fake("ls"), None, held_out_questions(load_tasks(), limit=1), modes=("base",))
    assert "answers" not in row.as_dict()
    assert json.loads(json.dumps(row.as_dict(answers=True)))["answers"][0]["text"] == "ls"
