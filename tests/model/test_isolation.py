"""A pair whose models live in a process of their own: the same answers, and a death that is survived."""

import asyncio
import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from edge_wsd import (
    Batch,
    Finished,
    Options,
    Pair,
    Session,
    Statistics,
    Stream,
    child_process,
)
from edge_wsd._native import CancelFlag
from edge_wsd.errors import (
    BusyError,
    Cancelled,
    ClosedError,
    ContextFullError,
    ForkedError,
    ModelFileError,
    OptionError,
    PairDiedError,
    QueueFullError,
    TemplateError,
    VocabularyError,
)
from edge_wsd.isolation import model_process
from edge_wsd.llama.settings import ModelSettings
from edge_wsd.lookups import CountOf, PiecesOf, PromptOf, TokensOf
from edge_wsd.prompts.messages import Message
from edge_wsd.prompts.tools import Tool

ROOT = Path(__file__).parents[2]
QUESTION = "How do I list files by size?"
SETTINGS = ModelSettings(threads=1, context_length=512)
ANSWER = Options(max_tokens=40)
END = 1  # the demonstration pair's end of a text
LONG = Options(max_tokens=300, stop_loops=False, logit_bias={END: -float("inf")})


def demo(**settings):
    return Pair.demo(drafter_settings=SETTINGS, base_settings=SETTINGS, **settings)


@pytest.fixture(scope="module")
def here():
    with demo(parallel=2) as pair:
        yield pair


@pytest.fixture(scope="module")
def isolated():
    with demo(isolate=True, parallel=2) as pair:
        yield pair


def wait_until(holds, *, seconds=30.0):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it does not come about"
        time.sleep(0.005)


def is_gone(process_id):
    return not psutil.pid_exists(process_id) or psutil.Process(process_id).status() == psutil.STATUS_ZOMBIE


def kill(pair, number=signal.SIGKILL):
    os.kill(pair.process_id, number)


def before_each_run(monkeypatch, folder, lines):
    """Processes of models that start from now on do this before each run of a context."""
    script = folder / "models.py"
    script.write_text(
        "import os, sys, time\n"
        "from edge_wsd import child_process\n"
        "from edge_wsd.llama import context, library\n"
        "run, n = context.Context.run, []\n"
        "def runs(*given):\n"
        f"{lines}"
        "    return run(*given)\n"
        "context.Context.run = runs\n"
        "child_process.main(sys.argv[1:])\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(child_process, "_program", [sys.executable, str(script)])


def timeless(reply):
    return replace(reply, stats=Statistics(), seed=None)


# The same as a pair in memory


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"top_logprobs": 3},
        {"temperature": 0.9, "seed": 7, "logit_bias": {"Sure": -3.0, 300: -float("inf")}},
        {"mode": "base", "stop": ("\n",)},
        {"mode": "drafter", "json_schema": {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]}},
        {"rule": "nudge", "ignore_repeated": False},
        {"ignore_repeated": True, "switch_at": 9},
    ],
    ids=str,
)
def test_the_answer_is_that_of_a_pair_in_memory(here, isolated, changes):
    options = ANSWER.with_changes(chunk=4, propose=4, **changes)
    ours, theirs = (pair.session(system="Be brief.", options=options) for pair in (here, isolated))
    for question in (QUESTION, "And only directories?"):
        mine, others = ours.stream(question), list(theirs.stream(question))
        assert timeless(others[-1].reply) == timeless(mine.result())
        assert {type(event) for event in others} >= {Finished}
        assert "".join(event.text for event in others if hasattr(event, "text")) == ours.last.text
    assert theirs.messages == ours.messages and theirs.last.seed == ours.last.seed
    assert theirs.last.stats.base_reused_tokens == ours.last.stats.base_reused_tokens


def test_a_text_is_scored_and_continued_as_in_memory(here, isolated):
    for pair in (here, isolated):
        assert pair.is_isolated == (pair is isolated)
    ours, theirs = (pair.score("List the files", top_logprobs=2).result() for pair in (here, isolated))
    assert theirs.prompt == ours.prompt and len(ours.prompt) > 2
    prompt = [token.id for token in ours.prompt]
    ours, theirs = (pair.complete(prompt, ANSWER, chunk=4).result() for pair in (here, isolated))
    assert theirs.text == ours.text


def test_texts_are_looked_up_as_in_memory(here, isolated):
    messages = (Message("user", "hello <|im_end|>"),)
    asked = [
        TokensOf("drafter", ("List ", 5, "<|im_end|>"), special=True, bos=True),
        PiecesOf("base", tuple(range(300))),
        PromptOf("drafter", messages),
        CountOf(("List the files",), 100),
        CountOf(("List the files",), 0),
    ]
    assert [isolated.call(each) for each in asked] == [here.call(each) for each in asked]
    assert here.call(lambda pair: pair.base.model.vocab.n_tokens) > 0
    with pytest.raises(OptionError, match=r"edge_wsd\.lookups"):
        isolated.call(lambda pair: pair.base.model.vocab.n_tokens)
    for pair in (here, isolated):
        with pytest.raises(VocabularyError):
            pair.call(PiecesOf("base", (10**6,)))


def test_what_is_known_of_the_models_is_known_here(here, isolated):
    assert isolated.name == "demo" and isolated.parallel == 2
    assert [isolated.about(source) for source in ("drafter", "base")] == [here.about(s) for s in ("drafter", "base")]
    assert isolated.vocabulary == here.vocabulary and isolated.overlaps == here.overlaps
    assert isolated.plan.base.settings == here.plan.base.settings and isolated.plan.notes == here.plan.notes
    assert isolated.process_id != os.getpid() == here.process_id
    with pytest.raises(OptionError, match="isolate"):
        _ = isolated.base


def test_a_conversation_is_written_again_forked_saved_and_loaded(isolated, tmp_path):
    chat = isolated.session(options=ANSWER)
    first = chat.ask(QUESTION)
    assert chat.regenerate().result().text == first.text and len(chat.messages) == 2
    chat.fork().ask("And only directories?")
    assert len(chat.messages) == 2
    chat.save(tmp_path / "talk.json")
    assert Session.load(tmp_path / "talk.json", isolated).messages == chat.messages


def test_many_questions_are_answered_at_once(here, isolated):
    questions = [f"How do I {what}?" for what in ("list files", "delete a file", "see free space", "find a word")]
    options = ANSWER.with_changes(chunk=4, propose=4)
    ours, theirs = ([reply.text for _, reply in Batch(pair, questions, options=options)] for pair in (here, isolated))
    assert theirs == ours


def test_several_streams_are_read_at_once_by_coroutines(isolated):
    async def read(n):
        return [event async for event in isolated.session(options=ANSWER).stream(f"How do I list {n} files?")]

    async def together():
        return await asyncio.gather(*map(read, range(5)))

    for events in asyncio.run(together()):
        assert isinstance(events[-1], Finished) and events[-1].reply.text


def test_a_reply_is_cancelled_and_closed(isolated):
    chat = isolated.session(options=LONG)
    stream = chat.stream(QUESTION)
    next(stream)
    chat.cancel()
    reply = stream.result()
    assert reply.finish_reason == "cancelled" and 0 < len(reply.tokens) < LONG.max_tokens
    assert chat.messages[-1].content == reply.text
    before = chat.messages
    with chat.stream("More") as stream, pytest.raises(BusyError):
        chat.ask("meanwhile")
    assert chat.messages == before and chat.stream("More").result().text


def test_a_stream_that_nobody_holds_makes_room_for_others(isolated):
    for _ in range(4):
        isolated.session(options=LONG.with_changes(max_tokens=450)).stream(QUESTION)
    gc.collect()
    assert isolated.session(options=ANSWER).ask(QUESTION).text


# Errors are those of a pair in memory


def test_what_cannot_be_answered_is_the_same_error(isolated):
    with pytest.raises(ContextFullError) as caught:
        isolated.session(options=ANSWER).ask("word " * 5000)
    assert caught.value.needed > caught.value.available == 512
    with pytest.raises(VocabularyError):
        isolated.score([10**6])
    with pytest.raises(TemplateError, match="empty"):
        isolated.session().ask(" ")
    with pytest.raises(OptionError):
        isolated.session(options=ANSWER.with_changes(logit_bias={10**7: 1.0})).ask(QUESTION)
    assert isolated.session(options=ANSWER).ask(QUESTION).text


def test_a_question_that_cannot_be_sent_is_refused_and_stops_no_other(isolated):
    schema = {"type": "string"}
    for _ in range(300):
        schema = {"type": "array", "items": schema}
    with pytest.raises(OptionError, match="nests more than"):
        isolated.session(tools=[Tool("f", parameters=schema)], options=ANSWER).ask(QUESTION)
    assert isolated.session(options=ANSWER).ask(QUESTION).text


def test_a_full_queue_is_refused():
    with demo(isolate=True, longest_queue=1) as pair:
        streams = [pair.session(options=LONG).stream(QUESTION) for _ in range(2)]
        with pytest.raises(QueueFullError, match="1 reply is waiting"):
            pair.session(options=LONG).stream(QUESTION)
        del streams


def test_what_cannot_be_loaded_is_the_same_error_and_leaves_no_process(tmp_path):
    (tmp_path / "bad.gguf").write_bytes(b"GGUF and no more")
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(ModelFileError, match=r"bad\.gguf"):
        Pair.load(tmp_path / "bad.gguf", tmp_path / "bad.gguf", isolate=True)
    wait_until(lambda: all(is_gone(one.pid) for one in set(psutil.Process().children(recursive=True)) - before))


def test_loading_is_told_and_can_be_stopped():
    told = []
    with demo(isolate=True, progress=lambda stage, share: told.append((stage, share))):
        assert {stage for stage, _ in told} >= {"drafter", "base"} and told[-1] == ("base", 1.0)

    def stop(*_):
        raise InterruptedError("enough")

    before = {one.pid for one in psutil.Process().children()}
    with pytest.raises(InterruptedError, match="enough"):
        demo(isolate=True, progress=stop)
    wait_until(lambda: all(is_gone(one.pid) for one in psutil.Process().children() if one.pid not in before))


@pytest.mark.parametrize("isolate", [True, False])
def test_loading_is_cancelled_from_elsewhere(isolate):
    cancel = CancelFlag()
    cancel.set()
    with pytest.raises(Cancelled):
        demo(isolate=isolate, cancel=cancel)


def test_loading_that_hangs_is_cancelled_as_well(monkeypatch, tmp_path, in_bounded_time):
    (tmp_path / "hanging.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setattr(child_process, "_program", [sys.executable, str(tmp_path / "hanging.py")])
    before = {one.pid for one in psutil.Process().children()}
    cancel = CancelFlag()
    timer = threading.Timer(0.2, cancel.set)
    timer.start()
    with pytest.raises(Cancelled):
        demo(isolate=True, cancel=cancel)
    assert all(is_gone(one.pid) for one in psutil.Process().children() if one.pid not in before)


def test_log_lines_come_over(caplog):
    with caplog.at_level("DEBUG", logger="edge_wsd.llama"), demo(isolate=True):
        pass
    assert any(record.name.startswith("edge_wsd.llama") for record in caplog.records)


# A death is survived


def moments(n):
    """Fractions of an answer, of loading, and pauses: always the same ones."""
    dice = random.Random(1)
    kinds = ["answering"] * 8 + ["loading", "idle"]
    return [(kinds[i % len(kinds)], dice.random()) for i in range(n)]


def test_the_process_may_be_killed_at_any_moment():
    """50 of them: in the middle of an answer, while the models are loaded for the next one, between two answers."""
    kill_at, pair = None, None
    answer = ANSWER.with_changes(chunk=4, speculation=False)  # rounding depends on what is computed together

    def progress(stage, share):
        nonlocal kill_at
        if pair is not None and kill_at is not None and stage == "base" and share >= kill_at:
            kill_at = None
            kill(pair)

    pair = demo(isolate=True, progress=progress)
    survived, expected = 0, {}
    with pair:
        for n, (kind, fraction) in enumerate(moments(50)):
            chat, question = pair.session(options=answer), f"How do I list {n % 3} files?"
            if kind != "answering":
                chat.ask(question)
                kill(pair)
                wait_until(lambda: is_gone(pair.process_id))
            if kind != "idle":
                kill_at = fraction if kind == "loading" else None
                before, chat.options = chat.messages, LONG
                with pytest.raises(PairDiedError, match="SIGKILL"):
                    for position, _ in enumerate(chat.stream(QUESTION)):
                        if position == int(fraction * 100):  # once: what it had said still comes
                            kill(pair)
                kill_at, chat.options = None, answer
                assert chat.messages == before
            chat.clear()
            assert (reply := chat.ask(question)).text == expected.setdefault(question, reply.text)
            survived += 1
    assert survived == 50 and len(expected) == 3


def test_all_who_are_answered_hear_of_the_death(in_bounded_time):
    with demo(isolate=True, parallel=2) as pair:
        streams = [pair.session(options=LONG).stream(QUESTION) for _ in range(4)]
        next(streams[0])
        kill(pair, signal.SIGSEGV)
        for stream in streams:
            with pytest.raises(PairDiedError, match="SIGSEGV, invalid memory access"):
                stream.result()


def test_a_process_that_hangs_is_killed_when_what_it_is_asked_is_cancelled(monkeypatch, in_bounded_time):
    monkeypatch.setattr(model_process, "_SILENT_S", 0.3)
    with demo(isolate=True) as pair:
        for ask in (pair.session(options=ANSWER).stream, partial(pair.complete, options=ANSWER), pair.score):
            before = pair.process_id
            kill(pair, signal.SIGSTOP)
            cancel = CancelFlag()
            timer = threading.Timer(0.2, cancel.set)
            timer.start()
            with pytest.raises(PairDiedError, match=r"did not react for 0\.3 seconds"):
                ask(QUESTION, cancel=cancel)
            assert cancel.is_set and is_gone(before)
            assert pair.session(options=ANSWER).ask(QUESTION).text


def test_loading_that_hangs_ends_for_all_who_cancel_it(monkeypatch, tmp_path, in_bounded_time):
    monkeypatch.setattr(model_process, "_SILENT_S", 0.3)
    (tmp_path / "hanging.py").write_text("import time\ntime.sleep(600)\n")
    with demo(isolate=True) as pair, ThreadPoolExecutor(2) as pool:
        before = pair.process_id
        kill(pair)
        wait_until(lambda: is_gone(before))
        monkeypatch.setattr(child_process, "_program", [sys.executable, str(tmp_path / "hanging.py")])
        flags = [CancelFlag(), CancelFlag()]
        loading = pool.submit(pair.session(options=ANSWER).stream, QUESTION, cancel=flags[0])
        wait_until(lambda: pair.process_id != before)
        waiting = pool.submit(pair.session(options=ANSWER).stream, QUESTION, cancel=flags[1])
        flags[1].set()
        assert waiting.result(30).result().finish_reason == "cancelled"
        assert not loading.done()
        flags[0].set()
        assert loading.result(30).result().finish_reason == "cancelled"
        wait_until(lambda hung=pair.process_id: is_gone(hung))
        monkeypatch.setattr(child_process, "_program", [])
        assert pair.session(options=ANSWER).ask(QUESTION).text


def test_a_process_that_hangs_in_the_middle_of_an_answer_is_killed_when_that_is_given_up(monkeypatch, in_bounded_time):
    """Not only when somebody asks it for something again."""
    monkeypatch.setattr(model_process, "_SILENT_S", 0.3)
    with demo(isolate=True) as pair:
        for give_up in (Stream.cancel, Stream.close):
            stream, before = pair.session(options=LONG).stream(QUESTION), pair.process_id
            next(stream)
            kill(pair, signal.SIGSTOP)
            give_up(stream)
            wait_until(lambda before=before: is_gone(before))
            if give_up is Stream.cancel:
                with pytest.raises(PairDiedError, match=r"did not react for 0\.3 seconds"):
                    stream.result()
            assert pair.session(options=ANSWER).ask(QUESTION).text


def test_a_long_decode_is_no_hang_but_one_without_end_is(monkeypatch, tmp_path, in_bounded_time):
    go_on, later_s = tmp_path / "go on", 0.0
    before_each_run(
        monkeypatch,
        tmp_path,
        f"    while not os.path.exists({str(go_on)!r}):\n        time.sleep(0.01)\n",
    )
    monkeypatch.setattr(model_process, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + later_s))

    def cancelled():
        """A reply in a decode, whose cancel the process has heard of."""
        stream = pair.session(options=ANSWER.with_changes(chunk=1, propose=0)).stream(QUESTION)
        (exchange,) = pair._home._ready._exchanges.values()
        stream.cancel()
        wait_until(lambda: exchange.cancel_heard)
        return stream

    with demo(isolate=True) as pair:
        stream = cancelled()
        later_s = 30.0
        go_on.touch()
        assert stream.result().finish_reason == "cancelled"
        go_on.unlink()
        stream = cancelled()
        later_s += 60.0
        with pytest.raises(PairDiedError, match="did not end what was cancelled for 60 seconds"):
            stream.result()


def test_who_leaves_while_models_are_loaded_again_is_not_kept_waiting(in_bounded_time):
    go_on, reloading = threading.Event(), threading.Event()

    def progress(*_):
        if reloading.is_set():
            assert go_on.wait(60)

    with demo(isolate=True, progress=progress) as pair, ThreadPoolExecutor(1) as pool:
        before = pair.process_id
        kill(pair)
        wait_until(lambda: is_gone(before))
        reloading.set()
        leaving = CancelFlag()
        staying = pool.submit(pair.session(options=ANSWER).ask, QUESTION)
        wait_until(lambda: pair.process_id != before)
        leaving.set()
        assert pair.session(options=ANSWER).stream(QUESTION, cancel=leaving).result().finish_reason == "cancelled"
        with pytest.raises(Cancelled):
            pair.call(CountOf(("List",), 9), leaving)
        after = pair.process_id
        go_on.set()
        assert staying.result(60).text and pair.process_id == after


def test_an_assertion_in_native_code_is_an_error_that_quotes_it(monkeypatch, tmp_path, in_bounded_time):
    """The whole process would have ended: this is what isolation is for."""
    before_each_run(
        monkeypatch,
        tmp_path,
        "    n.append(1)\n"
        "    if len(n) == 6:\n"
        "        library._ggml.ggml_abort(b'some.cpp', 42, b'GGML_ASSERT(%s) failed', b'all is well')\n",
    )
    with demo(isolate=True) as pair:
        with pytest.raises(PairDiedError, match=r"SIGABRT.*GGML_ASSERT\(all is well\) failed"):
            pair.session(options=ANSWER.with_changes(chunk=1, propose=0)).ask(QUESTION)
        monkeypatch.setattr(child_process, "_program", [])
        assert pair.session(options=ANSWER).ask(QUESTION).text


@pytest.mark.parametrize(
    "nonsense",
    [
        '{"$type": "Popen", "args": "ls"}',
        '{"$type": "Told", "number": 7, "what": 1}',
        '{"$type": "Told", "number": {"$type": "list", "value": []}, "what": 1}',
        '{"$type": "Failed", "number": 0, "error": 5}',
        '{"$type": "LogLine", "logger": 1, "level": 2, "text": 3}',
    ],
)
def test_a_process_that_talks_nonsense_is_ended(monkeypatch, tmp_path, in_bounded_time, nonsense):
    script = tmp_path / "nonsense.py"
    script.write_text(
        "import sys, time\n"
        f"data = {nonsense.encode()!r}\n"
        "sys.stdout.buffer.write(len(data).to_bytes(8, 'big') + data)\n"
        "sys.stdout.flush(); time.sleep(600)\n"
    )
    monkeypatch.setattr(child_process, "_program", [sys.executable, str(script)])
    with pytest.raises(PairDiedError, match="not a message"):
        demo(isolate=True)


def test_an_application_that_is_frozen_starts_itself_as_every_child(tmp_path):
    """Children start children: the process of the models tries files and renders templates in others."""
    (tmp_path / "app.py").write_text(
        "import sys\n"
        "sys.frozen = True\n"
        "from edge_wsd import Pair, child_process\n"
        "child_process.use_program([sys.executable, __file__, 'edge-wsd-child'])\n"
        "if sys.argv[1:2] == ['edge-wsd-child']:\n"
        "    sys.exit(child_process.main(sys.argv[2:]))\n"
        "with Pair.demo(isolate=True, drafter_template='chat') as pair:\n"
        "    print(pair.generate('How do I list files by size?').text)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "EDGE_WSD_CACHE": str(tmp_path)}  # nothing was tried before
    command = [sys.executable, str(tmp_path / "app.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert "ls -lS" in done.stdout, done.stderr


# The process ends with its parent


@pytest.mark.parametrize("when", ["idle", "answering", "loading"])
def test_a_parent_that_is_killed_takes_the_process_along(when):
    program = (
        "import os, signal, sys\n"
        "from edge_wsd import *\n"
        "when, seen = sys.argv[1], []\n"
        "def progress(*_):\n"
        "    if when == 'loading':\n"
        "        import psutil\n"
        "        die(psutil.Process().children()[0].pid)\n"
        "def die(process_id):\n"
        "    print(process_id, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "pair = Pair.demo(isolate=True, progress=progress)\n"
        "if when == 'answering':\n"
        "    next(pair.session(options=Options(max_tokens=900, mode='base', stop_loops=False)).stream('hello'))\n"
        "die(pair.process_id)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, when], cwd=ROOT, capture_output=True, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    wait_until(lambda: is_gone(int(done.stdout)))


def test_a_program_that_forgets_to_close_leaves_nothing_behind():
    program = "from edge_wsd import Pair; pair = Pair.demo(isolate=True); print(pair.process_id)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True, timeout=60)
    assert done.stderr == b""
    wait_until(lambda: is_gone(int(done.stdout)))


def test_closing_ends_what_is_written_and_the_process(monkeypatch, in_bounded_time):
    monkeypatch.setattr(model_process, "_CLOSING_HEARD_S", 60.0)  # however busy this machine is
    pair = demo(isolate=True)
    stream, chat = pair.session(options=LONG).stream(QUESTION), pair.session(options=ANSWER)
    next(stream)
    pair.close()
    pair.close()
    assert is_gone(pair.process_id) and stream.result().finish_reason == "cancelled"
    with pytest.raises(ClosedError):
        chat.ask(QUESTION)


def test_a_process_that_hangs_is_not_waited_for_when_it_is_closed(monkeypatch, in_bounded_time):
    monkeypatch.setattr(model_process, "_CLOSE_S", 600.0)  # for one that is known to be closing
    pair = demo(isolate=True)
    stream = pair.session(options=LONG).stream(QUESTION)
    kill(pair, signal.SIGSTOP)
    pair.close()
    assert is_gone(pair.process_id)
    with pytest.raises(ClosedError):
        stream.result()


def test_a_pair_that_nobody_holds_any_more_leaves(in_bounded_time):
    pair = demo(isolate=True)
    process_id = pair.process_id
    del pair
    gc.collect()
    wait_until(lambda: is_gone(process_id))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_is_told(isolated):
    child = os.fork()
    if child == 0:
        try:
            isolated.session(options=ANSWER).ask(QUESTION)
        except ForkedError:
            isolated.close()
            os._exit(7)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert isolated.session(options=ANSWER).ask(QUESTION).text
