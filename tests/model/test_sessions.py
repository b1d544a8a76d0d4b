"""Sessions: who wrote what is kept, one program at a time has one, and nothing of a damaged file reaches llama.cpp."""

import json
import os
import signal
import threading
from hashlib import sha256

import pytest

from edge_wsd import ModelSettings, Options, Pair, Session, SessionError, SessionFileError, SessionStore, TemplateError
from edge_wsd.errors import MemoryFileError
from edge_wsd.memory_files import fingerprint, memory_file, secret
from edge_wsd.sessions import memory_writer
from edge_wsd.sessions.memory import bring_memory_back, keep_memory
from edge_wsd.sessions.memory_writer import MemoryWriter

SETTINGS = ModelSettings(gpu_layers=0, threads=1, context_length=512)
QUESTION = "How do I list files by size?"
SAME_PASSES = {"chunk": 4, "speculation": False}
"""However long they take: rounding depends on what is computed together."""


def demo(**changes):
    settings = ModelSettings(gpu_layers=0, threads=1, **{"context_length": 512, **changes})
    return Pair.demo(drafter_settings=settings, base_settings=settings)


@pytest.fixture(scope="module")
def pair():
    with demo() as pair:
        yield pair


@pytest.fixture
def other(pair):
    """The same pair as another process has it: with nothing in memory."""
    with demo() as other:
        yield other


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setattr(secret, "data_folder", lambda: tmp_path / "home")


@pytest.fixture
def store(tmp_path):
    return SessionStore(tmp_path / "sessions")


def texts(authorship):
    return "".join(span.text for span in authorship.spans)


def test_each_answer_keeps_who_wrote_it_and_how(pair, tmp_path):
    chat = pair.session(options=Options(max_tokens=60, temperature=0.7, seed=5))
    reply = chat.ask(QUESTION)
    question, answer = chat.written
    assert question is None and texts(answer) == reply.text == chat.messages[-1].content
    assert [span.author for span in answer.spans] == ["drafter", "base"]
    drafted = "".join(token.text for token in reply.tokens if token.source == "drafter")
    assert answer.spans[0].text == drafted
    assert (answer.switch, answer.seed, answer.finish_reason, answer.pair) == (reply.switch, 5, "stop", "demo")
    chat.save(tmp_path / "chat.json")
    assert Session.load(tmp_path / "chat.json", pair).written == chat.written


def test_a_conversation_can_be_saved_after_its_pair_was_closed(tmp_path):
    with demo() as pair:
        chat = pair.session(options=Options(max_tokens=5))
        chat.ask(QUESTION)
    chat.save(tmp_path / "chat.json")
    assert json.loads((tmp_path / "chat.json").read_text())["pair"]["name"] == "demo"


def test_a_given_beginning_is_nobodys(pair):
    opening = {"role": "assistant", "content": "Sure, I can  "}
    chat = pair.session(options=Options(max_tokens=5), messages=[{"role": "user", "content": QUESTION}, opening])
    chat.ask()
    first = chat.written[-1]
    assert first.spans[0].author == "given" and first.spans[0].text == "Sure, I can"
    chat.ask()  # what the models wrote stays theirs when it is continued
    again = chat.written[-1]
    assert texts(again) == chat.messages[-1].content and again.spans[0] == first.spans[0]
    assert texts(again).startswith(texts(first).rstrip()) and again.spans[1].author != "given"


def test_authors_go_with_their_messages(pair):
    chat = pair.session(options=Options(max_tokens=20))
    chat.ask(QUESTION)
    child = chat.fork()
    child.ask("And only directories?")
    assert child.written[:2] == chat.written and len(child.written) == len(child.messages) == 4
    assert [message.role for message in child.undo()] == ["user", "assistant"]
    assert child.messages == chat.messages and child.written == chat.written
    child.undo()
    assert child.messages == child.written == ()
    with pytest.raises(TemplateError, match="nothing has been said"):
        child.undo()


def test_a_fork_over_another_pair_is_written_by_that_one(pair, other):
    chat = pair.session(options=Options(max_tokens=20))
    chat.ask(QUESTION)
    other.name = "another"
    child = chat.fork(other)
    child.ask("And only directories?")
    assert [each.pair for each in child.written if each] == ["demo", "another"] and len(chat.messages) == 2


def test_a_conversation_of_the_first_format_still_loads(pair, tmp_path):
    chat = pair.session(system="Be brief.", options=Options(max_tokens=20))
    chat.ask(QUESTION)
    chat.save(tmp_path / "chat.json")
    data = json.loads((tmp_path / "chat.json").read_text())
    first = {key: data[key] for key in ("system", "options")}
    plain = [{"role": message["role"], "content": message["content"]} for message in data["messages"]]
    old = {"format": "edge-wsd conversation 1", **first, "messages": plain}
    (tmp_path / "old.json").write_text(json.dumps(old))
    loaded = Session.load(tmp_path / "old.json", pair)
    assert (loaded.messages, loaded.system, loaded.options) == (chat.messages, chat.system, chat.options)
    assert loaded.written == (None, None)
    loaded.save(tmp_path / "old.json")  # in the place of the old one
    assert Session.load(tmp_path / "old.json", pair).messages == chat.messages


@pytest.mark.parametrize(
    "spoil",
    [
        lambda written: written["spans"].append(["base", "more"]),
        lambda written: written["spans"][0].__setitem__(0, "nobody"),
        lambda written: written.pop("seed"),
        lambda written: written.update(seed="5"),
        lambda written: written.update(seed=-1),
        lambda written: written.update(switch={"index": 1, "reason": "no reason", "confidence": None}),
        lambda written: written.update(switch=[]),
        lambda written: written.update(finish_reason=None),
        lambda written: written.update(spans=[["base"]]),
    ],
)
def test_damaged_authors_are_a_damaged_conversation(pair, tmp_path, spoil):
    chat = pair.session(options=Options(max_tokens=20))
    chat.ask(QUESTION)
    chat.save(tmp_path / "chat.json")
    data = json.loads((tmp_path / "chat.json").read_text())
    spoil(data["messages"][-1]["written"])
    (tmp_path / "chat.json").write_text(json.dumps(data))
    with pytest.raises(SessionFileError, match="is a damaged conversation"):
        Session.load(tmp_path / "chat.json", pair)


# The store


def test_a_session_is_there_again_and_alone_to_whoever_has_it(pair, store):
    with store.open("work") as kept:
        assert kept.conversation is None
        chat = pair.session(options=Options(max_tokens=20))
        chat.ask(QUESTION)
        kept.write(chat.saved())
        for use in (lambda: store.open("work"), lambda: store.remove("work"), lambda: store.rename("work", "other")):
            with pytest.raises(SessionError, match="open in another program"):
                use()
        assert store.read("work").messages == chat.messages  # looking at it is no harm
    with store.open("work") as kept:
        assert Session.of(kept.conversation, pair, kept.path).written == chat.written
    (summary,) = store.summaries()
    assert (summary.name, summary.n_messages, summary.pair, summary.first) == ("work", 2, "demo", QUESTION)


def test_a_session_in_which_nothing_was_said_leaves_nothing(store):
    store.open("work").close()
    assert store.names() == [] and not (store.folder / "work").exists()


def test_sessions_are_renamed_and_removed_but_never_replaced(pair, store):
    for name in ("one", "two"):
        with store.open(name) as kept:
            kept.write(pair.session(system=name).saved())
    with pytest.raises(SessionError, match="there is a session 'two' already"):
        store.rename("one", "two")
    store.rename("one", "three")
    assert store.names() == ["three", "two"] and store.read("three").system == "one"
    store.remove("two")
    assert store.names() == ["three"]
    with pytest.raises(SessionError, match="there is no session 'thre'; did you mean 'three'"):
        store.read("thre")


@pytest.mark.parametrize(
    "name", ["", "..", ".hidden", "a/b", "a\\b", "/etc", "a b", "a\0b", "é", "a" * 65, "CON", "nul.txt", "a."]
)
def test_a_name_is_a_plain_one(store, name):
    for use in (store.open, store.read, store.remove, lambda name: store.rename("one", name)):
        with pytest.raises(SessionError):
            use(name)
    assert not store.folder.exists() or [each.name for each in store.folder.iterdir()] == []


def test_a_damaged_session_is_listed_with_its_problem(store):
    (store.folder / "bad").mkdir(parents=True)
    (store.folder / "bad" / "conversation.json").write_text("{")
    (summary,) = store.summaries()
    assert "is not a saved conversation" in summary.problem
    with pytest.raises(SessionFileError):
        store.open("bad")
    store.remove("bad")  # nor is it locked now


def test_a_folder_that_can_hold_no_sessions_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for store in (SessionStore(tmp_path / "file"), SessionStore(tmp_path / "file" / "below")):
        for use in (lambda store=store: store.open("work"), store.names):
            with pytest.raises(SessionError, match="file"):
                use()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_sessions_are_private(pair, store):
    with store.open("work") as kept:
        kept.write(pair.session(system="private").saved())
        assert store.folder.stat().st_mode & 0o077 == kept.path.parent.stat().st_mode & 0o077 == 0


# What the models have in memory


@pytest.fixture
def kept_memory(tmp_path):
    """A conversation of a pair that had no other, which may begin alike and be longer, and the file of what both models
    have in memory of it."""
    with demo() as pair:
        chat = pair.session(options=Options(max_tokens=60, **SAME_PASSES))
        chat.ask(QUESTION)
        kept = keep_memory(chat, tmp_path / "memory.kv")
        assert kept is not None and set(kept.n_tokens) == {"drafter", "base"}
        yield chat, tmp_path / "memory.kv"


def test_memory_comes_back_in_both_models_and_the_answer_is_the_same(pair, other, kept_memory):
    chat, path = kept_memory
    moved = chat.fork(other)
    brought = bring_memory_back(moved, path)
    here, there = chat.ask("And only directories?"), moved.ask("And only directories?")
    assert there.text == here.text
    assert there.stats.drafter_reused_tokens >= brought.n_tokens["drafter"] - SAME_PASSES["chunk"] > 20
    assert there.stats.base_reused_tokens >= brought.n_tokens["base"] - 2 > 20


def test_memory_of_isolated_models_is_kept_and_comes_back_as_well(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))  # their process has a secret of this user, too
    path = tmp_path / "memory.kv"
    with Pair.demo(isolate=True, drafter_settings=SETTINGS, base_settings=SETTINGS) as isolated:
        chat = isolated.session(options=Options(max_tokens=60, **SAME_PASSES))
        assert keep_memory(chat, path) is None
        chat.ask(QUESTION)
        kept = keep_memory(chat, path)
        os.kill(isolated.process_id, getattr(signal, "SIGKILL", signal.SIGTERM))
        assert bring_memory_back(chat, path) == kept  # in the next process
        reply = chat.ask("And only directories?")
        assert reply.stats.base_reused_tokens >= kept.n_tokens["base"] - 2 > 20
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(MemoryFileError, match="is damaged"):
            bring_memory_back(chat, path)


def test_a_conversation_that_has_outgrown_its_context_goes_on_in_memory(tmp_path):
    """It was saved as a whole, which is in no memory, and cut at another message when it was taken up again."""
    with demo(context_length=160) as pair:
        chat = pair.session(options=Options(max_tokens=24, **SAME_PASSES))
        for number in range(100):  # each turn is another one
            if chat.n_left_out:
                break
            chat.ask(f"How do I list {number} files?")
        chat.ask(QUESTION)
        kept = keep_memory(chat, tmp_path / "memory.kv")
        here = chat.fork().ask("hello")
    with demo(context_length=160) as other:
        again = Session.of(chat.saved(), other, tmp_path)
        bring_memory_back(again, tmp_path / "memory.kv")
        assert again.n_left_out == chat.n_left_out > 0
        there = again.ask("hello")
    assert there.text == here.text
    assert there.stats.base_reused_tokens >= kept.n_tokens["base"] - 2 > 20
    assert there.stats.drafter_reused_tokens > 20


def test_memory_serves_the_conversation_that_it_was_made_of_and_what_that_became(pair, other, kept_memory):
    """A kill between two writings leaves the memory of a turn before, or of a turn that was taken back."""
    chat, path = kept_memory
    longer = Session(other, messages=[*chat.messages, *chat.messages])
    assert bring_memory_back(longer, path)
    others = (
        pair.session(),
        pair.session(messages=chat.messages[:1]),
        pair.session(messages=[chat.messages[0], {"role": "assistant", "content": "Something else."}]),
        pair.session(messages=chat.messages, system="Be brief."),
    )
    for each in others:
        with pytest.raises(MemoryFileError, match="is of another conversation, or of this one before a change"):
            bring_memory_back(each, path)
        assert each.n_left_out == 0


def test_a_chat_goes_on_while_its_memory_is_written(pair, other, tmp_path):
    writer = MemoryWriter(tmp_path / "memory.kv")
    chat = pair.session(options=Options(max_tokens=20, **SAME_PASSES))
    for question in (QUESTION, "And only directories?", "hello"):
        chat.ask(question)
        writer.write(chat)
    writer.wait()
    assert writer.problem is None and [each.name for each in tmp_path.iterdir() if each.is_file()] == ["memory.kv"]
    moved = chat.fork(other)
    assert bring_memory_back(moved, tmp_path / "memory.kv") == writer.kept
    assert moved.ask("thanks").stats.base_reused_tokens >= writer.kept.n_tokens["base"] - 2 > 60
    chat.clear()
    writer.write(chat)
    writer.wait()
    assert writer.kept is None and (tmp_path / "memory.kv").read_bytes() == b""


def test_of_what_comes_while_memory_is_written_the_newest_is_next(pair, tmp_path, monkeypatch):
    """However slow the disk is, there is one copy in this process and one more file at most."""
    written, begun, may_end = [], threading.Event(), threading.Event()

    def keep(session, _path):
        written.append(session.messages[0].content)
        begun.set()
        assert may_end.wait(30)

    monkeypatch.setattr(memory_writer, "keep_memory", keep)
    writer = MemoryWriter(tmp_path / "memory.kv")
    for number in range(5):
        writer.write(pair.session(messages=[{"role": "user", "content": str(number)}]))
        assert begun.wait(30)
    may_end.set()
    writer.wait()
    assert written == ["0", "4"]
    writer.write(pair.session(messages=[{"role": "user", "content": "later"}]))
    writer.wait()
    assert written[-1] == "later"


def test_memory_that_cannot_be_written_beside_a_chat_is_known_until_it_can(pair, kept_memory, tmp_path):
    chat, writer = kept_memory[0], MemoryWriter(tmp_path / "later" / "memory.kv")
    writer.write(chat)
    writer.wait()
    assert "cannot be written" in str(writer.problem)
    (tmp_path / "later").mkdir()
    writer.write(chat)
    writer.wait()
    assert writer.problem is None and writer.kept is not None


def test_what_is_not_in_memory_takes_no_file_away(pair, other, kept_memory):
    """A pair with other settings, in which nothing was said, left none for the next one."""
    chat, path = kept_memory
    before = path.read_bytes()
    assert keep_memory(pair.session(), path) is None and keep_memory(chat.fork(other), path) is None
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "what"),
    [({"context_length": 256}, "context"), ({"kv_type": "q8_0"}, "KV type"), ({"exact": True}, "exact")],
)
def test_memory_of_other_settings_is_not_used(kept_memory, changes, what):
    with demo(**changes) as pair, pytest.raises(MemoryFileError, match=f"was made with another {what}"):
        bring_memory_back(kept_memory[0].fork(pair), kept_memory[1])


def test_memory_of_another_model_is_not_used(kept_memory):
    complaint = pytest.raises(MemoryFileError, match="was made with another model file of the drafter")
    with Pair.demo(other_vocabulary=True, drafter_settings=SETTINGS, base_settings=SETTINGS) as pair, complaint:
        bring_memory_back(kept_memory[0].fork(pair), kept_memory[1])


def test_a_model_file_with_other_weights_is_another_model(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(bytes(3 << 20))
    before, times = fingerprint.fingerprint(path), (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    data = bytearray(path.read_bytes())
    data[1 << 21] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=times)
    fingerprint._fingerprint.cache_clear()
    assert fingerprint.fingerprint(path) != before


def test_a_changed_byte_anywhere_is_noticed_before_llama_cpp_sees_any(other, kept_memory, monkeypatch):
    """llama.cpp's loader trusts what it reads: sizes and positions of a damaged state can end the process."""
    chat, path = kept_memory
    whole = path.read_bytes()
    monkeypatch.setattr(other.loaded.engine, "call", lambda _work: pytest.fail("a damaged file was restored"))
    places = [*range(0, 1200, 37), *range(1200, len(whole), len(whole) // 60), len(whole) - 1]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 0x40
        path.write_bytes(damaged)
        with pytest.raises(MemoryFileError, match="damaged"):
            bring_memory_back(chat.fork(other), path)


@pytest.mark.parametrize("n_left", [0, 1, 100, 2000, -1, -5000])
def test_a_file_that_was_cut_off_is_noticed(other, kept_memory, n_left):
    chat, path = kept_memory
    path.write_bytes(path.read_bytes()[:n_left])
    with pytest.raises(MemoryFileError, match="damaged"):
        bring_memory_back(chat.fork(other), path)
    assert other.generate(QUESTION, max_tokens=3).text  # the pair goes on


def test_a_file_with_more_behind_it_is_noticed(other, kept_memory):
    chat, path = kept_memory
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(MemoryFileError, match="damaged"):
        bring_memory_back(chat.fork(other), path)


def test_a_well_made_file_of_somebody_else_is_not_trusted(other, kept_memory, tmp_path):
    """Its checksums are right; but a hostile file's would be, too."""
    chat, path = kept_memory
    assert bring_memory_back(chat.fork(other), path)
    head, _seal, rest = path.read_bytes().split(b"\n", 2)
    (tmp_path / "home" / "session_secret").write_bytes(bytes(32))
    with pytest.raises(MemoryFileError, match="was not written by this user's edge-wsd"):
        bring_memory_back(chat.fork(other), path)
    path.write_bytes(head + b"\n" + sha256(head).hexdigest().encode() + b"\n" + rest)
    with pytest.raises(MemoryFileError, match="was not written by this user's edge-wsd"):
        bring_memory_back(chat.fork(other), path)


def test_a_sealed_state_that_does_not_fit_is_only_read_again(other, kept_memory, monkeypatch):
    """As from a build of llama.cpp that looks the same and is not."""
    chat, path = kept_memory
    monkeypatch.setattr(memory_file, "_part", _half(memory_file._part))
    with pytest.raises(MemoryFileError, match="does not fit into the memory of this pair"):
        bring_memory_back(chat.fork(other), path)
    assert other.generate(QUESTION, max_tokens=3).stats.base_reused_tokens == 0


def _half(read):
    """The loader sees the sizes that it expects and fewer bytes."""
    from dataclasses import replace

    def part(*arguments):
        state = read(*arguments)
        return replace(state, data=state.data[: len(state.data) // 2])

    return part


def test_a_memory_that_cannot_be_written_is_told(pair, kept_memory, tmp_path):
    with pytest.raises(MemoryFileError, match="cannot be written"):
        keep_memory(kept_memory[0], tmp_path / "nowhere" / "memory.kv")
