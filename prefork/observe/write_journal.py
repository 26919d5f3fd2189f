"""A journal in shared memory of the batch that the log writer is moving from a pipe to the file.

A batch is moved in two steps: it is written to the file, then removed from the worker's pipe. The
log writer records the batch before the first step.

Design
------
- **A line stays in its worker's pipe until it is in the file,** and the journal survives the log
  writer, because the master holds the memory. The next log writer learns from the size of the log
  how far the first step got, and from the size of a memfd, into which the pipe is emptied, how far
  the second one got. So the death of a log writer at any instruction neither loses nor repeats a
  line. Rejected: reading first and writing then is simpler, and would lose up to 64 KB.
"""

import mmap
import os
import struct
from dataclasses import dataclass

VERSION = 1
"""The version of the layout. It marks a batch that was begun; 0 stands there while there is none.
"""

_BATCH_LAYOUT = struct.Struct("=5q")
_MARK = struct.Struct("=q")


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch: the first ``input_length`` bytes in the pipe of ``outlet`` become ``length`` bytes
    of the file ``inode``, after its first ``offset`` bytes."""

    outlet: int
    input_length: int
    inode: int
    offset: int
    length: int


class WriteJournal:
    """The journal. The master creates it, and its successive log writers use it."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, mmap.PAGESIZE)
        # The pipe is emptied into this file, so its size is the number of bytes that were removed.
        self._consumed_file = os.memfd_create("prefork-taken")

    def begin(self, batch: Batch) -> None:
        """Record a batch that is about to be written."""
        _BATCH_LAYOUT.pack_into(
            self._shared,
            8,
            batch.outlet,
            batch.input_length,
            batch.inode,
            batch.offset,
            batch.length,
        )
        # The mark is set last, so that a log writer that dies before has recorded nothing.
        _MARK.pack_into(self._shared, 0, VERSION)

    def pending(self) -> Batch | None:
        """Return the batch that was begun and not finished; None: there is none.

        A batch of a log writer of another version is not understood, and counts as none. Its rest
        in the pipe is written once more, so its lines may come twice and none is lost.
        """
        if _MARK.unpack_from(self._shared)[0] != VERSION:
            return None
        return Batch(*_BATCH_LAYOUT.unpack_from(self._shared, 8))

    def consume(self, fd: int, batch: Batch) -> None:
        """Remove the batch from the pipe ``fd``, as far as this was not done before."""
        done = os.fstat(self._consumed_file).st_size
        try:
            while done < batch.input_length:
                done += os.splice(
                    fd, self._consumed_file, batch.input_length - done, offset_dst=done
                )
        except OSError:
            # The memfd cannot grow (memory, RLIMIT_FSIZE): read the bytes, without a record of it.
            while done < batch.input_length:
                done += len(os.read(fd, batch.input_length - done))

    def clear(self) -> None:
        """Clear the journal: the batch was moved, or nothing of it was."""
        _MARK.pack_into(self._shared, 0, 0)
        os.ftruncate(self._consumed_file, 0)

    def fileno(self) -> int:
        """Return the descriptor of the file that pipes are emptied into."""
        return self._consumed_file

    def close_copy(self) -> None:
        """Close this process's copy, in a worker after its fork."""
        self._shared.close()
        os.close(self._consumed_file)
