"""Drafted tokens that only repeat the question or the draft, and the confidence without them."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_wsd.decoding.bridge import SameVocabulary, ThroughText
from edge_wsd.decoding.drafter import Drafter
from edge_wsd.decoding.events import Scored, Switched
from edge_wsd.decoding.meter import Meter
from edge_wsd.decoding.options import Options
from edge_wsd.decoding.repetition import Repetition
from edge_wsd.decoding.reply_state import PromptedModel
from edge_wsd.decoding.signal import ConfidenceWindow, switch_index
from edge_wsd.decoding.weak_to_strong import weak_to_strong
from edge_wsd.decoding.window_reply import WindowReply
from edge_wsd.decoding.writer import ReplyWriter
from tests.fakes import FakeModel, FakeSequence, FakeVocabulary, drive


def marked(question, pieces):
    """The draft with repeated pieces in brackets."""
    repetition = Repetition(lambda token: pieces[token], question)
    return b"".join(b"[%b]" % piece if repetition.push(i) else piece for i, piece in enumerate(pieces)).decode()


@pytest.mark.parametrize(
    ("question", "draft", "expected"),
    [
        ("What is 17 + 25?", "1|7| +| |2|5| =| |4|2", "17[ +][ ][2][5] = 42"),
        ("How do I boil an egg?", "Bo|il| an| egg|:| put| it", "Boil[ an][ egg]: put it"),
        ("HOW DO  I\nBOIL AN EGG", "To| boil| an| egg|,", "To boil an[ egg],"),
        ("", "ha| ha| ha| ha| ha", "ha ha ha[ ha][ ha]"),
        ("", "Put| it| in|.|\n|\n|Put| it| in| now", "Put it in.\n\nPut it[ in] now"),
        ("Ünder den Linden", "ünder| den| lin|den|?", "ünder den[ lin][den]?"),
        ("a b c", "a|b|c", "abc"),
        ("concatenate", "con|cat|en|ate", "concat[en][ate]"),
        ("a b c d", "a| c| b| d", "a c b d"),
        ("x y", "x| y", "x y"),
        ("", "\n| |a", "\n a"),
    ],
)
def test_three_tokens_in_a_row_that_stand_before_repeat_their_last(question, draft, expected):
    assert marked(question, [piece.encode() for piece in draft.split("|")]) == expected


@pytest.mark.parametrize("text", ["吾輩は猫である", "🙂☃ö", "Was gibt es?"])
def test_a_character_may_be_cut_into_its_bytes(text):
    """Parts of characters are compared as they are."""
    pieces = [bytes([byte]) for byte in text.encode()]
    judged = Repetition(lambda token: pieces[token], f"Say: {text.upper()}!")
    assert [judged.push(i) for i in range(len(pieces))] == [False, False] + [True] * (len(pieces) - 2)
    elsewhere = Repetition(lambda token: pieces[token], "nothing of it")
    assert not any(elsewhere.push(i) for i in range(len(pieces)))


@given(st.text(alphabet="ab \n", max_size=12), st.lists(st.sampled_from(["a", "b", " a", "B ", " "]), max_size=20))
def test_the_rule_is_its_definition(question, pieces):
    def plain(text):
        return " ".join(text.lower().split())

    repetition = Repetition(lambda token: pieces[token].encode(), question)
    found = [repetition.push(i) for i in range(len(pieces))]
    expected = []
    for i, piece in enumerate(pieces):
        starts = [at for at in range(i + 1) if sum(map(bool, map(str.strip, pieces[at : i + 1]))) == 3]
        span = plain("".join(pieces[starts[-1] : i + 1])) if starts else None
        if not piece.strip():
            expected.append(expected[-1] if expected else False)
        else:
            before = plain("".join(pieces[:i]))
            expected.append(span is not None and (span in plain(question) or span in before))
    assert found == expected == repetition.repeated


@given(
    st.lists(st.sampled_from(["é", "É", "ß", " ", "\u3000", "\xa0", "\n", "a", "吾"]), max_size=30).map("".join),
    st.lists(st.integers(1, 4), max_size=60),
    st.integers(0, 60),
)
def test_the_draft_is_compared_as_if_it_were_read_at_once_wherever_it_is_cut(text, sizes, n_kept):
    """All of the draft was joined and folded for every token: 27 µs behind 512 tokens, 155 µs behind 4,096."""
    data, pieces = text.encode() + b"\xe5\x90", []
    for size in [*sizes, len(text.encode()) + 2]:
        pieces.append(data[:size])
        data = data[size:]
    pieces = [piece for piece in pieces if piece]

    def plain(data):
        whole = data.decode("utf-8", errors="surrogateescape").casefold()
        return " ".join(whole.split()).encode("utf-8", errors="surrogateescape")

    repetition = Repetition(pieces.__getitem__, "")
    for i in range(len(pieces)):
        repetition.push(i)
    repetition.cut(n_kept)
    for i in range(n_kept, len(pieces)):
        repetition.push(i)
    expected = []
    for i, piece in enumerate(pieces):
        visible = [at for at in range(i + 1) if pieces[at].strip()]
        if not piece.strip():
            expected.append(bool(expected) and expected[-1])
        else:
            span = plain(b"".join(pieces[visible[-3] : i + 1])) if len(visible) >= 3 else None
            expected.append(span is not None and (span in plain(b"".join(pieces[:i]))))
    assert repetition.repeated == expected


@given(st.lists(st.tuples(st.floats(0.01, 1.0), st.integers(1, 3)), max_size=30), st.integers(1, 4))
def test_the_confidence_is_that_of_the_counted_tokens_alone(draft, window):
    pieces = [b"", b"a ", b"b ", b"c "]
    repetition = Repetition(pieces.__getitem__, "a b c")
    rule = ConfidenceWindow(threshold=0.6, window=window, repetition=repetition)
    rule.extend([math.log(p) for p, _ in draft], [token for _, token in draft])
    counted = [i for i, repeated in enumerate(rule.repeated) if not repeated]
    alone = ConfidenceWindow(threshold=0.6, window=window)
    alone.extend(math.log(draft[i][0]) for i in counted)
    assert len(rule.repeated) == len(rule.confidences) == len(draft)
    assert rule.index == (None if alone.index is None else counted[alone.index])
    assert [rule.confidences[i] for i in counted] == alone.confidences
    for i, repeated in enumerate(rule.repeated):
        assert not repeated or rule.confidences[i] == rule.confidences[i - 1]


@given(st.lists(st.integers(1, 3), max_size=20), st.lists(st.integers(1, 3), max_size=9), st.integers(0, 20))
def test_tokens_that_are_taken_back_leave_nothing_behind(tokens, more, n):
    def rule():
        repetition = Repetition([b"", b"a", b"b", b" "].__getitem__, "abba")
        return ConfidenceWindow(threshold=0.5, window=2, repetition=repetition)

    n = min(n, len(tokens))
    cut, straight = rule(), rule()
    cut.extend([-0.1 * t for t in tokens], tokens)
    cut.cut(n)
    cut.extend([-0.1 * t for t in more], more)
    straight.extend([-0.1 * t for t in tokens[:n] + more], tokens[:n] + more)
    assert (cut.index, cut.confidences, cut.repeated) == (straight.index, straight.confidences, straight.repeated)


WORDS = FakeVocabulary([b"", *(f"w{i} ".encode() for i in "abc"), *(i.encode() for i in "wabc \n")])
LETTERS = FakeVocabulary([b"", *(i.encode() for i in "wabc \n"), *(f"{i} ".encode() for i in "abc")])


class Said(FakeModel):
    """Says a text and is as sure of each token as it is told."""

    def __init__(self, vocabulary, text, n_prompt, sure):
        super().__init__(vocabulary.n_tokens, seed=0)
        self._tokens, self._n_prompt, self._sure = vocabulary.tokenize(text), n_prompt, sure

    def logprobs(self, history):
        at = len(history) - self._n_prompt
        p = self._sure[at % len(self._sure)]
        token = self._tokens[at] if at < len(self._tokens) else 0
        return [math.log(p if i == token else (1 - p) / (self.n_tokens - 1)) for i in range(self.n_tokens)]


@pytest.mark.parametrize("chunk", [1, 3, 8])
@pytest.mark.parametrize("drafter_words", [WORDS, LETTERS], ids=["same", "different"])
@pytest.mark.parametrize("seed", range(6))
def test_the_loop_switches_where_the_rule_without_repeated_tokens_does(drafter_words, chunk, seed):
    """In every portion, and where the draft comes through text; without the option all tokens count."""
    rng = random.Random(seed)
    text = "".join(rng.choice(["wa ", "wb ", "wc "]) for _ in range(30)).rstrip()
    sure = [rng.choice([0.5, 0.9, 0.95]) for _ in range(17)]
    draft = WORDS.tokenize(text)
    scores = [Said(WORDS, text, 1, sure).logprobs((1, *draft[:i]))[token] for i, token in enumerate(draft)]
    for question in (None, "say wa wb wc wa"):
        repetition = None if question is None else Repetition(WORDS.piece, question)
        rule = ConfidenceWindow(threshold=0.85, window=4, repetition=repetition)
        options = Options(threshold=0.85, window=4, chunk=chunk, max_tokens=60)
        bridge = (SameVocabulary if drafter_words is WORDS else ThroughText)(drafter_words, WORDS)
        drafter = Drafter(
            FakeSequence(Said(drafter_words, text, 1, [0.9])),
            [1],
            drafter_words,
            bridge,
            bridge.draft("", strip=True),
            anchor="",
            max_draft=200,
            n_ctx=1000,
        )
        base = PromptedModel(FakeSequence(Said(WORDS, text, 1, sure)), [1], [])
        writer = ReplyWriter(WORDS, max_tokens=options.max_tokens)
        reply = WindowReply(base, options, writer, Meter(), drafter, rule)
        events = list(drive(weak_to_strong(reply)))
        if question is None:
            expected, flags = switch_index(scores, threshold=0.85, window=4), [False] * len(draft)
        else:
            judge = Repetition(WORDS.piece, question)
            flags = [judge.push(token) for token in draft]
            counted = [i for i, repeated in enumerate(flags) if not repeated]
            alone = switch_index([scores[i] for i in counted], threshold=0.85, window=4)
            expected = None if alone is None else counted[alone]
        (switch,) = (event for event in events if isinstance(event, Switched))
        assert (switch.index, switch.reason) == (
            (expected, "confident") if expected is not None else (len(draft) - 1, "draft_ended")
        )
        told = [flag for event in events if isinstance(event, Scored) for flag in event.repeated]
        assert told == ([] if question is None else flags[: switch.index + 1])
