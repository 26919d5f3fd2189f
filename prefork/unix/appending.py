"""Files that are written at their end: logs. What somebody else put in our way is not used.

A symlink is followed when it is root's or our own, and nobody else could have exchanged it. A file
of somebody else's is taken where only its folder's owner could have put it; in a folder that
everybody may write to, it has to be root's, ours, or of a user whom we trust.
"""

import errno
import os
import stat

from prefork.errors import MachineError
from prefork.unix.identity import user_name

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
_trusted: set[int] = set()


def trust(uid: int | None) -> None:
    """Files of this user are as good as ours: the workers run as it, and get the logs."""
    if uid is not None:
        _trusted.add(uid)


def open_append(path: str) -> int:
    """A descriptor that always writes at the end. Raises MachineError."""
    try:
        try:
            fd = os.open(path, _FLAGS | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            _require_good_link(path)
            fd = os.open(path, _FLAGS, 0o644)
    except OSError as error:
        raise MachineError(f"cannot write the log {path}: {error.strerror}") from error
    try:
        _require_good_file(path, os.fstat(fd))
    except BaseException:
        os.close(fd)
        raise
    return fd


def _require_good_link(path: str) -> None:
    owner = os.lstat(path).st_uid
    folder = os.stat(os.path.dirname(path) or ".").st_mode
    if owner not in (0, os.geteuid()):
        raise MachineError(
            f"cannot write the log {path}: it is a symlink of {user_name(owner)}'s; "
            "name the file itself"
        )
    if folder & stat.S_IWOTH and not folder & stat.S_ISVTX:
        raise MachineError(
            f"cannot write the log {path}: it is a symlink, and everybody may exchange it; "
            "name the file itself"
        )


def _require_good_file(path: str, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        return  # a device, a pipe
    if found.st_nlink > 1:
        raise MachineError(
            f"cannot write the log {path}: it is a hard link, and who knows to what; remove it"
        )
    if found.st_uid in {0, os.geteuid()} | _trusted:
        return
    folder = os.stat(os.path.dirname(os.path.realpath(path)))
    if folder.st_mode & stat.S_IWOTH and folder.st_uid != found.st_uid:
        raise MachineError(
            f"cannot write the log {path}: it belongs to {user_name(found.st_uid)}, and everybody "
            "may write into its folder; remove it, or choose a folder of your own"
        )
