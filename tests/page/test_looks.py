"""The page for everybody: by keyboard alone, on narrow screens, in the dark, without motion."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.page.actions import QUESTION, answer, ask, play, set_option, text_of, wait_for_answers
from tests.page.conftest import WIDE

Opener = Callable[..., Page]
NARROW = {"width": 360, "height": 740}


def tab_to(page: Page, selector: str) -> None:
    """Presses Tab until the element that fits `selector` has the focus."""
    for _ in range(60):
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
        page.keyboard.press("Tab")
    pytest.fail(f"Tab never came to {selector}")


def test_all_of_it_works_by_keyboard(open_page: Opener) -> None:
    page = open_page()
    keys = page.keyboard
    expect(page.locator("#ask textarea")).to_be_focused()
    keys.type("How do I delete")
    keys.press("Shift+Enter")
    keys.type("the file notes.txt?")
    keys.press("Enter")
    wait_for_answers(page, 1)
    expect(page.locator(".asked")).to_have_text("How do I delete\nthe file notes.txt?")
    tab_to(page, ".new")
    tab_to(page, "#set-threshold")
    keys.press("Home")
    expect(page.locator("#set-threshold")).to_have_value("0")
    tab_to(page, ".edit")
    keys.press("Enter")
    keys.press("Control+A")
    keys.type(QUESTION)
    keys.press("Enter")
    wait_for_answers(page, 1)
    expect(page.locator(".asked")).to_have_text(QUESTION)
    tab_to(page, ".regenerate")
    keys.press("Enter")
    wait_for_answers(page, 1)
    expect(page.locator("#ask textarea")).to_be_focused()
    tab_to(page, "[role=tab]")
    keys.press("ArrowRight")
    expect(page.locator("#compare")).to_be_visible()
    tab_to(page, ".example")
    keys.press("Enter")
    wait_for_answers(page, 3, "#compare")


def test_arrow_keys_go_from_token_to_token(open_page: Opener) -> None:
    page = open_page()
    answer(page)
    tab_to(page, "[data-position]")
    tip = page.locator("#tip")
    expect(tip).to_contain_text("token 1,")
    page.keyboard.press("ArrowRight")
    expect(tip).to_contain_text("token 2,")
    page.keyboard.press("End")
    expect(tip).to_contain_text("by the base")
    page.keyboard.press("Home")
    expect(tip).to_contain_text("token 1,")
    page.keyboard.press("Tab")
    expect(tip).to_be_hidden()


def test_the_focus_can_be_seen(open_page: Opener) -> None:
    page = open_page()
    for selector in ("[role=tab]", "#settings-button", "#set-window", "#chat .example"):
        tab_to(page, selector)
        width = page.evaluate("parseFloat(getComputedStyle(document.activeElement).outlineWidth)")
        assert width >= 2, selector


def test_a_narrow_screen_needs_no_scrolling_sideways(open_page: Opener) -> None:
    page = open_page(viewport=NARROW)
    expect(page.locator("#settings")).to_be_hidden()
    answer(page, "How do I delete the file " + "notes" * 40 + ".txt?")
    widths = [_width(page)]
    page.click("#settings-button")
    expect(page.locator("#set-pair")).to_be_focused()
    widths.append(_width(page))
    page.keyboard.press("Escape")
    expect(page.locator("#settings")).to_be_hidden()
    page.click("#tab-compare")
    page.click("#compare .example >> nth=0")
    wait_for_answers(page, 3, "#compare")
    widths.append(_width(page))
    assert widths == [NARROW["width"]] * 3


def test_code_and_tables_are_wider_than_the_screen_by_themselves(open_page: Opener) -> None:
    page = open_page(viewport=NARROW)
    code, table = f"```\nprint({'x' * 200})\n```\n", f"| a | b |\n|---|---|\n| {'y' * 200} | z |\n"
    play(page, f"Code:\n{code}{code}A table:\n{table}And {'a' * 300}.")
    answer(page)
    expect(page.locator(".answer .code")).to_have_count(2)
    expect(page.locator(".answer .table")).to_have_text(table.strip())
    for selector in (".code > code", ".table > div"):
        assert page.locator(selector).first.evaluate("block => block.scrollWidth > block.clientWidth"), selector
    assert _width(page) == NARROW["width"]


def test_code_is_copied_without_its_fences(open_page: Opener) -> None:
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    play(page, "Run:\n```sh\nrm a |\n| b\n```\nDone.")
    answer(page)
    page.click(".code button")
    expect(page.locator("#status")).to_have_text("copied")
    assert page.evaluate("navigator.clipboard.readText()") == "rm a |\n| b\n"


def test_each_line_has_the_direction_of_its_script(open_page: Opener) -> None:
    page = open_page()
    play(page, "\u05e9\u05dc\u05d5\u05dd abc\nEnglish")
    answer(page)
    first, last = (page.locator(".answer [data-position]").nth(n).bounding_box() for n in (0, -1))
    middle = WIDE["width"] * 0.4
    assert first and last and first["x"] > middle > last["x"]


def test_what_lies_under_the_settings_cannot_be_reached(open_page: Opener) -> None:
    page = open_page(viewport=NARROW)
    page.click("#settings-button")
    for _ in range(30):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.closest('main') === null")
    page.click("#settings-button")
    page.click("#ask textarea")
    expect(page.locator("#ask textarea")).to_be_focused()


def test_what_is_told_of_a_token_follows_it_over_the_screen(open_page: Opener) -> None:
    """The arrow keys scroll to a token that is out of sight."""
    page = open_page(viewport=NARROW)
    play(page, "word\n" * 100)
    answer(page)
    page.locator(".answer [data-position]").first.focus()
    page.keyboard.press("End")
    page.wait_for_function("() => scrollY > 500")
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    expect(page.locator("#tip")).to_be_in_viewport()


def _width(page: Page) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(open_page: Opener, scheme: str) -> None:
    """4.5 to 1, as WCAG asks."""
    page = open_page(color_scheme=scheme)
    answer(page)
    for selector in (".token.drafter", ".answer .token.base", ".facts", ".asked", ".hint", "#ask .main"):
        assert _contrast(page, selector) >= 4.5, selector


def test_light_and_dark_differ_and_can_be_chosen(open_page: Opener) -> None:
    page = open_page(color_scheme="light")
    light = _ground(page)
    page.emulate_media(color_scheme="dark")
    dark = _ground(page)
    assert sum(light) > 600 and sum(dark) < 150
    set_option(page, "look", "light")
    assert _ground(page) == light
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert _ground(page) == light


def _ground(page: Page) -> list[float]:
    return _rgb(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def _rgb(text: str) -> list[float]:
    return [float(part) for part in text[text.index("(") + 1 : -1].split(",")][:3]


def _contrast(page: Page, selector: str) -> float:
    colours = page.locator(selector).first.evaluate(
        """element => {
          let ground = element;
          while (getComputedStyle(ground).backgroundColor === "rgba(0, 0, 0, 0)") ground = ground.parentElement;
          return [getComputedStyle(element).color, getComputedStyle(ground).backgroundColor];
        }"""
    )
    low, high = sorted(_luminance(_rgb(colour)) for colour in colours)
    return (high + 0.05) / (low + 0.05)


def _luminance(rgb: list[float]) -> float:
    red, green, blue = (
        c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in (part / 255 for part in rgb)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_nothing_moves_where_motion_is_not_wanted(open_page: Opener) -> None:
    page = open_page(reduced_motion="reduce")
    ask(page)
    page.wait_for_selector(".answer")
    assert page.evaluate("document.getAnimations().length") == 0
    wait_for_answers(page, 1)
    assert text_of(page)
