"""Open regular files of a bounded size without waiting: settings, certificates, secrets, state.

A fifo would block the process that opens it, and a device such as /dev/zero has no end. So a file
is opened with O_NONBLOCK (open(2)), and used only when fstat(2) says that it is a regular file.

Design
------
- **All files that the master reads again at a SIGHUP are read here.** Otherwise a fifo in their
  place would stop a running master.
- **Symlinks are followed** unless the flags contain O_NOFOLLOW: Kubernetes and certbot mount
  settings and certificates as symlinks.
- **OpenSSL gets the bytes that were checked, in a memfd** (tls/credentials.py): it would open the
  path again.
"""

import errno
import os
import stat

from prefork.plural import pluralize

OPEN_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
"""Flags for each open of a file that another user may have put in place: never wait for a fifo's
peer, never acquire a controlling terminal."""

_KINDS = (
    (stat.S_ISREG, "a regular file"),
    (stat.S_ISLNK, "a symlink"),
    (stat.S_ISFIFO, "a fifo"),
    (stat.S_ISSOCK, "a socket"),
)


class NotRegularFileError(OSError):
    """The file is of another kind, or too large. ``strerror`` says which."""


def file_kind(mode: int) -> str:
    """Return the kind of a file in words, from its ``st_mode``."""
    return next((name for is_kind, name in _KINDS if is_kind(mode)), "a device")


def open_regular(path: str, flags: int = os.O_RDONLY, dir_fd: int | None = None) -> int:
    """Open a regular file without waiting; return the descriptor.

    ``flags`` are those of open(2), without O_CREAT. ``dir_fd`` is the directory that a relative
    path starts from. Raises NotRegularFileError, IsADirectoryError, or the OSError of open(2).
    """
    try:
        fd = os.open(path, flags | OPEN_FLAGS, dir_fd=dir_fd)
    except OSError as error:
        # ELOOP: a symlink, with O_NOFOLLOW; ENXIO: a fifo without a reader, or a socket.
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise _not_regular(_kind_at(path, flags, dir_fd)) from None
        raise
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return fd
    os.close(fd)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    raise _not_regular(file_kind(mode))


def read_regular(path: str, limit: int, flags: int = 0, dir_fd: int | None = None) -> bytes:
    """Return the content of a regular file of at most ``limit`` bytes.

    ``flags``, ``dir_fd`` and errors are those of ``open_regular``. A larger file raises
    NotRegularFileError as well.
    """
    # Read one byte more than allowed instead of asking for the size: the file may grow meanwhile.
    with open(open_regular(path, os.O_RDONLY | flags, dir_fd), "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise NotRegularFileError(errno.EFBIG, f"it has more than {pluralize(limit, 'byte')}")
    return data


def _kind_at(path: str, flags: int, dir_fd: int | None) -> str:
    """Return the kind of the file at a path that could not be opened."""
    follow = not flags & os.O_NOFOLLOW
    try:
        return file_kind(os.stat(path, dir_fd=dir_fd, follow_symlinks=follow).st_mode)
    except OSError as error:
        return f"gone ({error.strerror})" if follow else "gone"


def _not_regular(what: str) -> NotRegularFileError:
    return NotRegularFileError(errno.EINVAL, f"it is {what}, not a regular file")
