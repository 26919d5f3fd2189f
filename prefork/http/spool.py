"""A request's body that is spooled: kept until all of it has arrived, for an app that cannot wait.

The bodies of one worker share a few megabytes of memory. One for which there is no room goes to an
unnamed file on disk, so that the worker stays small however many and large they are. The memory is
mapped once and its blocks are reused, last one first: fresh memory would cost a page fault for each
4 KB, which is more than all the copying (10 MB: 4 ms of 8).
"""

import io
import mmap
import tempfile
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK = 64 * 1024
_OWN = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS

SMALL = 16 * 1024
"""A body that came in one piece of at most so many bytes is kept as it is."""


class Room:
    """Memory for the spooled bodies of one worker, in blocks."""

    def __init__(self, size: int) -> None:
        self._size = size // BLOCK
        self._memory: mmap.mmap | None = None
        self._free: list[memoryview] = []
        self._used = False
        """Blocks were taken since the last rest."""

    @property
    def free(self) -> int:
        """Blocks that nobody has."""
        return self._size if self._memory is None else len(self._free)

    def take(self) -> memoryview | None:
        """A block to write to; None when all are taken."""
        if self._memory is None and self._size:
            self._memory = mmap.mmap(-1, self._size * BLOCK, flags=_OWN)
            whole = memoryview(self._memory)
            self._free = [whole[at : at + BLOCK] for at in range(0, len(whole), BLOCK)]
        self._used = True
        return self._free.pop() if self._free else None

    def give_back(self, blocks: list[memoryview]) -> None:
        """These were taken."""
        self._free += blocks

    def rest(self) -> None:
        """Called now and then: memory that nobody has needed since goes back to the kernel."""
        if self._memory is not None and len(self._free) == self._size and not self._used:
            self._memory.madvise(mmap.MADV_DONTNEED)
        self._used = False


class SpooledBody:
    """The whole body, as a file from ``end`` to ``lose``."""

    __slots__ = ("_blocks", "_disk", "_only", "_room", "_space", "complete", "file", "size")

    def __init__(self, room: Room) -> None:
        self._room = room
        self._only = b""
        """The one small piece that arrived so far."""
        self._blocks: list[memoryview] = []
        self._space = 0
        """Bytes left in the last block."""
        self._disk: io.FileIO | None = None
        self.file: IO[bytes] | None = None
        self.size = 0
        self.complete = False

    def feed(self, data: bytes) -> None:
        """A piece arrived. Raises OSError: it cannot be kept."""
        if self.size == 0 and len(data) <= SMALL:
            self._only = data
        else:
            if self._only:
                first, self._only = self._only, b""
                self._keep(first)
            self._keep(data)
        self.size += len(data)

    def end(self) -> None:
        """All has arrived."""
        self.complete = True
        if self._disk is not None:
            self._disk.seek(0)
            self.file = io.BufferedReader(self._disk, BLOCK)
        elif self._blocks:
            self.file = io.BufferedReader(_Blocks(self._blocks, self.size), BLOCK)
        else:
            self.file = io.BytesIO(self._only)

    def lose(self) -> None:
        """The client left, or nobody needs it any more."""
        for file in (self.file, self._disk):
            if file is not None:
                file.close()
        self._leave_room()

    def _keep(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            if self._disk is None and self._space == 0:
                self._enlarge()
            if self._disk is not None:
                _write(self._disk, rest)
                return
            block = self._blocks[-1]
            at = BLOCK - self._space
            size = min(self._space, len(rest))
            block[at : at + size] = rest[:size]
            self._space -= size
            rest = rest[size:]

    def _enlarge(self) -> None:
        """One more block; when there is none, everything so far goes to disk and makes room."""
        block = self._room.take()
        if block is not None:
            self._blocks.append(block)
            self._space = BLOCK
            return
        self._disk = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by lose()
        for full in self._blocks:
            _write(self._disk, full)
        self._leave_room()

    def _leave_room(self) -> None:
        self._room.give_back(self._blocks[::-1])
        self._blocks, self._space, self._only = [], 0, b""


def _write(disk: io.FileIO, data: memoryview) -> None:
    while data:
        data = data[disk.write(data) :]


class _Blocks(io.RawIOBase):
    """Reads blocks one after another; buffering, lines and iteration are io.BufferedReader's."""

    def __init__(self, blocks: list[memoryview], size: int) -> None:
        self._blocks = blocks
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        """io: yes."""
        return True

    def readinto(self, into: "WriteableBuffer") -> int:
        """io: as much of the current block as fits."""
        number, at = divmod(self._at, BLOCK)
        with memoryview(into).cast("B") as target:
            size = min(len(target), BLOCK - at, self._size - self._at)
            if size > 0:
                target[:size] = self._blocks[number][at : at + size]
        self._at += size
        return size

    def readall(self) -> bytes:
        """io: the rest."""
        number, at = divmod(self._at, BLOCK)
        rest = self._size - self._at
        self._at = self._size
        blocks = [self._blocks[number][at:], *self._blocks[number + 1 :]] if rest else []
        return b"".join(blocks)[:rest]
