"""Name a process for good: by its pid and the time when it started.

The kernel gives a pid to another process once its owner was reaped. The time of the start, in clock
ticks since the machine booted (proc_pid_stat(5)), tells the two apart.
"""

import os


def read_start_time(pid: int) -> int:
    """Return when a process started, in clock ticks since the boot; 0: it is not known."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name of the command may have spaces and parentheses; behind it begins field 3.
            return int(file.read().rpartition(b") ")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def open_process(pid: int, started: int) -> int | None:
    """Return a pidfd of the process that started at that time; None if it was reaped.

    The pidfd is readable when the process has ended.
    """
    if not (pid and started):
        return None
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return None
    # After the pidfd was opened: now the pid cannot get another owner unnoticed.
    if read_start_time(pid) == started:
        return pidfd
    os.close(pidfd)
    return None
