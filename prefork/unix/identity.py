"""Users and groups: look them up in the master, switch to them in a worker."""

import grp
import os
import pwd
from dataclasses import dataclass

from prefork.errors import MachineError, UsageError
from prefork.unix.privileges import drop_capabilities, empty_bounding_set


@dataclass(frozen=True, slots=True)
class Identity:
    """The user and group that a worker runs as; None keeps the current one.

    ``name`` is the user's name, by which its supplementary groups are found.
    """

    uid: int | None = None
    gid: int | None = None
    name: str = ""

    def assume(self) -> None:
        """Switch this process to the identity. Raises OSError.

        Groups come first, because they cannot be changed afterwards. A process that gives up root
        keeps no capability, and no program that it executes can gain one (unix/privileges.py).
        """
        if self.gid is not None:
            os.setgid(self.gid)
            # Without a name there is no entry, and so no supplementary group; drop those of root.
            if self.name:
                os.initgroups(self.name, self.gid)
            else:
                os.setgroups([self.gid])
        if self.uid is None:
            return
        drops_root = self.uid != 0 and os.geteuid() == 0
        if drops_root:
            empty_bounding_set()
        os.setuid(self.uid)
        if drops_root:
            drop_capabilities()

    def environment_variables(self) -> dict[str, str]:
        """Return HOME, LOGNAME and USER of the identity, as systemd.exec(5) sets them for User=.

        Empty when the user does not change. A user id without an entry in the user database gets /
        as its home and the number as its name, as in a container.
        """
        if self.uid is None:
            return {}
        try:
            found = pwd.getpwnam(self.name) if self.name else pwd.getpwuid(self.uid)
        except KeyError:
            return {"HOME": "/", "LOGNAME": str(self.uid), "USER": str(self.uid)}
        return {"HOME": found.pw_dir, "LOGNAME": found.pw_name, "USER": found.pw_name}


def resolve_identity(user: str, group: str) -> Identity:
    """Return the identity that ``user`` and ``group`` name, each by name or by number.

    An empty text leaves that part unchanged.

    Raises UsageError for unknown names, MachineError when this process may not switch.
    """
    uid, gid, name = None, None, ""
    if group:
        gid = group_id(group)
    if user:
        found = _user_entry(user)
        if found is not None:
            uid, name = found.pw_uid, found.pw_name
            gid = found.pw_gid if gid is None else gid
        elif gid is None:
            raise UsageError(f"user {user} has no entry in the user database, so name a group, too")
        else:
            uid = int(user)
    if os.geteuid() == 0:
        return Identity(uid, gid, name)
    if uid not in (None, os.geteuid()) or gid not in (None, os.getegid()):
        raise MachineError(f"cannot run as {user or group}: only root can change user and group")
    return Identity()


def identity_of(uid: int, gid: int) -> Identity:
    """Return the identity of a user id with all its groups; ``gid`` for one without an entry."""
    try:
        found = pwd.getpwuid(uid)
    except KeyError:
        return Identity(uid, gid)
    return Identity(uid, found.pw_gid, found.pw_name)


def group_id(text: str) -> int:
    """Return the id of a group that is given by name or number. Raises UsageError."""
    if _is_id(text):
        return int(text)
    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        raise UsageError(f"no group is called {text!r}; see `getent group`") from None


def describe_user(uid: int) -> str:
    """Return ``user NAME`` for messages, or ``user NUMBER`` where the database has no name."""
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user {uid}"


def describe_group(gid: int) -> str:
    """Return ``group NAME`` for messages, or ``group NUMBER`` where the database has no name."""
    try:
        return f"group {grp.getgrgid(gid).gr_name}"
    except KeyError:
        return f"group {gid}"


def _user_entry(text: str) -> pwd.struct_passwd | None:
    """Return the entry of a user; None for a number without one, as containers often use."""
    if _is_id(text):
        try:
            return pwd.getpwuid(int(text))
        except KeyError:
            return None
    try:
        return pwd.getpwnam(text)
    except KeyError:
        raise UsageError(f"no user is called {text!r}; see `getent passwd`") from None


def _is_id(text: str) -> bool:
    """Return whether ``text`` is a number that can be a user or group id."""
    # 2**32 - 1 is -1, which setresuid(2) and chown(2) take for "unchanged".
    return text.isascii() and text.isdigit() and int(text) < 2**32 - 1
