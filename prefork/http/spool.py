"""Request bodies that are complete before the app is called, because the app cannot wait.

The bodies of one worker share a few megabytes of memory (buffer_pool.py). A body that finds no free
memory goes to an unnamed file on disk, so the worker stays small however many and large bodies are.
The limits on disk are in spool_disk.py.

Design
------
- **A WSGI body is spooled before the call,** also with threads (--body-memory for all bodies of a
  worker, beyond that to disk). The app then never waits for a slow client, and a slow client never
  holds a worker or a thread. nginx does the same for its upstreams (proxy_request_buffering).
- **100 Continue is sent when the head was accepted,** not when the app reads: the app is called
  only when the body is there.
"""

import io
from typing import IO, TYPE_CHECKING

from prefork.http.buffer_pool import BLOCK_SIZE, BufferPool
from prefork.http.spool_disk import SpoolDisk, SpoolFile

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

SMALL_BODY_SIZE = 16 * 1024
"""A body that came in one piece of at most so many bytes is kept as that piece."""


class SpooledBody:
    """A whole body; ``file`` is there from ``end`` to ``discard``.

    The bytes arrive in one of two ways: as pieces for ``feed``, or written by their receiver into
    the memory from ``get_buffer``, followed by ``buffer_updated``.
    """

    __slots__ = (
        *("_blocks", "_disk", "_file", "_free_size", "_only_piece", "_reserved", "_spans"),
        *("buffer_pool", "file", "is_complete", "size"),
    )

    def __init__(self, buffer_pool: BufferPool, disk: SpoolDisk) -> None:
        """``buffer_pool`` gives memory; ``disk`` keeps the body when there is none."""
        self.buffer_pool = buffer_pool
        self._disk = disk
        self._only_piece = b""
        """The body so far, while it is one small piece."""
        self._blocks: list[int] = []
        """All blocks of the pool that this body has."""
        self._spans: list[memoryview] = []
        """The memory in use. All spans but the last one are full."""
        self._reserved: list[memoryview] = []
        """Memory for later bytes, the next span last."""
        self._free_size = 0
        """Free bytes at the end of the last span."""
        self._file: SpoolFile | None = None
        self.file: IO[bytes] | None = None
        """The body from its first byte, for the app."""
        self.size = 0
        """Bytes so far."""
        self.is_complete = False

    def feed(self, data: bytes) -> None:
        """Append a piece. Raises ClientError (413, 503) if the body cannot be kept."""
        if self.size == 0 and len(data) <= SMALL_BODY_SIZE:
            self._only_piece = data
        else:
            if self._only_piece:
                first, self._only_piece = self._only_piece, b""
                self._append(first)
            self._append(data)
        self.size += len(data)

    def blocks_needed_for(self, size: int) -> int:
        """Return how many more blocks ``size`` more bytes take; 0 for a body on disk."""
        if self._file is not None:
            return 0
        return -(-(size + len(self._only_piece) - self._free_size) // BLOCK_SIZE)

    def reserve_blocks(self, count: int) -> None:
        """Allocate ``count`` blocks for later bytes, or none if fewer are free."""
        blocks = self.buffer_pool.allocate(count)
        self._blocks += blocks
        self._reserved = self.buffer_pool.memory_of(blocks)[::-1]

    def get_buffer(self, max_size: int) -> memoryview:
        """Return memory for at most ``max_size`` next bytes; call ``buffer_updated`` after writing.

        For a body on disk, and one without memory, it is a scratch buffer that is copied from.
        """
        if not self._free_size and self._reserved and not self._only_piece:
            self._add_memory()
        if self._free_size:
            span = self._spans[-1]
            start = len(span) - self._free_size
            return span[start : start + max_size]
        return self.buffer_pool.scratch[:max_size]

    def buffer_updated(self, size: int) -> None:
        """Append the ``size`` bytes that were written into ``get_buffer``'s memory.

        Raises ClientError (413, 503) if the body cannot be kept.
        """
        if self._free_size:
            self._free_size -= size
        else:
            self._append(self._only_piece)
            self._only_piece = b""
            self._append(self.buffer_pool.scratch[:size])
        self.size += size

    def end(self) -> None:
        """Mark the body complete, and make ``file``."""
        self.is_complete = True
        if self._file is not None:
            self.file = self._file.read_from_start(BLOCK_SIZE)
        elif self._spans:
            self._spans[-1] = self._spans[-1][: -self._free_size or None]
            self.file = _SpooledReader(_SpanReader(self._spans), BLOCK_SIZE)
        else:
            self.file = io.BytesIO(self._only_piece)

    def discard(self) -> None:
        """Give back memory and disk space: the request ended or the client left. Repeatable."""
        for file in (self.file, self._file):
            if file is not None:
                file.close()
        self._release_memory()

    def _append(self, data: "ReadableBuffer") -> None:
        remaining = memoryview(data)
        while remaining:
            if self._file is None and self._free_size == 0:
                self._add_memory()
            if self._file is not None:
                self._file.write(remaining)
                return
            span = self._spans[-1]
            start = len(span) - self._free_size
            size = min(self._free_size, len(remaining))
            span[start : start + size] = remaining[:size]
            self._free_size -= size
            remaining = remaining[size:]

    def _add_memory(self) -> None:
        """Begin the next span. Without free memory, move the whole body to disk instead."""
        if not self._reserved:
            self.reserve_blocks(1)
        if self._reserved:
            self._spans.append(self._reserved.pop())
            self._free_size = len(self._spans[-1])
            return
        self._file = self._disk.open()
        for full in self._spans:
            self._file.write(full)
        self._release_memory()

    def _release_memory(self) -> None:
        blocks, self._blocks = self._blocks, []
        self._spans, self._reserved, self._free_size = [], [], 0
        self._only_piece = b""
        if blocks:
            self.buffer_pool.release(blocks)


class _SpanReader(io.RawIOBase):
    """Reads spans of memory one after another.

    Buffering, lines and iteration come from io.BufferedReader around it.
    """

    __slots__ = ("at", "end", "may_be_buffered", "remaining", "span")

    def __init__(self, spans: list[memoryview]) -> None:
        self.remaining = spans[::-1]
        """Later spans, the next one last."""
        self.may_be_buffered = False
        """The buffer around this reader may hold bytes that were read from here."""
        self._next_span()

    def _next_span(self) -> None:
        self.span = self.remaining.pop()
        self.at, self.end = 0, len(self.span)

    def close(self) -> None:
        """Forget the spans, because their memory belongs to another body from now on."""
        self.remaining, self.may_be_buffered = [memoryview(b"")], True
        self._next_span()
        super().close()

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, into: "WriteableBuffer") -> int:
        """Read as much of the current span as fits into a buffer; return the number of bytes."""
        self.may_be_buffered = True
        if self.at == self.end and self.remaining:
            self._next_span()
        target = memoryview(into).cast("B")
        piece = self.span[self.at : self.at + len(target)]
        size = len(piece)
        target[:size] = piece
        self.at += size
        return size

    def read_across(self, size: int) -> bytes:
        """Read ``size`` bytes, or fewer at the end, from the current span and the next ones."""
        piece = bytes(self.span[self.at : self.at + size])
        self.at += len(piece)
        if len(piece) < size and self.remaining:
            self._next_span()
            return piece + self.read_across(size - len(piece))
        return piece

    def readall(self) -> bytes:
        """Read all remaining bytes."""
        data = b"".join((self.span[self.at :], *self.remaining[::-1]))
        self.at, self.remaining = self.end, []
        return data


class _SpooledReader(io.BufferedReader):
    """A buffered reader that copies a large read straight from the spans.

    An app that reads in large pieces, and no lines, then pays for one copy instead of two.
    """

    def __init__(self, spans: _SpanReader, buffer_size: int) -> None:
        super().__init__(spans, buffer_size)
        self._spans = spans

    def read(self, size: int | None = -1) -> bytes:
        """Read ``size`` bytes, fewer only at the end; None or negative: all that remain."""
        spans = self._spans
        if size is None or size < SMALL_BODY_SIZE or spans.may_be_buffered:
            return super().read(size)
        start = spans.at
        end = start + size
        if end > spans.end:
            return spans.read_across(size)
        spans.at = end
        return spans.span[start:end].tobytes()
