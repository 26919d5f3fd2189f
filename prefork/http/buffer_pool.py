"""Memory for the spooled bodies of one worker, in blocks; and who waits for some of it.

It is mapped once and its blocks are reused, the same ones first: fresh memory would cost a page
fault for each 4 KB, which is more than all the copying (10 MB: 4 ms of 8).
"""

import mmap
from collections import deque
from typing import Protocol

BLOCK = 64 * 1024
_OWN = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
_SCRATCH = 256 * 1024
_PATIENCE = 2
"""Ticks that somebody waits for room."""


class Guest(Protocol):
    """Somebody who wants to know before that there is room. ``needs``: how many blocks; ``waited``:
    for how many ticks."""

    needs: int
    waited: int

    def come(self) -> None:
        """There is as much, or there will not be soon."""


class Room:
    """Blocks have numbers. Those that are neighbours are handed out as one piece of memory."""

    def __init__(self, size: int) -> None:
        self._size = size // BLOCK
        self._mapped: mmap.mmap | None = None
        self._memory = memoryview(b"")
        self._free = list(range(self._size - 1, -1, -1))
        """The lowest is the last."""
        self._used = False
        """Blocks were taken since the last rest."""
        self._queue: deque[Guest] = deque()
        self._scratch: memoryview | None = None

    @property
    def free(self) -> int:
        """Blocks that nobody has."""
        return len(self._free)

    def take(self, count: int = 1) -> list[int]:
        """So many blocks, or none; in the order of their numbers."""
        if count > len(self._free) or not count:
            return []
        if self._mapped is None:
            self._mapped = mmap.mmap(-1, self._size * BLOCK, flags=_OWN)
            self._memory = memoryview(self._mapped)
        self._used = True
        taken = self._free[-count:]
        del self._free[-count:]
        return taken[::-1]

    def spans(self, blocks: list[int]) -> list[memoryview]:
        """The memory of these, neighbours in one piece."""
        spans = []
        first = 0
        for at in range(1, len(blocks) + 1):
            if at == len(blocks) or blocks[at] != blocks[at - 1] + 1:
                spans.append(self._memory[blocks[first] * BLOCK : (blocks[at - 1] + 1) * BLOCK])
                first = at
        return spans

    def give_back(self, blocks: list[int]) -> None:
        """These were taken."""
        self._free += blocks
        self._free.sort(reverse=True)
        while self._queue and self._queue[0].needs <= len(self._free):
            self._queue.popleft().come()

    def enter(self, guest: Guest) -> None:
        """Let him come as soon as there is room, but not before those who wait already."""
        if guest.needs > self._size or (guest.needs <= len(self._free) and not self._queue):
            guest.come()
        else:
            self._queue.append(guest)

    def leave(self, guest: Guest) -> None:
        """He does not wait any more, if ever he did."""
        if guest in self._queue:
            self._queue.remove(guest)

    def tick(self) -> None:
        """Called a few times a second: nobody waits for long."""
        for guest in list(self._queue):
            guest.waited += 1
            if guest.waited > _PATIENCE and guest in self._queue:
                self._queue.remove(guest)
                guest.come()

    @property
    def scratch(self) -> memoryview:
        """For bytes on their way to somewhere else."""
        if self._scratch is None:
            self._scratch = memoryview(bytearray(_SCRATCH))
        return self._scratch

    def rest(self) -> None:
        """Called now and then: memory that nobody has needed since goes back to the kernel."""
        if self._mapped is not None and len(self._free) == self._size and not self._used:
            self._mapped.madvise(mmap.MADV_DONTNEED)
        self._used = False
