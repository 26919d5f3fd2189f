"""The store on a Redis or Valkey server.

Design
------
- **Each operation is one command or one script,** so it is atomic on the server.
- **Keys begin with ``prefork:`` and the name of the app,** so several apps share a server. Locks,
  the lease of the leader and secrets have prefixes of their own: ``clear`` and the verbs of the
  store touch none of them.
- **A check writes.** A replica, a server without memory and one whose disk is full answer reads.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from prefork.errors import StoreValueError
from prefork.plural import pluralize
from prefork.store.redis_client import open_client
from prefork.unix.store_place import StorePlace

MAX_VALUE = 64 * 1024 * 1024
_BATCH = 500
_CHECK_TTL = 60_000
"""Milliseconds for which the entry of a check stays."""

_TOUCH = """
if redis.call('exists', KEYS[1]) == 0 then return 0 end
if ARGV[1] == '' then redis.call('persist', KEYS[1])
else redis.call('pexpire', KEYS[1], ARGV[1]) end
return 1
"""
_INCR = """
local is_new = redis.call('exists', KEYS[1]) == 0
redis.call('incrby', KEYS[1], ARGV[1])
if is_new and ARGV[2] ~= '' then redis.call('pexpire', KEYS[1], ARGV[2]) end
return redis.call('get', KEYS[1])
"""
_COMPARE_AND_SET = """
local found = redis.call('get', KEYS[1])
if ARGV[1] == '0' then if found then return 0 end
elseif found ~= ARGV[2] then return 0 end
if ARGV[4] == '' then redis.call('set', KEYS[1], ARGV[3])
else redis.call('set', KEYS[1], ARGV[3], 'px', ARGV[4]) end
return 1
"""


def key_on_server(kind: str, place: StorePlace, name: str = "") -> bytes:
    """Return the key of something of the app on the server. ``kind``: what it is."""
    return f"{kind}:{place.app}:{name}".encode()


class RedisBackend:
    """A store on a server. ``timeout`` has no meaning: the server carries out one command after
    another."""

    max_value = MAX_VALUE

    def __init__(self, place: StorePlace) -> None:
        self._prefix = key_on_server("prefork", place)
        self._check_key = key_on_server("prefork-check", place)
        self._client = open_client(place.kind)

    def is_open(self) -> bool:
        """Return True: the client connects at its first command."""
        return True

    def open(self, timeout: float) -> None:
        """Do nothing: the client connects at its first command."""

    def get(self, key: bytes, timeout: float) -> bytes | None:
        """Return the value of a key; None: there is none."""
        name = self._prefix + key
        return self._client.call(lambda client: _require_value(client.get(name)))

    def keys(self, prefix: bytes, timeout: float = 0.0) -> Iterator[bytes]:
        """Yield the keys that begin with ``prefix``, in no order."""
        cut = len(self._prefix)
        pattern = _escape(self._prefix + prefix) + b"*"
        seen: set[bytes] = set()  # the server may name a key twice
        position = 0
        while True:
            position, found = self._scan(position, pattern)
            for key in found:
                if key not in seen:
                    seen.add(key)
                    yield key[cut:]
            if position == 0:
                return

    def _scan(self, position: int, pattern: bytes) -> tuple[int, list[bytes]]:
        """Return the next position, which is 0 at the end, and keys that match."""

        def act(client: Any) -> tuple[int, list[bytes]]:
            after, found = client.scan(position, pattern, _BATCH)
            return int(after), list(found)

        return self._client.call(act)

    def stats(self, timeout: float) -> dict[str, int | float | str]:
        """Return what the server says about its memory, and the number of this app's entries."""
        said = self._client.call(lambda client: {**client.info("memory"), **client.info("stats")})
        limit = said.get("maxmemory", 0)  # 0: none
        return {
            "backend": "redis",
            "entries": sum(1 for _ in self.keys(b"")),
            "used_bytes": said.get("used_memory", 0),
            **({"size_bytes": limit} if limit else {}),
            "dropped": said.get("evicted_keys", 0),
            "expired": said.get("expired_keys", 0),
        }

    def set(self, key: bytes, value: bytes, ttl: float | None, timeout: float) -> None:
        """Write a value. ``ttl``: seconds until it expires; None: never."""
        _require_size(value)
        self._set(key, value, ttl, False)

    def add(self, key: bytes, value: bytes, ttl: float | None, timeout: float) -> bool:
        """Write a value if the key has none; return whether it did."""
        _require_size(value)
        return self._set(key, value, ttl, True)

    def _set(self, key: bytes, value: bytes, ttl: float | None, only_new: bool) -> bool:
        name, limit = self._prefix + key, _milliseconds(ttl) or None
        return self._client.call(
            lambda client: bool(client.set(name, value, px=limit, nx=only_new))
        )

    def delete(self, key: bytes, timeout: float) -> bool:
        """Remove a key; return whether it had a value."""
        return self._client.call(lambda client: bool(client.delete(self._prefix + key)))

    def touch(self, key: bytes, ttl: float | None, timeout: float) -> bool:
        """Set the time to live of a key; return whether it has a value."""
        return self._run(_TOUCH, key, _milliseconds(ttl)) == 1

    def incr(self, key: bytes, by: int, ttl: float | None, timeout: float) -> int:
        """Add to a counter and return it; a missing one is created at 0 with the time to live."""
        return self._run(_INCR, key, by, _milliseconds(ttl))

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
        _require_size(value)
        has_one, limit = int(expected is not None), _milliseconds(ttl)
        return self._run(_COMPARE_AND_SET, key, has_one, expected or b"", value, limit) == 1

    def _run(self, script: str, key: bytes, *arguments: Any) -> int:
        """Return the number that a script answers."""
        return self._client.run(script, [self._prefix + key], list(arguments), int)

    def get_many(self, keys: list[bytes], timeout: float) -> dict[bytes, bytes]:
        """Return the values of those of the keys that have one."""
        if not keys:
            return {}
        names = [self._prefix + key for key in keys]
        return self._client.call(
            lambda client: {
                key: value
                for key, found in zip(keys, client.mget(names), strict=True)
                if (value := _require_value(found)) is not None
            }
        )

    def set_many(self, values: Mapping[bytes, bytes], ttl: float | None, timeout: float) -> None:
        """Write several values at once: other processes see all of them or none."""
        for value in values.values():
            _require_size(value)

        def act(client: Any) -> None:
            with client.pipeline(transaction=True) as commands:
                for key, value in values.items():
                    commands.set(self._prefix + key, value, px=_milliseconds(ttl) or None)
                commands.execute()

        self._client.call(act)

    def delete_some(self, prefix: bytes, start: bytes, timeout: float) -> tuple[int, bytes | None]:
        """Remove all keys that begin with ``prefix``; return their number, and None: no more are
        left."""
        found = [self._prefix + key for key in self.keys(prefix)]
        removed = sum(
            self._client.call(lambda client, at=at: int(client.delete(*found[at : at + _BATCH])))  # type: ignore[misc]
            for at in range(0, len(found), _BATCH)
        )
        return removed, None

    def clear(self, timeout: float) -> None:
        """Remove all entries of this app."""
        self.delete_some(b"", b"", timeout)

    def require_writable(self, timeout: float) -> None:
        """Raise StoreError if the server takes no writes now."""
        self._client.call(lambda client: client.set(self._check_key, b"", px=_CHECK_TTL))


def _require_size(value: bytes) -> None:
    if len(value) > MAX_VALUE:
        raise StoreValueError(
            f"the value has {pluralize(len(value), 'byte')}, and the maximum is {MAX_VALUE}"
        )


def _require_value(found: Any) -> bytes | None:
    """Return the value that the server answers. Raises TypeError if it is none."""
    if found is None or isinstance(found, bytes):
        return found
    raise TypeError("the value of a key is no text")


def _milliseconds(ttl: float | None) -> int | str:
    """Return a time to live for the server; empty: none."""
    return "" if ttl is None else max(1, int(ttl * 1000))


def _escape(prefix: bytes) -> bytes:
    """Return a glob pattern that matches exactly these bytes."""
    return b"".join(
        b"\\" + bytes([byte]) if byte in b"*?[]\\^-" else bytes([byte]) for byte in prefix
    )
