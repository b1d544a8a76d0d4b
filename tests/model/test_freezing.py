"""What a frozen application needs of edge-wsd is found by PyInstaller's hooks."""

import importlib.util
import json
import os
import subprocess
import sys
import urllib.request
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from edge_wsd.pyinstaller import hook_folders
from scripts.freeze_app import QUESTION, freeze, run, without_python

ROOT = Path(__file__).parents[2]
COMMANDS = [path.stem for path in (ROOT / "edge_wsd" / "cli" / "commands").glob("[a-z]*.py")]
NEEDED = 'needs PyInstaller: pip install -e ".[desktop]"'
CHILDREN = ("models.probe.child", "prompts.renderer_child", "isolation.worker", "cli.doctor_child")


def hook(name, monkeypatch):
    """The variables of a hook, run as PyInstaller runs it."""
    pytest.importorskip("PyInstaller", reason=NEEDED)
    monkeypatch.syspath_prepend(ROOT)
    spec = importlib.util.spec_from_file_location("a_hook", Path(hook_folders()[0]) / f"hook-{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pyinstaller_is_told_where_the_hooks_are():
    (entry,) = (one for one in entry_points(group="pyinstaller40") if one.value.startswith("edge_wsd."))
    folders = entry.load()()
    assert {path.name for folder in folders for path in Path(folder).glob("hook-*.py")} == {
        "hook-edge_wsd.py",
        "hook-llama_cpp.py",
    }


def test_the_libraries_that_the_binding_opens_are_taken(monkeypatch):
    """They lie beside its code and are opened by path, so no import leads there."""
    suffix = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
    taken = {(Path(source).name, folder) for source, folder in hook("llama_cpp", monkeypatch).binaries}
    names = {name for name, folder in taken if Path(folder) == Path("llama_cpp/lib")}
    assert {name for name in ("libllama", "libggml", "libggml-base") if f"{name}{suffix}" not in names} == set()


def test_what_is_imported_by_name_is_taken(monkeypatch):
    found = hook("edge_wsd", monkeypatch)
    wanted = {*(f"edge_wsd.cli.commands.{name}" for name in COMMANDS), *(f"edge_wsd.{name}" for name in CHILDREN)}
    assert wanted <= set(found.hiddenimports)
    assert not any(name.startswith("edge_wsd.pyinstaller") for name in found.hiddenimports)


def test_the_demonstration_pair_and_the_page_are_taken(monkeypatch):
    data = {Path(folder) / Path(source).name for source, folder in hook("edge_wsd", monkeypatch).datas}
    names = {path.as_posix() for path in data}
    assert {"edge_wsd/demo/drafter.gguf", "edge_wsd/demo/base.gguf", "edge_wsd/serve/page/static/index.html"} <= names
    assert any(part.startswith("edge_wsd-") for path in data for part in path.parts), "the version is not there"


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    """The program, which takes minutes to make."""
    if os.environ.get("EDGE_WSD_FREEZE") != "1":
        pytest.skip("takes minutes; EDGE_WSD_FREEZE=1 asks for it")
    pytest.importorskip("PyInstaller", reason=NEEDED)
    return freeze(tmp_path_factory.mktemp("frozen"))


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [(), ("--isolate",)])
def test_a_frozen_application_answers(frozen, arguments):
    assert "ls -lS" in run(frozen, *arguments)[0]


@pytest.mark.slow
def test_a_frozen_application_serves_and_ends_with_its_parent(frozen):
    command = [str(frozen), "serve", "--pair", "demo", "--port", "0", "--isolate", "--until-stdin-closes"]
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=without_python(), text=True, **pipes) as server:
        try:
            lines = iter(server.stderr.readline, "")
            url = next(word for line in lines for word in line.split() if word.startswith("http://"))
            body = json.dumps({"messages": [{"role": "user", "content": QUESTION}], "max_tokens": 60}).encode()
            with urllib.request.urlopen(f"{url}/v1/chat/completions", body, timeout=60) as answer:
                assert "ls -lS" in json.load(answer)["choices"][0]["message"]["content"]
            browser = urllib.request.Request(url, headers={"Accept": "text/html"})
            with urllib.request.urlopen(browser, timeout=60) as page:
                assert b"<title>" in page.read()
            server.stdin.close()
            assert server.wait(timeout=60) == 0
        finally:
            server.kill()
