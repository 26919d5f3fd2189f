"""Get rid of descriptors that hostile processes send, without waiting for them to close.

A descriptor that arrives on a unix socket is closed at the latest when its message is dropped, and
a close can take as long as its sender likes: a TCP socket with SO_LINGER whose peer reads nothing
blocks the process that closes the last copy (socket(7)). This holds for a process that never
received the descriptor, too: a receive without room for it, or the close of the unix socket in
whose queue it waits, is enough. O_NONBLOCK changes nothing.

Design
------
- **The master receives no descriptor.** Otherwise any child could stop it. It looks at a message
  first (MSG_PEEK, which only borrows), and a child of the master takes what brings descriptors,
  then exits, because an exit does not linger. The child ends by itself, at the latest when its
  alarm kills it.
- Precedent: systemd forks for the same reason (asynchronous_close). Rejected: forbidding
  descriptors (SO_PASSRIGHTS) takes Linux 6.16.
- ``scripts/hostile`` measures how long a ping takes while a child of another user attacks over
  every channel; tests/live/test_hostile_children.py runs the same attacks for a moment each.
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
"""Seconds after which its alarm kills the child."""

MAX_QUEUED = 512
"""The number of messages that fit into the queue of a unix socket: each takes at least 768 bytes of
net.core.wmem_max, which is 208 KB. A socket with more of them is closed in a child."""

_READ_SIZE = 65536

_children: set[Child] = set()
"""Children that were forked here and not reaped yet."""
_to_close: list[socket.socket] = []
"""Sockets that a child has to close; the running child closes those at the beginning of the
list."""


@dataclass(frozen=True, slots=True)
class PeekedMessage:
    """The next message of a socket, or the bytes of a stream, which stay in the queue.

    ``extra``: its control messages, as recvmsg(2) returns them.
    """

    data: bytes
    extra: Sequence[tuple[int, int, bytes]]
    has_descriptors: bool
    is_truncated: bool
    """True for a packet that is longer than the size that was asked for."""


class UnexpectedDescriptorError(ValueError):
    """A message brings descriptors over a channel that carries none."""

    def __init__(self) -> None:
        super().__init__("a message brought descriptors over a channel that carries none")


def peek(end: socket.socket, size: int, control_size: int = 0) -> PeekedMessage:
    """Look at the next message without taking it out of the queue.

    ``size``: bytes of data to see at most. ``control_size``: bytes for the control messages that
    are expected; descriptors do not fit and stay in the queue. Raises OSError; BlockingIOError when
    there is no message.
    """
    data, extra, flags, _ = end.recvmsg(size, control_size, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    cut = bool(flags & socket.MSG_TRUNC)
    return PeekedMessage(data, extra, bool(flags & socket.MSG_CTRUNC), cut)


def receive_plain(end: socket.socket, size: int, control_size: int = 0) -> bytes:
    """Receive the next packet, or up to ``size`` bytes of a stream; b"" at the end of file.

    Raises OSError; BlockingIOError when there is nothing; UnexpectedDescriptorError, after which
    the socket has to be closed by ``shutdown_and_close``; ValueError for a packet that is too long,
    which is dropped.
    """
    seen = peek(end, size, control_size)
    if seen.has_descriptors:
        raise UnexpectedDescriptorError
    # Receive as many bytes as were seen: bytes that arrived since may bring descriptors.
    data = end.recv(len(seen.data) or 1, socket.MSG_DONTWAIT)
    if seen.is_truncated:
        raise ValueError(f"a message of more than {pluralize(size, 'byte')}")
    return data


def run_in_child(
    poller: Poller, job: Callable[[], object], after: Callable[[], object] = lambda: None
) -> None:
    """Run ``job`` in a child process, and call ``after`` in this one when the child has ended.

    The child is killed after CHILD_TIMEOUT seconds. When no child can be forked, ``after`` is
    called at once and the job is not done.
    """

    def child_main() -> int:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
        signal.setitimer(signal.ITIMER_REAL, CHILD_TIMEOUT)
        job()
        os._exit(0)  # without the master's exit handlers

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
    """Close a socket in whose queue descriptors may wait, so that a child closes the last copy.

    The child has a copy of the socket and exits once ours is closed. There is one child at a time,
    for all sockets that came meanwhile, because a client may connect again and again.
    """
    _to_close.append(end)
    if len(_to_close) == 1:
        _close_all(poller)


def _close_all(poller: Poller) -> None:
    """Fork a child that closes all sockets of the list; later ones wait for the next child.

    The first socket in the list also stands for the running child.
    """
    closing = list(_to_close)
    try:
        reader, writer = os.pipe2(os.O_CLOEXEC)
    except OSError:  # out of descriptors: closing these frees some
        _to_close.clear()
        for end in closing:
            end.close()
        return

    # The child holds copies of the sockets until the end of file on this pipe, which comes when
    # the parent has closed its own copies and the pipe.
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


def shutdown_and_close(poller: Poller, end: socket.socket, control_size: int = 0) -> None:
    """Close a connected unix socket, in a child process if a descriptor waits in its queue.

    ``control_size`` as for ``peek``.
    """
    try:
        end.shutdown(socket.SHUT_RDWR)  # nothing more arrives from now on
        has_descriptors = _queue_has_descriptors(end, control_size)
    except OSError:
        has_descriptors = False  # the socket is not connected any more, and its queue is gone
    if has_descriptors:
        close_in_child(poller, end)
    else:
        end.close()


def _queue_has_descriptors(end: socket.socket, control_size: int) -> bool:
    """Read the queue of ``end`` until a message brings descriptors; return whether one does.

    A queue of more messages than MAX_QUEUED counts as well. An empty packet looks like the end of
    file, so the loop goes on as often as there can be packets. Raises OSError.
    """
    for _ in range(MAX_QUEUED):
        try:
            if not receive_plain(end, _READ_SIZE, control_size) and end.type == socket.SOCK_STREAM:
                return False
        except UnexpectedDescriptorError:
            return True
        except BlockingIOError:
            return False
        except ValueError:
            pass  # the packet was too long and is dropped
    return bool(peek(end, 1).data)


def wait_for_children() -> None:
    """Wait for all children of this module; to be called at the end of the master.

    Sockets that still have to be closed are left to the master's exit, which does not linger
    either.
    """
    for child in list(_children):
        child.wait_for_exit(CHILD_TIMEOUT)
        _reap(child)
    while _to_close:
        _to_close.pop().detach()


def knows_pid(pid: int) -> bool:
    """Return whether ``pid`` is a child that this module forked."""
    return any(child.pid == pid for child in _children)


def _reap(child: Child) -> None:
    if child in _children:
        _children.remove(child)
        child.reap()
