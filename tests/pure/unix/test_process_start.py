"""A process is known by its pid and its start."""

import os
import select
import subprocess
import sys

from prefork.unix.process_start import open_process, read_start_time


def test_a_process_is_opened_by_its_pid_and_start_and_its_end_is_seen() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        started = read_start_time(child.pid)
        pidfd = open_process(child.pid, started)
        assert pidfd is not None
        assert open_process(child.pid, started + 1) is None, "another one had that pid"
        assert open_process(child.pid, 0) is None
        assert open_process(0, started) is None
        assert not select.select([pidfd], [], [], 0)[0]
        child.communicate(b"\n")
        assert select.select([pidfd], [], [], 60)[0]
        os.close(pidfd)
        assert open_process(child.pid, started) is None
        assert read_start_time(child.pid) == 0
