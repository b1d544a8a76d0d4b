"""What can be done with an answer: stopped, written again, its question edited, compared; and what goes wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from edge_wsd import Pair
from tests.live_servers import CPU, LiveServer, demo_models, running_server
from tests.page.actions import (
    KEPT,
    OTHER,
    QUESTION,
    answer,
    ask,
    kept_turns,
    play,
    reload,
    set_option,
    text_of,
    wait_for_answers,
    wait_for_pieces,
)
from tests.page.conftest import ENDLESS, Watched

Opener = Callable[..., Page]


def give_key(page: Page, key: str) -> None:
    expect(page.locator("dialog")).to_be_visible()
    page.fill("dialog input", key)
    page.press("dialog input", "Enter")


@pytest.mark.parametrize("how", ["button", "key"])
def test_stop_ends_the_answer_and_frees_the_server(open_page: Opener, talkative_server: LiveServer, how: str) -> None:
    page = open_page(talkative_server)
    ask(page)
    wait_for_pieces(page, 5)
    page.press("body", "Escape") if how == "key" else page.click("#ask .stop")
    wait_for_answers(page, 1)
    expect(page.locator(".facts")).to_contain_text("stopped")
    expect(page.locator("#ask .main")).to_be_visible()
    assert text_of(page)
    for _ in range(100):
        if talkative_server.call(lambda: talkative_server.serve.limits.running) == 0:
            break
        page.wait_for_timeout(50)
    else:
        pytest.fail("the server still writes")


def test_regenerate_writes_the_last_answer_again(open_page: Opener) -> None:
    page = open_page()
    set_option(page, "max_tokens", "5")
    answer(page)
    short = answer(page, OTHER, 2)
    set_option(page, "max_tokens", "200")
    expect(page.locator(".regenerate:visible")).to_have_count(1)
    page.click(".regenerate:visible")
    expect(page.locator("#turns .turn")).to_have_count(2)
    wait_for_answers(page, 2)
    again = text_of(page, 1)
    assert again.startswith(short) and len(again) > len(short)
    assert page.locator(".asked").all_text_contents() == [QUESTION, OTHER]


def test_an_edited_question_forgets_what_came_after(open_page: Opener) -> None:
    page = open_page()
    answer(page, OTHER)
    answer(page, OTHER, 2)
    page.locator(".edit").first.click()
    field = page.locator(".question textarea")
    expect(field).to_be_focused()
    expect(field).to_have_value(OTHER)
    field.fill(QUESTION)
    field.press("Enter")
    expect(page.locator("#turns .turn")).to_have_count(1)
    wait_for_answers(page, 1)
    assert page.locator(".asked").all_text_contents() == [QUESTION]
    with Pair.demo(drafter_settings=CPU, base_settings=CPU) as pair:
        assert text_of(page) == pair.generate(QUESTION).text


def test_an_edit_can_be_left(open_page: Opener) -> None:
    page = open_page()
    before = answer(page)
    page.click(".edit")
    page.keyboard.type("something else")
    page.keyboard.press("Escape")
    expect(page.locator(".asked")).to_have_text(QUESTION)
    expect(page.locator(".edit")).to_be_focused()
    assert text_of(page) == before


def test_a_question_can_be_asked_while_another_is_edited(open_page: Opener) -> None:
    page = open_page()
    answer(page)
    page.click(".edit")
    page.fill(".question textarea", "something else")
    answer(page, OTHER, 2)
    expect(page.locator(".question textarea")).to_have_value("something else")
    page.click("text=Leave as it is")
    assert page.locator(".asked").all_text_contents() == [QUESTION, OTHER]
    expect(page.locator("#ask .main")).to_be_visible()


def test_a_new_conversation_begins_empty(open_page: Opener) -> None:
    page = open_page()
    answer(page)
    page.click(".new")
    expect(page.locator(".turn")).to_have_count(0)
    expect(page.locator("#chat .example").first).to_be_visible()
    assert answer(page)


def test_a_question_can_be_clicked(open_page: Opener) -> None:
    page = open_page()
    page.click(f"#chat .example:has-text('{OTHER}')")
    wait_for_answers(page, 1)
    expect(page.locator(".asked")).to_have_text(OTHER)


def test_side_by_side_shows_each_model_alone_and_both(open_page: Opener) -> None:
    page = open_page()
    page.click("#tab-compare")
    page.click(f"#compare .example:has-text('{QUESTION}')")
    wait_for_answers(page, 3, "#compare")
    with Pair.demo(drafter_settings=CPU, base_settings=CPU) as pair:
        expected = [pair.generate(QUESTION, mode=mode).text for mode in ("base", "drafter", "wsd")]
    assert [text_of(page, n, "#compare") for n in range(3)] == expected
    assert page.locator(".column h2").all_text_contents() == ["Base alone", "Drafter alone", "Both, weak-to-strong"]
    expect(page.locator(".column .switch-mark")).to_have_count(1)


def test_side_by_side_shares_one_seed(open_page: Opener) -> None:
    page = open_page()
    set_option(page, "temperature", "1")
    set_option(page, "max_tokens", "8")
    page.click("#tab-compare")
    page.fill("#compare textarea", QUESTION)
    page.press("#compare textarea", "Enter")
    wait_for_answers(page, 3, "#compare")
    seeds = {re.search(r"seed (\d+)", facts) for facts in page.locator("#compare .facts").all_text_contents()}
    assert None not in seeds
    assert len({found[1] for found in seeds if found}) == 1


def test_another_pair_is_chosen(open_page: Opener) -> None:
    page = open_page()
    set_option(page, "pair", "demo-other")
    with Pair.demo(other_vocabulary=True, drafter_settings=CPU, base_settings=CPU) as pair:
        assert answer(page) == pair.generate(QUESTION).text


def test_settings_begin_with_the_pair_s_own(open_page: Opener) -> None:
    with running_server(demo_models(changes={"threshold": 0.65, "window": 4, "seed": 3})) as server:
        page = open_page(server)
        expect(page.locator("#set-threshold")).to_have_value("0.65")
        expect(page.locator("#set-window")).to_have_value("4")
        set_option(page, "window", "9")
        page.click(".reset")
        expect(page.locator("#set-window")).to_have_value("4")
        answer(page)
        expect(page.locator(".signal .limit-name")).to_have_text("threshold 0.65")


def test_a_setting_out_of_range_is_not_sent(open_page: Opener, watched: Watched) -> None:
    page = open_page()
    set_option(page, "window", "0")
    ask(page)
    expect(page.locator("#set-window")).to_be_focused()
    assert not [url for url in watched.urls if "completions" in url]


def test_an_error_is_one_line(open_page: Opener, watched: Watched) -> None:
    """The prompt is longer than the context."""
    page = open_page()
    ask(page, "word " * 600)
    wait_for_answers(page, 1)
    problem = page.locator(".answer .problem")
    expect(problem).to_contain_text("tokens")
    assert "\n" not in problem.inner_text().strip()
    watched.complaints.clear()  # the browser's own, of status 400
    assert answer(page, QUESTION, 2)


@pytest.mark.parametrize("status", [429, 404, 504, 200])
def test_whatever_the_server_says_is_told_and_can_be_tried_again(
    open_page: Opener, watched: Watched, status: int
) -> None:
    page = open_page()
    play(page, "Sure", status=status, error="try again later")
    ask(page)
    wait_for_answers(page, 1)
    expect(page.locator(".answer .problem")).to_have_text("try again later")
    expect(page.locator(".answer .signal")).to_be_visible(visible=status == 200)  # of no token there is no picture
    watched.complaints.clear()  # the browser's own
    play(page, "All is well.")
    page.click(".regenerate")
    expect(page.locator(".answer .problem")).to_be_hidden()
    expect(page.locator(".answer .text")).to_have_text("All is well.")


def test_stop_ends_all_that_are_compared(open_page: Opener, talkative_server: LiveServer) -> None:
    page = open_page(talkative_server)
    page.click("#tab-compare")
    page.fill("#compare textarea", QUESTION)
    page.press("#compare textarea", "Enter")
    wait_for_pieces(page, 5)
    expect(page.locator("#compare .facts").last).to_have_text("waiting for its turn …")
    page.keyboard.press("Escape")
    wait_for_answers(page, 3, "#compare")
    for facts in page.locator("#compare .facts").all():
        expect(facts).to_contain_text("stopped")
    expect(page.locator("#compare .main")).to_be_visible()


def test_a_server_that_is_gone_is_told_of(open_page: Opener, watched: Watched) -> None:
    with running_server() as server:
        page = open_page(server)
    ask(page)
    expect(page.locator(".answer .problem")).to_have_text(
        "the server cannot be reached; is edge-wsd serve still running?"
    )
    watched.complaints.clear()  # the browser's own


def test_an_answer_that_breaks_off_is_told_of(open_page: Opener, watched: Watched) -> None:
    with running_server(demo_models(changes=ENDLESS)) as server:
        page = open_page(server)
        ask(page)
        wait_for_pieces(page, 5)
        server.call(server.serve.limits.stop)
        wait_for_answers(page, 1)
        expect(page.locator(".answer .problem")).to_have_text("the server is stopping")
        assert text_of(page)
    watched.complaints.clear()


def test_a_key_is_asked_for_and_kept_in_the_tab(open_page: Opener, watched: Watched) -> None:
    with running_server(api_keys=("open-sesame",)) as server:
        page = open_page(server, ready=False)
        give_key(page, "wrong")
        expect(page.locator("dialog")).to_contain_text("The server does not take this key.")
        give_key(page, "open-sesame")
        page.wait_for_selector("body[data-ready]")
        assert answer(page)
        kept_turns(page, 1)
        reload(page)
        holders = "[{...sessionStorage}, {...localStorage}, document.cookie, document.documentElement.outerHTML]"
        of_tab, *others = page.evaluate(holders)
        assert [name for name, value in of_tab.items() if "open-sesame" in value] == ["edge-wsd-api-key"]
        assert "open-sesame" not in json.dumps([*others, page.evaluate(KEPT)])
    watched.complaints.clear()  # the browser's own, of status 401


def test_a_key_that_is_not_given_can_be_given_later(open_page: Opener, watched: Watched) -> None:
    with running_server(api_keys=("open-sesame",)) as server:
        page = open_page(server, ready=False)
        expect(page.locator("dialog")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator("#problem")).to_contain_text("this server needs an API key")
        page.click("#problem button")
        give_key(page, "open-sesame")
        page.wait_for_selector("body[data-ready]")
        expect(page.locator("#problem")).to_be_hidden()
        assert answer(page)
    watched.complaints.clear()  # the browser's own, of status 401


def test_a_key_that_is_taken_back_is_asked_for_again(open_page: Opener, watched: Watched) -> None:
    """The conversation stays, and nothing is asked twice."""
    with running_server(api_keys=("open-sesame",)) as server:
        page = open_page(server, ready=False)
        give_key(page, "open-sesame")
        page.wait_for_selector("body[data-ready]")
        before = answer(page)
        page.evaluate("Object.keys(sessionStorage).forEach(name => sessionStorage.setItem(name, 'old'))")
        ask(page)
        expect(page.locator("dialog")).to_be_visible()
        page.keyboard.press("Escape")
        page.click("#problem button")
        give_key(page, "open-sesame")
        expect(page.locator("dialog")).to_be_hidden()
        assert text_of(page) == before
        page.click(".regenerate:visible")
        wait_for_answers(page, 2)
        assert text_of(page, 1)
    watched.complaints.clear()  # the browser's own, of status 401
