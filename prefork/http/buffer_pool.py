"""Memory for the spooled bodies of one worker, in blocks; and who waits for some of it.

It is mapped once and its blocks are reused, the same ones first: fresh memory would cost a page
fault for each 4 KB, which is more than all the copying (10 MB: 4 ms of 8).
"""

import mmap
from collections import deque
from typing import Protocol

BLOCK_SIZE = 64 * 1024
_OWN = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
_SCRATCH = 256 * 1024
_PATIENCE = 2
"""Ticks that somebody waits for room."""


class BufferWaiter(Protocol):
    """Somebody who wants to know before that there is room. ``needs``: how many blocks; ``waited``:
    for how many ticks."""

    blocks_needed: int
    ticks_waited: int

    def on_buffer_turn(self) -> None:
        """There is as much, or there will not be soon."""


class BufferPool:
    """Blocks have numbers. Those that are neighbours are handed out as one piece of memory."""

    def __init__(self, size: int) -> None:
        self._size = size // BLOCK_SIZE
        self._mapped: mmap.mmap | None = None
        self._memory = memoryview(b"")
        self._free = list(range(self._size - 1, -1, -1))
        """The lowest is the last."""
        self._used = False
        """Blocks were taken since the last rest."""
        self._queue: deque[BufferWaiter] = deque()
        self._scratch: memoryview | None = None

    @property
    def free_blocks(self) -> int:
        """Blocks that nobody has."""
        return len(self._free)

    def allocate(self, count: int = 1) -> list[int]:
        """So many blocks, or none; in the order of their numbers."""
        if count > len(self._free) or not count:
            return []
        if self._mapped is None:
            self._mapped = mmap.mmap(-1, self._size * BLOCK_SIZE, flags=_OWN)
            self._memory = memoryview(self._mapped)
        self._used = True
        taken = self._free[-count:]
        del self._free[-count:]
        return taken[::-1]

    def memory_of(self, blocks: list[int]) -> list[memoryview]:
        """The memory of these, neighbours in one piece."""
        spans = []
        first = 0
        for at in range(1, len(blocks) + 1):
            if at == len(blocks) or blocks[at] != blocks[at - 1] + 1:
                spans.append(
                    self._memory[blocks[first] * BLOCK_SIZE : (blocks[at - 1] + 1) * BLOCK_SIZE]
                )
                first = at
        return spans

    def release(self, blocks: list[int]) -> None:
        """These were taken."""
        self._free += blocks
        self._free.sort(reverse=True)
        while self._queue and self._queue[0].blocks_needed <= len(self._free):
            self._queue.popleft().on_buffer_turn()

    def wait_for_blocks(self, guest: BufferWaiter) -> None:
        """Let him come as soon as there is room, but not before those who wait already."""
        if guest.blocks_needed > self._size or (
            guest.blocks_needed <= len(self._free) and not self._queue
        ):
            guest.on_buffer_turn()
        else:
            self._queue.append(guest)

    def cancel_wait(self, guest: BufferWaiter) -> None:
        """He does not wait any more, if ever he did."""
        if guest in self._queue:
            self._queue.remove(guest)

    def tick(self) -> None:
        """Called a few times a second: nobody waits for long."""
        for guest in list(self._queue):
            guest.ticks_waited += 1
            if guest.ticks_waited > _PATIENCE and guest in self._queue:
                self._queue.remove(guest)
                guest.on_buffer_turn()

    @property
    def scratch(self) -> memoryview:
        """For bytes on their way to somewhere else."""
        if self._scratch is None:
            self._scratch = memoryview(bytearray(_SCRATCH))
        return self._scratch

    def release_unused_memory(self) -> None:
        """Called now and then: memory that nobody has needed since goes back to the kernel."""
        if self._mapped is not None and len(self._free) == self._size and not self._used:
            self._mapped.madvise(mmap.MADV_DONTNEED)
        self._used = False
