"""One wait over any number of descriptors and one deadline. It never wakes without a reason."""

import selectors
from collections.abc import Callable, Iterator

LONGEST_WAIT = 3600.0
"""Seconds. epoll_wait(2) takes no more than 2**31 ms, and Python raises OverflowError beyond it; a
deadline may be further away, because an option says so or because a worker wrote it."""


class Poller:
    """Descriptors, each with what to call when it is readable."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def add_reader(self, fd: int, callback: Callable[[], object]) -> None:
        """Call ``react()`` whenever ``fd`` is readable or closed at the other end."""
        self._selector.register(fd, selectors.EVENT_READ, callback)

    def add_writer(self, fd: int, callback: Callable[[], object]) -> None:
        """Call ``react()`` whenever ``fd`` can be written, or its reader is gone."""
        self._selector.register(fd, selectors.EVENT_WRITE, callback)

    def remove(self, fd: int) -> None:
        """To be called before ``fd`` is closed."""
        self._selector.unregister(fd)

    def wait(self, timeout: float | None) -> Iterator[Callable[[], object]]:
        """Block until something is readable or ``timeout`` seconds passed (None: for ever).

        It may end earlier, after an hour, with nothing to tell.
        """
        if timeout is not None:
            timeout = min(timeout, LONGEST_WAIT)
        # A wait that SIGSTOP interrupted ends with its time, without a look: hence the second.
        for key, _ in self._selector.select(timeout) or self._selector.select(0):
            yield key.data

    def close_copy(self) -> None:
        """In a child: let go of the epoll descriptor, not of what it watches."""
        self._selector.close()
