"""The command that builds llama.cpp anew for the processor of this machine, by what the processor says of itself.

A native build leaves the choice of instruction sets to the compiler, which may make code of them that does not run; so
they are named here, and AMX is left out, whose code GCC 12 spoils.
"""

from __future__ import annotations

import shlex
import sys
from importlib.metadata import PackageNotFoundError, version

from edge_wsd.llama.installation import BINDING, library_files
from edge_wsd.llama.processor import Processor, this_processor

# llama.cpp's switch -> the flags that a processor must have for it. Those of the first group are on by default.
_BASIC = {
    "GGML_SSE42": ("sse4_2",),
    "GGML_AVX": ("avx",),
    "GGML_AVX2": ("avx2",),
    "GGML_FMA": ("fma",),
    "GGML_F16C": ("f16c",),
    "GGML_BMI2": ("bmi2",),
}
_MORE = {
    "GGML_AVX_VNNI": ("avx_vnni",),
    "GGML_AVX512": ("avx512f", "avx512cd", "avx512vl", "avx512dq", "avx512bw"),
    "GGML_AVX512_VBMI": ("avx512vbmi",),
    "GGML_AVX512_VNNI": ("avx512_vnni",),
    "GGML_AVX512_BF16": ("avx512_bf16",),
}
_ARM_EXTENSIONS = {"asimdhp": "fp16", "asimddp": "dotprod", "i8mm": "i8mm", "sve": "sve"}
_BACKENDS = {"cuda": "GGML_CUDA", "vulkan": "GGML_VULKAN", "hip": "GGML_HIP", "rpc": "GGML_RPC"}


def rebuild_command() -> str:
    """For the shell of this system, with this interpreter's pip and the version and backends that are installed."""
    switches = [*processor_switches(this_processor()), *(f"{switch}=ON" for switch in backend_switches())]
    arguments = " ".join(f"-D{switch}" for switch in switches)
    install = f"-m pip install --force-reinstall --no-deps --no-cache-dir --no-binary {BINDING} {_pinned()}"
    if sys.platform == "win32":
        return f"$env:CMAKE_ARGS=\"{arguments}\"; & '{sys.executable}' {install}"
    return f'CMAKE_ARGS="{arguments}" {shlex.quote(sys.executable)} {install}'


def processor_switches(processor: Processor) -> list[str]:
    """Switches of llama.cpp's build that name the instruction sets of `processor`."""
    switches = ["GGML_NATIVE=OFF"]
    if not processor.flags:  # it does not say, or all of its kind have the same
        return switches
    if processor.is_x86:
        switches += [f"{name}={_on(processor, flags)}" for name, flags in _BASIC.items()]
        has_avx512 = _on(processor, _MORE["GGML_AVX512"]) == "ON"
        for name, flags in _MORE.items():
            if _on(processor, flags) == "ON" and (has_avx512 or "AVX512" not in name):
                switches.append(f"{name}=ON")
    elif processor.machine.lower() in ("aarch64", "arm64"):
        extensions = [name for flag, name in _ARM_EXTENSIONS.items() if flag in processor.flags]
        switches.append("GGML_CPU_ARM_ARCH=" + "+".join(["armv8.2-a" if extensions else "armv8-a", *extensions]))
    return switches


def _on(processor: Processor, flags: tuple[str, ...]) -> str:
    return "ON" if processor.flags.issuperset(flags) else "OFF"


def backend_switches() -> list[str]:
    """Switches of the backends that the installed llama.cpp has: a new build without them would lose these."""
    names = " ".join(path.name for path in library_files())
    return [switch for part, switch in _BACKENDS.items() if f"ggml-{part}" in names]


def _pinned() -> str:
    try:
        return f'"{BINDING}=={version(BINDING)}"'
    except PackageNotFoundError:
        return BINDING
