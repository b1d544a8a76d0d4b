"""What control groups allow, over made-up trees: both versions, nested groups, and what a container sees of them."""

import pytest

from edge_wsd.control_groups import own_groups
from edge_wsd.llama import processor, threads
from edge_wsd.llama.threads import cpu_quota, usable_cores
from edge_wsd.models.plan.host_memory import host_memory

KIB = 1024


def tree(folder, self_, files):
    """A made-up /sys/fs/cgroup with `files`, and a /proc/self/cgroup with the lines `self_`."""
    (folder / "self").write_text("".join(f"{line}\n" for line in self_))
    for name, text in files.items():
        path = folder / "mount" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return {"mount": folder / "mount", "self_": folder / "self"}


def limits(name, quota, period=100_000):
    return {f"{name}/cpu.cfs_quota_us": quota, f"{name}/cpu.cfs_period_us": period}


@pytest.mark.parametrize(
    "self_, files, quota",
    [
        (["0::/"], {"cpu.max": "150000 100000"}, 1.5),
        (["0::/"], {"cpu.max": "max 100000"}, None),
        (["0::/box"], {"box/cpu.max": "50000 100000"}, 0.5),
        (["0::/a/b/c"], {"a/cpu.max": "400000 100000", "a/b/cpu.max": "90000 30000", "a/b/c/cpu.max": "max 1"}, 3.0),
        (["0::/a"], {"cpu.max": "200000 100000", "a/cpu.max": "600000 100000", "b/cpu.max": "10000 100000"}, 2.0),
        (["0::/not/mounted/here"], {"cpu.max": "200000 100000"}, 2.0),
        (["0::/../beside"], {"cpu.max": "200000 100000"}, 2.0),
        (["4:cpu,cpuacct:/box", "0::/"], limits("cpu,cpuacct/box", 250_000), 2.5),
        (["4:cpu,cpuacct:/docker/1f2e"], limits("cpu,cpuacct", 50_000), 0.5),
        (["1:cpu:/a/b", "2:cpuset:/"], limits("cpu/a", 300_000) | limits("cpu/a/b", -1), 3.0),
        (["7:cpuacct,cpu:/"], limits("cpu", 100_000, 50_000), 2.0),
        (["1:cpu:/"], limits("cpu", -1), None),
        (["1:cpu:/"], {"cpu/cpu.cfs_quota_us": "50000"}, None),
        (["3:cpuset:/", "0::/box"], {"unified/box/cpu.max": "150000 100000"}, 1.5),
        (["0::/"], {"cpu.max": "0 100000"}, None),
        (["0::/"], {"cpu.max": "100000 0"}, None),
        (["0::/"], {"cpu.max": "much"}, None),
        (["0::/"], {"cpu.max": ""}, None),
        (["4:cpuset:/"], {"cpu.max": "100000 100000"}, None),
        (["nonsense", ""], {"cpu.max": "100000 100000"}, None),
        ([], {"cpu.max": "100000 100000"}, None),
    ],
)
def test_the_narrowest_quota_of_all_groups_around_a_process_counts(tmp_path, self_, files, quota):
    assert cpu_quota(**tree(tmp_path, self_, files)) == quota


def test_a_process_outside_of_linux_has_no_quota(tmp_path):
    assert cpu_quota(mount=tmp_path / "none", self_=tmp_path / "none") is None
    assert list(own_groups("cpu", tmp_path / "none", tmp_path / "none")) == []


def test_bytes_that_are_no_text_are_no_limit(tmp_path):
    where = tree(tmp_path, ["0::/"], {"cpu.max": ""})
    (tmp_path / "mount" / "cpu.max").write_bytes(b"\xff\xfe 100000")
    assert cpu_quota(**where) is None


# Containers with a quota got as many threads as the machine has cores, and were stopped for most of every period.
@pytest.mark.parametrize(
    "cores, quota, n",
    [(8, None, 8), (8, 2.0, 2), (8, 1.5, 2), (8, 0.2, 1), (2, 6.0, 2), (1, 1.0, 1), (8, 7.01, 8)],
)
def test_threads_are_the_quota_rounded_up_and_no_more_than_the_cores(monkeypatch, cores, quota, n):
    monkeypatch.setattr(threads, "physical_cores", lambda: cores)
    monkeypatch.setattr(threads, "cpu_quota", lambda: quota)
    assert usable_cores() == n
    assert threads.default_threads(10**9) == n
    assert threads.default_threads(10**6) == 1


# It was called by its bare name, so that any `sysctl` on the PATH was run.
def test_a_mac_is_asked_by_a_program_of_the_system_alone(monkeypatch, tmp_path):
    for name, cores in (("sysctl", 99), ("of-the-system", 6)):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho {cores}; : > {tmp_path}/{name}.ran\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(threads.sys, "platform", "darwin")
    threads.physical_cores()
    assert processor._SYSCTL.startswith("/") and not (tmp_path / "sysctl.ran").exists()
    monkeypatch.setattr(processor, "_SYSCTL", str(tmp_path / "of-the-system"))
    assert threads.physical_cores() == 6


# Of version 1 nothing was read, so that the plan of a pair saw all memory of the machine.
def test_a_container_of_version_1_may_allow_less_memory_than_the_machine_has(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal: 1000 kB\nMemAvailable: 700 kB\n")
    files = {
        "memory/box/memory.limit_in_bytes": 400 * KIB,
        "memory/box/memory.usage_in_bytes": 200 * KIB,
        "memory/box/memory.stat": f"inactive_file 7\ntotal_inactive_file {3 * KIB}",
        "memory/memory.limit_in_bytes": 9223372036854771712,
        "memory/memory.usage_in_bytes": 900 * KIB,
    }
    where = tree(tmp_path, ["9:memory:/box"], files)
    found = host_memory(1, 2, tmp_path / "meminfo", where["mount"], where["self_"])
    assert (found.available, found.total) == (203 * KIB, 400 * KIB)
