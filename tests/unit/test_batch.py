"""Batches: answers in order over a played pair, and files of answers that say by themselves how far they are."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge_wsd import batch_files
from edge_wsd.batch import Batch
from edge_wsd.batch_files import AnswersFile, digest_of, read_lines, read_prompts
from edge_wsd.decoding import meter
from edge_wsd.decoding.events import Reply
from edge_wsd.errors import BatchFileError, ClosedError, ContextFullError, QueueFullError


def reply(text: str, reason: Any = "stop") -> Reply:
    return Reply(text, (), (), reason, None)


class Stream:
    """Is written when `finish` is called, at once where the pair does not hold its replies back."""

    when_read = False

    def __init__(self, prompt: str, *, held_back: bool) -> None:
        self.prompt, self.closed = prompt, False
        self._answer: Reply | Exception = ContextFullError("full", needed=2, available=1)
        if prompt != "fails":
            self._answer = reply(f"re: {prompt}")
        self._written = threading.Event()
        if not held_back:
            self.finish()

    def finish(self) -> None:
        self._written.set()

    def result(self) -> Reply:
        if self.when_read:
            self.finish()
        assert self._written.wait(60)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def cancel(self) -> None:
        if not self._written.is_set():
            self._answer = reply("", "cancelled")
            self._written.set()

    def close(self) -> None:
        self.closed = True
        self.cancel()


class Pair:
    """Remembers every stream; `most` may wait at once, as in a queue that others share."""

    def __init__(self, parallel: int, *, held_back: bool = False, most: int = 1000) -> None:
        self.parallel, self.held_back, self.most = parallel, held_back, most
        self.streams: list[Stream] = []
        self.is_closed = self.when_read = False
        self.n_refused = 0
        self.on_ask: Callable[[], None] = lambda: None

    def session(self, system: str | None = None, options: Any = None, messages: Any = ()) -> Any:
        pair = self

        class Session:
            def stream(self, prompt: str | None = None) -> Stream:
                pair.require_open()
                if prompt == "cannot be asked":
                    raise ValueError(prompt)
                if sum(not each._written.is_set() for each in pair.streams) >= pair.most:
                    pair.n_refused += 1
                    raise QueueFullError("full")
                pair.streams.append(Stream(prompt or messages[-1]["content"], held_back=pair.held_back))
                pair.streams[-1].when_read = pair.when_read
                pair.on_ask()
                return pair.streams[-1]

        return Session()

    def require_open(self) -> None:
        if self.is_closed:
            raise ClosedError("closed")


def texts(answered: Any) -> list[str]:
    return [each.text if isinstance(each, Reply) else type(each).__name__ for _, each in answered]


QUESTIONS = [f"question {i}" for i in range(40)]


@pytest.mark.parametrize("parallel", [1, 2, 5])
def test_answers_come_in_the_order_of_the_questions_whichever_is_written_first(parallel):
    pair = Pair(parallel, held_back=True)

    def finish_the_newest_half() -> None:  # and the oldest last
        if len(pair.streams) % 4 == 0 or parallel == 1:
            for stream in reversed(pair.streams):
                stream.finish()

    pair.on_ask = finish_the_newest_half
    answered = list(Batch(pair, QUESTIONS))
    assert [item for item, _ in answered] == QUESTIONS
    assert texts(answered) == [f"re: {question}" for question in QUESTIONS]


@pytest.mark.parametrize(("parallel", "ahead"), [(1, 1), (2, 8), (5, 20)])
def test_questions_are_taken_as_they_are_needed(parallel, ahead):
    """So a file may be of any length; one at a time answers a question before the next is even read."""
    n_taken = 0

    def questions():
        nonlocal n_taken
        for question in QUESTIONS:
            n_taken += 1
            yield question

    for n_answered, _ in enumerate(Batch(Pair(parallel), questions())):
        assert n_taken == min(n_answered + ahead, len(QUESTIONS))


def test_the_error_of_one_question_is_its_own():
    answered = list(Batch(Pair(2), ["a", "fails", "cannot be asked", "b"]))
    assert texts(answered) == ["re: a", "ContextFullError", "ValueError", "re: b"]


def test_what_the_prompt_of_an_item_raises_is_the_items_error():
    conversation = [{"role": "user", "content": "hello"}]
    answered = list(Batch(Pair(1), [{"messages": conversation}, {}], lambda item: item["messages"]))
    assert texts(answered) == ["re: hello", "KeyError"]


def test_a_cancel_from_another_thread_ends_it_and_every_reply_that_was_asked_for():
    pair = Pair(2, held_back=True)
    batch = Batch(pair, QUESTIONS)
    pair.on_ask = lambda: pair.streams[0].finish() if len(pair.streams) == 8 else None
    answered: list[Any] = []
    reader = threading.Thread(target=lambda: answered.extend(batch))
    reader.start()
    while len(pair.streams) < 9:  # the first is handed out, the second is waited for
        pass
    batch.cancel()
    reader.join(60)
    assert not reader.is_alive() and texts(answered) == ["re: question 0"]
    assert all(stream.closed for stream in pair.streams[1:])
    assert list(batch) == []


def test_whoever_stops_reading_leaves_nothing_behind_that_is_written():
    pair = Pair(2)
    answered = iter(Batch(pair, QUESTIONS))
    next(answered)
    answered.close()
    assert all(stream.closed for stream in pair.streams[1:]) and len(pair.streams) == 8


def test_a_pair_that_is_closed_meanwhile_is_an_error_of_all_and_not_of_one_question():
    pair = Pair(1)
    answered = iter(Batch(pair, QUESTIONS))
    next(answered)
    pair.is_closed = True
    with pytest.raises(ClosedError):
        next(answered)
    pair = Pair(2, held_back=True)

    def close() -> None:
        if len(pair.streams) == 8:
            pair.is_closed = True
            for stream in pair.streams:
                stream.cancel()

    pair.on_ask = close
    with pytest.raises(ClosedError):
        next(iter(Batch(pair, QUESTIONS)))


def test_in_a_queue_that_is_short_it_waits_for_its_own_and_never_for_others():
    pair = Pair(4, most=3, held_back=True)
    pair.when_read = True
    assert texts(Batch(pair, QUESTIONS)) == [f"re: {question}" for question in QUESTIONS]
    assert pair.n_refused > 0
    with pytest.raises(QueueFullError):
        next(iter(Batch(Pair(2, most=0), QUESTIONS)))


def test_waiting_for_its_turn_is_told_of_a_reply_and_slows_none_of_its_rates(monkeypatch):
    """The last of many replies that were asked for at once seemed to have been drafted all the while."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(meter, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    measured = meter.Meter(0.0)
    clock.now = 10.0
    measured.begin(asked_s=1.0)
    clock.now = 12.0
    measured.switched()
    measured.n_until_switch = 6
    clock.now = 14.0
    stats = measured.statistics(n_tokens=8, n_draft=6)
    assert (stats.queued_s, stats.total_s, stats.draft_tps, stats.base_tps) == (9.0, 14.0, 6 / 3.0, 2 / 2.0)


# The files

GOOD = b"""\xef\xbb\xbf{"prompt": "one", "id": 7}

{"messages": [{"role": "user", "content": "two"}], "text": "gold", "input": 3}
no json
  \r
{"context": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "three"}]}\r
{"prompt": "\xc3\xa9\\u2028"}"""


def lines_of(data: bytes) -> list[batch_files.Line]:
    return list(read_lines(io.BytesIO(data)))


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_prompts_are_questions_of_a_text_or_json_lines(end):
    text = end.join([b"\xef\xbb\xbf", b" one {now}", b"", b'{"prompt": "two"}', b"caf\xe9", b"nul\0", b"three"])
    lines = list(read_prompts(io.BytesIO(text)))
    asked = [(line.number, line.messages[0].content) for line in lines if line.error is None]
    assert asked == [(2, "one {now}"), (4, '{"prompt": "two"}'), (7, "three")]
    errors = [(line.number, str(line.error)) for line in lines if line.error is not None]
    assert [number for number, _ in errors] == [5, 6] and "UTF-8" in errors[0][1] and "NUL" in errors[1][1]
    for data in (GOOD, b'\n\xef\xbb\xbf {"prompt": "one"}\ntwo\n', b" \n"):
        as_read = [(line.number, line.messages, str(line.error)) for line in read_prompts(io.BytesIO(data))]
        assert as_read == [(line.number, line.messages, str(line.error)) for line in lines_of(data)]


@pytest.mark.parametrize(
    "data", [b'["one", "two"]', b'[{"prompt": "one"},\n', b'\n[\n  {"prompt": "one"}\n]', b"[ ]\n"]
)
def test_one_json_list_is_told_with_how_to_take_it_apart(data):
    with pytest.raises(BatchFileError, match="one JSON list; give its objects a line each"):
        read_prompts(io.BytesIO(data))


def test_a_question_may_begin_with_a_bracket():
    (line,) = read_prompts(io.BytesIO(b"[urgent] How do I stop a process?\n"))
    assert line.error is None and line.messages[0].content == "[urgent] How do I stop a process?"


def answer_all(path: Path, data: bytes = GOOD, settings: str = "s", *, anew: bool = False, most: int = 1000) -> int:
    """Answers up to `most` lines that are not answered yet, by their last message. Returns how many are then."""
    with AnswersFile(path, settings, anew=anew) as answers:
        for line in answers.take_up(read_lines(io.BytesIO(data))):
            if most == 0:
                break
            most -= 1
            error = {"error": str(line.error)}
            answers.write(line, error if line.error else {"text": f"re: {line.messages[-1].content}"})
        return answers.n_lines


def test_a_line_is_a_prompt_messages_or_a_context_and_all_it_brings_along_comes_back(tmp_path):
    answer_all(tmp_path / "out")
    answers = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    assert [answer["line"] for answer in answers] == [1, 3, 4, 6, 7]
    assert answers[0] == {"prompt": "one", "id": 7, "line": 1, "settings": "s", "text": "re: one"}
    assert answers[1]["text"] == "re: two" and answers[1]["input"] == {"text": "gold", "input": 3}
    assert answers[2].keys() == {"line", "settings", "error"} and "Expecting value" in answers[2]["error"]
    assert answers[3]["text"] == "re: three" and [m["role"] for m in answers[3]["context"]] == ["system", "user"]
    assert answers[4]["text"] == "re: \u00e9\u2028"


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"no json", "not JSON: Expecting value at column 1"),
        (b'{"prompt": "a"', "not JSON"),
        (b'["prompt"]', 'not an object but ["prompt"]'),
        (b"null", "not an object but null"),
        (b"{}", "nothing to answer"),
        (b'{"prompt": "a", "messages": []}', "both prompt and messages"),
        (b'{"prompt": 3}', "prompt must be a text, not 3"),
        (b'{"prompt": " \\n"}', "the prompt is empty"),
        (b'{"messages": []}', "messages must be a list of messages"),
        (b'{"context": "a"}', "context must be a list of messages"),
        (b'{"messages": [{"role": "user"}]}', "message 1 has no content"),
        (b'{"messages": [{"role": "robot", "content": "a"}]}', "role must be"),
        (b'{"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": " "}]}', "empty"),
        (b'{"prompt": "caf\xe9"}', "not valid UTF-8: byte 0xe9 at offset 15"),
        (b'{"prompt": "\\ud800"}', "half a character"),
        (b'{"prompt": "a\\u0000b"}', "NUL character at position 1"),
        (b'{"prompt": "a", "x": NaN}', "it holds NaN or an infinite number"),
        (b'{"prompt": "a", "x": 1e999}', "it holds NaN or an infinite number"),
        (b"[" * 100_000, "not valid JSON: it nests too many brackets"),
        (b'{"prompt": "a", "x": ' + b"9" * 5000 + b"}", "not valid JSON: it holds a number of thousands"),
        (b'{"prompt"\r', "at column 10"),  # it was column 1, of the line behind
        (b"\xff\xfe{\x00}\x00", "not valid UTF-8"),
    ],
)
def test_a_line_that_cannot_be_asked_says_why_and_the_next_one_is_read(data, named):
    bad, good = lines_of(data + b'\n{"prompt": "a"}\n')
    assert bad.error is not None and named in str(bad.error) and len(str(bad.error)) < 300
    assert good.error is None and good.number == 2
    with pytest.raises(type(bad.error)):
        bad.prompt()


def test_a_line_of_any_length_is_passed_by(monkeypatch):
    monkeypatch.setattr(batch_files, "MOST_BYTES", 1 << 20)
    bad, good = lines_of(b'{"prompt": "' + b"x" * (3 << 20) + b'"}\n{"prompt": "a"}')
    assert "longer than 1 MiB" in str(bad.error) and (good.number, good.error) == (2, None)
    (bad,) = lines_of(b"x" * (3 << 20))
    assert bad.error is not None


def test_a_file_cut_off_at_any_byte_is_taken_up_without_losing_or_repeating_a_line(tmp_path):
    path = tmp_path / "out"
    answer_all(path)
    whole = path.read_bytes()
    assert whole.count(b"\n") == len(lines_of(GOOD)) == 5
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        assert answer_all(path) == 5
        assert path.read_bytes() == whole, cut
    assert answer_all(path, most=0) == 5 and path.read_bytes() == whole


def test_answers_are_whole_as_soon_as_they_are_written(tmp_path):
    """Whoever looks at the file meanwhile, or kills the program, finds every answer that was reported."""
    path = tmp_path / "out"
    with AnswersFile(path, "s") as answers:
        for n, line in enumerate(answers.take_up(read_lines(io.BytesIO(GOOD)))):
            answers.write(line, {"error": str(line.error)} if line.error else {"text": "x"})
            assert path.read_bytes().count(b"\n") == n + 1 and path.read_bytes().endswith(b"}\n")


def test_a_question_file_that_has_grown_is_gone_on_with(tmp_path):
    path = tmp_path / "out"
    answer_all(path, GOOD)
    before = path.read_bytes()
    assert answer_all(path, GOOD + b'\n{"prompt": "more"}') == 6
    assert path.read_bytes().startswith(before) and b"re: more" in path.read_bytes()[len(before) :]


OTHER = GOOD.replace(b"two", b"2")


@pytest.mark.parametrize(
    ("held", "data", "settings", "named"),
    [
        (None, GOOD, "t", "line 1 was written by another pair or with other options"),
        (None, OTHER, "s", "line 2 does not answer line 3 as it is now"),
        (None, GOOD.replace(b"no json", b'{"prompt": "mended"}'), "s", "line 3 does not answer line 4"),
        (None, b"\n" + GOOD, "s", "line 1 does not answer line 2"),
        (None, GOOD.splitlines()[0], "s", "more answers than there are questions"),
        (b"my novel", GOOD, "s", "line 1 is not an answer of a batch"),
        (b"my novel\n", GOOD, "s", "line 1 is not an answer of a batch"),
        (b'{"prompt": "one"}\n', GOOD, "s", "line 1 is not an answer of a batch"),
        (GOOD, GOOD, "s", "line 1 is not an answer of a batch"),
        (b"\0" * 100, GOOD, "s", "line 1 is not an answer of a batch"),
    ],
)
def test_a_file_that_holds_anything_else_is_left_alone_unless_it_is_to_begin_anew(
    tmp_path, held, data, settings, named
):
    path = tmp_path / "out"
    answer_all(path)
    if held is not None:
        path.write_bytes(held)
    before = path.read_bytes()
    with pytest.raises(BatchFileError, match=named) as caught:
        answer_all(path, data, settings)
    assert "--force" in str(caught.value) and str(path) in str(caught.value)
    assert path.read_bytes() == before
    answer_all(path, data, settings, anew=True)
    assert path.read_bytes().count(b"\n") == len(lines_of(data)) and b"novel" not in path.read_bytes()


def test_beginning_anew_keeps_what_is_there_until_the_first_answer_is(tmp_path):
    path = tmp_path / "out"
    answer_all(path)
    before = path.read_bytes()
    answer_all(path, OTHER, anew=True, most=0)
    assert path.read_bytes() == before


def test_errors_of_an_earlier_run_are_counted(tmp_path):
    path = tmp_path / "out"
    answer_all(path, most=4)
    with AnswersFile(path, "s") as answers:
        (last,) = answers.take_up(read_lines(io.BytesIO(GOOD)))
        assert (answers.n_lines, answers.n_errors, last.number) == (4, 1, 7)
        assert answers.first_error is not None and answers.first_error[0] == 4


def test_two_processes_never_write_one_file(tmp_path):
    with AnswersFile(tmp_path / "out", "s"), pytest.raises(BatchFileError, match="another process"):
        AnswersFile(tmp_path / "out", "s")
    answer_all(tmp_path / "out")


def test_a_run_that_writes_nothing_leaves_no_file_and_removes_none(tmp_path):
    answer_all(tmp_path / "out", most=0)
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").touch()
    answer_all(tmp_path / "out", most=0)
    assert (tmp_path / "out").exists()


def test_a_link_stays_and_a_folder_or_device_is_refused(tmp_path):
    (tmp_path / "link").symlink_to("real")
    answer_all(tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_bytes().count(b"\n") == 5
    for place in (tmp_path, Path("/dev/null"), tmp_path / "no" / "folder"):
        with pytest.raises(OSError, match=str(place)):
            answer_all(place)


def test_a_digest_is_of_all_settings_and_not_of_their_order():
    assert digest_of({"a": 1, "b": [2]}) == digest_of({"b": [2], "a": 1}) != digest_of({"a": 1, "b": [3]})
