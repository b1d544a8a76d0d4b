"""What CMake must be told of a CUDA toolkit of which parts lie in NVIDIA's Python packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

_LIBRARIES = {
    "cudart": "libcudart.so*",
    "cublas": "libcublas.so*",
    "cublasLt": "libcublasLt.so*",
    "cuda_driver": "libcuda.so*",
}
"""As CMake's FindCUDAToolkit names them: CUDA_name_LIBRARY."""
_DRIVER_FOLDERS = tuple(map(Path, ("/usr/local/nvidia/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib64")))
_HEADER = "cublas_v2.h"


@dataclass(frozen=True)
class Cuda:
    definitions: dict[str, str] = field(default_factory=dict)
    """For CMake."""
    library_folders: list[Path] = field(default_factory=list)
    """In which the loader must look."""


def graphics_card() -> tuple[str, str]:
    """Name and architecture of the first GPU, as in ("NVIDIA H100 80GB HBM3", "90")."""
    query = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"]
    if not shutil.which(query[0]):
        sys.exit("nvidia-smi was not found: no NVIDIA GPU here? Try it all with --device cpu")
    lines = subprocess.run(query, check=True, capture_output=True, text=True).stdout.splitlines()
    if not lines:
        sys.exit("nvidia-smi lists no GPU. Try it all with --device cpu")
    name, capability = lines[0].rsplit(",", 1)
    return name.strip(), capability.strip().replace(".", "")


def find_cuda(architecture: str, packages: list[Path], toolkit: Path | None = None) -> Cuda:
    """`packages` are the folders where Python's packages lie; the toolkit is where nvcc is, unless given."""
    toolkit = toolkit or _toolkit()
    definitions = {
        "GGML_CUDA": "on",
        "CMAKE_CUDA_ARCHITECTURES": architecture,
        "CMAKE_CUDA_COMPILER": str(toolkit / "bin" / "nvcc"),
        "CUDAToolkit_ROOT": str(toolkit),
    }
    own = [
        folder
        for folder in (toolkit / "lib64", toolkit / "lib", toolkit / "targets/x86_64-linux/lib")
        if folder.is_dir()
    ]
    wheels = sorted({path for root in packages for path in (root / "nvidia").glob("*/lib")})
    found = []
    for name, pattern in _LIBRARIES.items():
        developed = [
            path for folder in own for path in (*folder.glob(pattern[:-1]), *folder.glob("stubs/" + pattern[:-1]))
        ]
        carried = [path for folder in (*own, *wheels, *_DRIVER_FOLDERS) for path in sorted(folder.glob(pattern))]
        if not developed and carried:  # wheels have libcublas.so.13 alone, which CMake does not find by itself
            definitions[f"CUDA_{name}_LIBRARY"] = str(carried[0])
            found.append(carried[0].parent)
            if name == "cudart":
                definitions["CUDA_CUDART"] = str(carried[0])  # by which CMake knows a toolkit
        elif not developed and name == "cuda_driver":
            definitions["GGML_CUDA_NO_VMM"] = "on"  # the only use of the driver's own library
    headers = [folder.parent / "include" for folder in wheels if (folder.parent / "include" / _HEADER).is_file()]
    if headers and not any(
        (toolkit / place / _HEADER).is_file() for place in ("include", "targets/x86_64-linux/include")
    ):
        definitions["CMAKE_CUDA_FLAGS"] = f"-I{headers[0]}"
    return Cuda(definitions, list(dict.fromkeys(found)))


def _toolkit() -> Path:
    named = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    nvcc = shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
    if named:
        return Path(named)
    if not nvcc:
        sys.exit("nvcc was not found: put the bin folder of the CUDA toolkit on PATH, or set CUDA_HOME")
    return Path(nvcc).resolve().parents[1]
