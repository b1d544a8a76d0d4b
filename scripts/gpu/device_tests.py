"""Step `test`: this project's tests over real models, several files at a time, with llama.cpp as it was built here."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from scripts.gpu.workplace import ROOT, Workplace, n_cores

FILE_LIMIT_S = 300.0
"""A file that takes longer counts as failed, so that one that hangs does not stop the others."""


def run_tests(place: Workplace, targets: list[str], *, on_gpu: bool) -> None:
    """Run what has not been run in this folder. A failure is a result, and ends nothing."""
    results: dict[str, Any] = place.read("tests") or {}
    variables = {"EDGE_WSD_CACHE": str(place.folder / "cache")}
    if on_gpu:
        variables |= {
            "EDGE_WSD_TEST_GPU_LAYERS": "-1",
            "NVIDIA_TF32_OVERRIDE": "0",
        }  # 32-bit floats are to have 32 bits
    with ThreadPoolExecutor(max(1, n_cores() // 2)) as files:
        runs = [files.submit(_run_file, place, path, variables) for path in test_files(targets) if path not in results]
        try:
            for run in as_completed(runs):
                results |= run.result()
                place.write("tests", results)
        finally:  # when the time is over no other file is begun
            files.shutdown(cancel_futures=True)


def _run_file(place: Workplace, path: str, variables: dict[str, str]) -> dict[str, Any]:
    """Its result, by its path."""
    name, start = path.removesuffix(".py").replace("/", "-"), time.monotonic()
    report = place.folder / "tests" / f"{name}.xml"
    report.unlink(missing_ok=True)
    command = [place.python, "-m", "pytest", "-q", path, f"--junit-xml={report}", "-p", "no:cacheprovider"]
    status = place.run(command, log=f"tests/{name}.log", limit_s=FILE_LIMIT_S, **variables)
    return {path: {**outcomes(report), "status": status, "seconds": round(time.monotonic() - start, 1)}}


def test_files(targets: list[str]) -> list[str]:
    """Relative to the repository, of files and of the folders that they are in."""
    found = [file for name in targets for file in _files(ROOT / name)]
    return [str(path.relative_to(ROOT)) for path in found]


def _files(path: Path) -> list[Path]:
    return sorted(path.rglob("test_*.py")) if path.is_dir() else [path]


def outcomes(report: Path) -> dict[str, Any]:
    """Counts, and the names of the tests that failed, as far as they were reported."""
    counts: dict[str, Any] = {"passed": 0, "skipped": 0, "failed": []}
    if report.is_file():
        for case in ElementTree.parse(report).iter("testcase"):
            if case.find("failure") is not None or case.find("error") is not None:
                counts["failed"].append(case.get("name"))
            else:
                counts["skipped" if case.find("skipped") is not None else "passed"] += 1
    return counts
