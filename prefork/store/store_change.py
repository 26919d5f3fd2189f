"""One change of the embedded store: what its operations do inside a write transaction.

Design
------
- **Two indexes, by expiry and by use, make room in the right order.** Expired entries go first,
  then those that were used longest ago. Each index is sorted, so a change that needs room looks at
  what it removes and at nothing else. A sample of random entries, as Redis takes, needs no index,
  but drops sessions that are in use.
- **The second of the last use is noted,** and that of a read at most once a minute. A change in the
  same second leaves the index of use alone.
- **The clock of use goes on early after each 64th of the store,** up to a minute ahead of the time
  of day: a burst that fills the store within a second would have no order in it otherwise.
- **A change that makes room stops as soon as there is room,** and never drops what it has written.
- **The index of expiry has rounded times.** With exact ones each write of a session moved its place
  there, which were 2.8 of the 10.8 µs of a set. Expired entries are removed up to 8 s later, unless
  room is needed. No read depends on the index.
"""

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from prefork.store.entry_format import (
    COUNTER,
    ENTRY,
    EXPIRY,
    HEAD,
    ROUNDING,
    USE,
    StoredEntry,
    expiry_key,
    split_expiry_key,
    split_use_key,
    unpack_entry,
    use_key,
)

if TYPE_CHECKING:
    import lmdb

MOST_EXPIRED = 8
"""Expired entries that one change removes, at most, while the store has room."""
MOST_DROPPED = 2000
"""Entries that one change removes to make room, at most; the next change goes on."""
_BATCH = 50
"""Places of the index of use that are read at once."""
COUNTERS = ("dropped", "expired")


ENTRY_BYTES = 100
"""The bytes that an entry needs beside its value and twice its key, about: its places in both
indexes.
"""


class Change:
    """A write transaction, with the time at which it happens in seconds of Unix time."""

    def __init__(
        self, transaction: "lmdb.Transaction", now: float, used: int | None = None
    ) -> None:
        """Begin a change. ``used``: the clock of use; None: it is the time."""
        self._transaction = transaction
        self.now = int(now * 1000)
        self._used = int(now) if used is None else used
        self._written: set[bytes] = set()

    def read(self, key: bytes) -> StoredEntry | None:
        """Return the entry of a key; None: there is none, or it has expired."""
        found = self._stored(key)
        return None if found is None or 0 < found.expires <= self.now else found

    def _stored(self, key: bytes) -> StoredEntry | None:
        data = self._transaction.get(ENTRY + key)
        return None if data is None else unpack_entry(bytes(data))

    def put(self, key: bytes, value: bytes, expires: int) -> None:
        """Write an entry. ``expires``: milliseconds of Unix time; 0: never."""
        put, delete = self._transaction.put, self._transaction.delete
        name, used = ENTRY + key, self._used
        old = self._transaction.get(name)
        old_expires, old_used = (0, -1) if old is None else HEAD.unpack_from(old)
        put(name, HEAD.pack(expires, used) + value)
        self._written.add(key)
        if old_used != used:
            if old is not None:
                delete(use_key(old_used, key))
            put(use_key(used, key), b"")
        old_place, place = old_expires and old_expires | ROUNDING, expires and expires | ROUNDING
        if old_place != place:
            if old_expires:
                delete(expiry_key(old_expires, key))
            if expires:
                put(expiry_key(expires, key), b"")

    def remove(self, key: bytes) -> bool:
        """Remove an entry; return whether there was one that had not expired."""
        old = self._stored(key)
        if old is None:
            return False
        self._transaction.delete(ENTRY + key)
        self._transaction.delete(use_key(old.used, key))
        if old.expires:
            self._transaction.delete(expiry_key(old.expires, key))
        return not 0 < old.expires <= self.now

    def remove_expired(self, most: int, until: int | None = None) -> int:
        """Remove up to ``most`` expired entries; return their number.

        ``until``: the last place in the index where to look; default: the last one of which all
        entries have expired.
        """
        last = self.now if until is None else until
        expired: list[bytes] = []
        stale: list[bytes] = []
        for data in self._keys_of(EXPIRY):
            latest, key = split_expiry_key(data)
            if latest > last or len(expired) == most:
                break
            if self.read(key) is None:
                expired.append(key)
            elif latest <= self.now:
                stale.append(data)
        for data in stale:  # of an earlier entry; the one that has the key now stays
            self._transaction.delete(data)
        for key in expired:
            self.remove(key)
        self._count("expired", len(expired))
        return len(expired)

    def make_room(self, limit: int) -> int:
        """Remove expired entries, then those used longest ago, until the store has ``limit`` bytes.

        Return how many of them had not expired.
        """
        if self.used_bytes() <= limit:
            return 0
        self.remove_expired(MOST_DROPPED, self.now | ROUNDING)
        dropped = 0
        for key in self._keys_by_use():
            if dropped == MOST_DROPPED or self.used_bytes() <= limit:
                break
            if key not in self._written:
                self.remove(key)
                dropped += 1
        self._count("dropped", dropped)
        return dropped

    def _keys_by_use(self) -> Iterator[bytes]:
        """Yield all keys, those that were used longest ago first. Each may be removed meanwhile."""
        start = USE
        while found := list(islice(self._keys_of(USE, start), _BATCH)):
            yield from map(split_use_key, found)
            start = found[-1] + b"\0"

    def _keys_of(self, kind: bytes, start: bytes = b"") -> Iterator[bytes]:
        """Yield the keys in the file that begin with ``kind``, sorted. ``start``: the first one."""
        cursor = self._transaction.cursor()
        if cursor.set_range(start or kind):
            for data in map(bytes, cursor.iternext(values=False)):
                if not data.startswith(kind):
                    return
                yield data

    def used_bytes(self) -> int:
        """Return the size of all pages that hold entries and indexes."""
        return used_bytes(self._transaction)

    def clear(self, table: "lmdb._Database") -> None:
        """Remove all entries. ``table``: the one of the file."""
        self._transaction.drop(table, delete=False)

    def _count(self, counter: str, more: int) -> None:
        if more:
            self._transaction.put(
                COUNTER + counter.encode(), b"%d" % (read_count(self._transaction, counter) + more)
            )


def read_count(transaction: "lmdb.Transaction", counter: str) -> int:
    """Return how many entries were ``dropped`` or ``expired``."""
    return int(transaction.get(COUNTER + counter.encode(), b"0"))


def used_bytes(transaction: "lmdb.Transaction") -> int:
    """Return the size of all pages that hold entries and indexes."""
    found = transaction.stat()
    pages = found["branch_pages"] + found["leaf_pages"] + found["overflow_pages"]
    return int(pages * found["psize"])


def remove_all(keys: list[bytes], change: Change) -> int:
    """Remove these keys; return the number of those with a value."""
    return sum(map(change.remove, keys))


def entry_size(key: bytes, value: bytes) -> int:
    """Return about how many bytes an entry needs, with its places in the indexes."""
    return len(value) + 2 * len(key) + ENTRY_BYTES


def expires_at(change: Change, ttl: float | None) -> int:
    """Return when an entry with this time to live expires, in milliseconds; 0: never."""
    return 0 if ttl is None else change.now + max(1, int(ttl * 1000))
