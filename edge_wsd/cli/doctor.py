"""`edge-wsd doctor`: versions, devices, whether a GPU is really used, and what to install otherwise."""

from __future__ import annotations

import json
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click

from edge_wsd import __version__
from edge_wsd.cli.main import FAILED
from edge_wsd.cli.terminal import neutralise
from edge_wsd.errors import EdgeWsdError

BINDING = "llama-cpp-python"
WHEELS = "https://abetlen.github.io/llama-cpp-python/whl"
# what it is for, the switch for a build from source, the folder of ready wheels, a remark
GPU_BUILDS = (
    ("CUDA", "GGML_CUDA", "cu124", "for CUDA 12.4; cu118, cu121 to cu125, cu130 and cu132 exist as well"),
    ("Metal", "GGML_METAL", "metal", "for Macs with Apple silicon"),
    ("Vulkan", "GGML_VULKAN", "vulkan", "for other GPUs"),
)
_SELF_TEST_QUESTION = "How do I list files by size?"
_SELF_TEST_TOKENS = 16


@click.command()
@click.option("--json", "as_object", is_flag=True, help="Print one JSON object.")
@click.pass_context
def command(context: click.Context, *, as_object: bool) -> None:
    """Show versions, backends, devices and free memory; whether layers can really be put on a GPU; and what to install
    if not. Ends with a self-test: the demo pair writes a few tokens. Exit code 1 if something does not work.
    """
    report = examine()
    if as_object:
        click.echo(json.dumps(report, ensure_ascii=False))
    else:
        for line in lines_of(report):
            click.echo(neutralise(line))
    if report["problems"]:
        context.exit(FAILED)


def examine() -> dict[str, Any]:
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
        "install": [],
        "self_test": None,
        "problems": problems,
    }
    if _examine_library(report):
        _test_demo_pair(report)
    if not report["offload"]:
        report["install"] = [
            {"for": name, "build": build, "wheel": wheel, "note": note}
            for name, build, wheel, note in install_commands(report["versions"][BINDING])
        ]
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


def _examine_library(report: dict[str, Any]) -> bool:
    """What llama.cpp says of itself. That it cannot be loaded, for want of a libcudart perhaps, is a problem."""
    try:
        from edge_wsd.llama import library
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        report["problems"].append(f"{BINDING} cannot be loaded: {error}; install it again as below")
        return False
    report["versions"].update(library.versions())
    report["backends"] = library.backends()
    report["devices"] = [
        {
            "index": device.index,
            "name": device.name,
            "description": device.description,
            "type": device.type,
            "free_bytes": device.free_bytes,
            "total_bytes": device.total_bytes,
        }
        for device in library.devices()
    ]
    report["offload"] = library.supports_offload()
    return True


def _test_demo_pair(report: dict[str, Any]) -> None:
    try:
        from edge_wsd.pair import Pair

        with Pair.demo() as pair:
            reply = pair.generate(_SELF_TEST_QUESTION, max_tokens=_SELF_TEST_TOKENS)
    except (EdgeWsdError, ImportError) as error:
        report["problems"].append(f"the self-test failed: {error}")
        return
    report["self_test"] = {
        "text": reply.text,
        "n_tokens": reply.stats.n_tokens,
        "ttft_s": reply.stats.ttft_s,
        "total_s": reply.stats.total_s,
    }


def install_commands(binding_version: str | None) -> list[tuple[str, str, str, str]]:
    """For each kind of GPU: its name, the command that builds, the command that fetches a wheel, a remark.

    The kind that fits this machine comes first.
    """
    pinned = f'"{BINDING}=={binding_version}"' if binding_version else BINDING
    pip = f"pip install --force-reinstall --no-cache-dir {pinned}"
    rows = []
    for name, switch, folder, note in GPU_BUILDS:
        build = f'CMAKE_ARGS="-D{switch}=on" {pip}'
        wheel = f"{pip} --only-binary {BINDING} --extra-index-url {WHEELS}/{folder}"
        rows.append((name, build, wheel, note))
    likely = _likely_gpu()
    return sorted(rows, key=lambda row: row[0] != likely)


def _likely_gpu() -> str:
    if sys.platform == "darwin":
        return "Metal"
    return "CUDA" if shutil.which("nvidia-smi") else "Vulkan"


def lines_of(report: dict[str, Any]) -> list[str]:
    """The report for a person."""
    lines = [f"{name:18}{value or 'not installed'}" for name, value in report["versions"].items()]
    lines += [
        f"{'native core':18}{report['native'] or 'missing'}",
        f"{'backends':18}{', '.join(report['backends']) or '-'}",
    ]
    for device in report["devices"]:
        free = f"{device['free_bytes'] / 2**30:.1f} of {device['total_bytes'] / 2**30:.1f} GiB free"
        lines.append(
            f"{'device ' + str(device['index']):18}{device['name']} ({device['type']}): {device['description']}, {free}"
        )
    lines.append(f"{'GPU offload':18}{'yes' if report['offload'] else 'no: everything runs on the CPU'}")
    test = report["self_test"]
    if test is not None:
        lines.append(f"{'self-test':18}{test['n_tokens']} tokens in {test['total_s']:.2f} s: {test['text']!r}")
    lines += [f"{'PROBLEM':18}{' '.join(problem.split())}" for problem in report["problems"]]
    if report["install"]:
        lines += ["", "To use a GPU, build llama.cpp for it or take a ready wheel:"]
        for row in report["install"]:
            lines += ["", f"  {row['for']} ({row['note']})", f"    {row['build']}", f"    {row['wheel']}"]
    return lines
