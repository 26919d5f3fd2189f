"""Taking a secret out of this process's environment, before a child or a reader of /proc gets it.

A process that is forked later has what ``os.environ`` has then. But /proc/PID/environ shows the
memory that execve(2) filled (proc_pid_environ(5)), which no unsetenv(3) changes, and a forked child
has a copy of it. So the string is overwritten there as well. (setproctitle clears that memory, too,
as it needs it for titles; --check sets no title.)
"""

import ctypes
import os

_ENV_START, _ENV_END = 50, 51
"""Fields of /proc/PID/stat (proc_pid_stat(5)), from 1 on."""


def pop_secret(name: str) -> bytes | None:
    """The variable's value, which is in the environment no more; None: there was no such variable.

    What stays: the environment of the processes that started this one, and the value in the memory
    of the caller.
    """
    value = os.environb.pop(name.encode(), None)
    if value is not None:
        _overwrite(name.encode() + b"=" + value)
    return value


def _overwrite(text: bytes) -> None:
    try:
        with open("/proc/self/stat", "rb") as file:
            # The name of the program, in parentheses, may hold anything.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return  # there is no /proc, and so nothing that shows it
    begin, end = int(fields[_ENV_START - 3]), int(fields[_ENV_END - 3])
    if not begin < end:
        return  # the kernel hides the addresses
    found = (b"\0" + ctypes.string_at(begin, end - begin)).find(b"\0" + text + b"\0")
    if found >= 0:
        ctypes.memset(begin + found, 0, len(text))
