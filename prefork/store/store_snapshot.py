"""A snapshot: all entries of a store in a file that is synced to the disk.

The store does not sync each write, which would take milliseconds. So after the machine lost power
its file may be torn, and the store starts from the last snapshot instead.

A snapshot is a sequence of blocks. A block has its length, its checksum (CRC-32) and its entries;
an entry has the lengths of key and value before both. A last block of length 0 says that the file
is complete.

Design
------
- **A format of its own, not a copy of the LMDB file.** The checksums tell a torn file for sure, and
  entries are read in short transactions. A copy by LMDB is one long one, in which no page that
  changes can be used again.
"""

import os
import struct
import zlib
from collections.abc import Iterable, Iterator

from prefork.unix.directory import Directory

NAME = "snapshot"
_MAGIC = b"prefork store 1\n"
_BLOCK = struct.Struct("<II")
_ENTRY = struct.Struct("<HI")
MAX_BLOCK = 1 << 30


class DamagedSnapshotError(Exception):
    """The snapshot is not complete, or its checksums are wrong."""


def write_snapshot(folder: Directory, blocks: Iterable[list[tuple[bytes, bytes]]]) -> None:
    """Write a snapshot and sync it; it replaces the last one when it is complete.

    Raises OSError.
    """
    new = f"{NAME}.new"
    folder.remove(new)
    try:
        with open(folder.create(new, 0o600), "wb") as file:
            file.write(_MAGIC)
            for entries in blocks:
                data = b"".join(
                    _ENTRY.pack(len(key), len(value)) + key + value for key, value in entries
                )
                if data:
                    file.write(_BLOCK.pack(len(data), zlib.crc32(data)) + data)
            file.write(_BLOCK.pack(0, 0))
            file.flush()
            os.fsync(file.fileno())
        folder.rename(new, NAME)
    except BaseException:
        folder.remove(new)
        raise
    folder.sync()


def read_snapshot(folder: Directory) -> Iterator[list[tuple[bytes, bytes]]]:
    """Yield the entries of the snapshot, block by block.

    Raises FileNotFoundError, OSError, and DamagedSnapshotError as soon as a block is damaged.
    """
    with open(folder.open_regular(NAME), "rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise DamagedSnapshotError("it does not begin as a snapshot does")
        while True:
            head = file.read(_BLOCK.size)
            if len(head) < _BLOCK.size:
                raise DamagedSnapshotError("it ends too early")
            length, checksum = _BLOCK.unpack(head)
            if length == 0:
                return
            data = file.read(length) if length <= MAX_BLOCK else b""
            if len(data) < length or zlib.crc32(data) != checksum:
                raise DamagedSnapshotError("a block is damaged")
            yield list(_split_block(data))


def _split_block(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(data):
        if len(data) - at < _ENTRY.size:
            raise DamagedSnapshotError("an entry is cut short")
        key_length, value_length = _ENTRY.unpack_from(data, at)
        if key_length == 0:
            raise DamagedSnapshotError("an entry has no key")
        at += _ENTRY.size
        yield data[at : at + key_length], data[at + key_length : at + key_length + value_length]
        at += key_length + value_length
