"""An answer on the page: it arrives in pieces, says who wrote what, and shows how sure the base is."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from edge_wsd import Pair, Reply
from tests.live_servers import CPU, LiveServer
from tests.page.actions import (
    OTHER,
    QUESTION,
    answer,
    ask,
    authors,
    set_option,
    wait_for_answers,
    wait_for_pieces,
)

Opener = Callable[..., Page]


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with Pair.demo(drafter_settings=CPU, base_settings=CPU) as pair:
        yield pair


@pytest.fixture(scope="module")
def reply(pair: Pair) -> Reply:
    """What the library answers."""
    return pair.generate(QUESTION)


def test_the_text_is_the_library_s(open_page: Opener, reply: Reply) -> None:
    assert answer(open_page()) == reply.text


def test_every_token_shows_its_author(open_page: Opener, reply: Reply) -> None:
    page = open_page()
    answer(page)
    shown = {author: authors(page, author) for author in ("drafter", "base")}
    written = [token for token in enumerate(reply.tokens) if token[1].text]
    assert shown == {author: [at for at, token in written if token.source == author] for author in shown}
    assert shown["drafter"] and shown["base"]


def test_authors_differ_without_colour(open_page: Opener) -> None:
    page = open_page(forced_colors="active")
    answer(page)
    lines = [
        page.locator(f".answer .token.{author}").first.evaluate("token => getComputedStyle(token).textDecorationLine")
        for author in ("drafter", "base")
    ]
    assert lines == ["underline", "none"]
    legend = page.locator("#legend").inner_text()
    assert "dotted: by the drafter" in legend and "plain: by the base" in legend


def test_the_switch_stands_between_the_authors(open_page: Opener, reply: Reply) -> None:
    page = open_page()
    answer(page)
    assert reply.switch is not None
    mark = page.locator(".answer .switch-mark")
    expect(mark).to_have_count(1)
    around = mark.evaluate(
        "mark => [mark.previousElementSibling, mark.nextElementSibling].map(token => Number(token.dataset.position))"
    )
    assert around == [reply.switch.index, reply.switch.index + 1]
    said = f"the base takes over after {reply.switch.index + 1} tokens"
    assert said in (mark.get_attribute("aria-label") or "")
    assert said in page.locator(".answer .facts").inner_text()


def test_the_answer_arrives_in_pieces(open_page: Opener, talkative_server: LiveServer) -> None:
    page = open_page(talkative_server)
    ask(page)
    wait_for_pieces(page, 10)
    early = page.locator(".answer [data-position]").count()
    wait_for_pieces(page, early + 1)
    page.press("body", "Escape")
    wait_for_answers(page, 1)


def test_the_line_holds_the_confidences(open_page: Opener, reply: Reply) -> None:
    """The points of the line, counted back from its scale, are the library's confidences."""
    page = open_page()
    answer(page)
    known = [confidence for confidence in reply.confidences if confidence is not None]
    path = page.locator(".signal .confidence").get_attribute("d") or ""
    heights = [float(point.split("h")[0].split(" ")[1]) for point in path.replace("M", "L").split("L")[1:]]
    assert _shares(page, heights) == pytest.approx(known, abs=0.01)


def test_dots_hold_the_probabilities_of_all_tokens(open_page: Opener, reply: Reply) -> None:
    page = open_page()
    answer(page)
    heights = []
    for author in ("drafter", "base"):
        path = page.locator(f".signal .probability.{author}").get_attribute("d") or ""
        heights += [float(point.split("h")[0].split(" ")[1]) for point in path.split("M")[1:]]
    expected = [math.exp(token.logprob) for token in reply.tokens if token.logprob is not None]
    assert len(expected) == len(reply.tokens)
    assert _shares(page, heights) == pytest.approx(expected, abs=0.01)


def _shares(page: Page, heights: list[float]) -> list[float]:
    """Heights in the picture as numbers from 0 to 1, by the lines of its scale."""
    lines = page.locator(".signal .grid")
    zero, one = (float(lines.nth(n).get_attribute("y1") or "") for n in (0, 2))
    return [(zero - height) / (zero - one) for height in heights]


def test_the_switch_is_marked_where_the_line_reaches_the_threshold(open_page: Opener, reply: Reply) -> None:
    page = open_page()
    set_option(page, "threshold", "0.5")
    answer(page)
    signal = page.locator(".answer .signal")
    expect(signal.locator(".limit-name")).to_have_text("threshold 0.5")
    expect(signal.locator("line.switch")).to_have_count(1)
    turn, mark = signal.locator("rect.ground.drafter"), signal.locator("line.switch")
    end = float(turn.get_attribute("x") or "") + float(turn.get_attribute("width") or "")
    assert float(mark.get_attribute("x1") or "") == pytest.approx(end)
    assert reply.switch is not None and len(authors(page, "drafter")) < reply.switch.index + 1


def test_pointing_at_a_token_tells_its_probability(open_page: Opener, reply: Reply) -> None:
    page = open_page()
    answer(page)
    assert reply.switch is not None
    at = reply.switch.index
    page.hover(f".answer [data-position='{at}']")
    token, confidence = reply.tokens[at], reply.confidences[at]
    assert token.logprob is not None and confidence is not None
    tip = page.locator("#tip")
    expect(tip).to_contain_text(f"token {at + 1}, by the drafter")
    expect(tip).to_contain_text(f"probability to the base {math.exp(token.logprob):.3f}")
    expect(tip).to_contain_text(f"confidence {confidence:.3f}")
    expect(page.locator(".signal circle.pointed")).to_have_count(1)
    page.hover("header h1")
    expect(tip).to_be_hidden()


@pytest.mark.parametrize("mode", ["wsd", "drafter"])
def test_pointing_at_a_token_tells_what_else_was_likely(open_page: Opener, pair: Pair, mode: str) -> None:
    page = open_page()
    set_option(page, "mode", mode)
    set_option(page, "top_logprobs", "3")
    answer(page)
    reply = pair.generate(QUESTION, mode=mode, top_logprobs=3)
    for at in (0, len(reply.tokens) // 2, len(reply.tokens) - 1):
        token = reply.tokens[at]
        assert token.logprob is not None and len(token.top) == 3
        page.locator(f".answer [data-position='{at}']").first.hover()
        listed = page.locator("#tip .likeliest .what")
        assert [json.loads(text) for text in listed.all_text_contents()] == [each.text for each in token.top]
        chosen = [json.loads(text) for text in page.locator("#tip .taken .what").all_text_contents()]
        assert chosen == [each.text for each in token.top if each.id == token.id]


def test_no_alternatives_are_asked_for_where_none_are_wanted(open_page: Opener) -> None:
    page = open_page()
    set_option(page, "top_logprobs", "0")
    with page.expect_request("**/v1/chat/completions") as asked:
        answer(page)
    assert "logprobs" not in asked.value.post_data_json
    page.locator(".answer [data-position='0']").first.hover()
    expect(page.locator("#tip")).to_contain_text("probability")
    expect(page.locator("#tip .likeliest")).to_have_count(0)


def test_pointing_into_the_picture_finds_the_token(open_page: Opener) -> None:
    page = open_page()
    answer(page)
    box = page.locator(".answer .signal").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 40, box["y"] + 60)
    expect(page.locator("#tip")).to_contain_text("token 1, by the drafter")
    expect(page.locator(".answer [data-position='0']").first).to_have_class("token drafter pointed")


def test_a_tap_tells_it_too(open_page: Opener) -> None:
    page = open_page(has_touch=True, is_mobile=True, viewport={"width": 390, "height": 780})
    answer(page)
    page.locator(".answer [data-position='2']").first.tap()
    expect(page.locator("#tip")).to_contain_text("token 3, by the drafter")


def test_code_stands_in_a_block_and_the_text_stays_whole(open_page: Opener, reply: Reply) -> None:
    page = open_page()
    assert answer(page) == reply.text
    assert "```\nrm notes.txt\n```\n" in reply.text
    expect(page.locator(".answer .code code")).to_have_text("```\nrm notes.txt\n```\n")
    expect(page.locator(".answer .prose")).to_have_count(2)


def test_html_in_question_and_answer_stays_text(open_page: Opener, hostile_server: LiveServer) -> None:
    page = open_page(hostile_server)
    question = "<img src=x onerror=document.title=3><b>bold</b>"
    assert answer(page, question) == "<img src=x onerror=document.title=1>\n<script>document.title=2</script>"
    expect(page.locator(".asked")).to_have_text(question)
    assert page.locator("main img, main b, main script").count() == 0
    assert page.title() == "edge-wsd"


def test_the_next_question_is_asked_in_the_conversation(open_page: Opener) -> None:
    page = open_page()
    set_option(page, "system", "Answer briefly.")
    first = answer(page)
    with page.expect_request("**/v1/chat/completions") as asked:
        answer(page, OTHER, 2)
    assert asked.value.post_data_json["messages"] == [
        {"role": "system", "content": "Answer briefly."},
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": first},
        {"role": "user", "content": OTHER},
    ]


@pytest.mark.parametrize("mode", ["base", "drafter"])
def test_one_model_alone_has_no_threshold(open_page: Opener, pair: Pair, mode: str) -> None:
    page = open_page()
    set_option(page, "mode", mode)
    expect(page.locator("#set-threshold")).to_be_disabled()
    assert answer(page) == pair.generate(QUESTION, mode=mode).text
    expect(page.locator(".signal .limit")).to_have_count(0)
    expect(page.locator(".answer .switch-mark")).to_have_count(0)


def test_nudges_show_whose_word_each_is(open_page: Opener, pair: Pair) -> None:
    page = open_page()
    set_option(page, "rule", "nudge")
    set_option(page, "nudge_below", "0.6")
    expected = pair.generate(QUESTION, rule="nudge", nudge_below=0.6)
    assert answer(page) == expected.text
    assert authors(page, "drafter") == [
        at for at, token in enumerate(expected.tokens) if token.source == "drafter" and token.text
    ]
    expect(page.locator(".signal .limit-name")).to_have_text("unsure below 0.6")


def test_a_seed_gives_the_same_answer_again(open_page: Opener, pair: Pair) -> None:
    page = open_page()
    for name, value in {"temperature": "1.5", "seed": "7", "max_tokens": "30"}.items():
        set_option(page, name, value)
    assert answer(page) == pair.generate(QUESTION, temperature=1.5, seed=7, max_tokens=30).text
    expect(page.locator(".facts")).to_contain_text("seed 7")
