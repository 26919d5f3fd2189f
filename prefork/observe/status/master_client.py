"""Send requests to the master over the channel that the status server got at its fork.

For the message "talk" the master sends one end of a new socket pair, and treats the other end as a
client of its control protocol (wire/control.py) with a few verbs. For "logs" the master opens its
logs and sends their descriptors, because the status server may have no right to open them. The
master accepts no descriptors from the status server, which an attacker might have taken over. Each
request has a timeout, so nothing waits for a master that hangs.
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
from prefork.wire.verb import Verb

ANSWER_TIMEOUT = 3.0
"""Seconds that a response of the master may take."""


class MasterClient:
    """The connection of a status server to its master."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, channel: DescriptorChannel, has_control: bool
    ) -> None:
        """``has_control``: the master has a control server, and so answers requests."""
        self.has_control = has_control
        self._loop = loop
        self._channel = channel
        self._numbers = count(1)
        self._connecting: dict[int, asyncio.Future[socket.socket]] = {}
        """Connections that were requested and have not arrived, by number."""
        self._received_logs: list[int] = []
        self._logs_waiter: asyncio.Future[list[int]] | None = None
        self._logs_lock = asyncio.Lock()
        self.closed: asyncio.Future[None] = loop.create_future()
        """Done when the master has closed the channel: the status server is to end."""
        loop.add_reader(channel.fileno(), self._read_channel)

    async def ask(
        self, verb: Verb, timeout: float = ANSWER_TIMEOUT, **arguments: Any
    ) -> Mapping[str, Any]:
        """Have the master execute a verb, and return its result.

        Raises RefusedError if the master refuses, TimeoutError if it does not answer within
        ``timeout`` seconds (the verb continues), MachineError if there is no connection.
        """
        async with asyncio.timeout(timeout):
            with await self._connect() as connection:
                return await self._converse(connection, control.encode_request(verb, **arguments))

    async def _connect(self) -> socket.socket:
        """Return a new connection to the control server. Raises MachineError."""
        number = next(self._numbers)
        waiter: asyncio.Future[socket.socket] = self._loop.create_future()
        self._connecting[number] = waiter
        try:
            if not self._channel.send(encode_message("talk", number=number)):
                raise MachineError("the master accepts no requests now")
            return await waiter
        finally:
            del self._connecting[number]

    async def _converse(self, connection: socket.socket, request: bytes) -> Mapping[str, Any]:
        lines = control.LineDecoder()
        try:
            await self._loop.sock_sendall(connection, request)
            while data := await self._loop.sock_recv(connection, 65536):
                for line in lines.feed(data):
                    if isinstance(answer := control.decode_answer(line), control.Result):
                        return answer.value
        except OSError:
            pass  # The master closed the connection.
        raise MachineError("the master closed the connection without an answer")

    async def open_logs(self) -> list[int]:
        """Return descriptors of the master's logs, which the caller must close.

        Raises MachineError or TimeoutError.
        """
        async with self._logs_lock:
            self._logs_waiter = self._loop.create_future()
            if not self._channel.send(encode_message("logs")):
                raise MachineError("the master accepts no requests now")
            async with asyncio.timeout(ANSWER_TIMEOUT):
                return await self._logs_waiter

    def _read_channel(self) -> None:
        for data, fd in self._channel.receive():
            if not data:
                self._loop.remove_reader(self._channel.fileno())
                if not self.closed.done():
                    self.closed.set_result(None)
                return
            kind, details = decode_message(data)
            if kind == "talk" and fd is not None:
                self._deliver_connection(details["number"], socket.socket(fileno=fd))
            elif kind == "log" and fd is not None:
                self._received_logs.append(fd)
            elif kind == "that_is_all":
                self._deliver_logs()

    def _deliver_connection(self, number: int, connection: socket.socket) -> None:
        connection.setblocking(False)
        waiter = self._connecting.get(number)
        if waiter is None or waiter.done():
            connection.close()  # The request has timed out.
        else:
            waiter.set_result(connection)

    def _deliver_logs(self) -> None:
        logs, self._received_logs = self._received_logs, []
        if self._logs_waiter is not None and not self._logs_waiter.done():
            self._logs_waiter.set_result(logs)
            return
        for fd in logs:  # The request has timed out.
            os.close(fd)
