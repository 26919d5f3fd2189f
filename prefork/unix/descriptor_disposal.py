"""Descriptors that hostile processes send: how to be rid of them without ever waiting for them.

A descriptor that arrives on a unix socket is closed at the latest when its message is dropped, and
a close can take as long as its sender likes: a TCP socket with SO_LINGER and a peer that reads
nothing blocks the process that closes the last copy of it (socket(7)), also if that process never
accepted it: a receive without room for it, or the close of the unix socket in whose queue it waits,
is enough. O_NONBLOCK changes nothing. systemd forks for the same reason (asynchronous_close).

A process that exits does not linger. So the master never receives a descriptor: it looks at a
message first (MSG_PEEK, which only borrows), and lets a child take, close and exit. The child ends
by itself, at the latest when its alarm kills it.
"""

import os
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prefork.errors import MachineError
from prefork.plural import pluralize
from prefork.unix.poller import Poller
from prefork.unix.process import Child, fork

CHILD_TIMEOUT = 1.0
"""Seconds after which the child is killed by its alarm."""

MAX_QUEUED = 512
"""Messages that fit into the queue of a unix socket: each takes 768 bytes of net.core.wmem_max at
least, which is 208 KB. With more of them in it the socket is closed elsewhere."""

_READ_SIZE = 65536

_children: set[Child] = set()
_to_close: list[socket.socket] = []
"""To be closed elsewhere; those at its beginning are, by the child that there is."""


@dataclass(frozen=True, slots=True)
class PeekedMessage:
    """The next message in the queue of a socket, or what a stream has, which is still in there.
    ``extra``: its control messages, as recvmsg tells them."""

    data: bytes
    extra: Sequence[tuple[int, int, bytes]]
    has_descriptors: bool
    is_truncated: bool
    """It is a packet that is longer than we wanted to see."""


class UnexpectedDescriptorError(ValueError):
    """A message brings descriptors where none belong."""

    def __init__(self) -> None:
        super().__init__("descriptors came with a message, where none belong")


def peek(end: socket.socket, size: int, room: int = 0) -> PeekedMessage:
    """``room``: bytes for the control messages that are expected.

    Raises OSError; BlockingIOError when there is nothing.
    """
    data, extra, flags, _ = end.recvmsg(size, room, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    cut = bool(flags & socket.MSG_TRUNC)
    return PeekedMessage(data, extra, bool(flags & socket.MSG_CTRUNC), cut)


def receive_plain(end: socket.socket, size: int, room: int = 0) -> bytes:
    """The next packet, or what a stream has, at most ``size`` bytes; empty at the end of file.

    Raises OSError; BlockingIOError when there is nothing; DescriptorError, and the socket is to be
    closed by ``close_shut`` then; ValueError for a packet that is too long.
    """
    seen = peek(end, size, room)
    if seen.has_descriptors:
        raise UnexpectedDescriptorError
    # As many bytes as were seen: what came behind them meanwhile may bring descriptors.
    data = end.recv(len(seen.data) or 1, socket.MSG_DONTWAIT)
    if seen.is_truncated:
        raise ValueError(f"a message of more than {pluralize(size, 'byte')}")
    return data


def run_in_child(
    poller: Poller, job: Callable[[], object], after: Callable[[], object] = lambda: None
) -> None:
    """Run ``job`` in a child, and ``after`` here when that has ended; at once if there is no child
    to be had: then the job is not done."""

    def child_main() -> int:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
        signal.setitimer(signal.ITIMER_REAL, CHILD_TIMEOUT)
        job()
        os._exit(0)  # nothing of the master's is to be run at this exit

    try:
        child = fork(child_main)
    except MachineError:
        after()
        return
    _children.add(child)

    def on_end() -> None:
        poller.remove(child.pidfd)
        _reap(child)
        after()

    poller.add_reader(child.pidfd, on_end)


def close_in_child(poller: Poller, end: socket.socket) -> None:
    """Close a socket in whose queue descriptors may wait: a child has a copy of it, and exits when
    ours is closed, so that its copy is the last.

    One child at a time, for all that came meanwhile: a client may come again and again.
    """
    _to_close.append(end)
    if len(_to_close) == 1:
        _close_all(poller)


def _close_all(poller: Poller) -> None:
    """All that are to be closed by now; those that come before the child has ended wait for the
    next one. The first in the list stands for the child."""
    closing = list(_to_close)
    try:
        reader, writer = os.pipe2(os.O_CLOEXEC)
    except OSError:  # out of descriptors: these are some
        _to_close.clear()
        for end in closing:
            end.close()
        return

    def hold() -> None:
        os.close(writer)
        os.read(reader, 1)

    def on_end() -> None:
        del _to_close[: len(closing)]
        if _to_close:
            _close_all(poller)

    run_in_child(poller, hold, on_end)
    for end in closing:
        end.close()
    os.close(reader)
    os.close(writer)


def shutdown_and_close(poller: Poller, end: socket.socket, room: int = 0) -> None:
    """Close a unix socket that does not listen: here, if no descriptor waits in its queue, else
    elsewhere. ``room`` as for ``look``."""
    try:
        end.shutdown(socket.SHUT_RDWR)  # from now on nothing more comes
        has_descriptors = _queue_has_descriptors(end, room)
    except OSError:
        has_descriptors = False  # it is not connected any more, and what was in it is gone
    if has_descriptors:
        close_in_child(poller, end)
    else:
        end.close()


def _queue_has_descriptors(end: socket.socket, room: int) -> bool:
    """Whether something in its queue brings some, or there is more than we look at. Takes what is
    before it.

    An empty packet looks like the end of file, so there we look on as often as there can be
    packets. Raises OSError.
    """
    for _ in range(MAX_QUEUED):
        try:
            if not receive_plain(end, _READ_SIZE, room) and end.type == socket.SOCK_STREAM:
                return False
        except UnexpectedDescriptorError:
            return True
        except BlockingIOError:
            return False
        except ValueError:
            pass  # a long packet
    return bool(peek(end, 1).data)


def wait_for_children() -> None:
    """At the end of the master: leave none of those children behind. What is still to be closed is
    left to our own exit, which does not linger either."""
    for child in list(_children):
        child.wait_for_exit(CHILD_TIMEOUT)
        _reap(child)
    while _to_close:
        _to_close.pop().detach()


def is_own_child(pid: int) -> bool:
    """Whether it is one of them."""
    return any(child.pid == pid for child in _children)


def _reap(child: Child) -> None:
    if child in _children:
        _children.remove(child)
        child.reap()
