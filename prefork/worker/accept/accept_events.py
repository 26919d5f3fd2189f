"""Tell a worker that connections wait, at which endpoints, and how many.

A new connection wakes each worker once (EPOLLET), through an epoll of this module inside the event
loop's own. A worker that leaves the connection to a sibling needs no further system call.

Design
------
- **All workers are woken for each connection, but only once.** After it accepted a connection, a
  worker disables its wakeup until it has served that connection, for a millisecond at most. Without
  that it was woken twice a connection for nothing, which was half of the cost of the accept policy.
  A connection that was left to a sibling is looked at again after a millisecond, or when the load
  of this worker falls.
- **poll(2) says which queues hold a connection, since it looks at the queues themselves.** A second
  epoll would answer from its own list, which the kernel fills by a callback of its own. A worker
  that woke between the two callbacks learned that its queue is empty, and its wakeup was spent.
  Such a connection waited for the next one to come; with one worker under light load this happened
  about once in three runs of a long test suite. In addition each heartbeat looks at the queues, and
  only EAGAIN counts as an empty queue (tests/live/test_missed_wakeup.py).
- **Not EPOLLEXCLUSIVE,** which nginx uses since 1.11.3: it wakes one worker, and that need not be
  one with the least load.
- **``epoll`` and ``poll`` are imported by name,** before the app: gevent and eventlet remove them
  from ``select`` later.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from select import EPOLLET, EPOLLIN, POLLIN, epoll, poll  # gevent and eventlet take some away

from prefork.unix.accept_queue import AcceptQueue
from prefork.worker.accept.endpoints import Endpoint
from prefork.worker.accept.handoff import HandoffQueue

_WAKEUP = EPOLLIN | EPOLLET
"""Edge-triggered: one wakeup for each connection."""


class AcceptEvents:
    """The wakeups of all endpoints of one worker, from ``open`` to ``close``."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, endpoints: Sequence[Endpoint], handoff: HandoffQueue
    ) -> None:
        """Prepare to watch the endpoints of one worker. ``handoff``: the queue by which siblings
        hand connections off."""
        self._loop = loop
        everywhere: list[Endpoint | HandoffQueue] = [*endpoints, handoff]
        self._endpoints_by_fd = {endpoint.socket.fileno(): endpoint for endpoint in everywhere}
        self.endpoints = endpoints
        self._listener_fds = [endpoint.socket.fileno() for endpoint in endpoints]
        self._single_endpoint = endpoints[0] if len(endpoints) == 1 else None
        self._backlogs = [AcceptQueue(endpoint.socket) for endpoint in endpoints]
        self.handoff = handoff
        self._handoff_fd = handoff.socket.fileno()
        self._may_have_handoffs = False
        """True if the handoff queue may hold a connection: a sibling put one in, and the queue was
        not seen empty since."""
        self._is_wakeup_enabled = True
        self._wakeups, self._queues = epoll(), poll()

    def open(self, on_wakeup: Callable[[], None]) -> None:
        """Have the loop call ``on_wakeup`` when a new connection waits, until it has called
        ``read_wakeups``."""
        for fd in self._endpoints_by_fd:
            self._queues.register(fd, POLLIN)
            self._wakeups.register(fd, _WAKEUP)
        self._loop.add_reader(self._wakeups.fileno(), on_wakeup)

    def read_wakeups(self) -> None:
        """Read the events of a wakeup, which clears them, and note which endpoints they name."""
        for fd, _ in self._wakeups.poll(0):
            if fd == self._handoff_fd:
                self._may_have_handoffs = True

    def set_wakeup(self, enabled: bool) -> None:
        """Enable or disable the wakeup by listeners. Enabling it wakes the worker at once if a
        connection waits."""
        if enabled is not self._is_wakeup_enabled:
            self._is_wakeup_enabled = enabled
            for fd in self._listener_fds:
                self._wakeups.modify(fd, _WAKEUP if enabled else 0)

    def ignore_handoff(self) -> None:
        """Stop watching the handoff queue after it was shut down: it would wake the worker for
        ever."""
        if self._endpoints_by_fd.pop(self._handoff_fd, None) is not None:
            self._may_have_handoffs = False
            self._queues.unregister(self._handoff_fd)
            self._wakeups.unregister(self._handoff_fd)

    def has_waiting(self) -> bool:
        """Return whether a connection waits at any endpoint."""
        return bool(self._queues.poll(0))

    def count_waiting(self) -> int:
        """Return how many connections wait, as far as the kernel tells, and at least 1."""
        length = 0
        for backlog in self._backlogs:
            length += backlog.length()
        if self._may_have_handoffs:
            length += self.handoff.queue.length()
        return length or 1

    def pick_endpoint(self) -> Endpoint | HandoffQueue | None:
        """Return an endpoint where a connection waits, or waited a moment ago; None if there is
        none."""
        if self._single_endpoint is not None and not self._may_have_handoffs:
            return self._single_endpoint
        ready = [self._endpoints_by_fd[fd] for fd, _ in self._queues.poll(0)]
        self._may_have_handoffs = self.handoff in ready
        # A random one: if it were always the first, connections of the others would starve.
        return random.choice(ready) if ready else None

    def close(self) -> None:
        """Stop watching and close this process's copies. The queues live on in the master's
        copies."""
        self._loop.remove_reader(self._wakeups.fileno())
        self._wakeups.close()
        for backlog in self._backlogs:
            backlog.close()
        for endpoint in self.endpoints:
            endpoint.socket.close()
        self.handoff.queue.close()
