"""Files that are written at their end: logs. A file that another user put in the way is not used.

A symlink is followed when it is root's or our own, and its folder is not open to all users. A file
of another user is taken where only its folder's owner could have put it; in a folder that all users
may write to, it has to be root's, ours, or of a user whom we trust. A fifo is root's or ours,
because the user who owns it can let it fill up.

Opening never waits, and all checks look at the file that was opened (unix/directory.py).
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
_worker_user: tuple[int | None, int | None] = (None, None)


def set_worker_user(uid: int | None, gid: int | None = None) -> None:
    """Trust files of the user that the workers run as, and give it the logs that we make.

    It reopens them after a rotation.
    """
    global _worker_user  # noqa: PLW0603 - one master, one user of its workers
    if uid is not None:
        _trusted_uids.add(uid)
    _worker_user = (uid, gid)


def open_append(path: str) -> int:
    """A descriptor that always writes at the end. Raises MachineError."""
    return _open(path).fd


def prepare_log(path: str) -> None:
    """See that the log can be written, and that the user of the workers may reopen it.

    A file that was there before is given away only where no other user could have put it. Devices
    and fifos stay as they are; a fifo may lack its reader yet. Raises MachineError.
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
    """Put the file that has the name now at ``fd``; the same file stays. Raises MachineError."""
    try:
        if os.path.samestat(os.stat(path), os.fstat(fd)):
            return  # also a fifo, which a worker might not be allowed to open again
    except OSError:
        pass  # it is not there yet, or opening says why
    new = open_append(path)
    os.dup2(new, fd, inheritable=False)
    os.close(new)


@dataclass(frozen=True, slots=True)
class _Log:
    fd: int
    may_change_owner: bool


def _open(path: str) -> _Log:
    followed: list[str] = []

    def require(folder: Directory, link: os.stat_result) -> None:
        _require_safe_link(folder, link)
        followed.append(path)

    try:
        folder, name = resolve_file(path, require)
        with folder:
            if is_in_proc(folder):
                return _Log(_open_then_block(name, folder.fd), False)  # what our starter gave us
            found = _open_in(folder, name)
            return _Log(found.fd, found.may_change_owner and not followed)
    except OSError as error:
        raise MachineError(f"cannot write the log {path}: {error.strerror}") from error


def _open_in(folder: Directory, name: str) -> _Log:
    fd = -1
    while fd < 0:
        try:
            fd = _open_entry(name, folder.fd)
        except FileNotFoundError:
            try:
                fd = folder.create(name, 0o644, _APPEND)
            except FileExistsError:
                continue  # another process made it meanwhile
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
    """The file, or a fifo for both directions (fifo(7)).

    So a fifo neither needs a reader, nor fails when one goes and another comes.
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
    """Opened without waiting; its writes wait."""
    fd = os.open(name, flags | OPEN_FLAGS, dir_fd=dir_fd)
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_NONBLOCK)
    return fd


def _give_to_worker_user(fd: int) -> None:
    if os.geteuid() == 0 and _worker_user != (None, None):
        uid, gid = _worker_user
        os.fchown(fd, -1 if uid is None else uid, -1 if gid is None else gid)


def _require_safe_link(folder: Directory, link: os.stat_result) -> None:
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
    if stat.S_ISFIFO(found.st_mode) and found.st_uid not in (0, os.geteuid()):
        raise UntrustedFileError(f"it is a fifo of {describe_user(found.st_uid)}'s; remove it")
    if not stat.S_ISREG(found.st_mode):
        return  # a device, a fifo of ours
    if found.st_nlink > 1:
        raise UntrustedFileError("it is a hard link, and who knows to what; remove it")
    if found.st_uid in {0, os.geteuid()} | _trusted_uids:
        return
    folder_status = folder.status
    if folder_status.st_mode & stat.S_IWOTH and folder_status.st_uid != found.st_uid:
        raise UntrustedFileError(
            f"it belongs to {describe_user(found.st_uid)}, and every user may write "
            f"into its folder; "
            "remove it, or choose a folder of your own"
        )
