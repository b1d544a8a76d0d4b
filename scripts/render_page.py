"""The pictures of the page in docs: a browser asks a running server, as a person would.

    edge-wsd serve &
    python scripts/render_page.py http://127.0.0.1:8686

Needs Chromium, and `pip install playwright pillow`.
"""

from __future__ import annotations

import argparse
import shutil
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

DOCS = Path(__file__).parents[1] / "docs"
QUESTION = "How do I delete the file notes.txt?"
THRESHOLD = "0.95"  # a longer draft, so that there is a line to see
WIDE = {"width": 1200, "height": 720}
TALL = {"width": 1200, "height": 960}
NARROW = {"width": 360, "height": 720}
N_COLOURS = 128  # keeps the files small


def opened(browser: Browser, url: str, size: dict[str, int], scheme: str) -> Page:
    """The page, ready for a question."""
    page = browser.new_page(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(url)
    page.wait_for_selector("body[data-ready]")
    page.locator("#set-threshold").fill(THRESHOLD, force=True)
    return page


def chat(page: Page) -> None:
    """One answer, and what is known about one of its tokens."""
    page.locator("#chat .example", has_text=QUESTION).click()
    expect(page.locator("#chat .answer[aria-busy=false]")).to_have_count(1, timeout=60_000)
    page.locator("#ask textarea").blur()
    page.mouse.move(0, 0)


def compare(page: Page) -> None:
    """The same question, answered three times."""
    page.click("#tab-compare")
    page.locator("#compare .example", has_text=QUESTION).click()
    expect(page.locator("#compare .answer[aria-busy=false]")).to_have_count(3, timeout=60_000)
    page.mouse.move(0, 0)


def save(page: Page, path: Path) -> None:
    """What is on the screen."""
    Image.open(BytesIO(page.screenshot())).convert("RGB").quantize(N_COLOURS).save(path, optimize=True)


def main() -> None:
    """Writes the four pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="of a server with the demonstration pair")
    parser.add_argument("--out", type=Path, default=DOCS, metavar="FOLDER", help="where the pictures go")
    args = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, size, scheme in (("light", WIDE, "light"), ("dark", WIDE, "dark"), ("narrow", NARROW, "light")):
            page = opened(browser, args.url, size, scheme)
            chat(page)
            if name == "light":
                page.hover(".answer [data-position='0']")
            save(page, args.out / f"page-{name}.png")
        page = opened(browser, args.url, TALL, "light")
        page.click("#settings-button")
        compare(page)
        save(page, args.out / "page-compare.png")
        browser.close()


if __name__ == "__main__":
    main()
