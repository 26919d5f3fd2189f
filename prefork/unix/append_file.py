"""Open log files for appending, and refuse a file that another user could have put there.

A symlink is followed when root or the current user owns it, and when not every user may exchange
it. A regular file of another user is accepted only where its folder's owner must have put it there,
or when it belongs to the user that the workers run as. A fifo has to belong to root or to the
current user, because its owner can let it fill up. Opening never waits, and all checks look at the
file that was opened (unix/directory.py).

Design
------
- **A symlink at the place of a log is followed** if it belongs to root or to the current user:
  ``/dev/stdout`` is one, and operators create some. It is not followed where any other user could
  exchange it. Pid files and the registry make no such exception.
- **An existing log is given to the workers' user only in a private folder,** one that no other user
  may write to. In any other folder that user could have renamed a file of root's to this place, and
  chown would hand it over.
"""

import errno
import fcntl
import os
import stat
from dataclasses import dataclass

from prefork.errors import MachineError
from prefork.unix.directory import Directory, UntrustedFileError, is_in_proc, resolve_file
from prefork.unix.identity import describe_user
from prefork.unix.regular_file import OPEN_FLAGS

_APPEND = os.O_WRONLY | os.O_APPEND
_trusted_uids: set[int] = set()
"""Users whose log files are accepted in a folder that every user may write to."""
_worker_user: tuple[int | None, int | None] = (None, None)
"""User and group that new logs are given to; (None, None) in a master that is not root."""


def set_worker_user(uid: int | None, gid: int | None = None) -> None:
    """Set the user and group of the workers: their files are trusted, and new logs belong to them.

    Workers of that user reopen the logs after a rotation, so they have to own them.
    """
    global _worker_user  # noqa: PLW0603 - one master, one user of its workers
    if uid is not None:
        _trusted_uids.add(uid)
    _worker_user = (uid, gid)


def open_append(path: str) -> int:
    """Return a descriptor that appends to the log at ``path``. Raises MachineError."""
    return _open(path).fd


def prepare_log(path: str) -> None:
    """Create or check the log at ``path``, and make the workers' user its owner.

    A file that existed before changes its owner only where no other user could have put it there.
    Devices and fifos keep their owner, and a fifo needs no reader yet. Raises MachineError when the
    log cannot be written, or when another user could have put it there.
    """
    log = _open(path)
    try:
        if log.may_change_owner:
            _give_to_worker_user(log.fd)
    except OSError as error:
        raise MachineError(f"cannot hand over the log {path}: {error.strerror}") from error
    finally:
        os.close(log.fd)


def reopen_append(path: str, fd: int) -> None:
    """Put the file that is at ``path`` now in place of ``fd``, as after a rotation.

    Nothing happens while the path still leads to the file that is open. Raises MachineError.
    """
    try:
        if os.path.samestat(os.stat(path), os.fstat(fd)):
            # Also for a fifo, which a worker might not be allowed to open again.
            return
    except OSError:
        pass  # the file does not exist yet, or opening it raises the reason
    new = open_append(path)
    os.dup2(new, fd, inheritable=False)
    os.close(new)


@dataclass(frozen=True, slots=True)
class _Log:
    """An opened log. ``may_change_owner``: its owner may be changed without a risk."""

    fd: int
    may_change_owner: bool


def _open(path: str) -> _Log:
    """Open or create the log, following a symlink that passes the check. Raises MachineError."""
    followed: list[str] = []

    def require(folder: Directory, link: os.stat_result) -> None:
        _require_safe_link(folder, link)
        followed.append(path)

    try:
        folder, name = resolve_file(path, require)
        with folder:
            if is_in_proc(folder):
                return _Log(_open_then_block(name, folder.fd), False)  # such as /dev/stdout
            found = _open_in(folder, name)
            # A symlink may lead to any file of the system, so that file keeps its owner.
            return _Log(found.fd, found.may_change_owner and not followed)
    except OSError as error:
        raise MachineError(f"cannot write the log {path}: {error.strerror}") from error


def _open_in(folder: Directory, name: str) -> _Log:
    """Open the log ``name`` in ``folder``, or create it."""
    fd = -1
    while fd < 0:
        try:
            fd = _open_entry(name, folder.fd)
        except FileNotFoundError:
            try:
                fd = folder.create(name, 0o644, _APPEND)
            except FileExistsError:
                continue  # another process has created it meanwhile
            _give_to_worker_user(fd)
            return _Log(fd, False)
    try:
        status = os.fstat(fd)
        _require_safe_file(folder, status)
        return _Log(fd, stat.S_ISREG(status.st_mode) and folder.is_private)
    except BaseException:
        os.close(fd)
        raise


def _open_entry(name: str, dir_fd: int) -> int:
    """Open an existing file for appending; a fifo for both directions (fifo(7)).

    Opened for both directions a fifo needs no reader, and writes do not fail while one reader
    leaves and the next one arrives.
    """
    try:
        fd = _open_then_block(name, dir_fd, _APPEND | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno != errno.ENXIO:  # a fifo without a reader
            raise
    else:
        if not stat.S_ISFIFO(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
    return _open_then_block(name, dir_fd, os.O_RDWR | os.O_NOFOLLOW)


def _open_then_block(name: str, dir_fd: int, flags: int = _APPEND) -> int:
    """Open without waiting for a reader, then clear O_NONBLOCK, so that writes wait."""
    fd = os.open(name, flags | OPEN_FLAGS, dir_fd=dir_fd)
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_NONBLOCK)
    return fd


def _give_to_worker_user(fd: int) -> None:
    """Make the workers' user the owner, if this process is root and such a user was set."""
    if os.geteuid() == 0 and _worker_user != (None, None):
        uid, gid = _worker_user
        os.fchown(fd, -1 if uid is None else uid, -1 if gid is None else gid)


def _require_safe_link(folder: Directory, link: os.stat_result) -> None:
    """Raise UntrustedFileError for a symlink that another user owns or may exchange."""
    if link.st_uid not in (0, os.geteuid()):
        raise UntrustedFileError(
            f"it is a symlink of {describe_user(link.st_uid)}'s; name the file itself"
        )
    mode = folder.status.st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise UntrustedFileError(
            "it is a symlink, and every user may exchange it; name the file itself"
        )


def _require_safe_file(folder: Directory, found: os.stat_result) -> None:
    """Raise UntrustedFileError for a file that another user could have put into ``folder``."""
    if stat.S_ISFIFO(found.st_mode) and found.st_uid not in (0, os.geteuid()):
        raise UntrustedFileError(f"it is a fifo of {describe_user(found.st_uid)}'s; remove it")
    if not stat.S_ISREG(found.st_mode):
        return  # a device, or a fifo of root's or this user's
    if found.st_nlink > 1:
        raise UntrustedFileError("it is a hard link, perhaps to a file elsewhere; remove it")
    if found.st_uid in {0, os.geteuid()} | _trusted_uids:
        return
    folder_status = folder.status
    if folder_status.st_mode & stat.S_IWOTH and folder_status.st_uid != found.st_uid:
        raise UntrustedFileError(
            f"it belongs to {describe_user(found.st_uid)}, and every user may write into its "
            "folder; remove it, or choose a folder of your own"
        )
