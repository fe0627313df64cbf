"""What a process may use of the machine: its affinity, and the limits of its control groups."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.pool.conftest import run
from wpc_magic.pool import machine
from wpc_magic.pool.control_groups import (
    control_groups,
    cpu_quota,
    memory_left,
    memory_limit,
    memory_used_percent,
)
from wpc_magic.pool.driver import memory
from wpc_magic.pool.machine import have_two_cores, usable_cores, usable_memory, used_percent

MB = 1 << 20

V2 = "30 23 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
V1_CPU = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct"
V1_MEMORY = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"
OTHERS = """\
23 1 254:0 / / rw,relatime - ext4 /dev/root rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
not a line"""


@pytest.fixture
def tree(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder that stands for ``/``."""

    def make(mounts: list[str], groups: list[str], **files: str) -> Path:
        own = tmp_path / "proc" / "self"
        own.mkdir(parents=True)
        (own / "mountinfo").write_text("\n".join([*OTHERS.splitlines(), *mounts]) + "\n")
        (own / "cgroup").write_text("\n".join(groups) + "\n")
        for name, text in files.items():
            path = tmp_path / "sys/fs/cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return make


def test_without_control_groups_all_is_usable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert control_groups("cpu", tmp_path) == []
    assert (cpu_quota(tmp_path), memory_limit(tmp_path), memory_used_percent(tmp_path)) == (None, None, 0.0)
    assert memory_left(tmp_path) is None
    assert usable_memory(tmp_path) == psutil.virtual_memory().total
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 5}, raising=False)
    monkeypatch.setattr(os, "process_cpu_count", lambda: 3, raising=False)
    assert usable_cores(tmp_path) == 3


def test_a_container_sees_its_group_as_the_root(tree: Callable[..., Path]) -> None:
    root = tree(
        [V2],
        ["0::/"],
        **{
            "cpu.max": "100000 100000\n",
            "memory.max": f"{1024 * MB}\n",
            "memory.current": f"{800 * MB}\n",
            "memory.stat": f"anon 5\nfile 7\ninactive_file {32 * MB}\nactive_file 3\n",
        },
    )
    assert cpu_quota(root) == 1.0
    assert usable_cores(root) == 1
    assert usable_memory(root) == 1024 * MB
    assert memory_used_percent(root) == 75.0
    assert memory_left(root) == 256 * MB


def test_the_tightest_of_nested_groups_counts(tree: Callable[..., Path]) -> None:
    root = tree(
        [V2],
        ["0::/user.slice/app.service/inner"],
        **{
            "user.slice/cpu.max": "max 100000\n",
            "user.slice/memory.max": "max\n",
            "user.slice/app.service/cpu.max": "150000 100000\n",
            "user.slice/app.service/memory.max": f"{512 * MB}\n",
            "user.slice/app.service/memory.current": f"{256 * MB}\n",
            "user.slice/app.service/inner/cpu.max": "400000 100000\n",
            "user.slice/app.service/inner/memory.max": f"{2048 * MB}\n",
            "user.slice/app.service/inner/memory.current": f"{256 * MB}\n",
        },
    )
    assert [group.folder.name for group in control_groups("cpu", root)] == [
        *("inner", "app.service", "user.slice", "cgroup")
    ]
    assert cpu_quota(root) == 1.5
    assert memory_limit(root) == 512 * MB
    assert memory_used_percent(root) == 50.0
    assert memory_left(root) == 256 * MB


def test_version_1_has_a_tree_for_each_controller(tree: Callable[..., Path]) -> None:
    root = tree(
        [V1_CPU, V1_MEMORY],
        ["12:cpu,cpuacct:/docker/a", "4:memory:/docker/a", "1:name=systemd:/x"],
        **{
            "cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "cpu,cpuacct/docker/cpu.cfs_quota_us": "25000\n",
            "cpu,cpuacct/docker/cpu.cfs_period_us": "50000\n",
            "cpu,cpuacct/docker/a/cpu.cfs_quota_us": "-1\n",
            "cpu,cpuacct/docker/a/cpu.cfs_period_us": "100000\n",
            "memory/memory.limit_in_bytes": "9223372036854771712\n",
            "memory/docker/memory.limit_in_bytes": f"{300 * MB}\n",
            "memory/docker/memory.usage_in_bytes": f"{200 * MB}\n",
            "memory/docker/memory.stat": f"cache 1\ntotal_inactive_file {50 * MB}\n",
            "memory/docker/a/memory.limit_in_bytes": "9223372036854771712\n",
        },
    )
    assert cpu_quota(root) == 0.5
    assert usable_cores(root) == 1
    assert memory_limit(root) == 300 * MB
    assert memory_used_percent(root) == 50.0
    assert memory_left(root) == 150 * MB


def test_the_path_of_the_host_may_be_mounted_in_part(tree: Callable[..., Path]) -> None:
    mount = "32 31 0:29 /docker/a /sys/fs/cgroup/my\\040cpu rw - cgroup cgroup rw,cpu"
    root = tree(
        [mount],
        ["12:cpu:/docker/a/inner"],
        **{
            "my cpu/cpu.cfs_quota_us": "200000\n",
            "my cpu/cpu.cfs_period_us": "100000\n",
            "my cpu/inner/cpu.cfs_quota_us": "300000\n",
            "my cpu/inner/cpu.cfs_period_us": "100000\n",
        },
    )
    assert [group.folder.name for group in control_groups("cpu", root)] == ["inner", "my cpu"]
    assert cpu_quota(root) == 2.0


@pytest.mark.parametrize("path", ["/docker/gone", "/../../elsewhere", "/"])
def test_a_path_that_is_not_mounted_is_that_of_the_mount(tree: Callable[..., Path], path: str) -> None:
    root = tree([V2], [f"0::{path}"], **{"cpu.max": "50000 100000\n"})
    assert cpu_quota(root) == 0.5


@pytest.mark.parametrize("text", ["", "max", "max 100000", "nonsense 1", "100000", "100000 0", "-1 100000"])
def test_a_limit_that_is_none_is_no_limit(tree: Callable[..., Path], text: str) -> None:
    root = tree([V2], ["0::/", "", "nonsense"], **{"cpu.max": text, "memory.max": "max"})
    assert cpu_quota(root) is None
    assert memory_limit(root) is None


def test_memory_is_that_of_the_machine_or_of_the_group(
    tree: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Machine:
        total, percent = 400 * MB, 60.0

    monkeypatch.setattr(psutil, "virtual_memory", Machine)
    root = tree([V2], ["0::/"], **{"memory.max": f"{1000 * MB}", "memory.current": f"{300 * MB}"})
    assert usable_memory(root) == 400 * MB
    assert used_percent(root) == 60.0

    def refuse() -> Any:
        raise OSError(24, "no descriptor is left")

    monkeypatch.setattr(psutil, "virtual_memory", refuse)
    assert used_percent(root) == 30.0


def test_a_pool_keeps_a_quarter_of_the_memory_that_it_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    from wpc_magic.pool.options import PoolOptions

    monkeypatch.setattr(memory, "usable_memory", lambda: 1024 * MB)
    made = memory.Memory()
    made.configure(PoolOptions())
    assert made.store.limit == 256 * MB
    made.configure(PoolOptions(block_memory_mb=3))
    assert made.store.limit == 3 * MB
    assert made.percent is machine.used_percent


def test_workers_and_their_threads_follow_a_quota() -> None:
    ran = run("""
from wpc_magic.pool import WorkerProcedureCall, machine

machine.cpu_quota = lambda root: 0.7
with WorkerProcedureCall() as pool:
    pool.start_workers()
    print(pool.worker_count)
    pool.define_worker_functions("import os\\ndef threads(): return os.environ['OMP_NUM_THREADS']")
    print(pool.call.threads().result())
""")
    assert (ran.stdout.split(), ran.stderr) == (["1", "1"], "")


@pytest.mark.parametrize(
    ("cores", "quota", "answer"),
    [(1, "max", False), (2, "max", True), (2, "150000", False), (2, "200000", True), (8, "400000", True)],
)
def test_two_processes_have_a_core_each_where_neither_affinity_nor_quota_says_otherwise(
    tree: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, cores: int, quota: str, answer: bool
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
    monkeypatch.setattr(os, "process_cpu_count", lambda: cores, raising=False)
    root = tree([V2], ["0::/app.service"], **{"app.service/cpu.max": f"{quota} 100000\n"})
    assert have_two_cores(root) is answer
