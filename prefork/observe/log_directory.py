"""The directory of the workers' logs: the user that writes there, and the logs in it."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from prefork.unix.directory import Directory
from prefork.unix.identity import identity_of


def become_owner_of(directory: Directory) -> None:
    """In a log writer that is root: become the owner of the directory.

    What users put into their directory then leads no further than they could go themselves, as with
    the directive ``su`` of logrotate(8).
    """
    status = directory.status
    if os.geteuid() == 0 and status.st_uid != 0:
        identity_of(status.st_uid, status.st_gid).assume()


def reopen_directory(directory: Directory) -> None:
    """Follow a directory that was replaced. Raises OSError; the one before stays then."""
    directory.reopen()
    become_owner_of(directory)


def list_log_files(path: Path) -> list[Path]:
    """The log at ``path``, and those of single slots beside it. Raises OSError."""
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
    """Those of the log ``name`` among names of files, by slot."""
    pattern = re.compile(re.escape(name) + r"-(\d+)")
    matches = (pattern.fullmatch(each) for each in found)
    return dict(sorted((int(match[1]), match[0]) for match in matches if match is not None))
