"""Find the files that processes have open for writing, as /proc tells (proc(5))."""

import os
from collections.abc import Iterable, Iterator

FileIdentity = tuple[int, int]
"""Device and inode: the same file under any name."""


def file_identity(path: str) -> FileIdentity | None:
    """Return device and inode of the file that a path leads to; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def files_open_for_writing(pids: Iterable[int]) -> set[FileIdentity]:
    """Return the files that these processes can write to right now.

    A process that ended, or whose descriptors this user may not see, has none.
    """
    return {found for pid in pids for found in _writable(pid)}


def _writable(pid: int) -> Iterator[FileIdentity]:
    """Yield the files that one process has open for writing."""
    folder = f"/proc/{pid}/fd"
    try:
        fds = os.listdir(folder)
    except OSError:
        return
    for fd in fds:
        if _is_writable(pid, fd) and (found := file_identity(f"{folder}/{fd}")) is not None:
            yield found


def _is_writable(pid: int, fd: str) -> bool:
    try:
        with open(f"/proc/{pid}/fdinfo/{fd}", "rb") as file:
            # flags: the flags of open(2), in octal (proc(5)).
            fields = dict(line.split(b":", 1) for line in file if b":" in line)
            return int(fields[b"flags"], 8) & os.O_ACCMODE != os.O_RDONLY
    except (OSError, KeyError, ValueError):
        return False  # the descriptor was closed meanwhile
