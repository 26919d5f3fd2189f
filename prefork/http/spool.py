"""A request's body that is spooled: kept until all of it has arrived, for an app that cannot wait.

The bodies of one worker share a few megabytes of memory (buffer_pool.py). One for which there is
no room
goes to an unnamed file on disk, so that the worker stays small however many and large they are;
how much that may be is said in spool_disk.py.
"""

import io
from typing import IO, TYPE_CHECKING

from prefork.http.buffer_pool import BLOCK_SIZE, BufferPool
from prefork.http.spool_disk import SpoolDisk, SpoolFile

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

SMALL_BODY_SIZE = 16 * 1024
"""A body that came in one piece of at most so many bytes is kept as it is."""


class SpooledBody:
    """The whole body, as a file from ``end`` to ``lose``.

    It comes in pieces, by ``feed``, or is written to where ``space`` says, by whoever has it.
    """

    __slots__ = (
        *("_blocks", "_file", "_only_piece", "_reserved", "_free_size", "_spans"),
        *("_disk", "is_complete", "file", "buffer_pool", "size"),
    )

    def __init__(self, room: BufferPool, disk: SpoolDisk) -> None:
        """``room``: for what is in memory; ``files``: for what is not."""
        self.buffer_pool = room
        self._disk = disk
        self._only_piece = b""
        """The one small piece that arrived so far."""
        self._blocks: list[int] = []
        """All that it has of the room."""
        self._spans: list[memoryview] = []
        """The memory that is in use, all of it but for the end of the last one full."""
        self._reserved: list[memoryview] = []
        """What comes next."""
        self._free_size = 0
        """Bytes left in the last span."""
        self._file: SpoolFile | None = None
        self.file: IO[bytes] | None = None
        self.size = 0
        self.is_complete = False

    def feed(self, data: bytes) -> None:
        """A piece arrived. Raises ClientError: it cannot be kept."""
        if self.size == 0 and len(data) <= SMALL_BODY_SIZE:
            self._only_piece = data
        else:
            if self._only_piece:
                first, self._only_piece = self._only_piece, b""
                self._append(first)
            self._append(data)
        self.size += len(data)

    def blocks_needed_for(self, size: int) -> int:
        """How many blocks more it needs for ``size`` bytes more; none when it is on disk."""
        return (
            0
            if self._file is not None
            else -(-(size + len(self._only_piece) - self._free_size) // BLOCK_SIZE)
        )

    def reserve_blocks(self, count: int) -> None:
        """Have so many blocks now, if there are as many."""
        blocks = self.buffer_pool.allocate(count)
        self._blocks += blocks
        self._reserved = self.buffer_pool.memory_of(blocks)[::-1]

    def get_buffer(self, most: int) -> memoryview:
        """Where the next bytes are to be written, ``most`` at the most; then call ``fill``."""
        if not self._free_size and self._reserved and not self._only_piece:
            self._add_memory()
        if self._free_size:
            span = self._spans[-1]
            at = len(span) - self._free_size
            return span[at : at + most]
        return self.buffer_pool.scratch[:most]

    def buffer_updated(self, size: int) -> None:
        """So many bytes were written there. Raises ClientError: they cannot be kept."""
        if self._free_size:
            self._free_size -= size
        else:
            self._append(self._only_piece)
            self._only_piece = b""
            self._append(self.buffer_pool.scratch[:size])
        self.size += size

    def end(self) -> None:
        """All has arrived."""
        self.is_complete = True
        if self._file is not None:
            self.file = self._file.read_from_start(BLOCK_SIZE)
        elif self._spans:
            self._spans[-1] = self._spans[-1][: -self._free_size or None]
            self.file = _SpooledReader(_SpanReader(self._spans), BLOCK_SIZE)
        else:
            self.file = io.BytesIO(self._only_piece)

    def discard(self) -> None:
        """The client left, or nobody needs it any more."""
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
            at = len(span) - self._free_size
            size = min(self._free_size, len(remaining))
            span[at : at + size] = remaining[:size]
            self._free_size -= size
            remaining = remaining[size:]

    def _add_memory(self) -> None:
        """More memory; when there is none, everything so far goes to disk and makes room."""
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
        blocks = self._blocks
        self._blocks, self._spans, self._reserved, self._free_size, self._only_piece = (
            [],
            [],
            [],
            0,
            b"",
        )
        if blocks:
            self.buffer_pool.release(blocks)


class _SpanReader(io.RawIOBase):
    """Reads them one after another; buffering, lines and iteration are io.BufferedReader's."""

    __slots__ = ("at", "end", "may_be_buffered", "remaining", "span")

    def __init__(self, spans: list[memoryview]) -> None:
        self.remaining = spans[::-1]
        """Those that come later; the next is the last."""
        self.may_be_buffered = False
        """Some of it may wait in a buffer."""
        self._next_span()

    def _next_span(self) -> None:
        """To the next span."""
        self.span = self.remaining.pop()
        self.at, self.end = 0, len(self.span)

    def close(self) -> None:
        """io: the memory is another body's from now on."""
        self.remaining, self.may_be_buffered = [memoryview(b"")], True
        self._next_span()
        super().close()

    def readable(self) -> bool:
        """io: yes."""
        return True

    def readinto(self, into: "WriteableBuffer") -> int:
        """io: as much of the current span as fits."""
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
        """The next ``size`` bytes, or all that are left."""
        piece = bytes(self.span[self.at : self.at + size])
        self.at += len(piece)
        if len(piece) < size and self.remaining:
            self._next_span()
            return piece + self.read_across(size - len(piece))
        return piece

    def readall(self) -> bytes:
        """io: the rest."""
        data = b"".join((self.span[self.at :], *self.remaining[::-1]))
        self.at, self.remaining = self.end, []
        return data


class _SpooledReader(io.BufferedReader):
    """Who reads in large pieces, and no lines, has no use for a buffer."""

    def __init__(self, spans: _SpanReader, size: int) -> None:
        super().__init__(spans, size)
        self._spans = spans

    def read(self, size: int | None = -1) -> bytes:
        """io: so many bytes, less only at the end."""
        spans = self._spans
        if size is None or size < SMALL_BODY_SIZE or spans.may_be_buffered:
            return super().read(size)
        at = spans.at
        end = at + size
        if end > spans.end:
            return spans.read_across(size)
        spans.at = end
        return spans.span[at:end].tobytes()
