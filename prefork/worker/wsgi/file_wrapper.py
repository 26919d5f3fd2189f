"""``wsgi.file_wrapper``: an iterable over a file that the server may send without reading it.

A regular file is sent by sendfile(2) when the app returns the wrapper as it is. All other files,
and a wrapper that a middleware iterates over, are read in blocks.

Design
------
- **Only plain files of Python's own ``open`` are sent so.** A ``fileno`` is no promise: a GzipFile
  has one, of the compressed file.
"""

import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedRandom, BufferedReader, FileIO
from typing import Any

from prefork.http.response_files import remaining_file_size

BLOCK_SIZE = 64 * 1024
"""Bytes of a block, unless the app asks for another size."""


class FileWrapper:
    """Iterates over a file-like object (PEP 3333, "Optional Platform-Specific File Handling")."""

    def __init__(self, file: Any, block_size: int = BLOCK_SIZE) -> None:
        self.file = file
        self.block_size = block_size
        if hasattr(file, "close"):
            self.close = file.close

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        block: bytes = self.file.read(self.block_size)
        if not block:
            raise StopIteration
        return block


@dataclass(frozen=True, slots=True)
class FileRange:
    """A part of a regular file: ``count`` bytes of ``fd`` from ``offset`` on."""

    fd: int
    offset: int
    count: int


def sendable_range(wrapper: FileWrapper) -> FileRange | None:
    """Return the part of the file from its position to its end; None: the file must be read.

    It must be read when it is no regular file, when it does not tell its size (/proc, /sys), or
    when what ``read`` returns are not the bytes on disk.
    """
    file = wrapper.file
    if isinstance(file, tempfile._TemporaryFileWrapper):
        file = file.file
    raw = file if type(file) is FileIO else getattr(file, "raw", None)
    if type(file) not in (FileIO, BufferedReader, BufferedRandom) or type(raw) is not FileIO:
        return None
    fd = raw.fileno()
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        return None
    # tell() of the object: the descriptor has already moved past the bytes that are buffered.
    offset = file.tell()
    count = remaining_file_size(fd, offset)
    return None if count is None else FileRange(fd, offset, count)
