"""Gives an accepted connection that needs no handshake its protocol object and its transport.

The compiled transports do it at once (_speed/epoll_transport.pyx), the event loop in its next turn.
Connections with TLS or a PROXY header go through the handshaker (endpoints.py), and are always the
loop's.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from prefork import _speed
from prefork.http.exchange import OpenConnection
from prefork.http.peer import Addresses
from prefork.worker.accept.accepted_socket import AcceptedSocket
from prefork.worker.accept.endpoints import ConnectionFactory


class Connector:
    """Connects the clients of one worker."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocols: ConnectionFactory) -> None:
        """Must be called outside of any request: protocols are called in the context of now."""
        self._loop = loop
        self.protocols = protocols
        self.pending: dict[asyncio.Future[Any], Any] = {}
        """Connections on their way: the future that each waits for, and its coroutine."""
        self._poller = _speed.Poller(loop) if _speed.IS_COMPILED else None

    def connect(
        self,
        fd: int,
        family: int,
        addresses: Addresses | None,
        then: Callable[[OpenConnection], None],
    ) -> bool:
        """Connect the client behind a descriptor, which belongs to its transport from here on.

        ``then`` is called with the connection, now or in a later turn of the loop. False: the
        kernel watches no more sockets (epoll_ctl(2), ENOSPC), and this one was closed.
        """
        if self._poller is None:
            self._connect_by_loop(fd, family, addresses, then)
            return True
        connection: Any = self.protocols.connect(addresses)
        try:
            self._poller.connect(fd, family, connection)
        except OSError:
            return False
        then(connection)
        return True

    def _connect_by_loop(
        self,
        fd: int,
        family: int,
        addresses: Addresses | None,
        then: Callable[[OpenConnection], None],
    ) -> None:
        """Have the event loop make the transport.

        The loop's coroutine waits exactly once. A task would run it up to that wait and later to
        its end; doing both here costs a tenth of that.
        """

        def connect() -> asyncio.Protocol:
            return self.protocols.connect(addresses)

        def finish(made: asyncio.Future[Any]) -> None:
            try:
                self.pending.pop(made).send(None)
            except StopIteration as done:
                then(done.value[1])

        connecting = self._loop.connect_accepted_socket(connect, AcceptedSocket(fd, family))  # type: ignore[arg-type]
        made = connecting.send(None)
        self.pending[made] = connecting
        made.add_done_callback(finish)

    def disown(self) -> None:
        """Leave the sockets to the worker; called in a process that the worker forked."""
        if self._poller is not None:
            self._poller.disown()
