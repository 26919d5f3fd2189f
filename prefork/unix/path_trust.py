"""Check whether another user may exchange a component of a path, as sshd's StrictModes does.

A directory passes when it belongs to root or to the user of this process, and no other user may
write to it.

Design
------
- **Two kinds of directories that others may write to pass:** sticky ones such as /tmp, where other
  users cannot rename entries, and those that are writable for the private group of their owner
  (Debian and Red Hat give each user such a group, together with a umask of 002).
- **Unmapped users of a user namespace pass** (user_namespaces(7)), because no process inside can
  tell who they are.
"""

import errno
import grp
import os
import pwd
import stat
from functools import cache

from prefork.unix.identity import describe_user


class UntrustedParentError(OSError):
    """Another user may exchange a part of a path. ``strerror`` names the directory and the user."""

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EPERM, reason)


def require_trusted(fd: int) -> None:
    """Raise UntrustedParentError if another user may exchange entries of the directory ``fd``."""
    status = os.fstat(fd)
    owner, mode = status.st_uid, status.st_mode
    if owner not in (0, os.geteuid()) and owner != _unmapped_user():
        raise UntrustedParentError(
            f"{_path_of(fd)} belongs to {describe_user(owner)}, who could exchange what is below it"
        )
    if mode & stat.S_ISVTX or not mode & 0o022:
        return
    if mode & 0o002 or not _is_private_group(owner, status.st_gid):
        raise UntrustedParentError(
            f"others may write into {_path_of(fd)}, and so exchange what is below it; "
            f"chmod go-w {_path_of(fd)}"
        )


def _is_private_group(uid: int, gid: int) -> bool:
    """Return whether a group was created for this user alone: same name, no other members.

    A first group that all users share has another name, also where it lists no members.
    """
    try:
        user, group = pwd.getpwuid(uid), grp.getgrgid(gid)
    except KeyError:
        return False
    is_own = user.pw_gid == gid and user.pw_name == group.gr_name
    return is_own and set(group.gr_mem) <= {user.pw_name}


@cache
def _unmapped_user() -> int:
    """Return the user id of all users outside of this user namespace; -1 if there are none.

    Nothing inside can tell them apart (user_namespaces(7)); the root of the machine is one of them.
    """
    try:
        with open("/proc/self/uid_map") as file:
            # The identity map of the initial namespace: every user is mapped.
            if file.read().split() == ["0", "0", "4294967295"]:
                return -1
        with open("/proc/sys/kernel/overflowuid") as file:
            return int(file.read())
    except (OSError, ValueError):
        return -1


def _path_of(fd: int) -> str:
    return os.readlink(f"/proc/self/fd/{fd}")
