"""The rest of a large body, received straight into the memory that keeps it.

The parser has nothing to say about a body whose length is known, and on the way through it each
byte is copied three times. So for so long the transport gets another protocol: this one, which
takes exactly as many bytes as are due and hands the transport back. Whatever else happens to the
connection, the connection is told.

It asks the kernel to wake us for large pieces only: else a client that is near and we take turns
with every 64 KB or less, and many turns cost more than one. Who turns out to be slower than that is
read as it comes from the next tick on.

A body that finds the room full is not read for a moment, while others may leave it, and then goes
to disk: large ones are done sooner one after the other in memory than all at once on disk.
"""

import asyncio
from typing import TYPE_CHECKING

from prefork.errors import ClientError
from prefork.http.spool import SpooledBody
from prefork.http.tick import TICK_PERIOD
from prefork.http.transport import set_receive_low_water

if TYPE_CHECKING:
    from prefork.http.connection import Connection
    from prefork.http.exchange import Exchange
    from prefork.http.reader import RequestReader

MIN_BULK_SIZE = 128 * 1024
"""Bytes still to come that are worth it."""

BULK_LOW_WATER_MARK = 256 * 1024
"""Bytes for which we want to be woken."""


class BulkReceiver(asyncio.BufferedProtocol):
    """From ``begin`` to the last byte of the body it is the transport's protocol."""

    def __init__(
        self,
        connection: "Connection",
        reader: "RequestReader",
        exchange: "Exchange",
        remaining: int,
    ) -> None:
        """``left``: bytes of the body that are still to come."""
        assert isinstance(exchange.body, SpooledBody)
        self._connection = connection
        self._reader = reader
        self._exchange = exchange
        self._body = exchange.body
        self._remaining = remaining
        self._has_low_water_mark = False
        """The kernel wakes us for large pieces only."""
        self._remaining_at_last_tick = 0
        """Bytes that were still to come at the last tick."""
        self.blocks_needed = exchange.body.blocks_needed_for(remaining)
        self.ticks_waited = 0

    def begin(self) -> None:
        """Take over, now or when there is room."""
        self._connection.pause_reading()
        self._connection.transport.set_protocol(self)
        self._body.buffer_pool.wait_for_blocks(self)

    def on_buffer_turn(self) -> None:
        """The room: there is all that it needs, or no use in waiting for it."""
        self._body.reserve_blocks(self.blocks_needed)
        server = self._connection.server
        if (
            self._remaining >= 2 * server.bulk_receivers.low_water_mark
            and self._connection.peer.tls is None
        ):
            self._has_low_water_mark = True
            server.bulk_receivers.add(self)
            set_receive_low_water(self._connection.transport, server.bulk_receivers.low_water_mark)
        self._connection.resume_reading()

    def check_progress(self) -> None:
        """The service, with each tick: see whether it comes in large pieces."""
        if self._remaining == self._remaining_at_last_tick:
            self._clear_low_water_mark()
            # What has come meanwhile is read now, and speaks for its client.
            connection = self._connection
            connection.deadline = max(connection.deadline, connection.server.now + 2 * TICK_PERIOD)
        self._remaining_at_last_tick = self._remaining

    def _clear_low_water_mark(self) -> None:
        if self._has_low_water_mark:
            self._has_low_water_mark = False
            self._connection.server.bulk_receivers.discard(self)
            set_receive_low_water(self._connection.transport, 1)

    def get_buffer(self, _hint: int) -> memoryview:
        """asyncio: where to put what arrives."""
        return self._body.get_buffer(self._remaining)

    def buffer_updated(self, size: int) -> None:
        """asyncio: so much arrived."""
        if self._exchange.disconnected:
            return  # it was refused: what its client still sends is discarded
        connection = self._connection
        self._remaining -= size
        try:
            self._body.buffer_updated(size)
        except ClientError as error:
            self._clear_low_water_mark()
            connection.refuse(error)
            return
        if (
            self._has_low_water_mark
            and self._remaining < 2 * connection.server.bulk_receivers.low_water_mark
        ):
            # The last bytes may be few, and held back until we acknowledge those before.
            self._clear_low_water_mark()
        if self._remaining:
            arrival = self._reader.body_progress
            arrival.size += size
            connection.deadline = arrival.deadline()
        else:
            connection.pause_reading()
            connection.transport.set_protocol(connection)
            connection.resume_reading()
            connection.bulk_body_received()

    def pause_writing(self) -> None:
        """asyncio: of what was written before."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """asyncio: that has gone."""
        self._connection.resume_writing()

    def eof_received(self) -> bool:
        """asyncio: the client sent its last byte, too early."""
        return self._connection.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        """asyncio: the connection is gone."""
        self._body.buffer_pool.cancel_wait(self)
        self._connection.server.bulk_receivers.discard(self)
        self._connection.connection_lost(error)


class BulkReceivers(set[BulkReceiver]):
    """Those of a worker that are woken for large pieces only; and what is large."""

    min_size = MIN_BULK_SIZE
    low_water_mark = BULK_LOW_WATER_MARK

    def tick(self) -> None:
        """Called a few times a second."""
        for receiver in list(self):
            receiver.check_progress()
