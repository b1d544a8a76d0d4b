"""Child processes: what they import, and how their ending is told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import sysconfig
from datetime import datetime
from pathlib import Path

import pytest

from edge_wsd import child_process
from edge_wsd.child_process import Ended, describe_ending, python_command
from edge_wsd.errors import OptionError
from edge_wsd.llama.tools.quantizer import Quantizer, Request
from edge_wsd.models.probe.cache import ProbeCache
from edge_wsd.models.probe.trial import probe_model
from edge_wsd.prompts.renderer import Renderer
from tests.strange_modules import MARK, NAMES, OF_PYTHONS_START, PROGRAM, fill
from tests.tiny_models import TinyModel


@pytest.fixture(scope="module")
def trap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("trap") / "checkpoint")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return TinyModel().write(tmp_path_factory.mktemp("model") / "tiny.gguf")


@pytest.mark.parametrize("entry", ["", ".", "packages", "absolute", "absolute packages"])
def test_no_child_runs_what_lies_in_the_current_folder(
    entry: str, trap: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python -c` put the folder first on the path, and `json` was imported from it before the path was set."""
    monkeypatch.chdir(trap)
    entry = {"absolute": str(trap), "absolute packages": str(trap / "packages")}.get(entry, entry)
    monkeypatch.setattr(sys, "path", [entry, *sys.path])
    monkeypatch.setenv("PYTHONPATH", f"{trap}{os.pathsep}{trap / 'packages'}")
    monkeypatch.setenv("PYTHONSTARTUP", str(trap / "json.py"))
    monkeypatch.setenv("PYTHONHOME", str(trap))
    probe_model(model, cache=ProbeCache(tmp_path / "cache.json"))
    with Quantizer(Request(model, tmp_path / "out.gguf", 7)) as quantizer:
        quantizer.plan()
        quantizer.write()
    assert not (trap / MARK).exists()


def run_program(program: list[str], folder: Path, *arguments: str, **variables: str) -> str:
    environment = {**os.environ, **variables}
    done = subprocess.run(
        [*program, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_answers_in_a_folder_of_strange_modules(trap: Path, tmp_path: Path) -> None:
    """A `json.py` of the user's own broke `run`."""
    program = tmp_path / "edge-wsd"
    program.write_text(PROGRAM)
    cache = {"EDGE_WSD_CACHE": str(tmp_path / "cache")}
    answer = run_program([sys.executable, str(program)], trap, "run", "How do I list files by size?", **cache)
    assert "ls" in answer and not (trap / MARK).exists()


def test_the_module_answers_there_as_far_as_python_lets_it(tmp_path: Path) -> None:
    folder = fill(tmp_path / "folder", set(NAMES) - OF_PYTHONS_START)
    assert "edge-wsd" in run_program([sys.executable, "-m", "edge_wsd"], folder, "--version")
    assert not (folder / MARK).exists()


SHOW = """
import json, sys
def main(arguments):
    import edge_wsd, llama_cpp
    print(json.dumps([arguments, edge_wsd.__file__, llama_cpp.__file__, sys.path]))
"""


def shown(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> list[object]:
    """What a child sees whose module lies in `folder`, a place that packages are installed in."""
    (folder / "show_child.py").write_text(SHOW)
    (folder / "show_child-1.dist-info").mkdir()
    monkeypatch.syspath_prepend(str(folder))
    child = child_process.run([*python_command("show_child"), *arguments], timeout_s=60)
    assert child.returncode == 0, child.stderr
    answer: list[object] = json.loads(child.stdout)
    return answer


def test_a_child_imports_what_its_caller_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import llama_cpp

    import edge_wsd

    monkeypatch.setenv("PYTHONPATH", "")
    assert shown(tmp_path, monkeypatch, "a", "b c")[:3] == [["a", "b c"], edge_wsd.__file__, llama_cpp.__file__]


def test_an_installation_in_the_order_of_the_callers_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another build of llama.cpp in front of the installed one, put there by PYTHONPATH, is that of the child too."""
    path = shown(tmp_path, monkeypatch)[3]
    assert isinstance(path, list)
    theirs = [entry for entry in path if entry in sys.path]
    assert theirs[-1] != str(tmp_path) and path.index(str(tmp_path)) < path.index(sysconfig.get_path("purelib"))


def test_the_current_folder_is_believed_where_this_package_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    home = Path(child_process.__file__).parent.parent
    monkeypatch.chdir(home)
    monkeypatch.setattr(sys, "path", [str(home), *sys.path])
    assert child_process.import_path()[0] == str(home)


def test_a_current_folder_that_was_removed_does_not_matter(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    try:
        folder.rmdir()
    except OSError:
        pytest.skip("this system keeps a folder that is in use")
    probe_model(model, cache=ProbeCache(tmp_path / "cache.json"))


@pytest.mark.parametrize(("name", "value"), [("executable", ""), ("frozen", True)])
def test_where_there_is_no_python_to_start_the_application_says_how_children_are(
    monkeypatch: pytest.MonkeyPatch, name: str, value: object
) -> None:
    monkeypatch.setattr(sys, name, value, raising=False)
    with pytest.raises(OptionError, match=r"child_process\.use_program"):
        python_command("edge_wsd.anything")


def test_the_children_of_a_frozen_application_are_started_as_it_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = tmp_path / "app.py"
    app.write_text("import sys\nfrom edge_wsd.child_process import main\nmain(sys.argv[2:])\n", encoding="utf-8")
    monkeypatch.setattr(child_process, "_program", [sys.executable, str(app), "--child"])
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    renderer = Renderer()
    assert renderer.render("{{ a }}", {"a": 1}, datetime(2025, 3, 9)) == "1"
    renderer.close()
    with pytest.raises(OptionError, match="not a module of edge_wsd"):
        child_process.main(["os"])


def run(source: str, timeout_s: float = 60) -> Ended:
    return child_process.run([sys.executable, "-c", source], timeout_s=timeout_s)


def test_a_child_that_ends_is_told_with_what_it_said() -> None:
    done = run("import sys; print('{\"a\": 1}'); print('[1]'); print('{'); print('x', file=sys.stderr); sys.exit(3)")
    assert (done.returncode, done.ending, done.reports(), done.stderr) == (3, "exit code 3", [{"a": 1}], b"x\n")


def test_a_child_whose_time_is_over_is_ended_and_keeps_what_it_said() -> None:
    done = run("import time; print('{\"begin\": 1}', flush=True); time.sleep(600)", timeout_s=2)
    assert (done.returncode, done.ending, done.reports()) == (None, "its time was over", [{"begin": 1}])


@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals")
@pytest.mark.parametrize(
    ("name", "meaning"),
    [("SIGILL", "illegal instruction"), ("SIGSEGV", "invalid memory access"), ("SIGTERM", "")],
)
def test_a_signal_is_told_by_its_name_and_meaning(name: str, meaning: str) -> None:
    done = run(f"import os, signal; os.kill(os.getpid(), signal.{name})")
    assert done.ending == (f"{name}, {meaning}" if meaning else name)


def test_codes_of_windows_are_told_in_words() -> None:
    assert describe_ending(0xC000001D) == "exit code 0xc000001d, illegal instruction"
    assert describe_ending(0xC0000999) == "exit code 0xc0000999"
    assert describe_ending(-int(signal.SIGINT)) == "SIGINT"
