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
from prefork.http.tick import PERIOD
from prefork.http.transport import wake_for

if TYPE_CHECKING:
    from prefork.http.connection import Connection
    from prefork.http.exchange import Exchange
    from prefork.http.reader import RequestReader

LARGE = 128 * 1024
"""Bytes still to come that are worth it."""

PIECE = 256 * 1024
"""Bytes for which we want to be woken."""


class Intake(asyncio.BufferedProtocol):
    """From ``begin`` to the last byte of the body it is the transport's protocol."""

    def __init__(
        self, connection: "Connection", reader: "RequestReader", exchange: "Exchange", left: int
    ) -> None:
        """``left``: bytes of the body that are still to come."""
        assert isinstance(exchange.body, SpooledBody)
        self._connection = connection
        self._reader = reader
        self._exchange = exchange
        self._body = exchange.body
        self._left = left
        self._by_piece = False
        """The kernel wakes us for large pieces only."""
        self._left_then = 0
        """Bytes that were still to come at the last tick."""
        self.needs = exchange.body.blocks_for(left)
        self.waited = 0

    def begin(self) -> None:
        """Take over, now or when there is room."""
        self._connection.pause()
        self._connection.transport.set_protocol(self)
        self._body.room.enter(self)

    def come(self) -> None:
        """The room: there is all that it needs, or no use in waiting for it."""
        self._body.reserve(self.needs)
        service = self._connection.service
        if self._left >= 2 * service.intakes.piece and self._connection.peer.tls is None:
            self._by_piece = True
            service.intakes.add(self)
            wake_for(self._connection.transport, service.intakes.piece)
        self._connection.resume()

    def look(self) -> None:
        """The service, with each tick: see whether it comes in large pieces."""
        if self._left == self._left_then:
            self._read_as_it_comes()
            # What has come meanwhile is read now, and speaks for its client.
            connection = self._connection
            connection.deadline = max(connection.deadline, connection.service.now + 2 * PERIOD)
        self._left_then = self._left

    def _read_as_it_comes(self) -> None:
        if self._by_piece:
            self._by_piece = False
            self._connection.service.intakes.discard(self)
            wake_for(self._connection.transport, 1)

    def get_buffer(self, _hint: int) -> memoryview:
        """asyncio: where to put what arrives."""
        return self._body.space(self._left)

    def buffer_updated(self, size: int) -> None:
        """asyncio: so much arrived."""
        if self._exchange.gone:
            return  # it was refused: what its client still sends is discarded
        connection = self._connection
        self._left -= size
        try:
            self._body.fill(size)
        except ClientError as error:
            self._read_as_it_comes()
            connection.refuse(error)
            return
        if self._by_piece and self._left < 2 * connection.service.intakes.piece:
            # The last bytes may be few, and held back until we acknowledge those before.
            self._read_as_it_comes()
        if self._left:
            arrival = self._reader.arrival
            arrival.size += size
            connection.deadline = arrival.deadline()
        else:
            connection.pause()
            connection.transport.set_protocol(connection)
            connection.resume()
            connection.received()

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
        self._body.room.leave(self)
        self._connection.service.intakes.discard(self)
        self._connection.connection_lost(error)


class Intakes(set[Intake]):
    """Those of a worker that are woken for large pieces only; and what is large."""

    large = LARGE
    piece = PIECE

    def tick(self) -> None:
        """Called a few times a second."""
        for intake in list(self):
            intake.look()
