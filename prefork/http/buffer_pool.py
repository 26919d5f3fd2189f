"""Memory for the spooled bodies of one worker, in blocks; and who waits for some of it.

It is mapped once and its blocks are reused, the same ones first: fresh memory would cost a page
fault for each 4 KB, which is more than all the copying (10 MB: 4 ms of 8).
"""

import mmap
from collections import deque
from typing import Protocol

BLOCK_SIZE = 64 * 1024
_MAP_FLAGS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
_SCRATCH_SIZE = 256 * 1024
_MAX_WAIT_TICKS = 2
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
        self._was_used = False
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
            self._mapped = mmap.mmap(-1, self._size * BLOCK_SIZE, flags=_MAP_FLAGS)
            self._memory = memoryview(self._mapped)
        self._was_used = True
        taken = self._free[-count:]
        del self._free[-count:]
        return taken[::-1]

    def memory_of(self, blocks: list[int]) -> list[memoryview]:
        """The memory of these, neighbours in one piece."""
        spans = []
        first = 0
        for index in range(1, len(blocks) + 1):
            if index == len(blocks) or blocks[index] != blocks[index - 1] + 1:
                spans.append(
                    self._memory[blocks[first] * BLOCK_SIZE : (blocks[index - 1] + 1) * BLOCK_SIZE]
                )
                first = index
        return spans

    def release(self, blocks: list[int]) -> None:
        """These were taken."""
        self._free += blocks
        self._free.sort(reverse=True)
        while self._queue and self._queue[0].blocks_needed <= len(self._free):
            self._queue.popleft().on_buffer_turn()

    def wait_for_blocks(self, waiter: BufferWaiter) -> None:
        """Let him come as soon as there is room, but not before those who wait already."""
        if waiter.blocks_needed > self._size or (
            waiter.blocks_needed <= len(self._free) and not self._queue
        ):
            waiter.on_buffer_turn()
        else:
            self._queue.append(waiter)

    def cancel_wait(self, waiter: BufferWaiter) -> None:
        """He does not wait any more, if ever he did."""
        if waiter in self._queue:
            self._queue.remove(waiter)

    def tick(self) -> None:
        """Called a few times a second: nobody waits for long."""
        for waiter in list(self._queue):
            waiter.ticks_waited += 1
            if waiter.ticks_waited > _MAX_WAIT_TICKS and waiter in self._queue:
                self._queue.remove(waiter)
                waiter.on_buffer_turn()

    @property
    def scratch(self) -> memoryview:
        """For bytes on their way to somewhere else."""
        if self._scratch is None:
            self._scratch = memoryview(bytearray(_SCRATCH_SIZE))
        return self._scratch

    def release_unused_memory(self) -> None:
        """Called now and then: memory that nobody has needed since goes back to the kernel."""
        if self._mapped is not None and len(self._free) == self._size and not self._was_used:
            self._mapped.madvise(mmap.MADV_DONTNEED)
        self._was_used = False
