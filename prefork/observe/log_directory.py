"""The directory of the workers' logs: the user that writes there, and the logs in it.

Design
------
- **A log writer of root becomes the owner of its directory,** as with the directive ``su`` of
  logrotate(8): what users put into their directory then leads no further than they could go
  themselves. The workers' user would do where the directory is that user's, which is the rule; in
  the directory of a third user it could not write.
- **After that, the log writer imports nothing and gets the master's own log by descriptor at a
  reopen,** because the installation and the log may be readable by root only.
- **An existing file is given to the workers' user only in a directory that no other user may write
  to:** another user could have renamed a file of root's into it.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from prefork.unix.directory import Directory
from prefork.unix.identity import identity_of


def become_owner_of(directory: Directory) -> None:
    """Give up root in a log writer, and become the owner of the directory.

    Nothing happens in a process that is not root, or if root owns the directory.
    """
    status = directory.status
    if os.geteuid() == 0 and status.st_uid != 0:
        identity_of(status.st_uid, status.st_gid).assume()


def reopen_directory(directory: Directory) -> None:
    """Open the directory's path again, in case it was replaced.

    Raises OSError; the old directory then stays open.
    """
    directory.reopen()
    become_owner_of(directory)


def list_log_files(path: Path) -> list[Path]:
    """List the log at ``path`` and the logs of single slots beside it. Raises OSError."""
    try:
        folder, name = Directory.open_parent(path)
    except FileNotFoundError:
        return [path]
    with folder:
        return [
            path,
            *(path.with_name(each) for each in find_slot_logs(name, folder.listdir()).values()),
        ]


def find_slot_logs(name: str, found: Iterable[str]) -> dict[int, str]:
    """Return the names in ``found`` that are logs of single slots, ``NAME-SLOT``, by slot."""
    pattern = re.compile(re.escape(name) + r"-(\d+)")
    matches = (pattern.fullmatch(each) for each in found)
    return dict(sorted((int(match[1]), match[0]) for match in matches if match is not None))
