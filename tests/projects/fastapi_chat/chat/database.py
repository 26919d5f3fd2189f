"""The messages of the chat, in a SQLite file that all workers share."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing

PATH = os.environ.get("DATABASE", "chat.sqlite3")


def connect() -> sqlite3.Connection:
    """Return a connection of its own, with its tables made."""
    database = sqlite3.connect(PATH, timeout=30, check_same_thread=False, isolation_level=None)
    database.execute("CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY, name, text)")
    database.execute("CREATE TABLE IF NOT EXISTS audit (line)")
    return database


def get_database() -> Iterator[sqlite3.Connection]:
    """Yield a connection for the time of a request, as a dependency."""
    with closing(connect()) as database:
        yield database
