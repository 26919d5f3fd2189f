"""Take a secret out of this process's environment before a child or a reader of /proc gets it.

A process that is forked later inherits what ``os.environ`` has then. But /proc/PID/environ shows
the memory that execve(2) filled (proc_pid_environ(5)), which no unsetenv(3) changes and which a
forked child has a copy of. So the string is overwritten there as well. setproctitle clears that
memory, too, because it stores titles there; ``--check`` sets no title.

Design
------
- **Not before the settings are known to be right:** callers take secrets out once a generation is
  valid, so that a misspelled ``env:PATH`` does not cost the workers their PATH. The values stay in
  the master's memory for the next reload and ``--tls-watch`` (tls/secret_variables.py).
- **Limits.** The environment of the process that started prefork cannot be overwritten, and memory
  cannot be hidden from processes of the same user.
"""

import ctypes
import os

_ENV_START, _ENV_END = 50, 51
"""Fields env_start and env_end of /proc/PID/stat (proc_pid_stat(5)), counted from 1."""


def pop_secret(name: str) -> bytes | None:
    """Remove a variable from the environment and from /proc/self/environ; return its value.

    None: there is no such variable. It stays in the environment of the processes that started this
    one, and in the memory of the caller.
    """
    value = os.environb.pop(name.encode(), None)
    if value is not None:
        _overwrite(name.encode() + b"=" + value)
    return value


def _overwrite(text: bytes) -> None:
    """Overwrite ``NAME=value`` with zeros in the memory that execve(2) filled."""
    try:
        with open("/proc/self/stat", "rb") as file:
            # The name of the program, in parentheses, may contain any character.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return  # without /proc no process can read it there
    begin, end = int(fields[_ENV_START - 3]), int(fields[_ENV_END - 3])
    if not begin < end:
        return  # the kernel does not tell the addresses
    found = (b"\0" + ctypes.string_at(begin, end - begin)).find(b"\0" + text + b"\0")
    if found >= 0:
        ctypes.memset(begin + found, 0, len(text))
