"""The memory of real processes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from prefork.unix.memory_footprint import child_pids, proportional_size, related_pids, resident_size
from prefork.unix.process_tree import become_subreaper

MB = 2**20
HOLD = "x = bytearray(50 * 2**20)\nfor i in range(0, len(x), 4096): x[i] = 1\n"
ANNOUNCE = "import sys\nprint('here', flush=True)\nsys.stdin.read()\n"


@contextmanager
def python(source: str, **options: bool) -> Iterator["subprocess.Popen[bytes]"]:
    """Yield a process that ran ``source`` and waits for its stdin to close."""
    words = [sys.executable, "-c", source + ANNOUNCE]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        yield process


def test_resident_size_grows_by_the_memory_that_a_process_touches() -> None:
    with python(HOLD) as process:
        assert (
            50 * MB < (proportional_size(process.pid) or 0) <= resident_size(process.pid) < 200 * MB
        )


def test_a_process_that_ended_has_no_memory() -> None:
    with python("") as process:
        pass
    assert resident_size(process.pid) == proportional_size(process.pid) == 0
    assert child_pids(process.pid) == []


def test_a_zombie_has_no_memory() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert resident_size(process.pid) == proportional_size(process.pid) == 0
    process.wait()


def test_proportional_size_divides_shared_memory() -> None:
    with python(HOLD + "import os\npid = os.fork()\nif not pid: os.read(0, 1)\n") as process:
        (child,) = child_pids(process.pid)
        parts = proportional_size(process.pid), proportional_size(child)
        assert (
            sum(part or 0 for part in parts)
            < resident_size(process.pid) + resident_size(child) - 40 * MB
        )


def test_related_pids_contain_grandchildren_and_children_of_threads() -> None:
    source = """\
import os, subprocess, sys, threading
def begin():
    words = [sys.executable, "-c", "import subprocess; subprocess.run(['cat'])"]
    subprocess.Popen(words)
thread = threading.Thread(target=lambda: (begin(), wait.wait()), daemon=True)
wait = threading.Event()
begin()
thread.start()
while len(open(f"/proc/self/task/{thread.native_id}/children").read().split()) < 1:
    pass
"""
    with python(source) as process:
        found: list[int] = []
        while len(found) < 5:  # two Pythons start their cats meanwhile
            found = related_pids(process.pid, [])
        assert found[0] == process.pid
        assert len(set(found)) == 5
        process.stdin.close()  # type: ignore[union-attr]


def test_related_pids_contain_orphans_of_the_session() -> None:
    become_subreaper()
    source = """\
import os
if not os.fork():
    if not os.fork():
        os.read(0, 1)
    os._exit(0)
os.wait()
"""
    with python(source, start_new_session=True) as process:
        adopted = child_pids(os.getpid())
        found = related_pids(process.pid, adopted)
        assert len(found) == 2
        assert found[1] in adopted
        assert related_pids(process.pid, []) == [process.pid]
    os.waitpid(found[1], 0)


def test_the_proportional_size_of_another_users_process_is_unknown() -> None:
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    with python(HOLD) as process:
        other = os.fork()
        if other == 0:
            os.setgid(65534)
            os.setuid(65534)
            size = proportional_size(process.pid)
            os._exit(7 if size is None and resident_size(process.pid) > 50 * MB else 8)
        assert os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]) == 7
        process.send_signal(signal.SIGKILL)
