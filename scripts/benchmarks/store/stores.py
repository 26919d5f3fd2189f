"""Declares the stores that are compared."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..peers import PEERS_BIN, PROJECT_BIN

ServerName = Literal["", "redis", "memcached", "gunicorn"]
OPERATIONS = ("get", "set", "incr", "mixed")
PROCESSES = (1, 4, 16)


@dataclass(frozen=True)
class Store:
    """A store, and what a process needs to call it.

    `client`: its function in `clients.py`, which `python` can import with `package`. `server`: the
    server that it needs, empty for none. `over`: the address, a placeholder for the one that the
    server has. `lacks`: operations that it does not have.
    """

    name: str
    client: str
    python: Path
    package: str
    server: ServerName = ""
    over: str = "{folder}"
    lacks: tuple[str, ...] = ()


_PROJECT, _PEERS = PROJECT_BIN / "python", PEERS_BIN / "python"

STORES = (
    Store("prefork", "prefork", _PROJECT, "prefork"),
    Store("LMDB alone", "lmdb", _PROJECT, "lmdb"),
    Store("SQLite, WAL", "sqlite", _PROJECT, ""),
    Store("Redis, Unix socket", "redis", _PEERS, "redis", "redis", "unix://{socket}"),
    Store("Redis, TCP", "redis", _PEERS, "redis", "redis", "redis://127.0.0.1:{port}"),
    Store("memcached, TCP", "memcached", _PEERS, "pymemcache", "memcached", "127.0.0.1:{port}"),
    Store("gunicorn stash", "stash", _PEERS, "gunicorn", "gunicorn", "{socket}", ("incr",)),
)
OURS = STORES[0].name
NEAREST_REDIS = STORES[3].name


def why_missing(store: Store, packages: dict[str, str]) -> str:
    """Return why a store cannot be measured here; empty: it can. `packages`: those in the Python of
    its client."""
    if store.package and store.package not in packages:
        return f"{store.package} is not installed"
    program = {"redis": "redis-server", "memcached": "memcached"}.get(store.server)
    if program and shutil.which(program) is None:
        return f"{program} is not installed"
    return ""
