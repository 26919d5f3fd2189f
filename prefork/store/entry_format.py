"""The bytes of the embedded store: keys, entries, and the keys of its two indexes. Pure.

The file is one table. The first byte of each of its keys says what it is: an entry, a place in an
index, or a counter.

A key of the store is the namespace, a zero byte, and the key of the app. An entry is a head
(``HEAD``) and the value. The index of expiry has the time at which an entry expires before its key,
the index of use the second of its last use.
"""

import re
import struct
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from prefork.errors import StoreValueError
from prefork.plural import pluralize

MAX_KEY = 250
"""The maximum length of a key in bytes, as in memcached."""
MAX_NAMESPACE = 100

HEAD = struct.Struct("<QI")
"""When the entry expires, in milliseconds of Unix time (0: never), and the second of its use."""
NO_NUMBER = "the value of this key is no whole number of 64 bits, so it cannot be incremented"
_INTEGER = re.compile(rb"0|-?[1-9][0-9]{0,18}")
_EXPIRY = struct.Struct(">Q")
_USED = struct.Struct(">I")

INTEGERS = range(-(2**63), 2**63)
"""The values of a counter, as in Redis."""


ROUNDING = (1 << 13) - 1
"""Times in the index of expiry are rounded up to the last millisecond of 8.2 s: a session that is
written several times in a few seconds stays where it is in the index."""

ENTRY, EXPIRY, USE, COUNTER = b"e", b"x", b"u", b"c"
"""The first byte of a key in the file."""


class StoredEntry(NamedTuple):
    """One entry: when it expires in milliseconds (0: never), the second of its last use, and its
    value."""

    expires: int
    used: int
    value: bytes


def encode_key(key: str | bytes) -> bytes:
    """Return the bytes of a key of the app. Raises TypeError and StoreValueError."""
    data = key.encode() if isinstance(key, str) else key
    if not isinstance(data, bytes):
        raise TypeError(f"a key is str or bytes, not {type(key).__name__}")
    if len(data) > MAX_KEY:
        raise StoreValueError(
            f"the key has {pluralize(len(data), 'byte')}, and the maximum is {MAX_KEY}"
        )
    return data


def encode_namespace(name: str) -> bytes:
    """Return the prefix of all keys of a namespace. Raises StoreValueError."""
    data = name.encode()
    if len(data) > MAX_NAMESPACE or b"\0" in data:
        raise StoreValueError(
            f"the namespace {name[:MAX_NAMESPACE]!r} has {pluralize(len(data), 'byte')}; up to "
            f"{MAX_NAMESPACE} "
            "are possible, and no zero byte"
        )
    return data + b"\0"


def count_by_namespace(keys: Iterable[bytes]) -> dict[bytes, int]:
    """Return the namespaces of these keys, sorted, each with the number of its keys.

    Keys without a zero byte are in none.
    """
    places = (key.partition(b"\0") for key in keys)
    return dict(sorted(Counter(name for name, zero, _ in places if zero).items()))


def unpack_entry(data: bytes) -> StoredEntry:
    """Return the entry that these bytes are."""
    expires, used = HEAD.unpack_from(data)
    return StoredEntry(expires, used, data[HEAD.size :])


def expiry_key(expires: int, key: bytes) -> bytes:
    """Return the key of an entry in the index of expiry."""
    return EXPIRY + _EXPIRY.pack(expires | ROUNDING) + key


def split_expiry_key(data: bytes) -> tuple[int, bytes]:
    """Return when the entry expires at the latest, and its key."""
    return int(_EXPIRY.unpack_from(data, 1)[0]), data[1 + _EXPIRY.size :]


def use_key(used: int, key: bytes) -> bytes:
    """Return the key of an entry in the index of use."""
    return USE + _USED.pack(used) + key


def split_use_key(data: bytes) -> bytes:
    """Return the key of the entry that an index of use names."""
    return data[1 + _USED.size :]


def parse_integer(value: bytes) -> int:
    """Return the number that a counter has as its value, written as Redis writes it: ``007`` is
    none. Raises ValueError."""
    if _INTEGER.fullmatch(value) and (number := int(value)) in INTEGERS:
        return number
    raise ValueError(NO_NUMBER)


def add_to_counter(value: bytes | None, by: int) -> int:
    """Return a counter after ``by`` was added; a missing one is 0. Raises ValueError."""
    total = (0 if value is None else parse_integer(value)) + by
    if total not in INTEGERS:
        raise ValueError(f"the counter would be {total}, which needs more than 64 bits")
    return total
