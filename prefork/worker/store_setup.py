"""Note where the store of the app is. The store is opened by the first call that uses it.

Design
------
- **A worker of another user than the master's gets a descriptor of the folder.** The app's folder
  in the home is the master's alone, so that user could not look up a path in it. Only in this case
  the folder of the store is created before its first use. A store in memory has one there, too,
  without files: it tells the verbs whose the store is.
- **The master and the verbs of root open no file in that folder,** because its user may put there
  whatever it wants.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path

from prefork.unix.directory import Directory
from prefork.unix.identity import Identity
from prefork.unix.store_place import StorePlace, ignore_drops, set_store_place
from prefork.wire.scoreboard import FIELD_INDEX
from prefork.worker.worker_context import WorkerContext

_DROPPED = FIELD_INDEX["store_dropped"]


def note_store(context: WorkerContext) -> None:
    """Note the place of the store for this process, before the process changes its user."""

    def note_drops(count: int) -> None:
        context.row.counts[_DROPPED] += count

    place = locate_store(
        context.config.store,
        context.config.store_size,
        context.info.name,
        context.store_folder,
        context.identity,
        context.log,
        note_drops,
    )
    set_store_place(place)


def locate_store(
    kind: str,
    size: int,
    name: str,
    folder: str,
    identity: Identity,
    log: logging.Logger,
    note_drops: Callable[[int], None] = ignore_drops,
) -> StorePlace:
    """Return the place of the store of the app ``name``, before the process becomes ``identity``.

    ``kind`` and ``size``: as the settings say. ``folder``: for its files, in the home; empty: there
    is none.
    """
    fd = None
    if kind.startswith("/"):
        folder = kind
    elif folder and identity.uid not in (None, os.geteuid()):
        try:
            fd = _open_folder_of(Path(folder), identity.uid, identity.gid)
            if kind == "memory":  # the worker makes another folder for its files
                os.close(fd)
                fd = None
        except OSError as error:
            log.warning("the app gets no store: cannot use %s: %s", folder, error.strerror)
            folder = ""

    def report(text: str) -> None:
        log.warning("store: %s", text)

    return StorePlace(kind, size, name, folder, fd, report=report, note_drops=note_drops)


def _open_folder_of(path: Path, uid: int | None, gid: int | None) -> int:
    """Return a descriptor of the store's folder, which is created for the worker's user. A folder
    that exists keeps its owner. Raises OSError."""
    parent, name = Directory.open_parent(path)
    with parent:
        if parent.lstat(name) is None:
            parent.mkdir(name, 0o700)
            ids = (-1 if uid is None else uid, -1 if gid is None else gid)
            os.chown(name, *ids, dir_fd=parent.fd, follow_symlinks=False)
        return parent.open_subdirectory(name).fd
