"""Receives the rest of a large body straight into the memory that keeps it.

The parser has nothing to say about a body whose length is known, and on the way through the parser
each byte is copied three times. While such a body arrives, the transport therefore gets another
protocol, which takes exactly the bytes that are due and then hands the transport back. All other
events of the transport are passed on to the connection.

Design
------
- **From 128 KB on** that are still to come the rest of a body is received this way, into the blocks
  of the buffer pool. An upload of 10 MB to WSGI costs 1.6-2.2 ms of CPU instead of 4.5-4.9, of
  which the kernel takes 1.2-1.4, and the app's reads copy each byte once (0.18 ms). Huge pages for
  the pool changed nothing that could be measured.
- **A body that finds the pool full waits before it goes to disk:** its connection is not read for
  three ticks at the most. Large bodies are finished sooner one after the other in memory than all
  at once on disk: with memory for one, four uploads of 10 MB are received one after the other.
- **The kernel wakes the worker for pieces of 256 KB** (SO_RCVLOWAT, socket(7)). Otherwise a client
  that is near and the worker take turns with every 64 KB or less, and many turns cost more than
  one. An upload of 10 MB that its client writes in pieces of 4, 16 or 64 KB costs 2.7, 2.4 or 2.3
  ms of CPU instead of 9.6, 3.9 or 3.7, and takes no longer; 1.6 instead of 1.8 when four clients
  write all at once. Rejected: 512 KB, which saves some 5 % more and takes longer, and 1 MB or more,
  with which some uploads take 40 ms more (a delayed acknowledgment).
- **The last two pieces are read as they come.** A small end may be held back by the client's kernel
  (Nagle) until the bytes before it are acknowledged, and reading is what acknowledges them.
- **A slow client is read as it sends.** When a client has sent less than a piece by the second
  tick, its bytes are read as they come from then on, so that no deadline counts bytes as missing
  that are in the kernel.
"""

import asyncio
from typing import Protocol

from prefork.errors import ClientError
from prefork.http.clock import Clock
from prefork.http.exchange import Exchange
from prefork.http.http1.body_progress import BodyProgress
from prefork.http.peer import Peer
from prefork.http.spool import SpooledBody
from prefork.http.tick import TICK_PERIOD
from prefork.http.transport import set_receive_low_water

MIN_BULK_SIZE = 128 * 1024
"""Bytes that must be still to come. For fewer the change of protocols costs more than it saves."""

BULK_LOW_WATER_MARK = 256 * 1024
"""Bytes for which the kernel wakes the worker."""


class BulkConnection(Protocol):
    """The part of a connection that a receiver uses while it has the transport."""

    transport: asyncio.Transport
    peer: Peer
    deadline: float

    def pause_reading(self) -> None:
        """Stop reading from the transport."""

    def resume_reading(self) -> None:
        """Undo one pause."""

    def refuse(self, error: ClientError) -> None:
        """Answer the request with an error, and close."""

    def bulk_body_received(self) -> None:
        """Take the transport back: the body is complete."""

    def pause_writing(self) -> None:
        """Note that the write buffer is full."""

    def resume_writing(self) -> None:
        """Note that the write buffer has drained."""

    def eof_received(self) -> bool:
        """Decide about a client that sent its last byte; True: keep the connection open."""

    def connection_lost(self, error: Exception | None, /) -> None:
        """Note that the connection is gone."""


class BulkReceiver(asyncio.BufferedProtocol):
    """The transport's protocol from ``begin`` until the last byte of the body."""

    def __init__(
        self,
        connection: BulkConnection,
        exchange: Exchange,
        progress: BodyProgress,
        remaining: int,
        receivers: "BulkReceivers",
    ) -> None:
        """``remaining``: bytes of the body of ``exchange`` that are still to come."""
        assert isinstance(exchange.body, SpooledBody)
        self._connection = connection
        self._exchange = exchange
        self._body = exchange.body
        self._progress = progress
        self._remaining = remaining
        self._receivers = receivers
        self._has_low_water_mark = False
        """The kernel wakes the worker for large pieces only."""
        self._remaining_at_last_tick = 0
        self.blocks_needed = exchange.body.blocks_needed_for(remaining)
        self.ticks_waited = 0

    def begin(self) -> None:
        """Take the transport over, and receive as soon as the pool has enough blocks."""
        self._connection.pause_reading()
        self._connection.transport.set_protocol(self)
        self._body.buffer_pool.wait_for_blocks(self)

    def on_buffer_turn(self) -> None:
        """Reserve memory and begin to read. The buffer pool calls this.

        The blocks that the body needs are free now, or waiting longer is no use.
        """
        self._body.reserve_blocks(self.blocks_needed)
        receivers = self._receivers
        if self._remaining >= 2 * receivers.low_water_mark and self._connection.peer.tls is None:
            self._has_low_water_mark = True
            receivers.add(self)
            set_receive_low_water(self._connection.transport, receivers.low_water_mark)
        self._connection.resume_reading()

    def check_progress(self) -> None:
        """Read as the client sends if no large piece came since the last tick."""
        if self._remaining == self._remaining_at_last_tick:
            self._clear_low_water_mark()
            # Bytes that are in the kernel by now are read next, and count as a sign of life.
            connection, now = self._connection, self._receivers.clock.now
            connection.deadline = max(connection.deadline, now + 2 * TICK_PERIOD)
        self._remaining_at_last_tick = self._remaining

    def _clear_low_water_mark(self) -> None:
        if self._has_low_water_mark:
            self._has_low_water_mark = False
            self._receivers.discard(self)
            set_receive_low_water(self._connection.transport, 1)

    def get_buffer(self, _hint: int) -> memoryview:
        """Return the memory for the next bytes (asyncio.BufferedProtocol)."""
        if self._exchange.disconnected:
            # The request was refused, maybe at the last byte of its body: what its client still
            # sends is discarded. An empty buffer would be an error for asyncio.
            return self._body.buffer_pool.scratch[:]
        return self._body.get_buffer(self._remaining)

    def buffer_updated(self, size: int) -> None:
        """Count ``size`` bytes that were received into the buffer (asyncio.BufferedProtocol)."""
        if self._exchange.disconnected:
            return  # the request was refused: what its client still sends is discarded
        connection = self._connection
        self._remaining -= size
        try:
            self._body.buffer_updated(size)
        except ClientError as error:
            self._clear_low_water_mark()
            connection.refuse(error)
            return
        if self._has_low_water_mark and self._remaining < 2 * self._receivers.low_water_mark:
            # The last bytes may be few, and held back until those before are acknowledged.
            self._clear_low_water_mark()
        if self._remaining:
            progress = self._progress
            progress.size += size
            connection.deadline = progress.deadline()
        else:
            connection.bulk_body_received()

    def pause_writing(self) -> None:
        """Pass on that the write buffer is full."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """Pass on that the write buffer has drained."""
        self._connection.resume_writing()

    def eof_received(self) -> bool:
        """Pass on that the client sent its last byte, before the end of the body."""
        return self._connection.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        """Give up the place in the pool's queue, and pass on that the connection is gone."""
        self._body.buffer_pool.cancel_wait(self)
        self._receivers.discard(self)
        self._connection.connection_lost(error)


class BulkReceivers(set[BulkReceiver]):
    """The receivers of a worker that are woken for large pieces only, and the sizes for all."""

    min_size = MIN_BULK_SIZE
    low_water_mark = BULK_LOW_WATER_MARK

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def tick(self) -> None:
        """Check the progress of all. Called a few times a second."""
        for receiver in list(self):
            receiver.check_progress()
