"""The process table: which processes belong to a root, and the CPU time of all of them."""

import os
import subprocess
import sys

import hypothesis.strategies as st
from hypothesis import given

from prefork.unix.process_tree import ProcessInfo, ProcessTable, read_process

PROCESSES = st.lists(
    st.builds(ProcessInfo, *[st.integers(0, 12)] * 3, is_dead=st.booleans()),
    max_size=12,
    unique_by=lambda each: each.pid,
)


def pids(found: list[ProcessInfo]) -> list[int]:
    return sorted(each.pid for each in found)


def test_a_tree_has_descendants_and_orphans_of_the_session() -> None:
    table = ProcessTable(
        [
            ProcessInfo(1, 0, 1, False),
            ProcessInfo(10, 1, 10, False),  # npm, which leads the session
            ProcessInfo(11, 10, 10, False),  # its shell
            ProcessInfo(12, 11, 10, False),  # node
            ProcessInfo(13, 1, 10, False),  # lost its parent, and stayed in the session
            ProcessInfo(14, 13, 14, False),  # its child began another session
            ProcessInfo(15, 11, 10, True),  # a zombie: its CPU time counts
            ProcessInfo(20, 1, 20, False),  # another program
        ]
    )
    assert pids(table.tree(10)) == [10, 11, 12, 13, 14, 15]
    assert pids(table.tree(12)) == [12]
    assert table.tree(99) == []
    assert table.tree(10)[0].pid == 10


@given(PROCESSES)
def test_a_tree_is_the_smallest_set_that_is_closed(processes: list[ProcessInfo]) -> None:
    table = ProcessTable(processes)
    for root in processes:
        found = {root.pid}
        while more := {
            each.pid
            for each in processes
            if each.pid not in found and (each.parent in found or each.session in found)
        }:
            found |= more
        assert pids(table.tree(root.pid)) == sorted(found)


BURN = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"


def test_the_time_of_a_child_that_ended_stays_in_the_sum() -> None:
    source = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BURN!r}])\n"
    words = [sys.executable, "-c", source + "print('done', flush=True)\ninput()\n"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        tree = ProcessTable().tree(process.pid)
        assert pids(tree) == [process.pid]
        assert sum(each.cpu_seconds for each in tree) >= 0.3
        process.communicate(b"\n")


def test_a_process_knows_its_parent_and_its_session() -> None:
    own = read_process(os.getpid())
    assert own is not None
    assert (own.parent, own.session, own.is_dead) == (os.getppid(), os.getsid(0), False)
    assert own.cpu_seconds > 0
