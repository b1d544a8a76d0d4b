"""Whether llama.cpp's kernels hold: how that is found out, remembered, told and used. The children are played."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_wsd.disk_cache import DiskCache
from edge_wsd.errors import KernelError
from edge_wsd.llama import kernels
from edge_wsd.llama.kernels import TOLERANCE, KernelVerdict, examine, recall, uses_extra_buffers
from edge_wsd.llama.processor import Processor, this_processor
from edge_wsd.llama.rebuild import processor_switches, rebuild_command
from edge_wsd.llama.settings import ModelSettings

SAY = "import json, os, signal, sys, time\ndef say(**facts): print(json.dumps(facts), flush=True)\n"
START = SAY + "say(begin='the start of llama.cpp'); say(end='', buffers=['AMX', 'CPU_REPACK'])\n"
STEP = START + "say(begin='Q4_0 weights, 8 tokens at once')\n"
HOLDS = f"say(end='', error={TOLERANCE / 2}); say(begin={kernels.LAST_STEP!r})\n"
PLAIN_HOLDS = "\nif sys.argv[1] == 'off':\n    " + HOLDS.replace("\n", "") + "\n    sys.exit(0)\n"
WRONG = f"say(end='', error={TOLERANCE * 2}); say(begin={kernels.LAST_STEP!r})"
NO_NUMBER = f"say(end='', error=None); say(begin={kernels.LAST_STEP!r})"


def child(source: str) -> list[str]:
    return [sys.executable, "-c", source]


@pytest.fixture
def memory(tmp_path: Path) -> DiskCache:
    return DiskCache(tmp_path / "cache" / "kernels.json", "verdicts", most=20, otherwise="tested again")


def test_kernels_that_hold_are_used() -> None:
    assert examine(child(STEP + HOLDS)) == KernelVerdict(True)


needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="there are no signals")


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        pytest.param("os.kill(os.getpid(), signal.SIGILL)", "SIGILL, illegal instruction", marks=needs_signals),
        pytest.param("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV, invalid memory access", marks=needs_signals),
        pytest.param("print('words', file=sys.stderr); os.abort()", "SIGABRT: words", marks=needs_signals),
        ("time.sleep(600)", "no answer within 5 s"),
        (WRONG, "wrong numbers, 12% off"),
        (NO_NUMBER, "no numbers"),
        ("sys.exit('a reason')", "exit code 1: a reason"),
        ("sys.exit(0)", "exit code 0"),
    ],
)
def test_where_only_plain_kernels_hold_only_those_are_used(fault: str, told: str) -> None:
    """The first quantized product ended the process, without a word."""
    found = examine(child(STEP + PLAIN_HOLDS + fault), timeout_s=5)
    step = "Q4_0 weights, 8 tokens at once"
    assert found == KernelVerdict(False, f"llama.cpp's AMX kernels do not work on this processor ({step}: {told})")


def test_without_amx_the_kernels_are_told_by_another_name() -> None:
    found = examine(child(STEP.replace("'AMX', ", "") + PLAIN_HOLDS + WRONG))
    assert found.problem.startswith("llama.cpp's kernels for rearranged weights do not work")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        pytest.param(SAY + "os.kill(os.getpid(), signal.SIGILL)", "SIGILL, illegal instruction", marks=needs_signals),
        (STEP + WRONG, "Q4_0 weights, 8 tokens at once: wrong numbers"),
        ("import nowhere", "exit code 1: ModuleNotFoundError: No module named 'nowhere'"),
    ],
)
def test_where_nothing_holds_one_error_says_how_to_build_llama_cpp(source: str, told: str) -> None:
    with pytest.raises(KernelError) as caught:
        examine(child(source))
    assert told in str(caught.value) and rebuild_command() in str(caught.value) and "\n" not in str(caught.value)


def test_a_child_that_does_not_start_is_told() -> None:
    with pytest.raises(KernelError, match="/nowhere/python does not start"):
        examine(["/nowhere/python"])


CRASHES = child(SAY + "os.abort()")


def test_a_verdict_is_remembered(memory: DiskCache) -> None:
    bad = recall(memory, child(STEP + PLAIN_HOLDS + WRONG))
    assert not bad.extra_buffers and recall(memory, CRASHES) == bad
    assert recall(memory, child(STEP + HOLDS), again=True) == KernelVerdict(True)
    assert recall(memory, CRASHES) == KernelVerdict(True)


@pytest.mark.parametrize("what", ["library", "processor"])
def test_another_library_or_processor_is_tested_anew(
    what: str, memory: DiskCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    recall(memory, child(STEP + HOLDS))
    if what == "library":
        monkeypatch.setattr(kernels, "installation_stamp", lambda: "another")
    else:
        monkeypatch.setattr(kernels, "this_processor", lambda: Processor("x86_64", "another", frozenset()))
    with pytest.raises(KernelError):
        recall(memory, CRASHES)


@pytest.mark.parametrize("damage", [b"", b"{", b'{"format": 1, "verdicts": {}}', b"[" * 100_000])
def test_a_damaged_memory_costs_a_test_and_is_mended(memory: DiskCache, damage: bytes) -> None:
    memory.path.parent.mkdir()
    memory.path.write_bytes(damage)
    assert recall(memory, child(STEP + HOLDS)) == KernelVerdict(True) == recall(memory, CRASHES)


@pytest.mark.parametrize("value", ["", "{", "[]", "3", '{"extra_buffers": true}', "null"])
def test_a_damaged_verdict_costs_a_test(memory: DiskCache, value: str) -> None:
    recall(memory, child(STEP + HOLDS))
    content = json.loads(memory.path.read_text())
    memory.path.write_text(json.dumps({**content, "verdicts": dict.fromkeys(content["verdicts"], value)}))
    with pytest.raises(KernelError):
        recall(memory, CRASHES)


def test_a_memory_that_cannot_be_written_costs_a_test_and_never_the_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    memory = DiskCache(tmp_path / "file" / "kernels.json", "verdicts", most=20, otherwise="tested again")
    assert recall(memory, child(STEP + HOLDS)) == KernelVerdict(True)
    assert "tested again" in caplog.text
    with pytest.raises(KernelError):
        recall(memory, CRASHES)


@pytest.fixture
def bad_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KernelVerdict]:
    bad = KernelVerdict(False, "AMX: SIGILL")
    monkeypatch.setattr(kernels, "recall", lambda: bad)
    monkeypatch.setenv("EDGE_WSD_CACHE", str(tmp_path / "told"))
    kernels._first_verdict.cache_clear()
    kernels._warned_verdict.cache_clear()
    yield bad
    kernels._first_verdict.cache_clear()
    kernels._warned_verdict.cache_clear()


def test_a_bad_verdict_is_told_once_of_each_library(
    bad_verdict: KernelVerdict, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command told it anew, in nine lines of a terminal."""
    for library in ("one", "one", "another"):
        monkeypatch.setattr(kernels, "installation_stamp", lambda library=library: library)
        kernels._warned_verdict.cache_clear()  # as in a new process
        with caplog.at_level(logging.WARNING, "edge_wsd.llama.kernels"):
            assert kernels.verdict() == kernels.verdict() == bad_verdict
    assert len(caplog.records) == 2
    for record in caplog.records:
        assert record.levelno == logging.WARNING and record.name == "edge_wsd.llama.kernels"
        assert bad_verdict.problem in record.getMessage() and rebuild_command() in record.getMessage()


def test_where_nothing_can_be_remembered_each_process_is_told(
    bad_verdict: KernelVerdict, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "cache_file", lambda name: None)
    for _ in range(2):
        kernels._warned_verdict.cache_clear()
        kernels.verdict()
    assert [bad_verdict.problem in record.getMessage() for record in caplog.records] == [True, True]


def test_the_setting_overrides_the_verdict(bad_verdict: KernelVerdict, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not uses_extra_buffers(ModelSettings())
    monkeypatch.setattr(kernels, "verdict", lambda: pytest.fail("nobody asked"))
    assert uses_extra_buffers(ModelSettings(extra_buffers="on"))
    assert not uses_extra_buffers(ModelSettings(extra_buffers="off"))


SAPPHIRE = "sse4_2 avx avx2 fma f16c bmi2 avx_vnni avx512f avx512cd avx512vl avx512dq avx512bw avx512vbmi avx512_vnni"


def x86(flags: str) -> Processor:
    return Processor("x86_64", "", frozenset(flags.split()))


def test_the_command_names_what_the_processor_has_and_never_amx() -> None:
    switches = processor_switches(x86(SAPPHIRE + " avx512_bf16 amx_tile amx_int8 amx_bf16"))
    assert switches[0] == "GGML_NATIVE=OFF" and not any("AMX" in switch for switch in switches)
    for name in ["AVX2", "FMA", "F16C", "BMI2", "AVX_VNNI", "AVX512", "AVX512_VBMI", "AVX512_VNNI", "AVX512_BF16"]:
        assert f"GGML_{name}=ON" in switches


def test_the_command_switches_off_what_is_on_by_default_and_not_there() -> None:
    switches = processor_switches(x86("sse4_2 avx"))
    assert {"GGML_SSE42=ON", "GGML_AVX=ON", "GGML_AVX2=OFF", "GGML_FMA=OFF", "GGML_BMI2=OFF"} < set(switches)
    assert not any("AVX512" in switch for switch in switches)


def test_parts_of_avx512_are_of_no_use_without_the_whole() -> None:
    assert not any("AVX512" in switch for switch in processor_switches(x86("avx avx2 avx512f avx512_vnni")))


def test_arm_and_silent_processors_get_a_command_too() -> None:
    arm = Processor("aarch64", "", frozenset(["fp", "asimd", "asimdhp", "asimddp", "i8mm"]))
    assert processor_switches(arm) == ["GGML_NATIVE=OFF", "GGML_CPU_ARM_ARCH=armv8.2-a+fp16+dotprod+i8mm"]
    assert processor_switches(Processor("aarch64", "", frozenset({"fp"})))[1] == "GGML_CPU_ARM_ARCH=armv8-a"
    assert processor_switches(Processor("arm64", "Apple", frozenset())) == ["GGML_NATIVE=OFF"]


@pytest.mark.parametrize("system", ["linux", "win32"])
def test_the_command_is_for_this_interpreter_and_the_shell_of_the_system(
    system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    command = rebuild_command()
    assert sys.executable in command and "--force-reinstall" in command and '"llama-cpp-python==0.' in command
    assert command.startswith("$env:CMAKE_ARGS=" if system == "win32" else 'CMAKE_ARGS="-DGGML_NATIVE=OFF')


@pytest.mark.skipif(sys.platform != "linux", reason="where the system tells the flags")
def test_the_flags_of_this_processor_are_known() -> None:
    known = this_processor()
    text = Path("/proc/cpuinfo").read_text()
    assert known.flags and all(flag in text for flag in known.flags)


def test_a_binding_that_cannot_be_loaded_is_told_in_a_line(tmp_path: Path) -> None:
    """It was told as an output that cannot be written."""
    program = "import edge_wsd.errors as e\ntry: import edge_wsd.pair\nexcept e.KernelError as error: print(error)"
    environment = {**os.environ, "LLAMA_CPP_LIB_PATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert f"cannot be loaded from {tmp_path}, which LLAMA_CPP_LIB_PATH names: " in done.stdout
    assert "`edge-wsd doctor`" in done.stdout
