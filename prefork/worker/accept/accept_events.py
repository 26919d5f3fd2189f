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

_ARMED = EPOLLIN | EPOLLET


class AcceptEvents:
    """At all doors of one worker, from ``open`` to ``close``."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, doors: Sequence[Endpoint], way: HandoffQueue
    ) -> None:
        """``way``: by which siblings share what they have."""
        self._loop = loop
        everywhere: list[Endpoint | HandoffQueue] = [*doors, way]
        self._all = {door.socket.fileno(): door for door in everywhere}
        self.doors = doors
        self._outer = [door.socket.fileno() for door in doors]
        self._only = doors[0] if len(doors) == 1 else None
        self._backlogs = [AcceptQueue(door.socket) for door in doors]
        self.way = way
        self._way_fd = way.socket.fileno()
        self._shared = False
        """A sibling gave something, and that queue was not seen empty since."""
        self._armed = True
        self._news, self._queues = epoll(), poll()

    def open(self, on_news: Callable[[], None]) -> None:
        """Call ``on_news`` when somebody came."""

        def heard() -> None:
            for fd, _ in self._news.poll(0):  # now we know
                if fd == self._way_fd:
                    self._shared = True
            on_news()

        for fd in self._all:
            self._queues.register(fd, POLLIN)
            self._news.register(fd, _ARMED)
        self._loop.add_reader(self._news.fileno(), heard)

    def set_wakeup(self, armed: bool) -> None:
        """Be woken by who comes to a listener, or not. Who is armed anew is woken at once if
        somebody waits there."""
        if armed is not self._armed:
            self._armed = armed
            for fd in self._outer:
                self._news.modify(fd, _ARMED if armed else 0)

    def leave_way(self) -> None:
        """Nothing comes that way any more: it would wake us for ever."""
        if self._all.pop(self._way_fd, None) is not None:
            self._shared = False
            self._queues.unregister(self._way_fd)
            self._news.unregister(self._way_fd)

    def has_waiting(self) -> bool:
        """Anywhere."""
        return bool(self._queues.poll(0))

    def waiting(self) -> int:
        """How many wait, as far as that can be known; one does."""
        length = 0
        for backlog in self._backlogs:
            length += backlog.length()
        if self._shared:
            length += self.way.queue.length()
        return length or 1

    def pick_endpoint(self) -> Endpoint | HandoffQueue | None:
        """One where somebody waits, or did a moment ago."""
        if self._only is not None and not self._shared:
            return self._only
        ready = [self._all[fd] for fd, _ in self._queues.poll(0)]
        self._shared = self.way in ready
        # Any of them: if it were the first, the others would starve.
        return random.choice(ready) if ready else None

    def close(self) -> None:
        """Stop, and close this process's copies; the queues live on in the master's."""
        self._loop.remove_reader(self._news.fileno())
        self._news.close()
        for backlog in self._backlogs:
            backlog.close()
        for door in self.doors:
            door.socket.close()
        self.way.queue.close()
