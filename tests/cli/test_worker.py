"""`edge-wsd worker`, and `--workers` of the commands that load a pair."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest

from edge_wsd import ModelSettings, Pair
from edge_wsd.demo.files import base_path, drafter_path
from edge_wsd.llama import workers
from tests.rpc_workers import COMMAND, Worker, free_port, no_such_worker, require_backend, running

QUESTION = "How do I list files by size?"


@pytest.fixture(scope="module")
def addresses():
    with running(2) as found:
        yield ",".join(worker.address for worker in found)


def test_run_with_workers_writes_what_it_writes_alone(program, addresses):
    alone = program("run", QUESTION, "--json")
    spread = program("run", QUESTION, "--json", "--workers", addresses, "--worker-timeout", "30")
    assert spread.returncode == 0, spread.stderr
    assert json.loads(spread.stdout)["text"] == json.loads(alone.stdout)["text"]


def test_plan_counts_workers_and_names_the_flags(program, addresses):
    done = program("plan", "demo", "--workers", addresses, "--json")
    report = json.loads(done.stdout)
    first, second = addresses.split(",")
    used = {one["name"]: one["used_bytes"] for one in report["devices"]}
    assert used[first] > 0 and used[second] > 0
    assert report["models"]["drafter"]["gpu_layers"] == 0
    assert f"--base-workers {addresses}" in report["flags"] and "--drafter-workers" not in report["flags"]
    assert program("run", QUESTION, *report["flags"].split()).returncode == 0


def test_a_plan_needs_no_backend(program):
    """Memory is asked for in the protocol itself, so that a plan tells of workers before llama.cpp is rebuilt."""
    with running() as found:
        done = program("plan", "demo", "--workers", found[0].address, GGML_BACKEND_PATH="")
        assert done.returncode == 0 and found[0].address in done.stdout


@pytest.mark.parametrize("command", [("plan", "demo"), ("run", QUESTION), ("eval", "demo")])
def test_a_worker_that_is_not_there_is_one_line(program, command):
    address = no_such_worker()
    done = program(*command, "--workers", address)
    assert done.returncode == 1
    assert done.stderr.count("error:") == 1 and f"worker {address} cannot be reached" in done.stderr


@pytest.mark.parametrize("value", ["nowhere", "host:0", "host:99999", "host:port", ":50052", "a:1,a:1", "a:1,,b:1"])
def test_addresses_are_checked_before_anything_is_loaded(program, value):
    done = program("run", QUESTION, "--workers", value)
    assert done.returncode == 2 and "--workers must be" in done.stderr


@pytest.mark.parametrize("value", ["nowhere", "127.0.0.1:0", "127.0.0.1:65536"])
def test_a_worker_needs_an_address(program, value):
    done = program("worker", "--listen", value)
    assert done.returncode == 2 and "--listen must be HOST:PORT" in done.stderr


def test_a_port_that_is_taken_is_one_line(program, addresses):
    taken = addresses.split(",")[0]
    done = program("worker", "--listen", taken)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"edge-wsd: error: cannot listen on {taken}: Address already in use; choose another with --listen"
    ]


def test_another_address_than_loopback_needs_a_flag(program):
    require_backend()
    done = program("worker", "--listen", f"0.0.0.0:{free_port()}")
    assert done.returncode == 1
    assert "has no authentication" in done.stderr and "--allow-network" in done.stderr


def test_a_device_that_does_not_exist_is_named(program):
    require_backend()
    done = program("worker", "--device", "ABACUS0")
    assert done.returncode == 1 and "device must be one of CPU" in done.stderr


def test_the_network_is_warned_of():
    require_backend()
    command = [*COMMAND, "--listen", f"0.0.0.0:{free_port()}", "--allow-network"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert "who reaches" in process.stderr.readline()
        assert "until Ctrl-C" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130


@pytest.mark.parametrize("in_use", [False, True])
def test_ctrl_c_ends_a_worker(in_use):
    with running() as found:
        worker: Worker = found[0]
        if in_use:
            settings = ModelSettings(threads=1, workers=(worker.address,), worker_timeout=5.0)
            with Pair.load(drafter_path(), base_path(), base_settings=settings):
                worker.process.send_signal(signal.SIGINT)
                assert worker.process.wait(timeout=60) == 130
        else:
            worker.process.send_signal(signal.SIGINT)
            assert worker.process.wait(timeout=60) == 130


def test_without_the_backend_doctor_is_named(program):
    if json.loads(program("doctor", "--json", GGML_BACKEND_PATH="").stdout)["workers"]:
        pytest.skip("this llama.cpp was built with RPC")
    done = program("worker", GGML_BACKEND_PATH="")
    assert done.returncode == 1 and "edge-wsd doctor" in done.stderr


def test_doctor_tells_of_the_backend(program):
    report = json.loads(program("doctor", "--json").stdout)
    assert report["workers"] == workers.is_built_in()
    if report["workers"]:
        assert "RPC" in report["backends"] and report["workers_build"] is None
    bare = program("doctor", "--json", GGML_BACKEND_PATH="")
    if not json.loads(bare.stdout)["workers"]:
        assert json.loads(bare.stdout)["workers_build"].startswith('CMAKE_ARGS="-DGGML_RPC=on" pip install ')


def test_a_backend_that_cannot_be_loaded_is_named(program, tmp_path):
    path = tmp_path / "libggml-rpc.so"
    path.write_bytes(b"no library")
    report = json.loads(program("doctor", "--json", GGML_BACKEND_PATH=str(path)).stdout)
    assert any("GGML_BACKEND_PATH" in problem and str(path) in problem for problem in report["problems"])
    if not report["workers"]:
        done = program("worker", GGML_BACKEND_PATH=str(path))
        assert done.returncode == 1 and f"cannot load the backend {path}" in done.stderr
