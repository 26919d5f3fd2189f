"""Users and groups: look them up in the master, become them in a worker."""

import grp
import os
import pwd
from dataclasses import dataclass

from prefork.errors import MachineError, UsageError
from prefork.unix.privileges import drop_capabilities, empty_bounding_set


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a worker runs as; None leaves that part alone. ``name`` brings its other groups."""

    uid: int | None = None
    gid: int | None = None
    name: str = ""

    def assume(self) -> None:
        """Become it. Groups first: afterwards we may no longer change them. A process that gives up
        root keeps no capability, nor can a program that it executes gain one. Raises OSError."""
        if self.gid is not None:
            os.setgid(self.gid)
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
        """Make the variables that tell a process whose it is: HOME, LOGNAME and USER, as
        systemd.exec(5) sets them for User=. Empty where the user stays.

        A number that no list knows has / as its home, as in a container; its name is the number.
        """
        if self.uid is None:
            return {}
        try:
            found = pwd.getpwnam(self.name) if self.name else pwd.getpwuid(self.uid)
        except KeyError:
            return {"HOME": "/", "LOGNAME": str(self.uid), "USER": str(self.uid)}
        return {"HOME": found.pw_dir, "LOGNAME": found.pw_name, "USER": found.pw_name}


def resolve_identity(user: str, group: str) -> Identity:
    """Names or numbers. Raises UsageError for unknown ones, MachineError when we may not."""
    uid, gid, name = None, None, ""
    if group:
        gid = group_id(group)
    if user:
        found = _user_entry(user)
        if found is not None:
            uid, name = found.pw_uid, found.pw_name
            gid = found.pw_gid if gid is None else gid
        elif gid is None:
            raise UsageError(f"user {user} is in no list of users, so name a group, too")
        else:
            uid = int(user)
    if os.geteuid() == 0:
        return Identity(uid, gid, name)
    if uid not in (None, os.geteuid()) or gid not in (None, os.getegid()):
        raise MachineError(f"cannot run as {user or group}: only root can change user and group")
    return Identity()


def identity_of(uid: int, gid: int) -> Identity:
    """A user by its number, with all its groups; ``gid`` for one that no list knows."""
    try:
        found = pwd.getpwuid(uid)
    except KeyError:
        return Identity(uid, gid)
    return Identity(uid, found.pw_gid, found.pw_name)


def group_id(text: str) -> int:
    """Of a name or a number. Raises UsageError for an unknown name."""
    if _is_id(text):
        return int(text)
    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        raise UsageError(f"no group is called {text!r}; see `getent group`") from None


def describe_user(uid: int) -> str:
    """For people: by its name, where a list knows it."""
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user {uid}"


def describe_group(gid: int) -> str:
    """For people: by its name, where a list knows it."""
    try:
        return f"group {grp.getgrgid(gid).gr_name}"
    except KeyError:
        return f"group {gid}"


def _user_entry(text: str) -> pwd.struct_passwd | None:
    """None for a number that no list knows, as containers are fond of."""
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
    return text.isascii() and text.isdigit() and int(text) < 2**32 - 1
