"""Wait for any number of descriptors and one deadline at once; never wake without a reason."""

import selectors
from collections.abc import Callable, Iterator

LONGEST_WAIT = 3600.0
"""Seconds. epoll_wait(2) takes no more than 2**31 ms, and Python raises OverflowError beyond it. A
deadline may be further away, because an option says so or because a worker wrote it."""


class Poller:
    """A set of descriptors, each with a callback for when it is ready."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()  # epoll(7) on Linux

    def add_reader(self, fd: int, callback: Callable[[], object]) -> None:
        """Call ``callback()`` whenever ``fd`` is readable or closed at the other end."""
        self._selector.register(fd, selectors.EVENT_READ, callback)

    def add_writer(self, fd: int, callback: Callable[[], object]) -> None:
        """Call ``callback()`` whenever ``fd`` is writable, or its reader is gone."""
        self._selector.register(fd, selectors.EVENT_WRITE, callback)

    def remove(self, fd: int) -> None:
        """Stop watching ``fd``; to be called before it is closed."""
        self._selector.unregister(fd)

    def wait(self, timeout: float | None) -> Iterator[Callable[[], object]]:
        """Block until a descriptor is ready or ``timeout`` seconds passed; yield the callbacks.

        None waits without a deadline. The call may return after an hour with no callback.
        """
        if timeout is not None:
            timeout = min(timeout, LONGEST_WAIT)
        # A wait that SIGSTOP interrupted ends at its timeout without a check: hence a second one.
        for key, _ in self._selector.select(timeout) or self._selector.select(0):
            yield key.data

    def close_copy(self) -> None:
        """Close the epoll descriptor in a child; the watched descriptors stay open."""
        self._selector.close()
