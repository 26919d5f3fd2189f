"""``wsgi.file_wrapper``: an iterable over a file that the server may send without reading it.

A real file on disk is sent by sendfile, when the app returns the wrapper as it is. Everything else,
and a wrapper that a middleware iterates over, is read in blocks.
"""

import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedRandom, BufferedReader, FileIO
from typing import Any

from prefork.http.sendfile import remaining_file_size

BLOCK_SIZE = 64 * 1024


class FileWrapper:
    """PEP 3333, "Optional Platform-Specific File Handling"."""

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
    """What a regular file holds from its position on."""

    fd: int
    offset: int
    count: int


def sendable_range(wrapper: FileWrapper) -> FileRange | None:
    """None when it must be read: it is no regular file, does not say its size, or its bytes are
    not those on disk.

    ``fileno`` alone says little: a GzipFile has one as well, of the compressed file.
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
    # tell() knows of what the object has read ahead, the descriptor does not.
    offset = file.tell()
    count = remaining_file_size(fd, offset)
    return None if count is None else FileRange(fd, offset, count)
