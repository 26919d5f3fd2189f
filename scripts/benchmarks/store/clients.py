"""The functions that a process calls to get, set and increment in each store.

A function of CLIENTS gets the address of its store, opens it as an app would, and returns the
calls. It runs in a process of its own, in the Python that has the client's library.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

KEYS = [f"session:{number}" for number in range(1000)]
COUNTERS = [f"hits:{number}" for number in range(1000)]
VALUE = bytes(range(200))
TTL = 3600
READS_PER_WRITE = 9
BUSY_SECONDS = 30.0

Call = Callable[[str], object]


@dataclass(frozen=True)
class Calls:
    """The calls of one process, each with a key. `incr` is None where the store has none."""

    get: Call
    set: Call
    incr: Call | None = None


def open_prefork(folder: str) -> Calls:
    """Open prefork's embedded store, as any process outside of a worker does."""
    os.environ["PREFORK_STORE"] = folder
    import prefork  # noqa: PLC0415 - only in the project's environment

    store = prefork.store()
    return Calls(store.get, lambda key: store.set(key, VALUE, TTL), store.incr)


def open_lmdb(folder: str) -> Calls:
    """Open an LMDB file without anything around it: no time to live, no limit, no timeout."""
    import lmdb  # noqa: PLC0415

    environment = lmdb.open(f"{folder}/lmdb", map_size=1 << 30, sync=False, metasync=False)

    def get(key: str) -> object:
        with environment.begin() as transaction:
            return transaction.get(key.encode())

    def put(key: str) -> None:
        with environment.begin(write=True) as transaction:
            transaction.put(key.encode(), VALUE)

    def incr(key: str) -> int:
        with environment.begin(write=True) as transaction:
            total = int(transaction.get(key.encode(), b"0")) + 1
            transaction.put(key.encode(), b"%d" % total)
            return total

    return Calls(get, put, incr)


def open_sqlite(folder: str) -> Calls:
    """Open a table of SQLite in WAL mode."""
    import sqlite3  # noqa: PLC0415
    from time import time  # noqa: PLC0415

    path = Path(folder) / "sqlite"
    base = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    base.execute("PRAGMA journal_mode=WAL")
    base.execute("PRAGMA synchronous=OFF")
    base.execute(
        "CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, value, expires REAL)"
        " WITHOUT ROWID"
    )
    select = "SELECT value FROM entries WHERE key = ? AND expires > ?"
    insert = "INSERT OR REPLACE INTO entries VALUES (?, ?, ?)"
    count = (
        "INSERT INTO entries VALUES (?, 1, ?)"
        " ON CONFLICT (key) DO UPDATE SET value = value + 1 RETURNING value"
    )
    execute = base.execute
    return Calls(
        lambda key: execute(select, (key, time())).fetchone(),
        lambda key: execute(insert, (key, VALUE, time() + TTL)),
        lambda key: execute(count, (key, time() + TTL)).fetchall(),
    )


def open_redis(address: str) -> Calls:
    """Connect to Redis by redis-py, with its parser in C. `address`: a URL."""
    import redis  # noqa: PLC0415

    client = redis.Redis.from_url(address)
    return Calls(client.get, lambda key: client.set(key, VALUE, ex=TTL), client.incr)


def open_memcached(address: str) -> Calls:
    """Connect to memcached by pymemcache. `address`: host and port."""
    from pymemcache import Client  # noqa: PLC0415

    client = Client(address, no_delay=True)

    def incr(key: str) -> object:
        count = client.incr(key, 1)
        if count is None:
            client.add(key, b"0", noreply=False)
            count = client.incr(key, 1)
        return count

    return Calls(client.get, lambda key: client.set(key, VALUE, TTL, noreply=False), incr)


def open_stash(address: str) -> Calls:
    """Use gunicorn's stash, which has no time to live and no increment. `address`: its socket."""
    from gunicorn.dirty import stash  # noqa: PLC0415

    stash.set_stash_socket_path(address)
    return Calls(
        lambda key: stash.get("sessions", key), lambda key: stash.put("sessions", key, VALUE)
    )


CLIENTS: dict[str, Callable[[str], Calls]] = {
    "prefork": open_prefork,
    "lmdb": open_lmdb,
    "sqlite": open_sqlite,
    "redis": open_redis,
    "memcached": open_memcached,
    "stash": open_stash,
}


def script_of(calls: Calls, operation: str) -> list[tuple[Call, str]]:
    """Return the calls of one operation in the order in which a process repeats them.

    Raises LookupError if the store does not have the operation.
    """
    if operation == "fill":
        return [(calls.set, key) for key in KEYS]
    if operation == "get":
        return [(calls.get, key) for key in KEYS]
    if operation == "set":
        return [(calls.set, key) for key in KEYS]
    if operation == "mixed":
        every = READS_PER_WRITE + 1
        return [(calls.get if at % every else calls.set, key) for at, key in enumerate(KEYS)]
    if calls.incr is None:
        raise LookupError("it has no increment")
    return [(calls.incr, key) for key in COUNTERS]
