"""The embedded store: an LMDB file in the app's home, which all workers map into memory.

Design
------
- **LMDB, not SQLite in WAL mode.** Both need no server. On two cores, per call in µs, median and
  99.9 %, of this store beside the same values in SQLite (`scripts/bench store`):

      get    1 process    1.5      2      3.2     21
      get   16            1.5      8      3.6  4,300
      set    1           10.6     41      8.3    141
      set   16           12.9  25 ms      8.5   8 ms
      incr  16           14.4  30 ms      9.9   9 ms

  LMDB alone takes 0.5 for a get and 6 for a set. The worst set of 16 processes took 64 ms, and
  533 ms in SQLite, because LMDB's readers wait for no writer.
- **A lock with a timeout stands in front of LMDB's own.** That one frees its waiters when the
  holder dies, but they wait without limit for a holder that was stopped (SIGSTOP).
- **No write is synced.** A killed process loses nothing, because the kernel has its pages. For the
  loss of power there are snapshots.
- **The size is limited by the pages in use, not by the size of the map,** which is the same in all
  processes. So a reload can change it, and no process finds the map of another one too small.
- **The file is closed before each fork of this process, and opened again at the next use.** A child
  that closed the parent's environment would clear the parent's place in the table of readers, and
  two processes would then share it.
- **One transaction at a time in a process.** So a process needs one place in the table of readers
  for any number of threads, and no thread is inside of a transaction at a fork. The lock takes
  50 ns, and transactions microseconds.
"""

from _thread import RLock
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from time import time
from typing import TypeVar

import lmdb

from prefork.errors import StoreBusy, StoreError, StoreUnavailable, StoreValueError, UsageError
from prefork.plural import pluralize
from prefork.store.entry_format import ENTRY, HEAD, add_to_counter
from prefork.store.open_backends import acquire_for_fork, leave_to_parent, register_backend
from prefork.store.snapshot_timer import INTERVAL, SnapshotTimer
from prefork.store.store_api import DEFAULT_TIMEOUT
from prefork.store.store_change import (
    COUNTERS,
    MOST_EXPIRED,
    Change,
    entry_size,
    expires_at,
    read_count,
    remove_all,
    used_bytes,
)
from prefork.store.store_folder import StoreFolder
from prefork.store.store_snapshot import write_snapshot
from prefork.unix.store_place import StorePlace

Result = TypeVar("Result")

MIN_SIZE = 1024 * 1024
VALUES_IN_STORE = 16
"""A value may have this fraction of the store, at most."""
MAX_VALUE = 512 * 1024 * 1024
"""The maximum size of a value in a store of any size, as in Redis."""
FILL = 0.95
"""The fraction of the size from which on entries make room."""
CHECK_BYTES = 64
"""The pages in use are counted after this fraction of the size was written."""
BATCH = 500
"""Entries that one transaction reads or removes, at most, where an operation covers many."""
BATCH_BYTES = 16 * 1024 * 1024
"""The size of the values from which on a batch is complete."""
WRITES_PER_CLEANING = 8
"""One write of this many removes expired entries."""
TURN = 0.1
"""Seconds that a thread waits for the transactions of others, at least, whatever its timeout."""
RECENT_SNAPSHOT = 5.0

_DAMAGE = (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.PanicError, lmdb.InvalidError)


class EmbeddedBackend:
    """The store in a folder of this machine. Times are in seconds."""

    def __init__(
        self,
        place: StorePlace,
        timeout: float = DEFAULT_TIMEOUT,
        snapshot_interval: float = INTERVAL,
    ) -> None:
        """Open the folder, not its files. ``timeout``: seconds to wait for a process that makes
        them just now."""
        if place.size < MIN_SIZE:
            raise UsageError(f"store-size: {place.size} is too little, {MIN_SIZE} is needed")
        self.max_value = min(place.size // VALUES_IN_STORE, MAX_VALUE)
        self._place = place
        self._limit = int(place.size * FILL)
        self._folder = StoreFolder(place, timeout)
        self._writing = self._folder.writing
        self._use = RLock()
        self._is_kept = place.kind != "memory"
        self._environment: lmdb.Environment | None = None
        self._suspect = self._is_opening = False
        self._unchecked = place.size
        self._writes = 0
        self.snapshots = SnapshotTimer(
            self.write_snapshot,
            lambda: self._folder.snapshot_facts()[1],
            place.report,
            snapshot_interval,
        )
        register_backend(self)

    # Reading. Reads wait for no writer. ``timeout``: seconds to wait for the opening of the store.

    def get(self, key: bytes, timeout: float) -> bytes | None:
        """Return the value of a key; None: there is none."""
        environment = self._begin_turn(timeout)
        try:
            with environment.begin() as transaction:
                data = transaction.get(ENTRY + key)
        except lmdb.Error as error:
            raise self._explain(error) from error
        finally:
            self._use.release()
        if data is None:
            return None
        expires, used = HEAD.unpack_from(data)
        now = time()
        if expires and expires <= now * 1000:
            return None
        if now > used + 60:
            self._note_use(key)
        return bytes(data[HEAD.size :])

    def keys(self, prefix: bytes, timeout: float) -> Iterator[bytes]:
        """Yield the keys that begin with ``prefix``, sorted."""
        last = prefix
        while found := self._read_batch(last, prefix, timeout):
            now = time() * 1000
            for key, data in found:
                expires, _ = HEAD.unpack_from(data)
                if not 0 < expires <= now:
                    yield key
            last = found[-1][0] + b"\0"

    def _read_batch(self, start: bytes, prefix: bytes, timeout: float) -> list[tuple[bytes, bytes]]:
        """Return the next entries from the key ``start`` on, with this prefix; empty: the last."""
        found: list[tuple[bytes, bytes]] = []
        left = BATCH_BYTES
        whole = ENTRY + prefix
        environment = self._begin_turn(timeout)
        try:
            with environment.begin() as transaction:
                cursor = transaction.cursor()
                if cursor.set_range(ENTRY + start):
                    for key, data in cursor:
                        if not key.startswith(whole) or len(found) == BATCH or left <= 0:
                            break
                        found.append((bytes(key[1:]), bytes(data)))
                        left -= len(data)
        except lmdb.Error as error:
            raise self._explain(error) from error
        finally:
            self._use.release()
        return found

    def stats(self, timeout: float) -> dict[str, int | float | str]:
        """Return what the store holds and what it has removed."""
        environment = self._begin_turn(timeout)
        try:
            with environment.begin() as transaction:
                counts = {name: read_count(transaction, name) for name in COUNTERS}
                used = used_bytes(transaction)
        except lmdb.Error as error:
            raise self._explain(error) from error
        finally:
            self._use.release()
        _, at = self._folder.snapshot_facts()
        return {
            "backend": self._place.kind,
            "path": str(self._folder.path),
            "entries": sum(1 for _ in self.keys(b"", timeout)),
            "used_bytes": used,
            "size_bytes": self._place.size,
            **counts,
            "snapshot_at": at,
        }

    # Writing. Each method waits up to ``timeout`` seconds for the other writers.

    def set(self, key: bytes, value: bytes, ttl: float | None, timeout: float) -> None:
        """Write a value. ``ttl``: seconds until it expires; None: never."""
        size = self._require_size(key, value)
        self._write(lambda change: change.put(key, value, expires_at(change, ttl)), timeout, size)

    def add(self, key: bytes, value: bytes, ttl: float | None, timeout: float) -> bool:
        """Write a value if the key has none; return whether it did."""
        size = self._require_size(key, value)

        def act(change: Change) -> bool:
            if change.read(key) is not None:
                return False
            change.put(key, value, expires_at(change, ttl))
            return True

        return self._write(act, timeout, size)

    def delete(self, key: bytes, timeout: float) -> bool:
        """Remove a key; return whether it had a value."""
        return self._write(lambda change: change.remove(key), timeout)

    def touch(self, key: bytes, ttl: float | None, timeout: float) -> bool:
        """Set the time to live of a key; return whether it has a value."""

        def act(change: Change) -> bool:
            if (found := change.read(key)) is None:
                return False
            change.put(key, found.value, expires_at(change, ttl))
            return True

        return self._write(act, timeout)

    def incr(self, key: bytes, by: int, ttl: float | None, timeout: float) -> int:
        """Add to a counter and return it; a missing one is created at 0 with the time to live."""

        def act(change: Change) -> int:
            found = change.read(key)
            total = add_to_counter(found and found.value, by)
            expires = expires_at(change, ttl) if found is None else found.expires
            change.put(key, b"%d" % total, expires)
            return total

        return self._write(act, timeout, entry_size(key, b""))

    def compare_and_set(
        self,
        key: bytes,
        expected: bytes | None,
        value: bytes,
        ttl: float | None,
        timeout: float,
    ) -> bool:
        """Write a value if the key has the ``expected`` one (None: has none); return whether it
        did."""
        size = self._require_size(key, value)

        def act(change: Change) -> bool:
            found = change.read(key)
            if (found and found.value) != expected:
                return False
            change.put(key, value, expires_at(change, ttl))
            return True

        return self._write(act, timeout, size)

    def get_many(self, keys: list[bytes], timeout: float) -> dict[bytes, bytes]:
        """Return the values of those of the keys that have one."""
        found = ((key, self.get(key, timeout)) for key in keys)
        return {key: value for key, value in found if value is not None}

    def set_many(self, values: Mapping[bytes, bytes], ttl: float | None, timeout: float) -> None:
        """Write several values at once: other processes see all of them or none."""
        size = sum(self._require_size(key, value) for key, value in values.items())
        if size > self._limit // 2:
            raise StoreValueError(
                f"{pluralize(len(values), 'value')} at once, which need {size} B, are too many for "
                f"a store of {self._place.size} B"
            )

        def act(change: Change) -> None:
            for key, value in values.items():
                change.put(key, value, expires_at(change, ttl))

        self._write(act, timeout, size)

    def delete_some(self, prefix: bytes, start: bytes, timeout: float) -> tuple[int, bytes | None]:
        """Remove a batch of the keys that begin with ``prefix``, from the key ``start`` on. Return
        the number of those with a value, and the next start; None: that was the last batch."""
        batch = [key for key, _ in self._read_batch(start, prefix, timeout)]
        if not batch:
            return 0, None
        return self._write(partial(remove_all, batch), timeout), batch[-1] + b"\0"

    def clear(self, timeout: float) -> None:
        """Remove everything, also from the snapshot."""
        self._write(self._clear, timeout)
        self._folder.remove_snapshot()

    def require_writable(self, timeout: float) -> None:
        """Raise StoreError if a write would fail now: the store cannot be opened, it is held for
        longer than ``timeout`` seconds, or the disk takes no more."""
        if not self._writing.acquire(timeout):
            raise self._explain_busy(timeout)
        try:
            environment = self._begin_turn(timeout)
            try:
                environment.begin(write=True).abort()
                self._folder.require_space()
            finally:
                self._use.release()
        except lmdb.Error as error:
            raise self._explain(error) from error
        finally:
            self._writing.release()

    def _clear(self, change: Change) -> None:
        change.clear(self._open_environment(0).open_db(None))

    def _require_size(self, key: bytes, value: bytes) -> int:
        """Return the size of an entry. Raises StoreValueError if the value is too large."""
        if len(value) > self.max_value:
            raise StoreValueError(
                f"the value has {pluralize(len(value), 'byte')}, and the maximum is "
                f"{self.max_value}: a sixteenth of --store-size, and at most 512 MB"
            )
        return entry_size(key, value)

    def _write(self, act: Callable[[Change], Result], timeout: float, size: int = 0) -> Result:
        """Carry out a change while no other process writes. ``size``: about how many bytes it adds,
        or replaces."""
        if not self._writing.acquire(timeout):
            raise self._explain_busy(timeout)
        try:
            environment = self._begin_turn(timeout)
            try:
                now = time()
                with environment.begin(write=True) as transaction:
                    change = Change(transaction, now, self._folder.use_clock(now))
                    result = act(change)
                    self._clean_up(change, size)
            finally:
                self._use.release()
        except lmdb.Error as error:
            raise self._explain(error) from error
        finally:
            self._writing.release()
        if self._is_kept:
            self.snapshots.plan()
        return result

    def _clean_up(self, change: Change, size: int) -> None:
        """Keep the store within its limit after a change that has added ``size`` bytes."""
        self._unchecked += size
        self._writes += 1
        if self._unchecked * CHECK_BYTES > self._place.size:
            self._make_room(change)
        elif self._writes % WRITES_PER_CLEANING == 0:
            change.remove_expired(MOST_EXPIRED)

    def _make_room(self, change: Change) -> None:
        change.remove_expired(MOST_EXPIRED)
        self._folder.advance_use_clock(time())
        if dropped := change.make_room(self._limit):
            self._place.note_drops(dropped)
        self._unchecked = 0 if change.used_bytes() <= self._limit else self._place.size
        environment = self._environment
        if environment is not None and dropped:
            environment.reader_check()

    def _note_use(self, key: bytes) -> None:
        """Note that an entry was used in this minute, unless another process writes just now."""

        def act(change: Change) -> None:
            if (found := change.read(key)) is not None:
                change.put(key, found.value, found.expires)

        try:
            self._write(act, 0)
        except StoreError:
            return  # a note that is missed makes the entry seem older, and nothing else

    # Opening and closing.

    def is_open(self) -> bool:
        """Return whether a call finds the store open, and need not open it."""
        return self._environment is not None and self._folder.is_current()

    def open(self, timeout: float) -> None:
        """Open the store, if it is not open. Raises StoreError: StoreBusy if another process or
        thread is opening it for longer than ``timeout`` seconds."""
        self._begin_turn(timeout)
        self._use.release()

    def _begin_turn(self, timeout: float) -> lmdb.Environment:
        """Let this thread alone use the environment until it releases ``_use``; return it."""
        if not self._use.acquire(timeout=max(timeout, TURN)):
            raise StoreBusy(f"another thread has been opening the store for {timeout:g} s or more")
        try:
            return self._open_environment(timeout)
        except BaseException:
            self._use.release()
            raise

    def _open_environment(self, timeout: float) -> lmdb.Environment:
        """Return the open environment; it is opened if it was closed, or if another file has taken
        its place."""
        environment = self._environment
        if environment is not None and self._folder.is_current():
            return environment
        self._close_environment()
        self._is_opening = True
        try:
            environment = self._folder.open(timeout, self._suspect)
        finally:
            self._is_opening = False
        self._suspect = False
        self._environment = environment
        return environment

    def _close_environment(self) -> None:
        environment, self._environment = self._environment, None
        if environment is not None:
            environment.close()

    def _explain_busy(self, timeout: float) -> StoreBusy:
        holder = self._writing.holder()
        who = "a thread of this process" if holder is None else f"process {holder}"
        return StoreBusy(
            f"{who} has held the store for {timeout:g} s or more; was it stopped (SIGSTOP)?"
        )

    def _explain(self, error: lmdb.Error) -> StoreError:
        """Return the error of the store that stands for one of LMDB."""
        if isinstance(error, _DAMAGE):
            self._suspect = True
            with self._use:
                self._close_environment()
        if isinstance(error, lmdb.ReadersFullError):
            return StoreBusy("more processes use the store than it has places for")
        if isinstance(error, lmdb.MapFullError):
            return StoreBusy(
                "the store cannot reuse its pages, because a process that was stopped is reading "
                "it; see its pid in `ps`, state T"
            )
        # LMDB calls a write that a full disk has cut short an "Input/output error".
        hint = "; the disk is full" if self._folder.is_disk_full() else ""
        return StoreUnavailable(f"the store in {self._folder.path}: {error}{hint}")

    def close(self) -> None:
        """Close the store at the end of this process; write a snapshot if the last one is old."""
        self.snapshots.end()
        if self._environment is None:
            return
        _, at = self._folder.snapshot_facts()
        if self._is_kept and (not self._folder.has_other_users() or time() - at > RECENT_SNAPSHOT):
            self.write_snapshot()
        with self._use:
            self._close_environment()
            self._folder.leave()

    # Snapshots.

    def write_snapshot(self) -> bool:
        """Write a snapshot, unless there is a current one; return False if another process writes
        one just now, which may lack the last changes."""
        if not self._folder.snapping.acquire(0):
            return False
        try:
            environment = self._begin_turn(DEFAULT_TIMEOUT)
            try:
                transaction = environment.info()["last_txnid"]
            finally:
                self._use.release()
            if transaction != self._folder.snapshot_facts()[0]:
                write_snapshot(self._folder.directory, self._all_blocks())
                self._folder.note_snapshot(transaction)
        except lmdb.Error as error:
            raise self._explain(error) from error
        finally:
            self._folder.snapping.release()
        return True

    def _all_blocks(self) -> Iterator[list[tuple[bytes, bytes]]]:
        start = b""
        while found := self._read_batch(start, b"", DEFAULT_TIMEOUT):
            yield found
            start = found[-1][0] + b"\0"

    def prepare_fork(self) -> bool:
        """Close the environment before this process forks; no thread uses it until then. Return
        False, and do nothing, while a thread opens it (open_backends.py)."""
        if not acquire_for_fork(self._use, lambda: self._is_opening):
            return False
        self._close_environment()
        return True

    def resume_after_fork(self) -> None:
        """Let the threads of the parent go on."""
        self._use.release()

    def reset_in_child(self) -> None:
        """Make this the store of the child, which opens the file by itself."""
        self._use = RLock()
        self._is_opening = False
        if self._environment is not None:  # it was opened between the look at it and the fork
            leave_to_parent(self._environment)
            self._environment = None
        self._folder.reset_after_fork()
        self.snapshots.reset_in_child()
