"""Flow control towards one client: whether it keeps up, which writers wait for it, and how long.

asyncio tells the protocol of a transport that its buffer is above the high-water mark, and later
that it is below the low-water mark; the protocol passes that on to ``pause`` and ``resume``. In
between, writers wait, and the client has the send timeout to take some bytes. How many it took is
measured by the bytes that it has acknowledged (transport.py).

Design
------
- **One class for HTTP and WebSocket.** Each had its own copy, and they drifted apart: HTTP kept
  the futures of writers that had given up, without a limit.
- **The class knows no phases and closes nothing.** It says when to look again and whether the
  client has stalled; what follows differs between the protocols.
- **Progress is compared with the last check,** not with the highest number so far. On a unix socket
  the number falls when more is written (``delivery_progress``).
"""

import asyncio
import math

from prefork.http.clock import Clock
from prefork.http.transport import delivery_progress


class FlowControl:
    """The flow control of one transport."""

    __slots__ = (
        "_clock",
        "_has_ended",
        "_loop",
        "_progress",
        "_waiters",
        "give_up_at",
        "is_writable",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        """Begin with a client that keeps up. The caller sets ``transport`` when there is one."""
        self._loop = loop
        self._clock = clock
        self.is_writable = True
        """The client keeps up with what is written."""
        self.give_up_at = math.inf
        """By when the client must have taken something, by the coarse clock."""
        self._has_ended = False
        self._progress = 0
        """delivery_progress() at the last check."""
        self._waiters: list[asyncio.Future[None]] | None = None
        """None instead of an empty list, because ten thousand idle connections have none."""

    def pause(self) -> None:
        """Make writers wait: the buffer is above the high-water mark."""
        self.is_writable = False

    def resume(self) -> None:
        """Let writers go on: the buffer is below the low-water mark."""
        self.is_writable = True
        self.wake_writers()

    def end(self) -> None:
        """Make no more writers wait, because the connection closes. Those that wait stay so until
        ``wake_writers``."""
        self._has_ended = True

    def waiter(self) -> "asyncio.Future[None] | None":
        """Return None if more may be written now.

        Otherwise return a future that is done when the client has caught up or is gone.
        """
        if self.is_writable or self._has_ended:
            return None
        # Writers may have given up meanwhile; their futures must not add up.
        waiters = [each for each in self._waiters or () if not each.done()]
        waiter = self._loop.create_future()
        waiters.append(waiter)
        self._waiters = waiters
        return waiter

    async def wait_for_turn(self) -> None:
        """Wait until more may be written, at least until the loop's next turn, so that other
        connections are served."""
        waiter = self.waiter()
        if waiter is not None:
            await waiter
        else:
            await asyncio.sleep(0)

    async def flush(self) -> None:
        """Wait until the transport has passed all that was written to the kernel."""
        transport = self.transport
        if transport.get_write_buffer_size() and not transport.is_closing():
            transport.set_write_buffer_limits(0)
            while (waiter := self.waiter()) is not None:
                await waiter
            if not transport.is_closing():
                transport.set_write_buffer_limits()

    def wake_writers(self) -> None:
        """Wake all writers: the client has caught up or is gone."""
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    # A client that reads slowly.

    def watch(self) -> float:
        """Give the client the send timeout to take something; return when to look first."""
        self._progress = delivery_progress(self.transport)
        self.give_up_at = self._clock.send_deadline
        return self._clock.next_send_check

    def is_stalled(self) -> bool:
        """Return whether the client has taken nothing within the send timeout.

        A client that has taken something since the last call gets the whole timeout again.
        """
        before, self._progress = self._progress, delivery_progress(self.transport)
        if self._progress > before:
            self.give_up_at = self._clock.send_deadline
        return self._clock.now >= self.give_up_at

    def next_check(self) -> float:
        """Return when to call ``is_stalled`` again."""
        return min(self._clock.next_send_check, self.give_up_at)
