"""What the browser keeps of conversations: over a reload, beside other tabs, until it shall forget them."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.live_servers import LiveServer, running_server
from tests.page.actions import (
    KEPT,
    OTHER,
    QUESTION,
    answer,
    ask,
    authors,
    kept_turns,
    reload,
    set_option,
    text_of,
    wait_for_answers,
    wait_for_pieces,
    wait_until_kept,
)
from tests.page.conftest import Watched

Opener = Callable[..., Page]
REFUSING = """for (const name of ["localStorage", "sessionStorage"])
  Object.defineProperty(window, name, {get() { throw new DOMException("access is denied", "SecurityError"); }});
indexedDB.open = () => { throw new DOMException("access is denied", "SecurityError"); };"""


def questions(page: Page) -> list[str]:
    return page.locator("#chat .asked").all_text_contents()


def line(page: Page) -> str | None:
    return page.locator(".signal .confidence").first.get_attribute("d")


def agree(page: Page) -> None:
    """Answers yes to what the page asks next."""
    page.once("dialog", lambda dialog: dialog.accept())


def test_a_reload_keeps_the_conversation_and_it_goes_on(open_page: Opener) -> None:
    page = open_page()
    before = answer(page)
    known = [before, authors(page, "drafter"), line(page), page.locator(".facts").inner_text()]
    kept_turns(page, 1)
    reload(page)
    wait_for_answers(page, 1)
    assert [text_of(page), authors(page, "drafter"), line(page), page.locator(".facts").inner_text()] == known
    expect(page.locator(".answer .switch-mark")).to_have_count(1)
    page.hover(".answer [data-position='1']")
    expect(page.locator("#tip .likeliest")).to_be_visible()
    with page.expect_request("**/v1/chat/completions") as asked:
        answer(page, OTHER, 2)
    assert [message["content"] for message in asked.value.post_data_json["messages"]] == [QUESTION, before, OTHER]


def test_a_reload_keeps_what_is_written_so_far(open_page: Opener, talkative_server: LiveServer) -> None:
    page = open_page(talkative_server)
    ask(page)
    wait_for_pieces(page, 5)
    wait_until_kept(page, lambda turns: any(len(turn["answer"]["pieces"]) > 4 for turn in turns))
    reload(page)
    expect(page.locator(".facts")).to_contain_text("broken off when the page was left")
    assert len(text_of(page)) > 4
    expect(page.locator(".regenerate")).to_be_visible()


def test_what_is_edited_or_written_again_is_kept_as_it_is_now(open_page: Opener) -> None:
    page = open_page()
    set_option(page, "max_tokens", "4")
    for n, question in enumerate((OTHER, OTHER, OTHER), start=1):
        answer(page, question, n)
    page.locator(".edit").nth(1).click()
    page.fill(".question textarea", QUESTION)
    page.press(".question textarea", "Enter")
    wait_for_answers(page, 2)
    kept_turns(page, 2)
    reload(page)
    assert questions(page) == [OTHER, QUESTION]


def test_no_tab_overwrites_another_s_conversation(open_page: Opener) -> None:
    first = open_page()
    set_option(first, "max_tokens", "4")
    answer(first, "begun")
    kept_turns(first, 1)
    second = first.context.new_page()
    second.goto(first.url)
    second.click(".earlier .open")
    expect(second.locator("#chat .asked")).to_have_text("begun")
    set_option(second, "max_tokens", "4")
    answer(second, "by the second tab", 2)
    kept_turns(second, 2)
    answer(first, "by the first tab", 2)
    kept_turns(first, 4)
    for page, added in ((first, "by the first tab"), (second, "by the second tab")):
        reload(page)
        assert questions(page) == ["begun", added]


def test_an_earlier_conversation_can_be_opened_again(open_page: Opener) -> None:
    page = open_page()
    before = answer(page)
    kept_turns(page, 1)
    page.click(".new")
    page.click(f".earlier .open:has-text('{QUESTION}')")
    wait_for_answers(page, 1)
    assert text_of(page) == before
    expect(page.locator("#ask textarea")).to_be_focused()


def test_what_is_forgotten_is_gone(open_page: Opener) -> None:
    page = open_page()
    set_option(page, "max_tokens", "4")
    for question in ("one", "two", "three"):
        answer(page, question)
        page.click(".new")
    expect(page.locator(".earlier .open")).to_have_count(3)
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.click("[aria-label='Forget “two”']")
    expect(page.locator(".earlier .open")).to_have_count(3)
    agree(page)
    page.click("[aria-label='Forget “two”']")
    expect(page.locator(".earlier .open")).to_have_text(["three", "one"])
    page.click(".earlier .open >> nth=0")
    agree(page)
    page.click(".of-conversation .forget")
    expect(page.locator(".earlier .open")).to_have_text(["one"])
    agree(page)
    page.click(".forget-all")
    expect(page.locator(".earlier")).to_be_hidden()
    assert page.evaluate(KEPT) == [[], []]
    reload(page)
    expect(page.locator(".turn")).to_have_count(0)


def test_forgetting_in_the_middle_of_an_answer_forgets_it(open_page: Opener, talkative_server: LiveServer) -> None:
    page = open_page(talkative_server)
    ask(page)
    wait_for_pieces(page, 5)
    wait_until_kept(page, lambda turns: len(turns) == 1)
    agree(page)
    page.click(".of-conversation .forget")
    expect(page.locator("#ask .main")).to_be_visible()
    kept_turns(page, 0)
    assert page.evaluate(KEPT) == [[], []]


def test_the_settings_of_a_tab_survive_a_reload(open_page: Opener) -> None:
    page = open_page()
    changed = {"threshold": "0.65", "window": "9", "seed": "3", "system": "Answer briefly."}
    for name, value in changed.items():
        set_option(page, name, value)
    reload(page)
    for name, value in changed.items():
        expect(page.locator(f"#set-{name}")).to_have_value(value)
    page.click(".reset")
    expect(page.locator("#set-window")).to_have_value("6")
    reload(page)
    expect(page.locator("#set-window")).to_have_value("6")


def test_a_browser_that_keeps_nothing_is_told_of_and_the_page_works(open_page: Opener) -> None:
    page = open_page(script=REFUSING)
    expect(page.locator("#not-kept")).to_contain_text("keeps nothing")
    assert answer(page)
    page.click(".new")
    expect(page.locator(".turn")).to_have_count(0)


def test_an_answer_that_cannot_be_had_again_stays(open_page: Opener, watched: Watched) -> None:
    with running_server() as server:
        page = open_page(server)
        before = answer(page)
    page.click(".regenerate:visible")
    expect(page.locator("#ask .problem")).to_contain_text("cannot be reached")
    assert text_of(page) == before
    page.click(".edit")
    page.fill(".question textarea", "in other words")
    page.press(".question textarea", "Enter")
    expect(page.locator("#ask .problem")).to_contain_text("cannot be reached")
    expect(page.locator(".question textarea")).to_have_value("in other words")
    assert text_of(page) == before
    watched.complaints.clear()  # the browser's own
