"""HTTP/1.1 as an entry of the table of protocols (http/protocols.py)."""

from prefork import _speed
from prefork.http.http1.connection import Connection
from prefork.http.http1.counting_connection import CountingConnection
from prefork.http.http1.http1_state import Http1State
from prefork.http.http1.plain_connection import PlainConnection
from prefork.http.peer import Addresses
from prefork.http.server_state import ServerState


class Http1Protocol:
    """Makes the HTTP/1.1 connections of one worker. The protocol is HttpProtocol (http)."""

    def __init__(self, server: ServerState) -> None:
        self.state = Http1State(server)
        counts = server.limits.requests or server.limits.concurrency
        # Chosen once, so that no other worker pays for counting.
        self.kind: type[Connection] = PlainConnection if _speed.IS_COMPILED else Connection
        if counts:
            self.kind = CountingConnection
        server.call_at_each_tick(self.state.bulk_receivers.tick)

    def connect(self, addresses: Addresses | None = None) -> Connection:
        """Return the connection of a client."""
        return self.kind(self.state, addresses)
