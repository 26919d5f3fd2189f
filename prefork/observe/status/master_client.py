"""What only the master knows or does: asked over the line that it gave us at our birth.

The master speaks its own control protocol with us (wire/control.py): asked by "talk" it sends one
end of a new socket pair, and takes the other one for a client who may ask what we are meant to.
With "logs" it opens its logs for us, because we may not be who may. It takes no descriptor from us,
since this process might have been taken over. Nothing waits for a master that is slow.
"""

import asyncio
import os
import socket
from collections.abc import Mapping
from itertools import count
from typing import Any

from prefork.errors import MachineError
from prefork.unix.descriptor_channel import DescriptorChannel
from prefork.wire import control
from prefork.wire.log_writer_messages import decode_message, encode_message

PATIENCE = 3.0
"""Seconds in which a master that is not hung answers a question."""


class MasterClient:
    """The master, as its status server talks to it."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, line: DescriptorChannel, talks: bool
    ) -> None:
        """``talks``: it has a registry, and so answers questions."""
        self.talks = talks
        self._loop = loop
        self._line = line
        self._numbers = count(1)
        self._talks: dict[int, asyncio.Future[socket.socket]] = {}
        """Those that we asked for, by number."""
        self._logs: list[int] = []
        self._waiter: asyncio.Future[list[int]] | None = None
        self._one_at_a_time = asyncio.Lock()
        self.gone: asyncio.Future[None] = loop.create_future()
        """Done when the master has left us."""
        loop.add_reader(line.fileno(), self._hear)

    async def ask(
        self, verb: str, patience: float = PATIENCE, **arguments: Any
    ) -> Mapping[str, Any]:
        """The result of a verb.

        Raises RefusedError when the master says no, TimeoutError when it does not say so soon
        (what was asked goes on), MachineError when it does not talk to us.
        """
        async with asyncio.timeout(patience):
            with await self._talk() as connection:
                return await self._converse(connection, control.encode_request(verb, **arguments))

    async def _talk(self) -> socket.socket:
        """A new connection. Raises MachineError."""
        number = next(self._numbers)
        wanted: asyncio.Future[socket.socket] = self._loop.create_future()
        self._talks[number] = wanted
        try:
            if not self._line.send(encode_message("talk", number=number)):
                raise MachineError("the master takes no questions now")
            return await wanted
        finally:
            del self._talks[number]

    async def _converse(self, ours: socket.socket, request: bytes) -> Mapping[str, Any]:
        lines = control.LineDecoder()
        try:
            await self._loop.sock_sendall(ours, request)
            while data := await self._loop.sock_recv(ours, 65536):
                for line in lines.feed(data):
                    if isinstance(said := control.decode_answer(line), control.Result):
                        return said.value
        except OSError:
            pass  # it hung up
        raise MachineError("the master left without an answer")

    async def logs(self) -> list[int]:
        """Descriptors of its logs, which the caller closes.

        Raises MachineError or TimeoutError.
        """
        async with self._one_at_a_time:
            self._waiter = self._loop.create_future()
            if not self._line.send(encode_message("logs")):
                raise MachineError("the master takes no questions now")
            async with asyncio.timeout(PATIENCE):
                return await self._waiter

    def _hear(self) -> None:
        for data, fd in self._line.receive():
            if not data:
                self._loop.remove_reader(self._line.fileno())
                if not self.gone.done():
                    self.gone.set_result(None)
                return
            say, details = decode_message(data)
            if say == "talk" and fd is not None:
                self._begin_talk(details["number"], socket.socket(fileno=fd))
            elif say == "log" and fd is not None:
                self._logs.append(fd)
            elif say == "that_is_all":
                self._hand_out()

    def _begin_talk(self, number: int, connection: socket.socket) -> None:
        connection.setblocking(False)
        wanted = self._talks.get(number)
        if wanted is None or wanted.done():
            connection.close()  # it came too late
        else:
            wanted.set_result(connection)

    def _hand_out(self) -> None:
        logs, self._logs = self._logs, []
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(logs)
            return
        for fd in logs:  # they came too late
            os.close(fd)
