"""``SharedStore``: the operations of a store as an app calls them, each one sync and async.

The async ones have the same names with an ``a`` before, as in Django: ``await store.aget(key)``.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import isfinite, isnan
from time import monotonic
from typing import Any, Protocol, TypeVar

from prefork.errors import StoreBusy, StoreValueError
from prefork.store.entry_format import INTEGERS, encode_key, encode_namespace

Result = TypeVar("Result")
Key = str | bytes

DEFAULT_TIMEOUT = 2.0
"""Seconds that a write waits for other writers."""
MAX_TTL = 100 * 366 * 24 * 3600
_LONGEST_PAUSE = 0.01
_LONGEST_TIMEOUT = 1e9
"""Seconds; a lock of Python takes no timeout above 9e9."""


class Backend(Protocol):
    """The part that keeps the entries. Keys have their namespace; ``timeout`` is in seconds."""

    max_value: int

    def is_open(self) -> bool:
        """Return whether a call finds the store open, and need not open it."""

    def open(self, timeout: float) -> None:
        """Open the store, if it is not open."""

    def get(self, key: bytes, timeout: float) -> bytes | None:
        """Return the value of a key; None: there is none."""

    def keys(self, prefix: bytes, timeout: float) -> Iterator[bytes]:
        """Yield the keys that begin with ``prefix``."""

    def stats(self, timeout: float) -> dict[str, int | float | str]:
        """Return figures of the store."""

    def set(self, key: bytes, value: bytes, ttl: float | None, timeout: float) -> None:
        """Write a value."""

    def add(self, key: bytes, value: bytes, ttl: float | None, timeout: float) -> bool:
        """Write a value if the key has none; return whether it did."""

    def delete(self, key: bytes, timeout: float) -> bool:
        """Remove a key; return whether it had a value."""

    def touch(self, key: bytes, ttl: float | None, timeout: float) -> bool:
        """Set the time to live of a key; return whether it has a value."""

    def incr(self, key: bytes, by: int, ttl: float | None, timeout: float) -> int:
        """Add to a counter and return it."""

    def compare_and_set(
        self,
        key: bytes,
        expected: bytes | None,
        value: bytes,
        ttl: float | None,
        timeout: float,
    ) -> bool:
        """Write a value if the key has the expected one; return whether it did."""

    def get_many(self, keys: list[bytes], timeout: float) -> dict[bytes, bytes]:
        """Return the values of those of the keys that have one."""

    def set_many(self, values: Mapping[bytes, bytes], ttl: float | None, timeout: float) -> None:
        """Write several values at once."""

    def delete_some(self, prefix: bytes, start: bytes, timeout: float) -> tuple[int, bytes | None]:
        """Remove keys that begin with ``prefix``, from the key ``start`` on, as many as one change
        may. Return the number of those with a value, and the next start; None: no key is left."""

    def clear(self, timeout: float) -> None:
        """Remove everything."""

    def require_writable(self, timeout: float) -> None:
        """Raise StoreError if a write would fail now. No entry of the app changes."""


class SharedStore:
    """A namespace of the store that all workers share.

    Keys are str or bytes of up to 250 bytes, values are bytes. ``ttl``: seconds until an entry
    expires; None: never. Writes raise StoreBusy when another process holds the store for longer
    than ``timeout`` seconds, and so does each call while another process opens the store for that
    long. StoreUnavailable: it cannot be used. A key or a value that is too large raises
    StoreValueError.
    """

    def __init__(
        self,
        backend: Backend,
        namespace: str = "",
        timeout: float = DEFAULT_TIMEOUT,
        waits_in_loop: bool = True,
    ) -> None:
        """Make the namespace ``namespace`` of a store. ``waits_in_loop``: async calls are made in
        the event loop and wait there; else in a thread."""
        self._backend = backend
        self._prefix = encode_namespace(namespace)
        self._timeout = check_timeout(timeout)
        self._waits_in_loop = waits_in_loop

    def namespace(self, name: str) -> "SharedStore":
        """Return another namespace of the same store."""
        return SharedStore(self._backend, name, self._timeout, self._waits_in_loop)

    @property
    def max_value(self) -> int:
        """The maximum size of a value in bytes."""
        return self._backend.max_value

    def get(self, key: Key) -> bytes | None:
        """Return the value of a key; None: there is none."""
        return self._backend.get(self._prefix + encode_key(key), self._timeout)

    def get_many(self, keys: Iterable[Key]) -> dict[Key, bytes]:
        """Return the values of those of the keys that have one."""
        given = {self._prefix + encode_key(key): key for key in keys}
        found = self._backend.get_many(list(given), self._timeout)
        return {given[key]: value for key, value in found.items()}

    def keys(self, prefix: Key = b"") -> Iterator[bytes]:
        """Yield the keys that begin with ``prefix``, sorted where the store keeps them sorted."""
        cut = len(self._prefix)
        found = self._backend.keys(self._prefix + encode_key(prefix), self._timeout)
        return (key[cut:] for key in found)

    def stats(self) -> dict[str, int | float | str]:
        """Return figures of the whole store: entries, bytes, and how many were dropped."""
        return self._backend.stats(self._timeout)

    def set(self, key: Key, value: bytes, ttl: float | None = None) -> None:
        """Write a value."""
        self._set(key, value, ttl, self._timeout)

    def _set(self, key: Key, value: bytes, ttl: float | None, timeout: float) -> None:
        self._backend.set(
            self._prefix + encode_key(key), check_value(value), check_ttl(ttl), timeout
        )

    def add(self, key: Key, value: bytes, ttl: float | None = None) -> bool:
        """Write a value if the key has none; return whether it did."""
        return self._add(key, value, ttl, self._timeout)

    def _add(self, key: Key, value: bytes, ttl: float | None, timeout: float) -> bool:
        return self._backend.add(
            self._prefix + encode_key(key), check_value(value), check_ttl(ttl), timeout
        )

    def delete(self, key: Key) -> bool:
        """Remove a key; return whether it had a value."""
        return self._delete(key, self._timeout)

    def _delete(self, key: Key, timeout: float) -> bool:
        return self._backend.delete(self._prefix + encode_key(key), timeout)

    def touch(self, key: Key, ttl: float | None = None) -> bool:
        """Set the time to live of a key; return whether it has a value."""
        return self._touch(key, ttl, self._timeout)

    def _touch(self, key: Key, ttl: float | None, timeout: float) -> bool:
        return self._backend.touch(self._prefix + encode_key(key), check_ttl(ttl), timeout)

    def incr(self, key: Key, by: int = 1, ttl: float | None = None) -> int:
        """Add to a counter and return it. A missing one is created at 0, and only then ``ttl``
        counts. Raises ValueError if the value is no number."""
        return self._incr(key, by, ttl, self._timeout)

    def _incr(self, key: Key, by: int, ttl: float | None, timeout: float) -> int:
        # A range looks for anything else than an int by comparing it with each of its numbers.
        if not isinstance(by, int):
            raise TypeError(f"a counter is incremented by an int, not by {type(by).__name__}")
        if by not in INTEGERS:
            raise ValueError(f"{by} needs more than 64 bits")
        return self._backend.incr(self._prefix + encode_key(key), by, check_ttl(ttl), timeout)

    def decr(self, key: Key, by: int = 1, ttl: float | None = None) -> int:
        """Subtract from a counter and return it; see ``incr``."""
        return self._incr(key, -by, ttl, self._timeout)

    def compare_and_set(
        self, key: Key, expected: bytes | None, value: bytes, ttl: float | None = None
    ) -> bool:
        """Write a value if the key has the ``expected`` one (None: has none); return whether it
        did."""
        return self._compare_and_set(key, expected, value, ttl, self._timeout)

    def _compare_and_set(
        self, key: Key, expected: bytes | None, value: bytes, ttl: float | None, timeout: float
    ) -> bool:
        return self._backend.compare_and_set(
            self._prefix + encode_key(key),
            None if expected is None else check_value(expected),
            check_value(value),
            check_ttl(ttl),
            timeout,
        )

    def set_many(self, values: Mapping[Any, bytes], ttl: float | None = None) -> None:
        """Write several values at once: other processes see all of them or none."""
        self._set_many(values, ttl, self._timeout)

    def _set_many(self, values: Mapping[Any, bytes], ttl: float | None, timeout: float) -> None:
        encoded = {
            self._prefix + encode_key(key): check_value(value) for key, value in values.items()
        }
        self._backend.set_many(encoded, check_ttl(ttl), timeout)

    def delete_prefix(self, prefix: Key) -> int:
        """Remove all keys of the namespace that begin with ``prefix``; return their number."""
        name = self._prefix + encode_key(prefix)
        removed, start = self._backend.delete_some(name, name, self._timeout)
        while start is not None:
            count, start = self._backend.delete_some(name, start, self._timeout)
            removed += count
        return removed

    def clear(self) -> None:
        """Remove all entries of all namespaces."""
        self._backend.clear(self._timeout)

    # Async.

    async def aget(self, key: Key) -> bytes | None:
        """As ``get``."""
        return await self._read_async(self.get, key)

    async def aget_many(self, keys: Iterable[Key]) -> dict[Key, bytes]:
        """As ``get_many``."""
        return await self._read_async(self.get_many, keys)

    async def aset(self, key: Key, value: bytes, ttl: float | None = None) -> None:
        """As ``set``."""
        await self._write_async(self._set, key, value, ttl)

    async def aadd(self, key: Key, value: bytes, ttl: float | None = None) -> bool:
        """As ``add``."""
        return await self._write_async(self._add, key, value, ttl)

    async def adelete(self, key: Key) -> bool:
        """As ``delete``."""
        return await self._write_async(self._delete, key)

    async def atouch(self, key: Key, ttl: float | None = None) -> bool:
        """As ``touch``."""
        return await self._write_async(self._touch, key, ttl)

    async def aincr(self, key: Key, by: int = 1, ttl: float | None = None) -> int:
        """As ``incr``."""
        return await self._write_async(self._incr, key, by, ttl)

    async def adecr(self, key: Key, by: int = 1, ttl: float | None = None) -> int:
        """As ``decr``."""
        return await self._write_async(self._incr, key, -by, ttl)

    async def acompare_and_set(
        self, key: Key, expected: bytes | None, value: bytes, ttl: float | None = None
    ) -> bool:
        """As ``compare_and_set``."""
        return await self._write_async(self._compare_and_set, key, expected, value, ttl)

    async def aset_many(self, values: Mapping[Any, bytes], ttl: float | None = None) -> None:
        """As ``set_many``."""
        await self._write_async(self._set_many, values, ttl)

    async def adelete_prefix(self, prefix: Key) -> int:
        """As ``delete_prefix``."""
        name = self._prefix + encode_key(prefix)
        removed, start = await self._write_async(self._backend.delete_some, name, name)
        while start is not None:
            await asyncio.sleep(0)  # other tasks run between two batches
            count, start = await self._write_async(self._backend.delete_some, name, start)
            removed += count
        return removed

    async def _read_async(self, read: Callable[..., Result], *arguments: Any) -> Result:
        if self._waits_in_loop and self._backend.is_open():
            return read(*arguments)
        return await asyncio.to_thread(read, *arguments)

    async def _write_async(self, write: Callable[..., Result], *arguments: Any) -> Result:
        """Make a call whose last argument is its timeout, without blocking the event loop."""
        if not self._waits_in_loop:
            return await asyncio.to_thread(write, *arguments, self._timeout)
        deadline = monotonic() + self._timeout
        pause = 0.0
        while True:
            try:
                if not self._backend.is_open():  # another process may be opening it for a minute
                    await asyncio.to_thread(self._backend.open, self._timeout)
                return write(*arguments, 0.0)
            except StoreBusy as error:
                if monotonic() > deadline:
                    raise StoreBusy(f"{error} (waited {self._timeout:g} s)") from error
            await asyncio.sleep(pause)
            pause = min(pause * 2 + 0.0001, _LONGEST_PAUSE)


def check_value(value: bytes) -> bytes:
    """Return a value as bytes. Raises TypeError."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    raise TypeError(f"a value is bytes, not {type(value).__name__}; encode or pickle it first")


def check_timeout(timeout: float) -> float:
    """Return for how many seconds a call waits. Raises TypeError and StoreValueError."""
    if isnan(timeout):
        raise StoreValueError("timeout is nan, and it is a number of seconds")
    return min(max(timeout, 0.0), _LONGEST_TIMEOUT)


def check_ttl(ttl: float | None) -> float | None:
    """Return a time to live in seconds. Raises StoreValueError."""
    if ttl is None:
        return None
    if not isfinite(ttl) or not 0 < ttl <= MAX_TTL:
        raise StoreValueError(
            f"ttl is {ttl}, and a time to live is a number of seconds above 0, up to {MAX_TTL} "
            "(100 years); without it the entry never expires"
        )
    return float(ttl)
