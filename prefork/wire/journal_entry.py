"""Entries of the native protocol of systemd-journald. PURE.

An entry is a sequence of fields. A value of one line is ``NAME=value``; any other one is the name,
a line end, its length as 64 bits little-endian, its bytes, and a line end.

The format is described in "Native Journal Protocol" of systemd's documentation.
"""

import struct
from collections.abc import Mapping

_LENGTH = struct.Struct("<Q")


def encode_entry(fields: Mapping[str, str]) -> bytes:
    """Return an entry. Names are those of the protocol: capital letters, digits, underscores."""
    return b"".join(_encode_field(name, value) for name, value in fields.items())


def _encode_field(name: str, value: str) -> bytes:
    data = value.encode("utf-8", "backslashreplace")
    if b"\n" not in data:
        return name.encode() + b"=" + data + b"\n"
    return name.encode() + b"\n" + _LENGTH.pack(len(data)) + data + b"\n"


def decode_entry(entry: bytes) -> dict[str, str]:
    """Return the fields of an entry that ``encode_entry`` made."""
    fields: dict[str, str] = {}
    while entry:
        line, _, rest = entry.partition(b"\n")
        name, equals, data = line.partition(b"=")
        if not equals:
            (length,) = _LENGTH.unpack_from(rest)
            start = _LENGTH.size
            data, rest = rest[start : start + length], rest[start + length + 1 :]
        fields[name.decode()] = data.decode()
        entry = rest
    return fields
