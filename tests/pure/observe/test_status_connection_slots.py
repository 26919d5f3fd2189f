"""Which connection of the status server ends for a new one."""

from prefork.observe.status.connection_slots import ConnectionSlots
from tests.fuzz.memory import Client, MemoryServer
from tests.pure.http.asgi_server import request


def test_the_connections_end_in_the_order_of_what_their_clients_owe() -> None:
    with MemoryServer(False) as server:
        slots = ConnectionSlots(1)

        def connect(swallows: int | None = None) -> Client:
            client = server.connect(swallows)
            slots.add(client.connection, server.state.connections)
            return client

        slow = connect(0).send(request())
        idle = connect().send(request())
        server.recorder.later = []
        working = connect().send(request())
        half_sent = connect().send(b"GET / HT")
        silent = connect()
        for expected in (half_sent, silent, idle, slow):
            assert slots.make_room(server.state.connections)
            assert expected.was_reset
            server.settle()
        assert not ConnectionSlots(0).make_room(server.state.connections)
        assert slots.make_room(()), "a slot is free"
        slots = ConnectionSlots(1)
        slots.add(working.connection, server.state.connections)
        assert not slots.make_room(server.state.connections), "its response is being made"
        assert not working.closed
