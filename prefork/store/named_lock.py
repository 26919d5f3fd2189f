"""``prefork.lock(name)``: a lock between all workers and their threads.

Design
------
- **A name is a byte of the file ``locks``:** 62 bits of a hash of the name. Two names out of a
  million share a byte with a probability of one in ten million; they would wait for each other.
- **The fencing token rises over reloads, restarts and reboots.** It is one more than the last one,
  or the time in microseconds if that is larger, so it also rises where the file was lost. All locks
  share one sequence.
- **A process forgets a lock that no part of it uses,** because an app may have one for each of its
  orders. One that is held stays, also where the app has kept no reference to it.
- **A waiting thread polls by ``time.sleep``,** as the app has it: gevent's lets other green threads
  run, of which one may hold the lock.
- **In an event loop a server is asked in a thread,** because the loop must not wait for it. A task
  that is cancelled meanwhile may have got the lock, which is then released.
"""

import asyncio
import os
import struct
import time
from _thread import allocate_lock, start_new_thread
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import ClassVar, Protocol
from weakref import WeakValueDictionary

from prefork.config.store_kind import is_server
from prefork.errors import StoreBusy, StoreUnavailable, StoreValueError
from prefork.plural import pluralize
from prefork.store.current_store import find_place, warn_of_process_memory
from prefork.store.store_api import check_timeout
from prefork.store.store_folder import open_store_directory
from prefork.unix.record_locks import LockFile, RecordLock, open_lock_file
from prefork.unix.store_place import StorePlace

MAX_NAME = 250
_FIRST_PAUSE = 0.0002
_LONGEST_PAUSE = 0.005
"""Seconds between two tries for a lock of this machine."""
_TOKEN = struct.Struct("<Q")
_TOKEN_BYTE = 1 << 62


class LockBackend(Protocol):
    """One lock by name.

    ``waits_for_network``: its methods may block for seconds. ``longest_pause``: seconds between two
    tries of a process that waits for the lock, at most.
    """

    waits_for_network: bool
    longest_pause: float

    def try_acquire(self) -> int | None:
        """Acquire the lock if it is free, and return the fencing token; None: it is held."""

    def release(self) -> None:
        """Release the lock."""

    def holder(self) -> str:
        """Return which process holds the lock, for messages."""


class NamedLock:
    """A lock as the app uses it: ``with lock as token`` or ``async with lock as token``.

    ``token``: the fencing token of the last acquisition, larger than any before of this name.
    """

    def __init__(self, name: str, backend: LockBackend, timeout: float | None) -> None:
        self.name = name
        self.token = 0
        self._backend = backend
        self._timeout = timeout
        self._holder_pid = 0

    def __enter__(self) -> int:
        deadline = self._deadline()
        pause = _FIRST_PAUSE
        while not self._try():
            self._require_time(deadline)
            time.sleep(pause)
            pause = min(pause * 1.5, self._backend.longest_pause)
        return self.token

    def __exit__(self, *_: object) -> None:
        self._release()

    async def __aenter__(self) -> int:
        deadline = self._deadline()
        pause = _FIRST_PAUSE
        while not await self._try_async():
            self._require_time(deadline)
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, self._backend.longest_pause)
        return self.token

    async def __aexit__(self, *_: object) -> None:
        if self._backend.waits_for_network:
            await asyncio.shield(asyncio.to_thread(self._release))
        else:
            self._release()

    def _deadline(self) -> float:
        return float("inf") if self._timeout is None else time.monotonic() + self._timeout

    def _try(self) -> bool:
        token = self._backend.try_acquire()
        if token is None:
            return False
        self.token = token
        self._holder_pid = os.getpid()
        _Known.held.add(self._backend)
        return True

    async def _try_async(self) -> bool:
        if not self._backend.waits_for_network:
            return self._try()
        attempt = asyncio.ensure_future(asyncio.to_thread(self._try))
        try:
            return await asyncio.shield(attempt)
        except asyncio.CancelledError:
            attempt.add_done_callback(self._give_up)
            raise

    def _give_up(self, attempt: "asyncio.Future[bool]") -> None:
        """Release the lock that an attempt got after its task was cancelled."""
        if not attempt.cancelled() and attempt.exception() is None and attempt.result():
            start_new_thread(self._release_or_expire, ())

    def _release_or_expire(self) -> None:
        with suppress(StoreUnavailable):  # then its lease ends by itself
            self._release()

    def _require_time(self, deadline: float) -> None:
        """Raise StoreBusy if the deadline is over."""
        if time.monotonic() >= deadline:
            raise StoreBusy(
                f"the lock {self.name!r} was not free within {self._timeout:g} s: "
                f"{self._backend.holder()} holds it"
            )

    def _release(self) -> None:
        # A child that the holder forked leaves the block, too, and has no lock to release.
        if self._holder_pid == os.getpid():
            self._holder_pid = 0
            _Known.held.discard(self._backend)
            self._backend.release()


class RecordLockBackend:
    """A named lock as a record lock. ``tokens``: the file, and the lock for its token."""

    waits_for_network = False
    longest_pause = _LONGEST_PAUSE

    def __init__(self, file: LockFile, byte: int, tokens: RecordLock) -> None:
        self._lock = RecordLock(file, byte)
        self._file = file
        self._tokens = tokens

    def try_acquire(self) -> int | None:
        """Acquire the lock if it is free, and return the fencing token; None: it is held."""
        if not self._lock.acquire(0):
            return None
        try:
            return self._next_token()
        except BaseException:
            self._lock.release()
            raise

    def _next_token(self) -> int:
        if not self._tokens.acquire(2.0):
            raise StoreBusy("another process holds the tokens of all locks; was it stopped?")
        try:
            stored = os.pread(self._file.fd, _TOKEN.size, 0)
            last = _TOKEN.unpack(stored)[0] if len(stored) == _TOKEN.size else 0
            token = max(int(last) + 1, time.time_ns() // 1000)
            os.pwrite(self._file.fd, _TOKEN.pack(token), 0)
        except OSError as error:
            raise StoreUnavailable(f"cannot write the token of a lock: {error.strerror}") from error
        finally:
            self._tokens.release()
        return token

    def release(self) -> None:
        """Release the lock."""
        self._lock.release()

    def holder(self) -> str:
        """Return which process holds the lock, for messages."""
        pid = self._lock.holder()
        return "another thread of this process" if pid is None else f"process {pid}"

    def reset_after_fork(self) -> None:
        """Forget the threads of the parent, in a child."""
        self._lock.reset_after_fork()
        self._tokens.reset_after_fork()


class ProcessLockBackend:
    """A named lock between the threads of this process, where there are no workers."""

    waits_for_network = False
    longest_pause = _LONGEST_PAUSE

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._token = 0

    def try_acquire(self) -> int | None:
        """Acquire the lock if it is free, and return the fencing token; None: it is held."""
        if not self._lock.acquire(False):
            return None
        self._token = max(self._token + 1, time.time_ns() // 1000)
        return self._token

    def release(self) -> None:
        """Release the lock."""
        self._lock.release()

    def holder(self) -> str:
        """Return which process holds the lock, for messages."""
        return "another thread of this process"

    def reset_after_fork(self) -> None:
        """Forget the threads of the parent, in a child."""
        self._lock = allocate_lock()


class _Known:
    """The locks of this process, by place and name."""

    guard = allocate_lock()
    locks: ClassVar[
        WeakValueDictionary[tuple[StorePlace, str], RecordLockBackend | ProcessLockBackend]
    ] = WeakValueDictionary()
    held: ClassVar[set[LockBackend]] = set()
    files: ClassVar[dict[StorePlace, tuple[LockFile, RecordLock]]] = {}


def lock(name: str, timeout: float | None = None) -> NamedLock:
    """Return a lock that all workers of the app share, and all their threads.

    ``with prefork.lock("report") as token:`` waits until it is free, up to ``timeout`` seconds
    (None: without limit), and then raises StoreBusy. The lock is free again when its holder leaves
    the block or dies. ``token`` rises with each acquisition. A lock is not reentrant.
    """
    data = name.encode()
    if not 0 < len(data) <= MAX_NAME:
        raise StoreValueError(
            f"the name of a lock has {pluralize(len(data), 'byte')}, and 1 to 250 are possible"
        )
    if timeout is not None:
        timeout = check_timeout(timeout)
    place = find_place()
    if is_server(place.kind):
        from prefork.store.redis_lock import RedisLockBackend  # noqa: PLC0415 - an extra

        return NamedLock(name, RedisLockBackend(place, name), timeout)
    with _Known.guard:
        found = _Known.locks.get((place, name))
        if found is None:
            found = _Known.locks[place, name] = _make_lock(place, data)
    return NamedLock(name, found, timeout)


def _make_lock(place: StorePlace, name: bytes) -> RecordLockBackend | ProcessLockBackend:
    if place.kind == "process":
        warn_of_process_memory()
        return ProcessLockBackend()
    if place not in _Known.files:
        _Known.files[place] = _open_tokens(place)
    file, tokens = _Known.files[place]
    byte = int.from_bytes(blake2b(name, digest_size=8).digest()) % _TOKEN_BYTE
    return RecordLockBackend(file, byte, tokens)


def _open_tokens(place: StorePlace) -> tuple[LockFile, RecordLock]:
    """Open the file of all locks. Raises StoreUnavailable."""
    try:
        file = open_lock_file(open_store_directory(place), "locks")
    except OSError as error:
        folder = Path(place.folder)
        raise StoreUnavailable(f"cannot open locks in {folder}: {error.strerror}") from error
    return file, RecordLock(file, _TOKEN_BYTE)


def _reset_after_fork() -> None:
    _Known.guard = allocate_lock()
    _Known.held.clear()
    for each in _Known.locks.values():
        each.reset_after_fork()


os.register_at_fork(after_in_child=_reset_after_fork)
