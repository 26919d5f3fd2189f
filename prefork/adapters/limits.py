"""Storages of ``limits``, by which Flask-Limiter and slowapi count over all workers.

The import registers ``prefork://`` and ``async+prefork://``.

Design
------
- **A count is one operation of the store,** so of any number of requests at the same time exactly
  those within the limit pass. The moving window is a list of times, and the sliding window counter
  two counts, each exchanged by ``compare_and_set``.
- **A sliding window begins with its first count,** as in limits' storages of Redis and MongoDB; the
  next ones follow without a gap, until two have passed without a count. Its storages in memory and
  of Memcached align windows to the Unix epoch (``TimestampedSlidingWindow``). There a client that
  uses its whole limit shortly before a boundary has the next request admitted just after it; here
  exactly the limit passes within one period from the first request.
- **The end of a fixed window is kept in a namespace of its own,** so ``reset`` returns the number
  of counts.
"""

import asyncio
import struct
import time
from math import floor
from typing import Any, NamedTuple

from limits.aio.storage import MovingWindowSupport as AsyncMovingWindowSupport
from limits.aio.storage import SlidingWindowCounterSupport as AsyncSlidingWindowCounterSupport
from limits.aio.storage import Storage as AsyncStorage
from limits.storage import MovingWindowSupport, SlidingWindowCounterSupport, Storage

from prefork.adapters.store_access import fit_key, open_namespace
from prefork.errors import StoreError
from prefork.store.store_api import SharedStore

NAMESPACE = "limits"
ENDS = "limits-ends"
_TIME = struct.Struct("<d")
_WINDOWS = struct.Struct("<dqq")
"""When a window began, in Unix time; the count in it, and the count in the one before."""


def _store() -> SharedStore:
    return open_namespace(NAMESPACE)


def _ends() -> SharedStore:
    """Return the namespace with the times at which fixed windows end."""
    return open_namespace(ENDS)


def _times(data: bytes | None, since: float) -> list[float]:
    """Return the times in a moving window that are after ``since``, newest first."""
    found = [each for (each,) in _TIME.iter_unpack(data or b"")]
    return [each for each in found if each > since]


class _Windows(NamedTuple):
    """The current sliding window and the one before it."""

    start: float
    current: int
    previous: int

    def left_at(self, now: float, expiry: int) -> float:
        """Return which fraction of the current window is left; of the one before, it counts."""
        return 1 - (now - self.start) / expiry


def _windows_at(data: bytes | None, now: float, expiry: int) -> _Windows:
    """Return the windows at ``now``. The current one begins now if two have passed or there is none
    in ``data``; it has begun now at the latest, if the clock was set back."""
    if data is None:
        return _Windows(now, 0, 0)
    start, current, previous = _WINDOWS.unpack(data)
    if now < start + expiry:
        return _Windows(min(start, now), current, previous)
    if now < start + 2 * expiry:
        return _Windows(start + expiry, 0, current)
    return _Windows(now, 0, 0)


class SharedStorage(Storage, MovingWindowSupport, SlidingWindowCounterSupport):
    """Counts of the requests of all workers."""

    STORAGE_SCHEME = ["prefork"]  # noqa: RUF012 - as limits declares it

    def __init__(
        self, uri: str | None = None, wrap_exceptions: bool = False, **options: Any
    ) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions, **options)

    @property
    def base_exceptions(self) -> type[Exception]:
        """The exceptions of the store."""
        return StoreError

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count; the count begins again ``expiry`` seconds after its first."""
        count = _store().incr(fit_key(key), amount, expiry)
        if count == amount:
            _ends().set(fit_key(key), _TIME.pack(time.time() + expiry), expiry)
        return count

    def get(self, key: str) -> int:
        """Return a count."""
        return int(_store().get(fit_key(key)) or 0)

    def get_expiry(self, key: str) -> float:
        """Return when a count begins again, in Unix time."""
        found = _ends().get(fit_key(key))
        return time.time() if found is None else float(_TIME.unpack(found)[0])

    def check(self) -> bool:
        """Return whether the store can be used."""
        try:
            _store().get("check")
        except StoreError:
            return False
        return True

    def reset(self) -> int | None:
        """Remove all counts; return their number."""
        _ends().delete_prefix("")
        return _store().delete_prefix("")

    def clear(self, key: str) -> None:
        """Remove a count."""
        _ends().delete(fit_key(key))
        for each in (key, f"window:{key}", f"sliding:{key}"):
            _store().delete(fit_key(each))

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count in a moving window; return whether that was within the limit."""
        store, name = _store(), fit_key(f"window:{key}")
        while True:
            now = time.time()
            data = store.get(name)
            times = _times(data, now - expiry)
            if len(times) + amount > limit:
                return False
            times = [now] * amount + times
            if store.compare_and_set(name, data, b"".join(map(_TIME.pack, times)), expiry):
                return True

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Return the oldest time in a moving window, and the count in it."""
        now = time.time()
        times = _times(_store().get(fit_key(f"window:{key}")), now - expiry)[:limit]
        return (times[-1] if times else now), len(times)

    def acquire_sliding_window_entry(
        self, key: str, limit: int, expiry: int, amount: int = 1
    ) -> bool:
        """Count in the current window if its count and the share of the one before that still
        counts are within the limit; return whether they were."""
        store, name = _store(), fit_key(f"sliding:{key}")
        while True:
            data = store.get(name)
            now = time.time()
            windows = _windows_at(data, now, expiry)
            start, current, previous = windows
            if floor(previous * windows.left_at(now, expiry) + current) + amount > limit:
                return False
            packed = _WINDOWS.pack(start, current + amount, previous)
            if store.compare_and_set(name, data, packed, 2 * expiry):
                return True

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Return the count in the window before and the seconds until it counts no more, and the
        same for the current window."""
        data = _store().get(fit_key(f"sliding:{key}"))
        now = time.time()
        windows = _windows_at(data, now, expiry)
        left = windows.left_at(now, expiry) * expiry
        previous = windows.previous
        return previous, left if previous else 0.0, windows.current, left + expiry

    def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Remove the counts of both windows."""
        self.clear(key)


class AsyncSharedStorage(AsyncStorage, AsyncMovingWindowSupport, AsyncSlidingWindowCounterSupport):
    """The same for asyncio. Calls that would wait for another process are made in a thread."""

    STORAGE_SCHEME = ["async+prefork"]  # noqa: RUF012 - as limits declares it

    def __init__(
        self, uri: str | None = None, wrap_exceptions: bool = False, **options: Any
    ) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions, **options)
        self._shared = SharedStorage()

    @property
    def base_exceptions(self) -> type[Exception]:
        """The exceptions of the store."""
        return StoreError

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count; the count begins again ``expiry`` seconds after its first."""
        count = await _store().aincr(fit_key(key), amount, expiry)
        if count == amount:
            end = _TIME.pack(time.time() + expiry)
            await _ends().aset(fit_key(key), end, expiry)
        return count

    async def get(self, key: str) -> int:
        """Return a count."""
        return int(await _store().aget(fit_key(key)) or 0)

    async def get_expiry(self, key: str) -> float:
        """Return when a count begins again, in Unix time."""
        return await asyncio.to_thread(self._shared.get_expiry, key)

    async def check(self) -> bool:
        """Return whether the store can be used."""
        return await asyncio.to_thread(self._shared.check)

    async def reset(self) -> int | None:
        """Remove all counts; return their number."""
        return await asyncio.to_thread(self._shared.reset)

    async def clear(self, key: str) -> None:
        """Remove a count."""
        await asyncio.to_thread(self._shared.clear, key)

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count in a moving window; return whether that was within the limit."""
        return await asyncio.to_thread(self._shared.acquire_entry, key, limit, expiry, amount)

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Return the oldest time in a moving window, and the count in it."""
        return await asyncio.to_thread(self._shared.get_moving_window, key, limit, expiry)

    async def acquire_sliding_window_entry(
        self, key: str, limit: int, expiry: int, amount: int = 1
    ) -> bool:
        """Count in the current window; return whether that was within the limit."""
        acquire = self._shared.acquire_sliding_window_entry
        return await asyncio.to_thread(acquire, key, limit, expiry, amount)

    async def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Return the counts of the window before and of the current one, each with its seconds."""
        return await asyncio.to_thread(self._shared.get_sliding_window, key, expiry)

    async def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Remove the counts of both windows."""
        await asyncio.to_thread(self._shared.clear_sliding_window, key, expiry)
