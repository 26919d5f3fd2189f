"""The number of usable cores, and the count of out-of-memory kills."""

import os
from pathlib import Path

import pytest

from prefork.unix.cores import usable_cores
from prefork.unix.memory import out_of_memory_kills
from prefork.unix.process import (
    ExitStatus,
)
from tests.pure.children import fork_child

MY_CORES = len(os.sched_getaffinity(0))


def limited(root: Path, cgroup: str, files: dict[str, str]) -> int:
    """Return the usable cores of a machine with this /proc/self/cgroup and these /sys/fs/cgroup
    files."""
    write_cgroups(root, cgroup, files)
    return usable_cores(str(root))


def write_cgroups(root: Path, cgroup: str, files: dict[str, str]) -> None:
    """Write a /proc/self/cgroup and files of /sys/fs/cgroup below ``root``."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


def at_most(cores: int) -> int:
    """Return ``cores``, or fewer where the machine of this test has fewer."""
    return min(cores, MY_CORES)


def test_without_cgroups_the_affinity_decides(tmp_path: Path) -> None:
    assert usable_cores(str(tmp_path)) == MY_CORES


def test_an_affinity_of_one_core_is_one_core() -> None:
    def life() -> int:
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
        return usable_cores("/nowhere")

    assert fork_child(life).reap() == ExitStatus(1, None)


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("50000 100000", 1),
        ("100000 100000", 1),
        ("150000 100000", at_most(2)),
        ("max 100000", MY_CORES),
        ("100000 0", MY_CORES),
        ("nonsense", MY_CORES),
        ("", MY_CORES),
    ],
)
def test_a_quota_of_cgroup_2_cuts_and_is_rounded_up(tmp_path: Path, quota: str, cores: int) -> None:
    assert limited(tmp_path, "0::/app\n", {"app/cpu.max": quota}) == cores


def test_a_parents_quota_counts_too(tmp_path: Path) -> None:
    files = {"a/b/cpu.max": "max 100000", "a/cpu.max": "70000 100000"}
    assert limited(tmp_path, "0::/a/b\n", files) == 1


def test_a_siblings_quota_does_not_count(tmp_path: Path) -> None:
    assert limited(tmp_path, "0::/a\n", {"b/cpu.max": "70000 100000"}) == MY_CORES


@pytest.mark.parametrize("path", ["/", "/docker/1f2e", "/../../docker/1f2e"])
def test_in_a_container_where_only_the_root_exists_its_quota_counts(
    tmp_path: Path, path: str
) -> None:
    assert limited(tmp_path, f"0::{path}\n", {"cpu.max": "90000 100000"}) == 1


V1 = "12:memory:/x\n5:cpu,cpuacct:/app\n1:name=systemd:/app\n0::/app\n"


@pytest.mark.parametrize(
    ("quota", "cores"), [("80000", 1), ("150000", at_most(2)), ("-1", MY_CORES), ("0", MY_CORES)]
)
@pytest.mark.parametrize("folder", ["cpu/app", "cpu"])
def test_a_quota_of_cgroup_1_cuts_and_is_rounded_up(
    tmp_path: Path, quota: str, cores: int, folder: str
) -> None:
    files = {f"{folder}/cpu.cfs_quota_us": quota, f"{folder}/cpu.cfs_period_us": "100000"}
    assert limited(tmp_path, V1, files) == cores


@pytest.mark.parametrize(
    ("own", "files", "kills"),
    [
        ("0::/app\n", {"app/memory.events": "oom 3\noom_kill 2\noom_group_kill 1"}, 2),
        ("0::/docker/1f2e\n", {"memory.events": "oom_kill 2"}, 2),
        (V1, {"memory/x/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 4"}, 4),
        (V1, {"memory/memory.oom_control": "oom_kill_disable 0\noom_kill 4"}, 4),
        (V1, {"memory/x/memory.oom_control": "oom_kill_disable 1"}, None),
        ("", {"memory.events": "oom_kill 2"}, None),
        ("0::/a/b\n", {"a/memory.events": "oom_kill 2", "a/b/cpu.max": "max"}, None),
    ],
)
def test_out_of_memory_kills_of_the_own_cgroup_are_counted(
    tmp_path: Path, own: str, files: dict[str, str], kills: int | None
) -> None:
    write_cgroups(tmp_path, own, files)
    assert out_of_memory_kills(str(tmp_path)) == kills
