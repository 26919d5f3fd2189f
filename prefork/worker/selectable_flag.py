"""A flag of this process that is set once, and that threads, tasks and ``select`` can wait for."""

import os
import select
from collections.abc import Generator
from typing import Any

_MAX_SELECTED = 1024
"""The first descriptor that select(2) does not take."""


class SelectableFlag:
    """``if flag:``, ``flag.wait(timeout)``, ``await flag``, and ``select`` on it: it is readable
    once it is set.

    It is made of a pipe and no lock, because a signal handler may set it.
    """

    _reader = _writer = -1

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._happened = False

    def __del__(self) -> None:
        """Close the pipe. A leader gets a new flag for each of its terms."""
        if self._reader >= 0:
            os.close(self._reader)
            os.close(self._writer)

    def __bool__(self) -> bool:
        return self._happened

    def fileno(self) -> int:
        """Return the descriptor that is readable once the flag is set."""
        return self._reader

    def descriptors(self) -> tuple[int, int]:
        """Return both ends of the pipe."""
        return self._reader, self._writer

    def set(self) -> None:
        """Set the flag. Safe in a signal handler."""
        if not self._happened:
            self._happened = True
            os.write(self._writer, b".")

    def wait(self, timeout: float | None = None) -> bool:
        """Block up to ``timeout`` seconds (None: without limit); return whether the flag is set."""
        if self._reader < _MAX_SELECTED:
            select.select([self._reader], [], [], timeout)
        else:
            poller = select.poll()
            poller.register(self._reader, select.POLLIN)
            poller.poll(None if timeout is None else timeout * 1000)
        return self._happened

    def __await__(self) -> Generator[Any, None, None]:
        return self._wait().__await__()

    async def _wait(self) -> None:
        """Wait, in an event loop, until the flag is set."""
        # An app that awaits has imported asyncio. The verbs of the command need none.
        import asyncio  # noqa: PLC0415

        if self._happened:
            return
        loop = asyncio.get_running_loop()
        # A duplicate for each waiting task, because a loop watches a descriptor only once.
        own = os.dup(self._reader)
        happened = asyncio.Event()
        loop.add_reader(own, happened.set)
        try:
            await happened.wait()
        finally:
            loop.remove_reader(own)
            os.close(own)
