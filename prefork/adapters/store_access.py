"""The needs of all adapters: keys of any length, values and times to live of any kind.

Design
------
- **A whole number is kept as its digits, all else is pickled.** The store itself adds to digits in
  one operation that keeps the time to live, as throttles need it and as Django's backend of Redis
  does.
"""

import pickle
from hashlib import sha256
from typing import Any

from prefork.store.current_store import open_store
from prefork.store.entry_format import INTEGERS, MAX_KEY, MAX_NAMESPACE
from prefork.store.store_api import MAX_TTL, SharedStore

HASHED = b"sha256:"


def open_namespace(name: str) -> SharedStore:
    """Return a namespace of the store of this process. The store is opened at each call: an adapter
    is often made while the settings are imported, and the worker forks later."""
    return open_store(namespace=name)


def fit_key(key: str) -> bytes:
    """Return a key of the framework as one of the store; a long one becomes its hash."""
    data = key.encode("utf-8", "surrogateescape")
    if len(data) <= MAX_KEY and not data.startswith(HASHED):
        return data
    return HASHED + sha256(data).hexdigest().encode()


def fit_namespace(prefix: str, name: str) -> str:
    """Return a namespace for a name of the framework; one that is too long, or that has a zero byte
    or no encoding, becomes its hash."""
    data = f"{prefix}{name}".encode("utf-8", "surrogatepass")
    hashed = f"{prefix}{HASHED.decode()}"
    is_fit = len(data) <= MAX_NAMESPACE and b"\0" not in data and _is_encodable(name)
    if is_fit and not name.startswith(HASHED.decode()):
        return f"{prefix}{name}"
    return hashed + sha256(data).hexdigest()


def _is_encodable(text: str) -> bool:
    return not any("\ud800" <= each <= "\udfff" for each in text)


def fit_ttl(seconds: float | None) -> float | None:
    """Return a time to live for the store; a longer one than it knows means for ever."""
    return None if seconds is None or seconds > MAX_TTL else seconds


def dump_value(value: Any) -> bytes:
    """Return a value as the store keeps it."""
    if type(value) is int and value in INTEGERS:
        return b"%d" % value
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


def load_value(data: bytes) -> Any:
    """Return the value that ``dump_value`` has dumped."""
    is_pickle = data[:1] == pickle.PROTO  # never a digit or a sign
    return pickle.loads(data) if is_pickle else int(data)


def add_to_value(store: SharedStore, key: bytes, delta: Any, ttl: float | None) -> Any:
    """Add to a number and return it; no other process comes between. A missing one is created at 0
    with the time to live ``ttl``; one that is pickled, as a float is, gets it, too."""
    while True:
        if isinstance(delta, int):
            try:
                return store.incr(key, delta, ttl)
            except ValueError:
                pass  # it is not a whole number of 64 bits, before or after
        old = store.get(key)
        new = (0 if old is None else load_value(old)) + delta
        if store.compare_and_set(key, old, dump_value(new), ttl):
            return new
