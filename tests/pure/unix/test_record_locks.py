"""Record locks in a process that forks."""

import os
import threading
from pathlib import Path

from prefork.unix.directory import Directory
from prefork.unix.record_locks import open_lock_file


def test_a_child_opens_locks_although_a_thread_of_its_parent_was_opening_one(
    tmp_path: Path,
) -> None:
    """The child would wait for ever for a lock of a thread that it does not have."""
    is_over = threading.Event()
    folder = Directory.open(str(tmp_path))

    def open_many() -> None:
        while not is_over.is_set():
            open_lock_file(folder, "locks")

    threads = [threading.Thread(target=open_many) for _ in range(4)]
    for each in threads:
        each.start()
    try:
        codes = [_open_in_child(folder) for _ in range(60)]
    finally:
        is_over.set()
        for each in threads:
            each.join()
    assert set(codes) == {0}


def _open_in_child(folder: Directory) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            open_lock_file(folder, "locks")
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
