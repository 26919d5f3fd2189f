"""What a worker hears of its doors: that somebody came, who waits where, and how many.

Each new connection wakes all workers once (EPOLLET), by an epoll of our own inside of the loop's,
so that to leave it to a sibling costs no more system calls.

Which listeners have a connection waiting is asked with poll(2), which looks at the queues
themselves. A second epoll would answer from its own list, which the kernel fills by a callback of
its own: a worker that is woken between the two callbacks would be told that its queue is empty,
and its edge would be spent.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from select import EPOLLET, EPOLLIN, POLLIN, epoll, poll  # gevent and eventlet take some away

from prefork.unix.accept_queue import AcceptQueue
from prefork.worker.accept.endpoints import Endpoint
from prefork.worker.accept.handoff import HandoffQueue

_WAKEUP = EPOLLIN | EPOLLET


class AcceptEvents:
    """At all doors of one worker, from ``open`` to ``close``."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, endpoints: Sequence[Endpoint], handoff: HandoffQueue
    ) -> None:
        """``way``: by which siblings share what they have."""
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
        """A sibling gave something, and that queue was not seen empty since."""
        self._is_wakeup_enabled = True
        self._wakeups, self._queues = epoll(), poll()

    def open(self, on_waiting: Callable[[], None]) -> None:
        """Call ``on_news`` when somebody came."""

        def woken() -> None:
            for fd, _ in self._wakeups.poll(0):  # now we know
                if fd == self._handoff_fd:
                    self._may_have_handoffs = True
            on_waiting()

        for fd in self._endpoints_by_fd:
            self._queues.register(fd, POLLIN)
            self._wakeups.register(fd, _WAKEUP)
        self._loop.add_reader(self._wakeups.fileno(), woken)

    def set_wakeup(self, enabled: bool) -> None:
        """Be woken by who comes to a listener, or not. Who is armed anew is woken at once if
        somebody waits there."""
        if enabled is not self._is_wakeup_enabled:
            self._is_wakeup_enabled = enabled
            for fd in self._listener_fds:
                self._wakeups.modify(fd, _WAKEUP if enabled else 0)

    def ignore_handoff(self) -> None:
        """Nothing comes that way any more: it would wake us for ever."""
        if self._endpoints_by_fd.pop(self._handoff_fd, None) is not None:
            self._may_have_handoffs = False
            self._queues.unregister(self._handoff_fd)
            self._wakeups.unregister(self._handoff_fd)

    def has_waiting(self) -> bool:
        """Anywhere."""
        return bool(self._queues.poll(0))

    def count_waiting(self) -> int:
        """How many wait, as far as that can be known; one does."""
        length = 0
        for backlog in self._backlogs:
            length += backlog.length()
        if self._may_have_handoffs:
            length += self.handoff.queue.length()
        return length or 1

    def pick_endpoint(self) -> Endpoint | HandoffQueue | None:
        """One where somebody waits, or did a moment ago."""
        if self._single_endpoint is not None and not self._may_have_handoffs:
            return self._single_endpoint
        ready = [self._endpoints_by_fd[fd] for fd, _ in self._queues.poll(0)]
        self._may_have_handoffs = self.handoff in ready
        # Any of them: if it were the first, the others would starve.
        return random.choice(ready) if ready else None

    def close(self) -> None:
        """Stop, and close this process's copies; the queues live on in the master's."""
        self._loop.remove_reader(self._wakeups.fileno())
        self._wakeups.close()
        for backlog in self._backlogs:
            backlog.close()
        for endpoint in self.endpoints:
            endpoint.socket.close()
        self.handoff.queue.close()
