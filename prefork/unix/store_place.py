"""Where the store of an app is, as the settings say; a worker notes it for this process.

This module is below both ``worker``, which knows the settings, and ``store``, which is imported by
the first call of an app that uses it.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from prefork.errors import PreforkError

DEFAULT_SIZE = 256 * 1024 * 1024


def _print_report(text: str) -> None:
    print(f"prefork: store: {text}", file=sys.stderr)


def ignore_drops(_count: int) -> None:
    """Do nothing: outside of a worker there is no scoreboard."""


@dataclass(frozen=True, slots=True)
class StorePlace:
    """The place of a store.

    ``kind``: ``embedded``, ``memory``, ``off``, ``process`` (in the memory of this process), the
    URL of a Redis server, or the path of a folder. ``size``: the maximum size in bytes of an
    embedded one. ``app``: the name of the app. ``folder``: the folder of its files; empty: there is
    none. One in memory has no file there, but a folder that the path names (``memory_folder``).
    ``fd``: a descriptor of the folder of the files if this process may not look up its path; None:
    it opens the path. ``owner``: the user id whose processes use the store; None: that of this
    process. ``report``: logs what an operator has to know. ``note_drops``: counts entries
    that were dropped because the store was full.
    """

    kind: str = "embedded"
    size: int = DEFAULT_SIZE
    app: str = ""
    folder: str = ""
    fd: int | None = None
    owner: int | None = None
    report: Callable[[str], None] = field(default=_print_report, compare=False)
    note_drops: Callable[[int], None] = field(default=ignore_drops, compare=False)


def memory_folder(folder: str, uid: int) -> Path:
    """Return the folder of a store in memory: on tmpfs, one for each user and app. ``folder``: that
    of an embedded store of this app."""
    app = sha256(os.fsencode(folder)).hexdigest()[:16]
    return Path(f"/dev/shm/prefork-{uid}-{app}")


class _Noted:
    place: StorePlace | None = None
    closers: tuple[Callable[[], None], ...] = ()


def set_store_place(place: StorePlace | None) -> None:
    """Note the store of the app that this process serves; None: it is no worker."""
    _Noted.place = place


def store_place() -> StorePlace | None:
    """Return the store of the app that this process serves; None: it is no worker."""
    return _Noted.place


def call_at_end(close: Callable[[], None]) -> None:
    """Have ``close`` called at the end of the worker."""
    _Noted.closers += (close,)


def close_stores() -> None:
    """Close what the app has opened, at the end of a worker. A store that is not closed is as after
    a kill."""
    for close in _Noted.closers:
        try:
            close()
        except (OSError, PreforkError) as error:
            place = _Noted.place or StorePlace()
            place.report(f"cannot close the store: {error}")
