"""A cache backend of Django: ``"BACKEND": "prefork.adapters.django.Cache"`` in ``CACHES``.

With it ``django.contrib.sessions.backends.cache`` and ``cached_db`` keep sessions for all workers.
"""

from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache

from prefork.adapters.store_access import (
    add_to_value,
    dump_value,
    fit_key,
    fit_namespace,
    fit_ttl,
    load_value,
    open_namespace,
)
from prefork.store.store_api import SharedStore


class Cache(BaseCache):
    """A cache that all workers share. Its namespace is ``django.`` and its ``LOCATION``."""

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        self._namespace = fit_namespace("django.", location)

    def _store(self) -> SharedStore:
        return open_namespace(self._namespace)

    def _name(self, key: str, version: int | None) -> bytes:
        return fit_key(self.make_and_validate_key(key, version=version))

    def _ttl(self, timeout: Any) -> float | None:
        seconds = self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout
        return fit_ttl(seconds)

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        """Return the value of a key, or ``default``."""
        data = self._store().get(self._name(key, version))
        return default if data is None else load_value(data)

    def set(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> None:
        """Write a value. ``timeout``: seconds; None: it never expires; 0: it is not kept."""
        name, ttl = self._name(key, version), self._ttl(timeout)
        if ttl is not None and ttl <= 0:
            self._store().delete(name)
        else:
            self._store().set(name, dump_value(value), ttl)

    def add(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        """Write a value if the key has none; return whether it did."""
        name, ttl = self._name(key, version), self._ttl(timeout)
        if ttl is not None and ttl <= 0:
            return self._store().get(name) is None
        return self._store().add(name, dump_value(value), ttl)

    def touch(self, key: str, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Set the time to live of a key; return whether it has a value."""
        name, ttl = self._name(key, version), self._ttl(timeout)
        if ttl is not None and ttl <= 0:
            return self._store().delete(name)
        return self._store().touch(name, ttl)

    def delete(self, key: str, version: int | None = None) -> bool:
        """Remove a key; return whether it had a value."""
        return self._store().delete(self._name(key, version))

    def has_key(self, key: str, version: int | None = None) -> bool:
        """Return whether a key has a value."""
        return self._store().get(self._name(key, version)) is not None

    def incr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        """Add to a number and return it; its time to live goes on. Raises ValueError if there is
        none."""
        store, name = self._store(), self._name(key, version)
        if store.get(name) is None:
            raise ValueError(f"Key {key!r} not found")
        # One that expires just now begins at 0, as with Django's backend of Redis.
        total: int = add_to_value(store, name, delta, self._ttl(DEFAULT_TIMEOUT))
        return total

    def clear(self) -> None:
        """Remove all keys of this cache."""
        self._store().delete_prefix("")
