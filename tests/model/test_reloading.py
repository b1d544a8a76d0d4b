"""Whoever loads and unloads pairs again and again needs no more memory than at first."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.bench_reload import growth
from tests.devices import ON_GPU


@pytest.mark.skipif(ON_GPU, reason="CUDA keeps some memory of its own")
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere what is resident says less about what was freed")
@pytest.mark.parametrize(("isolate", "n"), [(False, 20), (True, 6)])
def test_loading_and_unloading_leaves_nothing_behind(isolate, n):
    """glibc kept what was freed, in pieces that no later load could use: 13 % more private memory after 20 loads."""
    program = (
        f"import json; from scripts.bench_reload import rounds; print(json.dumps(rounds(3 + {n}, isolate={isolate})))"
    )
    command, root = [sys.executable, "-c", program], Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, check=True, timeout=300)
    assert growth(json.loads(done.stdout)[3:]) < 0.01
