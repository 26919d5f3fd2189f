"""The listening sockets of a master that is about to end, on their way to the one that follows it.

A copy is kept open in between, so whoever connects then waits in the kernel's queue, and nobody is
refused. What passes is the sockets themselves (SCM_RIGHTS), each with the address that it was
opened by.
"""

import os
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from prefork.config.addresses import parse_address
from prefork.errors import MachineError
from prefork.pool.policy import ManualTarget
from prefork.unix.listeners import Listener
from prefork.wire import control as wire


@dataclass(frozen=True, slots=True)
class InheritedState:
    """What a new master has from the one before, or from the list: its ``listeners``, and the
    number of workers that the operator set."""

    listeners: Sequence[Listener] = ()
    manual_target: ManualTarget | None = None


NOTHING_INHERITED = InheritedState()
"""What the first master of an app inherits."""

MAX_DESCRIPTORS = 253
"""SCM_MAX_FD of the kernel."""


def describe_listeners(listeners: Iterable[Listener]) -> list[dict[str, Any]]:
    """What is to be known of each, beside the socket."""
    return [{"address": str(each.address), "inode": each.inode} for each in listeners]


def fetch_listeners(connection: socket.socket) -> list[Listener]:
    """Copies of a master's, from its control socket. Raises MachineError, RefusedError."""
    data, fds = b"", list[int]()
    try:
        connection.sendall(wire.encode_request("hand_over"))
        while not data.endswith(b"\n"):
            piece, received, _, _ = socket.recv_fds(connection, 65536, MAX_DESCRIPTORS)
            if not piece:
                raise MachineError("the master left without its sockets")
            data, fds = data + piece, fds + list(received)
    except OSError as error:
        raise MachineError(f"no sockets from the master: {error.strerror or error}") from error
    answer = wire.decode_answer(data)
    assert isinstance(answer, wire.Result), "there are no steps on the way"
    return _rebuild(answer.value["listeners"], fds)


def _rebuild(described: Sequence[Any], fds: Sequence[int]) -> list[Listener]:
    listeners = []
    for description, fd in zip(described, fds, strict=True):
        os.set_inheritable(fd, False)
        inode = description["inode"]
        address = parse_address(description["address"])
        listeners.append(
            Listener(socket.socket(fileno=fd), address, tuple(inode) if inode else None)
        )
    return listeners
