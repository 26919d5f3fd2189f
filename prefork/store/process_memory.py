"""A store in the memory of one process, for a shell or a test run without prefork."""

import os
from collections.abc import Iterator, Mapping
from threading import RLock
from time import time

from prefork.store.entry_format import add_to_counter

MAX_VALUE = 16 * 1024 * 1024


class ProcessMemoryBackend:
    """A store that no other process sees. ``timeout`` has no meaning: no other process writes."""

    max_value = MAX_VALUE

    def __init__(self) -> None:
        self._entries: dict[bytes, tuple[bytes, float]] = {}
        """Value, and Unix time of expiry; 0: never."""
        self._lock = RLock()
        os.register_at_fork(after_in_child=self.reset_in_child)

    def reset_in_child(self) -> None:
        """Forget that a thread of the parent uses the store, in a child."""
        self._lock = RLock()

    def is_open(self) -> bool:
        """Return True: there is nothing to open."""
        return True

    def open(self, timeout: float) -> None:
        """Do nothing: there is nothing to open."""

    def get(self, key: bytes, timeout: float = 0.0) -> bytes | None:
        """Return the value of a key; None: there is none."""
        with self._lock:
            value, expires = self._entries.get(key, (None, 0.0))
            if value is not None and 0 < expires <= time():
                del self._entries[key]
                return None
            return value

    def keys(self, prefix: bytes, timeout: float = 0.0) -> Iterator[bytes]:
        """Yield the keys that begin with ``prefix``, sorted."""
        with self._lock:
            found = sorted(key for key in self._entries if key.startswith(prefix))
        return (key for key in found if self.get(key) is not None)

    def stats(self, timeout: float) -> dict[str, int | float | str]:
        """Return what the store holds."""
        with self._lock:
            used = sum(len(key) + len(value) for key, (value, _) in self._entries.items())
            return {"backend": "process", "entries": len(self._entries), "used_bytes": used}

    def set(self, key: bytes, value: bytes, ttl: float | None, timeout: float) -> None:
        """Write a value. ``ttl``: seconds until it expires; None: never."""
        with self._lock:
            self._entries[key] = (value, 0.0 if ttl is None else time() + ttl)

    def add(self, key: bytes, value: bytes, ttl: float | None, timeout: float) -> bool:
        """Write a value if the key has none; return whether it did."""
        return self.compare_and_set(key, None, value, ttl, timeout)

    def delete(self, key: bytes, timeout: float) -> bool:
        """Remove a key; return whether it had a value."""
        with self._lock:
            had_value = self.get(key) is not None
            self._entries.pop(key, None)
            return had_value

    def touch(self, key: bytes, ttl: float | None, timeout: float) -> bool:
        """Set the time to live of a key; return whether it has a value."""
        with self._lock:
            value = self.get(key)
            if value is None:
                return False
            self.set(key, value, ttl, timeout)
            return True

    def incr(self, key: bytes, by: int, ttl: float | None, timeout: float) -> int:
        """Add to a counter and return it; a missing one is created at 0 with the time to live."""
        with self._lock:
            value = self.get(key)
            total = add_to_counter(value, by)
            if value is None:
                self.set(key, b"%d" % total, ttl, timeout)
            else:
                self._entries[key] = (b"%d" % total, self._entries[key][1])
            return total

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
        with self._lock:
            if self.get(key) != expected:
                return False
            self.set(key, value, ttl, timeout)
            return True

    def get_many(self, keys: list[bytes], timeout: float) -> dict[bytes, bytes]:
        """Return the values of those of the keys that have one."""
        found = ((key, self.get(key)) for key in keys)
        return {key: value for key, value in found if value is not None}

    def set_many(self, values: Mapping[bytes, bytes], ttl: float | None, timeout: float) -> None:
        """Write several values at once."""
        with self._lock:
            for key, value in values.items():
                self.set(key, value, ttl, timeout)

    def delete_some(self, prefix: bytes, start: bytes, timeout: float) -> tuple[int, bytes | None]:
        """Remove all keys that begin with ``prefix``; return the number of those with a value, and
        None: no more are left."""
        with self._lock:
            return sum(self.delete(key, timeout) for key in list(self.keys(prefix))), None

    def clear(self, timeout: float) -> None:
        """Remove everything."""
        with self._lock:
            self._entries.clear()

    def require_writable(self, timeout: float) -> None:
        """Do nothing: the memory of a process can always be written."""
