"""Pass the listening sockets of a master that ends to the master that follows it.

The command that restarts an app fetches copies of the sockets (SCM_RIGHTS), each with the address
that it was opened for, and starts the next master with them.

Design
------
- **``restart`` reloads unless a change needs a new master.** Then the old master ends, the next one
  starts, and in between the command itself keeps the sockets open: clients wait in the kernel's
  queue as long as the requests in flight and the start take, and none is refused.
- **Two masters at a time** would have to share the lock, the log files and the scoreboard. Without
  that wait it would be an upgrade in place (USR2), which does not exist yet.
- **A program without sockets is always stopped first:** two of them cannot run at a time.
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
from prefork.wire.verb_table import HAND_OVER


@dataclass(frozen=True, slots=True)
class InheritedState:
    """The state that a new master gets from the one before, or from the saved list.

    ``listeners`` are its open sockets. ``manual_target`` is the number of workers that the operator
    set.
    """

    listeners: Sequence[Listener] = ()
    manual_target: ManualTarget | None = None


NOTHING_INHERITED = InheritedState()
"""The state that the first master of an app gets."""

MAX_DESCRIPTORS = 253
"""The most descriptors that one message can carry: SCM_MAX_FD of the kernel."""


def describe_listeners(listeners: Iterable[Listener]) -> list[dict[str, Any]]:
    """Return address and inode of each listener, as JSON that travels beside the sockets."""
    return [{"address": str(each.address), "inode": each.inode} for each in listeners]


def fetch_listeners(connection: socket.socket) -> list[Listener]:
    """Ask a master for copies of its listeners over its control socket.

    Raises MachineError, RefusedError.
    """
    data, fds = b"", list[int]()
    try:
        connection.sendall(wire.encode_request(HAND_OVER))
        while not data.endswith(b"\n"):
            piece, received, _, _ = socket.recv_fds(connection, 65536, MAX_DESCRIPTORS)
            if not piece:
                raise MachineError(
                    "the master closed the connection before it had sent its sockets"
                )
            data, fds = data + piece, fds + list(received)
    except OSError as error:
        raise MachineError(
            f"cannot get the sockets of the master: {error.strerror or error}"
        ) from error
    answer = wire.decode_answer(data)
    assert isinstance(answer, wire.Result), "hand_over has no intermediate answers"
    return rebuild_listeners(answer.value["listeners"], fds)


def rebuild_listeners(described: Sequence[Any], fds: Sequence[int]) -> list[Listener]:
    """Return the listeners that the descriptors and their descriptions stand for."""
    listeners = []
    for description, fd in zip(described, fds, strict=True):
        os.set_inheritable(fd, False)
        inode = description["inode"]
        address = parse_address(description["address"])
        listeners.append(
            Listener(socket.socket(fileno=fd), address, tuple(inode) if inode else None)
        )
    return listeners
