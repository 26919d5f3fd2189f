"""Memory for the spooled bodies of one worker, in blocks, and the queue for it.

Design
------
- **The memory is mapped once and the lowest blocks are reused first.** Fresh memory costs a page
  fault for each 4 KB, which is more than all the copying (10 MB: 4 ms of 8). Huge pages changed
  nothing that could be measured.
- **Large bodies queue for memory instead of sharing it.** A body that finds the pool full is not
  read for three ticks at most, and goes to disk only then. Four uploads of 10 MB at once, with
  memory for one, are received one after the other in memory.
"""

import mmap
from collections import deque
from typing import Protocol

BLOCK_SIZE = 64 * 1024
_MAP_FLAGS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
_SCRATCH_SIZE = 256 * 1024
_MAX_WAIT_TICKS = 2
"""Ticks for which a body may wait for blocks."""


class BufferWaiter(Protocol):
    """A body in the queue for memory. ``blocks_needed``: how many blocks it needs;
    ``ticks_waited``: for how many ticks it has waited."""

    blocks_needed: int
    ticks_waited: int

    def on_buffer_turn(self) -> None:
        """Proceed: the blocks are free now, or the wait was too long. Called once."""


class BufferPool:
    """A pool of ``size`` bytes in numbered blocks. Adjacent blocks are one piece of memory.

    The memory is mapped when the first block is allocated.
    """

    def __init__(self, size: int) -> None:
        self._size = size // BLOCK_SIZE
        self._mapped: mmap.mmap | None = None
        self._memory = memoryview(b"")
        self._free = list(range(self._size - 1, -1, -1))
        """Numbers of the free blocks in falling order: the lowest is taken from the end."""
        self._was_used = False
        """Blocks were allocated since the last ``release_unused_memory``."""
        self._queue: deque[BufferWaiter] = deque()
        self._scratch: memoryview | None = None

    @property
    def free_blocks(self) -> int:
        """The number of free blocks."""
        return len(self._free)

    def allocate(self, count: int = 1) -> list[int]:
        """Allocate ``count`` blocks and return their numbers in rising order; [] when there are
        fewer free ones."""
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
        """Return the memory of these blocks; adjacent blocks are one view."""
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
        """Free these blocks, and call the waiters that can proceed now."""
        self._free += blocks
        self._free.sort(reverse=True)
        while self._queue and self._queue[0].blocks_needed <= len(self._free):
            self._queue.popleft().on_buffer_turn()

    def wait_for_blocks(self, waiter: BufferWaiter) -> None:
        """Call ``waiter.on_buffer_turn`` as soon as its blocks are free and no earlier one waits.

        It is called at once when the pool is too small for it.
        """
        # A body larger than the pool goes to disk in any case: a wait would not help it.
        if waiter.blocks_needed > self._size or (
            waiter.blocks_needed <= len(self._free) and not self._queue
        ):
            waiter.on_buffer_turn()
        else:
            self._queue.append(waiter)

    def cancel_wait(self, waiter: BufferWaiter) -> None:
        """Remove ``waiter`` from the queue, if it is in it."""
        if waiter in self._queue:
            self._queue.remove(waiter)

    def tick(self) -> None:
        """Count one tick for each waiter, and call those that have waited for too long.

        The worker's clock calls this a few times a second.
        """
        for waiter in list(self._queue):
            waiter.ticks_waited += 1
            if waiter.ticks_waited > _MAX_WAIT_TICKS and waiter in self._queue:
                self._queue.remove(waiter)
                waiter.on_buffer_turn()

    @property
    def scratch(self) -> memoryview:
        """A buffer of 256 KB for bytes that are copied elsewhere at once."""
        if self._scratch is None:
            self._scratch = memoryview(bytearray(_SCRATCH_SIZE))
        return self._scratch

    def release_unused_memory(self) -> None:
        """Give the memory back to the kernel if no block was used since the last call."""
        if self._mapped is not None and len(self._free) == self._size and not self._was_used:
            self._mapped.madvise(mmap.MADV_DONTNEED)
        self._was_used = False
