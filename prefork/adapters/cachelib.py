"""A cache of ``cachelib``, as Flask-Session (``SESSION_TYPE="cachelib"``) and Flask-Caching use."""

from typing import Any

from cachelib.base import BaseCache

from prefork.adapters.store_access import (
    add_to_value,
    dump_value,
    fit_key,
    fit_ttl,
    load_value,
    open_namespace,
)
from prefork.store.store_api import SharedStore


class Cache(BaseCache):
    """A cache that all workers share. Values are pickled, except whole numbers."""

    def __init__(
        self,
        default_timeout: int = 300,
        namespace: str = "cachelib",
        ignore_delete_many_errors: bool = True,
    ) -> None:
        """Make a cache. ``default_timeout``: seconds; 0: entries never expire."""
        super().__init__(default_timeout)
        self._namespace = namespace
        self.ignore_delete_many_errors = ignore_delete_many_errors

    def _store(self) -> SharedStore:
        return open_namespace(self._namespace)

    def _ttl(self, timeout: Any) -> float | None:
        seconds = self._normalize_timeout(timeout)
        return None if seconds == 0 else fit_ttl(seconds)

    def get(self, key: str) -> Any:
        """Return the value of a key; None: there is none."""
        data = self._store().get(fit_key(key))
        return None if data is None else load_value(data)

    def get_many(self, *keys: str) -> list[Any]:
        """Return the values of the keys, None for those without one."""
        found = self._store().get_many(map(fit_key, keys))
        values = (found.get(fit_key(key)) for key in keys)
        return [None if data is None else load_value(data) for data in values]

    def has(self, key: str) -> bool:
        """Return whether a key has a value."""
        return self._store().get(fit_key(key)) is not None

    def set(self, key: str, value: Any, timeout: Any = None) -> bool:
        """Write a value. ``timeout``: seconds; None: the default; 0: it never expires."""
        ttl = self._ttl(timeout)
        if ttl is not None and ttl < 0:
            self.delete(key)
            return True
        self._store().set(fit_key(key), dump_value(value), ttl)
        return True

    def add(self, key: str, value: Any, timeout: Any = None) -> bool:
        """Write a value if the key has none; return whether it did."""
        ttl = self._ttl(timeout)
        if ttl is not None and ttl < 0:
            return not self.has(key)
        return self._store().add(fit_key(key), dump_value(value), ttl)

    def delete(self, key: str) -> bool:
        """Remove a key; return whether it had a value."""
        return self._store().delete(fit_key(key))

    def clear(self) -> bool:
        """Remove all keys of this cache."""
        self._store().delete_prefix("")
        return True

    def inc(self, key: str, delta: int = 1) -> int | None:
        """Add to a number, which begins at 0, and return it; no other process comes between. Its
        time to live goes on."""
        total: int = add_to_value(self._store(), fit_key(key), delta, self._ttl(None))
        return total

    def dec(self, key: str, delta: int = 1) -> int | None:
        """Subtract from a number, which begins at 0, and return it."""
        return self.inc(key, -delta)


class FlaskCache(Cache):
    """The same for Flask-Caching: ``CACHE_TYPE = "prefork.adapters.cachelib.FlaskCache"``.

    Flask-Caching calls it with its settings ``CACHE_DEFAULT_TIMEOUT``, ``CACHE_IGNORE_ERRORS`` and
    ``CACHE_OPTIONS``, of which ``namespace`` is one.
    """

    def __init__(
        self,
        default_timeout: int = 300,
        ignore_delete_many_errors: bool = False,
        namespace: str = "flask-caching",
    ) -> None:
        super().__init__(default_timeout, namespace, ignore_delete_many_errors)
