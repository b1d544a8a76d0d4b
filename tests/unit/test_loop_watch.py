"""When a reply has ended in a loop, and what is repeated on purpose."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_wsd.decoding import loop_watch as rule
from edge_wsd.decoding.bridge import SameVocabulary, ThroughText
from edge_wsd.decoding.drafter import Drafter
from edge_wsd.decoding.loop_watch import Loop, LoopWatch
from edge_wsd.decoding.meter import Meter
from edge_wsd.decoding.options import Options
from edge_wsd.decoding.reply_state import PromptedModel, ReplyState
from edge_wsd.decoding.signal import ConfidenceWindow
from edge_wsd.decoding.weak_to_strong import weak_to_strong
from edge_wsd.decoding.window_reply import WindowReply
from edge_wsd.decoding.writer import ReplyWriter
from tests.fakes import FakeModel, FakeSampler, FakeSequence, FakeVocabulary, drive

WORDS = re.compile(r" ?\w+| ?[^\w\s]+|\s")
PARTS = re.compile(r" ?[^\W\d]{1,5}| ?\d| ?[^\w\s]|_|\s")
SENTENCE = "The best way to learn is to read a good book and to think about it for a while. "
PARAGRAPH = " ".join(a + b for a in "bcdfghklmnprstw" for b in ("a", "e", "i", "o", "u", "ay", "oy")) + ".\n"


def watched(text, question="", cut=WORDS.findall):
    """Where the rule stops this text, cut into words or into parts of them: the text up to there, or None."""
    pieces = cut(text)
    ids = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    by_id = list(ids)
    watch = LoopWatch(lambda token: by_id[token].encode(), question)
    for n, piece in enumerate(pieces, start=1):
        if watch.push(ids[piece]):
            return "".join(pieces[:n])
    return None


ON_PURPOSE = {
    "laughter": "He said: " + "ha " * 60 + "and left.",
    "a row of dashes": "Title\n" + "-" * 120 + "\nText",
    "a row of dashes, each a token": "Title\n" + " -" * 120 + "\nText",
    "an empty table": "| name | age | city |\n| --- | --- | --- |\n" + "| | | |\n" * 40,
    "equal rows of a table": "| day | open | hours |\n|---|---|---|\n" + "| Monday | yes | 9-5 |\n" * 25,
    "equal rows of words": "| day | shop |\n|---|---|\n" + "| Monday | closed |\n" * 30,
    "a table of HTML": "<table>\n" + "  <tr><td></td><td></td><td></td></tr>\n" * 30 + "</table>",
    "cards of HTML": '<div class="card">\n  <img src="image.jpg" alt="">\n  <h3>Title</h3>\n</div>\n' * 12,
    "an empty chess board": ("| " + ". " * 8 + "|\n") * 8 + "  a b c d e f g h",
    "a picture": ("  |" + " " * 20 + "|\n") * 30 + "  " + "=" * 22,
    "a matrix": "[" + ("[" + "0, " * 15 + "0],\n") * 16 + "]",
    "an array": "int x[100] = {" + "0, " * 100 + "};",
    "records": "[" + '{"id": null, "name": "", "tags": []},\n' * 20 + "]",
    "code": "def test():\n" + '    print("hello")\n' * 30,
    "steps of a program": "click();\nawait sleep(1000);\n" * 20,
    "counting": "".join(f"{i}, " for i in range(2000)),
    "a list": "".join(f"{i}. This is the point with the number {i}.\n" for i in range(100)),
    "check boxes": "- [ ] \n" * 50,
    "a refrain": "".join(f"Verse {i} tells of day {i}.\n\n" + SENTENCE * 2 + "\n\n" for i in range(20)),
    "a chorus, three times": SENTENCE * 3 + "The end.",
    "a sentence, five times": SENTENCE * 5 + "The end.",
    "digits of a third": "0." + "3" * 150,
    "a mantra": "om mani padme hum\n" * 20,
    "a form": "Name: ____ Date: ____\n" * 20,
}


@pytest.mark.parametrize("cut", [WORDS.findall, PARTS.findall], ids=["words", "parts"])
@pytest.mark.parametrize("text", ON_PURPOSE.values(), ids=ON_PURPOSE)
def test_what_people_want_to_see_repeated_is_no_loop(text, cut):
    assert watched(text, cut=cut) is None


@pytest.mark.parametrize(
    ("question", "piece", "times"),
    [
        ("write hello 50 times", "hello\n", 50),
        ("Write 'hello' 100 times!", "hello ", 100),
        ("say I love you 200 times", "I love you. ", 200),
        ('Write "I will not talk in class" a hundred times (100).', "I will not talk in class.\n", 100),
        ("Write: I love you, a hundred times", "I love you. ", 100),
        ("Say hello five hundred times", "hello ", 500),
        ("hello, 1,000 times please", "hello\n", 1000),
        ("请写五遍，不，100遍：我不再迟到", "我不再迟到\n", 100),
        ("Say Hello 90 times", "lo hel", 90),  # the piece begins within a word
        ("Print a 60 x 60 grid of zeros", "0 " * 60 + "\n", 60),
        ("the first 500 digits of 1/3", " 3", 500),
    ],
)
def test_a_question_gets_as_many_repetitions_as_it_has_asked_for_and_no_end_of_more(question, piece, times):
    assert watched("Sure: " + piece * times, question) is None
    assert watched("Sure: " + piece * 3 * times, question) is not None


def test_what_was_asked_for_may_be_several_times_in_one_token():
    question = "write the letter a 900 times, without spaces"
    assert watched("a" * 900, question, cut=PARTS.findall) is None
    assert watched("a" * 9000, question, cut=PARTS.findall) is not None
    assert watched("a" * 900, "write a letter", cut=PARTS.findall) is not None


@pytest.mark.parametrize("question", ["", "What was in 1969?", SENTENCE * 3 + "50"])
def test_years_and_the_numbers_of_a_long_text_ask_for_nothing(question):
    """In a pasted text there is always a large number."""
    assert watched(SENTENCE * 9, question) is not None
    assert watched("17 + 25 = 42\n" * 90, question) is not None


@pytest.mark.parametrize(
    ("piece", "most_tokens"),
    [
        (SENTENCE, 160),
        ("I do not know. ", 160),
        ("very, ", 160),
        ("\n", 160),
        (PARAGRAPH, 4 * 110),
        ("No. ", 330),
        ("Der Mond ist aufgegangen. ", 160),
        ("मैं नहीं जानता कि यह क्या है। ", 160),
        ("17 + 25 = 42\n", 500),
        ("print(x + 1)\n", 500),
        ("<p>Nothing is here.</p>\n", 600),
        ("😂 ", 160),
    ],
)
@pytest.mark.parametrize("beginning", ["", "Sure, this is how it goes: ", PARAGRAPH * 2])
def test_what_never_ends_is_stopped(beginning, piece, most_tokens):
    stopped = watched(beginning + piece * 1000, "What is 17 + 25?")
    assert stopped is not None and stopped.startswith(beginning)
    assert len(WORDS.findall(stopped[len(beginning) :])) <= most_tokens + len(WORDS.findall(piece))


@given(st.integers(1, rule.LONGEST_PIECE), st.integers(0, 40), st.randoms())
def test_a_piece_of_any_length_is_found_whatever_is_in_it_and_before_it(n, n_before, rng):
    """Also a piece that holds a shorter repetition, which breaks the run of that one and not its own."""
    piece = [rng.randrange(max(1, n // 3)) for _ in range(n)]
    tokens = [1000 + i for i in range(n_before)] + piece * 200
    watch = LoopWatch(lambda token: b"word")
    found = next(loop for token in tokens if (loop := watch.push(token)))
    assert n % found.n_tokens == 0 and found.n_times >= rule.FEWEST_TIMES


def slowly(tokens, enough):
    """The rule by its definition: the number of tokens behind which some piece has come often enough, and which."""
    for end in range(len(tokens) + 1):
        loops = []
        for n in range(1, min(rule.LONGEST_PIECE, end) + 1):
            piece, times = tokens[end - n : end], 1
            while end - (times + 1) * n >= 0 and tokens[end - (times + 1) * n : end - times * n] == piece:
                times += 1
            if times >= max(rule.FEWEST_TIMES, enough(piece)):
                loops.append(n)
        if loops:
            return end, loops
    return None


@given(st.lists(st.integers(0, 2), max_size=60), st.integers(2, 4))
def test_the_quick_rule_is_the_slow_one(tokens, fewest):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("FEWEST_TIMES", fewest), ("LONGEST_PIECE", 7), ("_ENOUGH_OF_PROSE", 6)):
            patch.setattr(rule, name, value)
        watch = LoopWatch(lambda token: b"word")
        found = next(((n, loop) for n, token in enumerate(tokens, 1) if (loop := watch.push(token))), None)
        expected = slowly(tokens, lambda piece: -(-6 // len(set(piece))))
    assert (found is None) == (expected is None)
    if found and expected:
        assert found[0] == expected[0] and found[1].n_tokens in expected[1]


@given(st.lists(st.integers(0, 3), max_size=40), st.integers(0, 40), st.lists(st.integers(0, 3), max_size=200))
def test_tokens_that_are_taken_back_leave_nothing_behind(kept, n_wrong, more):
    straight, cut = LoopWatch(lambda token: b"word"), LoopWatch(lambda token: b"word")
    for token in [*kept, *[9] * n_wrong]:
        cut.push(token)
    cut.cut(len(kept))
    assert [straight.push(token) for token in [*kept, *more]][len(kept) :] == [cut.push(token) for token in more]


def test_tokens_that_stay_are_counted_on():
    watch = LoopWatch(lambda token: b"word")
    assert not any(watch.push(token) for token in [1] * 100 + [2] * 5)
    watch.cut(100)
    assert [watch.push(1) for _ in range(20)] == [None] * 19 + [Loop(1, 120)]


def test_a_loop_says_what_it_was():
    assert str(Loop(1, 120)) == "stopped in a loop: the same token came 120 times in a row"
    assert str(Loop(9, 4)) == "stopped in a loop: the same 9 tokens came 4 times in a row"


def writer_of(vocabulary, max_tokens=400, loops=True, **options):
    return ReplyWriter(
        vocabulary, max_tokens=max_tokens, loops=LoopWatch(vocabulary.piece) if loops else None, **options
    )


def test_a_loop_ends_the_reply_as_a_stop_with_all_that_was_shown():
    vocabulary = FakeVocabulary([b"", b"ha ", b"\n"])
    writer = writer_of(vocabulary, stops=[" \n"])
    shown = ""
    while writer.finish is None:
        shown += "".join(event.text for event in writer.write(1, "base"))
    assert (writer.finish, writer.stop, writer.loop) == ("stop", None, Loop(1, 120))
    assert shown == writer.text == "ha " * 120  # what a stop string could have begun with, too


def test_what_a_draft_takes_back_does_not_count_towards_a_loop():
    """A draft through text may be cut into other tokens, and its text comes again."""
    writer = writer_of(FakeVocabulary([b"", b"ha "]))
    for n in (100, 80):
        for _ in range(n):
            writer.write(1, "drafter")
        if n == 100:
            writer.cut(40)
            assert writer.finish is None
    assert (len(writer.ids), writer.loop) == (120, Loop(1, 120))


def test_a_loop_leaves_no_half_character():
    first, second = "🙂".encode()[:2], "🙂".encode()[2:]
    vocabulary = FakeVocabulary([b"", first, second])
    writer = writer_of(vocabulary)
    for token in itertools.cycle([2, 1]):
        if writer.finish is not None:
            break
        writer.write(token, "base")
    assert writer.loop is not None and writer.ids[-1] == 1 and writer.text.endswith("🙂")


def test_without_the_watch_nothing_is_stopped():
    writer = writer_of(FakeVocabulary([b"", b"ha "]), loops=False)
    while writer.finish is None:
        writer.write(1, "base")
    assert (writer.finish, writer.loop, len(writer.ids)) == ("length", None, 400)


VOCABULARY = FakeVocabulary([b"", *(f"w{i} ".encode() for i in "abcdefgh"), *(i.encode() for i in "wabcdefgh \n")])
LETTERS = FakeVocabulary([b"", *(i.encode() for i in "wabcdefgh \n"), *(f"{i} ".encode() for i in "abcdefgh")])


class Circle(FakeModel):
    """Says the tokens of a text; behind the n-th it begins again with the first of the loop."""

    def __init__(self, vocabulary, n_prompt, tokens, loop_from):
        super().__init__(vocabulary.n_tokens, seed=0)
        self._n_prompt, self._tokens, self._loop_from = n_prompt, tokens, loop_from

    def logprobs(self, history):
        n, size = len(history) - self._n_prompt, len(self._tokens) - self._loop_from
        at = n if n < len(self._tokens) else self._loop_from + (n - self._loop_from) % size
        return [-0.1 if token == self._tokens[at] else -9.0 for token in range(self.n_tokens)]


def reply(drafter_words, *, chunk, speculation, threshold, samplers):
    """A pair whose base falls into a loop of 3 words, behind 7 others."""
    text = "wa wb wc wd we wf wg wh wa wc "
    options = Options(max_tokens=400, chunk=chunk, speculation=speculation, threshold=threshold)
    base = Circle(VOCABULARY, 2, VOCABULARY.tokenize(text), 7)
    small = Circle(drafter_words, 1, drafter_words.tokenize(text), len(drafter_words.tokenize(text[: 7 * 3])))
    bridge = (SameVocabulary if drafter_words is VOCABULARY else ThroughText)(drafter_words, VOCABULARY)
    drafter = Drafter(
        FakeSequence(small),
        [1],
        drafter_words,
        bridge,
        bridge.draft("", strip=True),
        anchor="",
        sampler=samplers[0],
        max_draft=512,
        n_ctx=5000,
    )
    writer = writer_of(VOCABULARY)
    finisher = PromptedModel(FakeSequence(base), [1, 2], [], sampler=samplers[1])
    window = ConfidenceWindow(threshold=threshold, window=options.window)
    state = WindowReply(finisher, options, writer, Meter(), drafter, window)
    events = list(drive(weak_to_strong(state)))
    assert "".join(getattr(event, "text", "") for event in events) == writer.text
    return writer


@pytest.mark.parametrize("threshold", [0.8, 1.0], ids=["behind the switch", "while drafting"])
@pytest.mark.parametrize("drafter_words", [VOCABULARY, LETTERS], ids=["same", "different"])
@pytest.mark.parametrize("sampled", [False, True], ids=["greedy", "sampled"])
def test_a_reply_stops_at_the_same_token_however_it_is_computed(drafter_words, threshold, sampled):
    stopped = set()
    for chunk in (1, 3, 8, 16):
        for speculation in (True, False):
            samplers = (FakeSampler(1), FakeSampler(2)) if sampled else (None, None)
            writer = reply(drafter_words, chunk=chunk, speculation=speculation, threshold=threshold, samplers=samplers)
            stopped.add((tuple(writer.ids), writer.finish, writer.loop))
    if not sampled:
        text = "wa wb wc wd we wf wg " + "wh wa wc " * 40
        assert stopped == {(tuple(VOCABULARY.tokenize(text)), "stop", Loop(3, 40))}
    assert len(stopped) == 1


@pytest.mark.parametrize("source", ["base", "drafter"])
def test_one_model_alone_is_stopped_as_well(source):
    model = Circle(VOCABULARY, 2, VOCABULARY.tokenize("wa wb wc "), 1)
    writer = writer_of(VOCABULARY)
    state = ReplyState(PromptedModel(FakeSequence(model), [1, 2], [], source), Options(), writer, Meter())
    list(drive(weak_to_strong(state)))
    assert (writer.finish, writer.loop) == ("stop", Loop(2, 60))
