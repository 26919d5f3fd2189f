"""The homes of the services of this machine: the folders in ``/run/prefork``.

A unit has its home there (``RuntimeDirectory=prefork/%N`` and ``PREFORK_HOME``, conf/), because its
user has no home directory that the service may write to. The verbs look there as well, so an
operator need not know the home of each service.

Design
------
- **Only root can put a folder into** ``/run/prefork``: each part of its path belongs to root, and
  no other user may write there. So a user of the machine cannot offer a home of their own to root.
- **A user gets the homes that belong to root or to themselves;** another user's could answer in
  the name of an app. Root gets all of them, as it manages the apps of any user: it trusts nothing
  that is written there, and touches the files by descriptor only (``unix/home.py``).
- **A home that others may write into is left out,** because they could replace an app in it.
- **With** ``PREFORK_HOME`` **only that home counts,** so ``prefork stop all`` of one home, as when
  the machine stops, stops no service of another one.
"""

import os
import stat
from pathlib import Path

from prefork.unix.directory import Directory
from prefork.unix.path_trust import UntrustedParentError

SYSTEM_HOMES = Path("/run/prefork")
"""The folder of the services' homes: RuntimeDirectory= is below /run (systemd.exec(5))."""


def list_system_homes(folder: Path = SYSTEM_HOMES) -> list[Path]:
    """Return the homes of services that this user may trust, sorted by name."""
    try:
        with Directory.open(folder, strict=True) as opened:
            if not _is_trusted(opened.status, owners={0}):
                return []
            return [folder / name for name in sorted(opened.listdir()) if _is_home(folder / name)]
    except (FileNotFoundError, NotADirectoryError, PermissionError, UntrustedParentError):
        return []  # there is none, or others than root could put a home there


def _is_home(path: Path) -> bool:
    """Return whether this user may trust a home; with DynamicUser= it is a symlink of root's."""
    try:
        with Directory.open(path) as home:
            owner = home.status.st_uid
            owners = {0, os.geteuid()} if os.geteuid() else {owner}
            return _is_trusted(home.status, owners)
    except OSError:
        return False  # it is no folder, or has just been removed


def _is_trusted(status: os.stat_result, owners: set[int]) -> bool:
    """Return whether a folder belongs to one of ``owners`` and no other user may write to it."""
    return status.st_uid in owners and not stat.S_IMODE(status.st_mode) & 0o022
