"""`edge-wsd doctor`: versions, devices, whether a GPU is really used, and what to install otherwise."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click

from edge_wsd import __version__, child_process
from edge_wsd.cli.doctor_child import BINDING, LAST_STEP
from edge_wsd.cli.main import FAILED
from edge_wsd.cli.ui.guard import print_json
from edge_wsd.cli.ui.rows import columns_of_stdout, command_lines, named_lines, prose_lines
from edge_wsd.cli.ui.waiting import telling
from edge_wsd.errors import KernelError, OptionError
from edge_wsd.units import counted

WHEELS = "https://abetlen.github.io/llama-cpp-python/whl"
# what it is for, the switch for a build from source, the folder of ready wheels, a remark
GPU_BUILDS = (
    ("CUDA", "GGML_CUDA", "cu124", "for CUDA 12.4; cu118, cu121 to cu125, cu130 and cu132 exist as well"),
    ("Metal", "GGML_METAL", "metal", "for Macs with Apple silicon"),
    ("Vulkan", "GGML_VULKAN", "vulkan", "for other GPUs"),
)
WORKERS_SWITCH = "GGML_RPC"
_CHILD = "edge_wsd.cli.doctor_child"
_TIMEOUT_S = 180.0
_EXTRA_BUFFERS = {None: "not tested", True: "used", False: "not used: they do not work here"}


@click.command()
@click.option("--json", "as_object", is_flag=True, help="Print one JSON object.")
@click.pass_context
def command(context: click.Context, *, as_object: bool) -> None:
    """Show versions, backends, devices and free memory; whether layers can really be put on a GPU, and what to install
    if not; whether llama.cpp's kernels work on this processor. Ends with a self-test: the demo pair writes a few
    tokens. Exit code 1 if something does not work.
    """
    with telling("trying llama.cpp on this machine"):
        report = diagnose()
    if as_object:
        print_json(report)
    else:
        for line in report_lines(report, columns_of_stdout()):
            click.echo(line)
    if report["problems"]:
        context.exit(FAILED)


def diagnose() -> dict[str, Any]:
    """Everything `doctor` knows, ready for JSON. What does not work is told in `problems`."""
    problems: list[str] = []
    report: dict[str, Any] = {
        "versions": {
            "edge-wsd": __version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            BINDING: _installed(BINDING),
        },
        "native": _native(problems),
        "backends": [],
        "devices": [],
        "offload": False,
        "workers": False,
        "install": [],
        "workers_build": None,
        "extra_buffers": None,
        "self_test": None,
        "warnings": [],
        "problems": problems,
    }
    died = not _ask_child(report, "library")
    if (died or report["backends"]) and _examine_kernels(report):
        _ask_child(report, "pair")
    from edge_wsd.llama.rebuild import backend_switches

    kept = backend_switches()
    if not report["offload"]:
        report["install"] = [
            {"for": name, "build": build, "wheel": wheel, "note": note}
            for name, build, wheel, note in install_commands(report["versions"][BINDING], kept)
        ]
    if not report["workers"]:
        report["workers_build"] = build_command([WORKERS_SWITCH, *kept], report["versions"][BINDING])
    return report


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _native(problems: list[str]) -> str | None:
    try:
        from edge_wsd import _native

        return _native.isa()
    except ImportError as error:
        problems.append(f"the native core cannot be loaded: {error}; install edge-wsd again")
        return None


def _examine_kernels(report: dict[str, Any]) -> bool:
    """Whether llama.cpp's kernels hold on this processor, found out anew. If only plain ones do, that is no problem."""
    from edge_wsd.llama import kernels

    try:
        found = kernels.recall(again=True)
    except (KernelError, OptionError) as error:
        report["problems"].append(str(error))
        return False
    report["extra_buffers"] = found.extra_buffers
    if not found.extra_buffers:
        report["warnings"].append(kernels.advice(found))
    return True


def _ask_child(report: dict[str, Any], what: str) -> bool:
    """Adds to the report what `doctor_child` says of `what`, and how it ended. Whether it got to its end."""
    try:
        child = child_process.run([*child_process.python_command(_CHILD), what], timeout_s=_TIMEOUT_S)
    except (OSError, OptionError) as error:
        report["problems"].append(f"no child process can be started: {error}")
        return False
    step = "starting a child process"
    for facts in child.reports():
        step = facts.pop("begin", step)
        report["versions"].update(facts.pop("versions", {}))
        report["problems"] += [facts.pop("problem")] if "problem" in facts else []
        report.update(facts)
    if child.returncode == 0 and step == LAST_STEP:
        return True
    words = "" if child.returncode and child.returncode < 0 else f": {child.last_words()}"
    report["problems"].append(f"{step} failed ({child.ending}){words}")
    return False


def install_commands(binding_version: str | None, kept: Sequence[str] = ()) -> list[tuple[str, str, str, str]]:
    """For each kind of GPU: its name, the command that builds, the command that fetches a wheel, a remark.

    The kind that fits this machine comes first. `kept` are switches of backends that a new build shall have as well.
    """
    pip = _pip(binding_version)
    rows = []
    for name, switch, folder, note in GPU_BUILDS:
        build = build_command(dict.fromkeys([switch, *kept]), binding_version)
        wheel = f"{pip} --only-binary {BINDING} --extra-index-url {WHEELS}/{folder}"
        rows.append((name, build, wheel, note))
    likely = _likely_gpu()
    return sorted(rows, key=lambda row: row[0] != likely)


def build_command(switches: Iterable[str], binding_version: str | None) -> str:
    """What builds llama.cpp from source with these switches of CMake on."""
    arguments = " ".join(f"-D{switch}=on" for switch in switches)
    return f'CMAKE_ARGS="{arguments}" {_pip(binding_version)}'


def _pip(binding_version: str | None) -> str:
    pinned = f'"{BINDING}=={binding_version}"' if binding_version else BINDING
    return f"pip install --force-reinstall --no-cache-dir {pinned}"


def _likely_gpu() -> str:
    if sys.platform == "darwin":
        return "Metal"
    return "CUDA" if shutil.which("nvidia-smi") else "Vulkan"


def report_lines(report: dict[str, Any], n_columns: int | None = None) -> list[str]:
    """The report for a person, in lines of at most `n_columns`, if that matters."""
    rows = [(name, value or "not installed") for name, value in report["versions"].items()]
    rows += [("native core", report["native"] or "missing"), ("backends", ", ".join(report["backends"]) or "-")]
    for device in report["devices"]:
        free = f"{device['free_bytes'] / 2**30:.1f} of {device['total_bytes'] / 2**30:.1f} GiB free"
        about = f"{device['name']} ({device['type']}): {device['description']}, {free}"
        rows.append((f"device {device['index']}", about))
    rows += [
        ("GPU offload", "yes" if report["offload"] else "no: everything runs on the CPU"),
        ("workers", "can be served and used" if report["workers"] else "no: llama.cpp was built without RPC"),
        ("fastest kernels", _EXTRA_BUFFERS[report["extra_buffers"]]),
    ]
    test = report["self_test"]
    if test is not None:
        rows.append(
            ("self-test", f"{counted(test['n_tokens'], 'tokens')} in {test['total_s']:.2f} s: {test['text']!r}")
        )
    rows += [("WARNING", warning) for warning in report["warnings"]]
    rows += [("PROBLEM", problem) for problem in report["problems"]]
    lines = named_lines(rows, n_columns, width=18)
    if report["install"]:
        lines += ["", *prose_lines(["To use a GPU, build llama.cpp for it or take a ready wheel:"], n_columns)]
        for row in report["install"]:
            lines += ["", *prose_lines([f"  {row['for']} ({row['note']})"], n_columns)]
            lines += [line for name in ("build", "wheel") for line in command_lines(f"    {row[name]}", n_columns)]
    if report["workers_build"]:
        about = "To spread a base over several machines, build llama.cpp with RPC (with a GPU's switch behind it):"
        lines += ["", *prose_lines([about], n_columns), *command_lines(f"    {report['workers_build']}", n_columns)]
    return lines
