"""The documents say what is so: commands exist, examples run, tables are fresh, links lead somewhere."""

from __future__ import annotations

import math
import os
import re
import shlex
import shutil
import subprocess
import sys

import click
import pytest

import edge_wsd
from edge_wsd.cli.chat_commands import SLASH_ALIASES, SLASH_COMMANDS
from edge_wsd.cli.commands.doctor import install_commands
from edge_wsd.cli.main import cli
from edge_wsd.decoding.events import Statistics
from edge_wsd.decoding.signal import switch_index
from edge_wsd.demo import files
from edge_wsd.demo.tasks import load_tasks
from scripts.models_table import TABLES as MODELS_TABLES
from scripts.options_table import FILES as FILES_WITH_TABLES
from scripts.options_table import ROOT, TABLES, command_names, renewed

GUIDES = (
    "docs/api.md",
    "docs/command-line.md",
    "docs/desktop.md",
    "docs/first-real-pair.md",
    "docs/glossary.md",
    "docs/index.md",
    "docs/library.md",
    "docs/models.md",
    "docs/page.md",
    "docs/serving.md",
    "docs/speed.md",
    "docs/workers.md",
)
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/recipes.md", *GUIDES)
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in DOCUMENTS}
README = TEXTS["README.md"]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]*)(?:#([^)]*))?\)")
_FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")


def blocks(name: str, language: str) -> list[str]:
    return [text for found, text in _BLOCK.findall(TEXTS[name]) if found == language]


def command_lines() -> list[str]:
    """The `edge-wsd …` part of every line in a bash block: behind `|` and `&&`, without folder and comment."""
    lines = [line for name in DOCUMENTS for block in blocks(name, "bash") for line in block.splitlines()]
    parts = [part.strip() for line in lines for part in re.split(r"\s&&\s|\s\|\s", line)]
    return [part.removeprefix(".venv/bin/") for part in parts if re.match(r"(\.venv/bin/)?edge-wsd\b", part)]


def mentions() -> list[str]:
    """Every `edge-wsd …` in the running text."""
    return [found for text in TEXTS.values() for found in re.findall(r"`(edge-wsd [a-z][^`]*)`", text)]


def flags_of(command: click.Command) -> set[str]:
    return {flag for param in command.params for flag in (*param.opts, *param.secondary_opts)}


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that `words` begin with, of a group the one inside, and the words behind it."""
    command: click.Command | None = cli
    while isinstance(command, click.Group) and words and (command is cli or words[0] in command.commands):
        command, words = command.get_command(click.Context(command), words[0]), words[1:]
    assert command is not None and command is not cli, f"there is no such command before {words}"
    return command, words


def test_the_readme_opens_with_one_sentence_and_the_two_commands():
    title, sentence, *_ = README.split("\n\n")
    assert title == "# edge-wsd" and sentence.count(". ") == 0 and sentence.endswith(".")
    first, second = blocks("README.md", "bash")[:2]
    install = "python3 -m venv .venv && .venv/bin/pip install"
    assert first == f'{install} . && .venv/bin/edge-wsd run "How do I list files by size?"\n'
    assert second == f'{install} -c constraints.txt -e ".[test]" && .venv/bin/python -m pytest\n'


PLAYED_PYTHON = """#!/bin/sh
echo "python3 $*" >> "$CALLS"
mkdir -p .venv/bin
for tool in python pip ruff mypy; do
    printf '#!/bin/sh\necho "%s $*" >> "$CALLS"\n' ".venv/bin/$tool" > .venv/bin/$tool
    chmod +x .venv/bin/$tool
done
"""


def test_ci_installs_and_tests_with_the_commands_of_the_readme(tmp_path):
    """This once looked for a line in the script. Now it runs, with tools that only write down how they are called."""
    for name in (".ci/run", "README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").write_text(PLAYED_PYTHON)
    (tmp_path / "bin" / "python3").chmod(0o755)
    environment = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "CALLS": str(tmp_path / "calls"), "CI": "true"}
    subprocess.run([str(tmp_path / ".ci" / "run")], env=environment, check=True, capture_output=True)
    calls = (tmp_path / "calls").read_text().splitlines()
    # pip gets the README's words, of which the shell has taken the quotes; CI adds an extra to them.
    readme = [part.strip().replace('"', "") for part in blocks("README.md", "bash")[1].split("&&")]
    others = [call for call in calls if not re.search("ruff|mypy|build_rpc_backend|install_test_programs", call)]
    assert [call.replace("[test,published,clients]", "[test]") for call in others] == readme
    assert [call.split()[0] for call in calls if re.search("ruff|mypy", call)] == [
        ".venv/bin/ruff", ".venv/bin/ruff", ".venv/bin/mypy",
    ]  # fmt: skip


@pytest.mark.parametrize("name", FILES_WITH_TABLES)
def test_the_option_tables_are_fresh(name):
    assert renewed(TEXTS[name]) == TEXTS[name], "run python scripts/options_table.py"


def test_every_table_stands_in_a_document():
    marked = re.findall(r"<!-- begin ([a-z-]+):", "".join(TEXTS.values()))
    assert sorted(marked) == sorted([*TABLES, *MODELS_TABLES])


@pytest.mark.parametrize("line", command_lines())
def test_every_command_line_is_understood(line):
    command, arguments = command_of(shlex.split(line, comments=True)[1:])
    with command.make_context(line, arguments):
        pass


@pytest.mark.parametrize("mention", mentions())
def test_every_command_that_is_mentioned_exists(mention):
    command, rest = command_of(mention.split()[1:])
    assert set(_FLAG.findall(" ".join(rest))) <= {*flags_of(command), "--help"}


@pytest.mark.parametrize("name", ["README.md", *GUIDES])
def test_every_option_in_the_text_exists(name):
    text = _BLOCK.sub("", TEXTS[name])
    known = {flag for name in command_names() for flag in flags_of(command_of(name.split())[0])} | {"--help"}
    scripts = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "scripts").glob("*.py"))
    pip = {"--no-deps", "--no-cache-dir", "--force-reinstall"}
    unknown = [flag for flag in _FLAG.findall(text) if flag not in known | pip and f'"{flag}"' not in scripts]
    assert not unknown


def test_every_slash_command_is_described_and_every_described_one_exists():
    text = TEXTS["docs/command-line.md"].split("## In a chat")[1]
    described = set(re.findall(r"`/([a-z]+)", text))
    assert described - set(SLASH_ALIASES) == set(SLASH_COMMANDS)
    assert set(re.findall(r"`/([a-z]+)", README)) <= described


def test_the_object_of_run_json_is_described_field_by_field():
    (row,) = [line for line in TEXTS["docs/command-line.md"].splitlines() if line.startswith("| `stats` |")]
    fields = set(Statistics.__dataclass_fields__) | {"draft_share"}
    assert set(re.findall(r"`([a-z_]+)`", row)) - {"stats"} == fields


def test_the_gpu_lines_are_those_of_doctor():
    shown = README.split("## GPU")[1]
    for name, build, wheel, _ in install_commands("0.3.36"):
        if name in ("CUDA", "Metal"):
            assert f"\n{build}\n" in shown and f"\n{wheel}\n" in shown
    assert '"llama-cpp-python>=0.3.36,<0.3.37"' in (ROOT / "pyproject.toml").read_text()


def test_the_number_of_tasks_is_the_tables():
    assert set(re.findall(r"(\d+) (?:everyday )?tasks", README)) == {str(len(load_tasks()))}


def test_the_version_has_its_place_in_the_changelog():
    assert f"\n## [{edge_wsd.__version__}]" in TEXTS["CHANGELOG.md"]


def test_the_diagram_tells_the_truth():
    drawing = (ROOT / "docs" / "how-it-works.svg").read_text(encoding="utf-8")
    probabilities = [float(number) for number in re.findall(r'class="number">([0-9.]+)<', drawing)]
    assert switch_index([math.log(p) for p in probabilities]) == len(probabilities) - 1
    first, second = (math.prod(probabilities[i : i + 6]) ** (1 / 6) for i in (0, 1))
    assert f"{first:.2f} &lt; 0.8" in drawing and f"{second:.2f} ≥ 0.8" in drawing


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_leads_somewhere(name):
    for target, anchor in _LINK.findall(TEXTS[name]):
        if target.startswith("https://"):
            continue
        path = (ROOT / name).parent / target if target else ROOT / name
        assert path.is_file(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [heading.lower().replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_script_and_folder_that_is_named_exists(name):
    named = re.findall(r"(?<![\w/.])((?:scripts|tests|converters|edge_wsd|docs|native)/[\w./-]*[\w/])", TEXTS[name])
    missing = [path for path in named if not re.search("FAMILY|NAME", path) and not (ROOT / path).exists()]
    assert not missing


@pytest.mark.parametrize("name", ["README.md", "docs/desktop.md", "docs/library.md"])
def test_the_python_examples_run(name, tmp_path):
    """In order, in one process of its own: the demonstration pair stands in for the two files of the examples."""
    (tmp_path / "drafter.gguf").symlink_to(files.drafter_path())
    (tmp_path / "base.gguf").symlink_to(files.base_path())
    program = tmp_path / "examples.py"
    program.write_text("\n".join(blocks(name, "python")), encoding="utf-8")
    environment = {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(program)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout and not done.stderr


def test_the_glossary_is_sorted_and_explains_words_that_are_used():
    _, _, *words = re.findall(r"^\| ([^|]+) \| ", TEXTS["docs/glossary.md"], re.MULTILINE)
    assert words == sorted(words, key=str.lower)
    others = "".join(text for name, text in TEXTS.items() if name != "docs/glossary.md").lower()
    assert [word for word in words if word.lower() not in others] == []


def test_the_packages_front_page_is_the_readme():
    assert '\nreadme = "README.md"\n' in (ROOT / "pyproject.toml").read_text()
    assert (ROOT / "docs" / "chat.svg").is_file()
