"""Threads wait briefly for each other, unless the user has said how they wait."""

import subprocess
import sys

import pytest

from edge_wsd.llama.waiting import wait_briefly


# Two threads beside one other busy program decoded a third as fast as one thread.
@pytest.mark.parametrize(
    "given, expected",
    [
        ({}, {"GOMP_SPINCOUNT": "2000"}),
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7"}),
        ({"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "active"}),
    ],
)
def test_what_the_user_has_set_stays(given, expected):
    environment = dict(given)
    wait_briefly(environment)
    assert environment == expected


def test_it_is_settled_before_openmp_is_loaded():
    program = "import os, sys, edge_wsd.llama as _; print(os.environ['GOMP_SPINCOUNT'], 'llama_cpp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env={}, check=True)
    assert done.stdout.split() == ["2000", "False"]
