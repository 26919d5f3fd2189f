"""What the log writer is about to do, where its death does not reach.

A batch goes from a worker's pipe into the file in two steps: written, then taken out of the pipe.
The writer notes both before it begins, in memory that it shares with the master. A new writer sees
from the file how far the first step got, and from a sink how far the second: so it neither writes a
line again nor leaves one out, wherever the old one was killed.
"""

import mmap
import os
import struct
from dataclasses import dataclass

_BATCH_LAYOUT = struct.Struct("=5q")
_PENDING_FLAG = struct.Struct("=q")


@dataclass(frozen=True, slots=True)
class Batch:
    """``taken`` bytes of ``outlet`` become ``length`` of the file, after its first ``before``."""

    outlet: int
    input_length: int
    inode: int
    offset: int
    length: int


class WriteJournal:
    """Made by the master, used by one writer after another."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, mmap.PAGESIZE)
        # A pipe that is emptied into a file tells by the file's size how much of it was.
        self._consumed_file = os.memfd_create("prefork-taken")

    def begin(self, batch: Batch) -> None:
        """About to write it."""
        _BATCH_LAYOUT.pack_into(
            self._shared,
            8,
            batch.outlet,
            batch.input_length,
            batch.inode,
            batch.offset,
            batch.length,
        )
        _PENDING_FLAG.pack_into(self._shared, 0, 1)

    def pending(self) -> Batch | None:
        """What was begun and not ended."""
        if _PENDING_FLAG.unpack_from(self._shared)[0] == 0:
            return None
        return Batch(*_BATCH_LAYOUT.unpack_from(self._shared, 8))

    def consume(self, fd: int, batch: Batch) -> None:
        """Take it out of the pipe: what was not taken yet."""
        done = os.fstat(self._consumed_file).st_size
        try:
            while done < batch.input_length:
                done += os.splice(
                    fd, self._consumed_file, batch.input_length - done, offset_dst=done
                )
        except OSError:
            # Out of memory, or past a limit on files: then it is taken, but not noted.
            while done < batch.input_length:
                done += len(os.read(fd, batch.input_length - done))

    def clear(self) -> None:
        """All of it is done, or none of it was."""
        _PENDING_FLAG.pack_into(self._shared, 0, 0)
        os.ftruncate(self._consumed_file, 0)

    def close_copy(self) -> None:
        """In a worker."""
        self._shared.close()
        os.close(self._consumed_file)
