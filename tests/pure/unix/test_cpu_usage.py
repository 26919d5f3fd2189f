"""Queues, cores and memory as the kernel reports them, of this machine and of simulated ones."""

import os
import signal
import socket
import time
from pathlib import Path

import pytest

from prefork.unix import memory
from prefork.unix.accept_queue import accept_queue_length
from prefork.unix.cpu_usage import CoreUsage, ProcessCpuShares
from prefork.unix.process import ExitStatus
from tests.pure.children import fork_child

MB = 2**20
CORE = min(os.sched_getaffinity(0))


def write(root: Path, files: dict[str, str]) -> str:
    """Write the files of a simulated machine below ``root``."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return str(root)


def listening(kind: str, folder: Path) -> socket.socket:
    if kind == "unix":
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(folder / "socket"))
        listener.listen(10)
        return listener
    try:
        return socket.create_server((kind, 0), family=socket.AF_INET6 if ":" in kind else 2)
    except OSError:
        pytest.skip(f"this machine has no {kind}")


@pytest.mark.parametrize("kind", ["127.0.0.1", "::1", "unix"])
def test_the_accept_queue_grows_until_a_process_accepts(kind: str, tmp_path: Path) -> None:
    with listening(kind, tmp_path) as listener:
        assert accept_queue_length(listener) == 0
        clients = [socket.socket(listener.family) for _ in range(3)]
        for client in clients:
            client.connect(listener.getsockname())
        assert accept_queue_length(listener) == 3
        listener.accept()[0].close()
        assert accept_queue_length(listener) == 2
        for client in clients:
            client.close()
    assert accept_queue_length(listener) == 0, "it is closed"


def test_a_socket_that_does_not_listen_has_no_queue() -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        assert accept_queue_length(sock) == 0


def stat(busy: int, idle: int) -> str:
    """Return a /proc/stat in which all usable cores are alike, and one more core is not usable."""
    columns = f"{busy} 0 0 {idle} 0 0 0 0 0 0"
    ours = [f"cpu{core} {columns}" for core in os.sched_getaffinity(0)]
    return "\n".join(
        ["cpu 9 9 9 9 9 9 9 9 9 9", *ours, "cpu9999 99999 0 0 0 0 0 0 0 0 0", "intr 1"]
    )


def test_core_usage_is_the_share_since_the_last_measurement(tmp_path: Path) -> None:
    cores = CoreUsage(write(tmp_path, {"proc/stat": stat(100, 100)}))
    assert cores.measure(1.0) == 0.0
    write(tmp_path, {"proc/stat": stat(130, 110)})
    assert cores.measure(2.0) == 0.75
    assert cores.measure(3.0) == 0.0, "nothing has moved"


@pytest.mark.parametrize(
    ("cgroup", "limit", "used", "factor"),
    [
        ("0::/app", {"app/cpu.max": "50000 100000"}, "app/cpu.stat", "usage_usec {}"),
        (
            "4:cpu,cpuacct:/app",
            {"cpu/app/cpu.cfs_quota_us": "50000", "cpu/app/cpu.cfs_period_us": "100000"},
            "cpuacct/app/cpuacct.usage",
            "{}000",
        ),
    ],
)
def test_half_a_core_can_be_full_while_the_machine_is_idle(
    tmp_path: Path, cgroup: str, limit: dict[str, str], used: str, factor: str
) -> None:
    files = {f"sys/fs/cgroup/{name}": text for name, text in limit.items()}
    write(tmp_path, {"proc/self/cgroup": cgroup, "proc/stat": stat(100, 100), **files})
    write(tmp_path, {f"sys/fs/cgroup/{used}": factor.format(1_000_000)})
    cores = CoreUsage(str(tmp_path))
    assert cores.measure(10.0) == 0.0
    write(tmp_path, {f"sys/fs/cgroup/{used}": factor.format(1_400_000)})
    assert cores.measure(11.0) == pytest.approx(0.8)


def test_a_machine_without_proc_counts_as_idle(tmp_path: Path) -> None:
    cores = CoreUsage(str(tmp_path))
    assert cores.measure(1.0) == cores.measure(2.0) == 0.0
    write(tmp_path, {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "50000 100000"})
    assert cores.measure(3.0) == 0.0


def test_core_usage_of_this_machine_is_measured() -> None:
    cores = CoreUsage()
    cores.measure(1.0)
    assert 0.0 <= cores.measure(2.0) <= 1.0


def test_a_process_that_runs_has_a_share_and_one_that_sleeps_has_none() -> None:
    def spin() -> int:
        while True:
            pass

    spinning, sleeping = fork_child(spin), fork_child(lambda: signal.pause() or 0)
    shares, looked = ProcessCpuShares(), time.monotonic()
    pids = [spinning.pid, sleeping.pid]
    try:
        assert shares.measure(pids, looked) == {}
        while True:
            found = shares.measure(pids, looked + 1.0)
            looked += 1.0
            if sum(found[spinning.pid]) and not sum(found[sleeping.pid]):
                break
    finally:
        for child in (spinning, sleeping):
            child.send_signal(signal.SIGKILL)
            assert child.reap() == ExitStatus(None, "SIGKILL")
    assert shares.measure(pids, looked + 1.0) == dict.fromkeys(pids, (0.0, 0.0)), "they are gone"
    assert shares.measure([], looked + 2.0) == {}


# Memory.

MEMINFO = f"MemTotal: {1000 * 1024} kB\nMemFree: 1 kB\nMemAvailable: {400 * 1024} kB\nHuge: 0"


def test_without_a_cgroup_limit_the_memory_of_the_machine_counts(tmp_path: Path) -> None:
    assert memory.available_memory(str(tmp_path)) == (0, 0)
    root = write(tmp_path, {"proc/meminfo": MEMINFO, "proc/self/cgroup": "0::/a\n4:memory:/a"})
    write(tmp_path, {"sys/fs/cgroup/a/memory.max": "max", "sys/fs/cgroup/a/memory.current": "5"})
    write(tmp_path, {"sys/fs/cgroup/memory/a/memory.limit_in_bytes": "9223372036854771712"})
    write(tmp_path, {"sys/fs/cgroup/memory/a/memory.usage_in_bytes": "5"})
    assert memory.available_memory(root) == (400 * MB, 1000 * MB)


@pytest.mark.parametrize(
    ("cgroup", "folder", "most", "used", "cached"),
    [
        ("0::/a/b", "a", "memory.max", "memory.current", "inactive_file"),
        (
            "4:memory:/a",
            "memory/a",
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            "total_inactive_file",
        ),
    ],
)
def test_the_tightest_cgroup_counts_without_its_caches(
    tmp_path: Path, cgroup: str, folder: str, most: str, used: str, cached: str
) -> None:
    base = f"sys/fs/cgroup/{folder}"
    root = write(
        tmp_path,
        {
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": cgroup,
            f"{base}/{most}": str(300 * MB),
            f"{base}/{used}": str(250 * MB),
        },
    )
    assert memory.available_memory(root) == (50 * MB, 300 * MB)
    write(tmp_path, {f"{base}/memory.stat": f"anon 7\n{cached} {20 * MB}"})
    assert memory.available_memory(root) == (70 * MB, 300 * MB)


def test_this_machine_has_memory() -> None:
    free, total = memory.available_memory()
    assert 0 < free <= total
