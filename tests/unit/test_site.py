"""The documents are a site: every page is in its menu, and no link in it is dead."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest

from scripts.options_table import ROOT

pytest.importorskip("mkdocs", reason="the site is made by mkdocs, which is in the extra `test`")


def build(folder, docs=ROOT / "docs"):
    config = folder / "mkdocs.yml"
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    config.write_text(text.replace("_dir: docs", f"_dir: {docs}"), encoding="utf-8")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(config), "-d", str(folder / "site")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_page_is_in_the_menu_once():
    menu = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(menu) == sorted(page.name for page in (ROOT / "docs").glob("*.md"))


def test_the_site_is_built_without_a_dead_link(tmp_path):
    done = build(tmp_path)
    assert done.returncode == 0, done.stderr
    pages = {page.stem for page in (ROOT / "docs").glob("*.md")} - {"index"}
    assert {folder.name for folder in (tmp_path / "site").iterdir() if (folder / "index.html").is_file()} == pages


@pytest.mark.parametrize("link", ["nowhere.md", "models.md#no-such-heading"])
def test_a_dead_link_is_found(tmp_path, link):
    docs = tmp_path / "docs"
    shutil.copytree(ROOT / "docs", docs)
    glossary = docs / "glossary.md"
    glossary.write_text(glossary.read_text(encoding="utf-8") + f"\n[dead]({link})\n", encoding="utf-8")
    done = build(tmp_path, docs)
    assert done.returncode != 0 and link.partition("#")[2] in done.stderr and "glossary.md" in done.stderr


def test_no_page_loads_anything_from_another_host(tmp_path):
    """What readers look at stays between them and the site."""
    assert build(tmp_path).returncode == 0
    loaded = re.compile(
        r'<(?:script|img|iframe)[^>]+src="(https?:)?//|<link[^>]+rel="stylesheet"[^>]+href="(https?:)?//'
    )
    assert [page for page in (tmp_path / "site").rglob("*.html") if loaded.search(page.read_text("utf-8"))] == []
