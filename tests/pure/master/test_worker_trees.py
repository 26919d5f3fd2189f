"""The processes of workers, found again when they changed."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from prefork.master.worker_trees import WorkerTrees

STARTS = """\
import subprocess, sys
for line in sys.stdin:
    subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    print("started", flush=True)
"""


@contextmanager
def starter() -> Iterator["subprocess.Popen[str]"]:
    """Yield a process that starts a child for each line."""
    words = [sys.executable, "-c", STARTS]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process


def start_child(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "started\n"


def test_a_new_worker_is_looked_at_at_once_and_new_children_later() -> None:
    trees = WorkerTrees()
    with starter() as first, starter() as second:
        assert trees.find([first.pid]) == {first.pid: [first.pid]}
        start_child(second)
        assert len(trees.find([first.pid, second.pid])[second.pid]) == 2
        start_child(first)
        give_up_at = time.monotonic() + 60
        while len(trees.find([first.pid])[first.pid]) < 2:
            assert time.monotonic() < give_up_at, "the new child is found"
            time.sleep(0.01)
        trees.forget(first.pid)
        start_child(first)
        assert len(trees.find([first.pid])[first.pid]) == 3
