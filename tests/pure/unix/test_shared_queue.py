"""The queue of open connections that workers share."""

import array
import gc
import os
import resource
import socket
import struct
import warnings
from collections.abc import Callable, Iterator

import pytest

from prefork.http.peer import Addresses
from prefork.unix.shared_queue import (
    VERSION,
    InvalidMessageError,
    SharedConnection,
    SharedQueue,
    unread_bytes,
)

NO_ADDRESSES = Addresses(None, None)


@pytest.fixture
def queue() -> Iterator[SharedQueue]:
    queue = SharedQueue()
    yield queue
    queue.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def opened(shared: SharedConnection) -> socket.socket:
    return socket.socket(fileno=shared.fd)


@pytest.mark.parametrize(
    "addresses",
    [
        NO_ADDRESSES,
        Addresses(("127.0.0.1", 54321), ("127.0.0.1", 80)),
        Addresses(("fe80::1234:5678:9abc:def0%a-long-ifname00", 65535), ("::", 0)),
        Addresses(None, ("198.51.100.1", 443)),
    ],
)
def test_a_connection_keeps_its_family_and_addresses(
    queue: SharedQueue, pair: tuple[socket.socket, socket.socket], addresses: Addresses
) -> None:
    ours, theirs = pair
    theirs.send(b"unread")
    assert queue.put(ours.fileno(), ours.family, addresses)
    ours.close()
    shared = queue.get()
    assert (shared.family, shared.addresses) == (socket.AF_UNIX, addresses)
    assert not os.get_inheritable(shared.fd)
    assert unread_bytes(shared.fd) == 6
    with opened(shared) as taken:
        taken.send(b"answer")
        assert theirs.recv(100) == b"answer"


def test_first_in_first_out_and_each_once(queue: SharedQueue) -> None:
    pairs = [socket.socketpair() for _ in range(5)]
    for number, (ours, _) in enumerate(pairs):
        assert queue.length() == number
        assert queue.put(ours.fileno(), ours.family, NO_ADDRESSES)
        ours.close()
    for left, (_, theirs) in zip(range(4, -1, -1), pairs, strict=True):
        with opened(queue.get()) as taken, theirs:
            assert queue.length() == left
            taken.send(b"!")
            assert theirs.recv(1) == b"!"
    with pytest.raises(BlockingIOError):
        queue.get()


def test_a_full_queue_refuses_connections_and_loses_none(
    queue: SharedQueue, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    given = 0
    while queue.put(ours.fileno(), ours.family, NO_ADDRESSES):
        given += 1
    assert given > 50
    assert queue.length() == given
    theirs.send(b"still here")
    assert ours.recv(100) == b"still here"
    for _ in range(given):
        os.close(queue.get().fd)


def test_a_process_without_a_free_descriptor_leaves_the_connection_in_the_queue(
    queue: SharedQueue, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, _ = pair
    assert queue.put(ours.fileno(), ours.family, NO_ADDRESSES)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            queue.get()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert queue.length() == 1
    os.close(queue.get().fd)


def test_a_closed_queue_refuses_connections(pair: tuple[socket.socket, socket.socket]) -> None:
    queue = SharedQueue()
    queue.close()
    assert not queue.put(pair[0].fileno(), pair[0].family, NO_ADDRESSES)


LAYOUT = "=BxH64sH64sH"
MESSAGE = struct.pack(LAYOUT, VERSION, socket.AF_UNIX, b"", 0, b"", 0)
RIGHTS = (socket.SOL_SOCKET, socket.SCM_RIGHTS)


def send(queue: SharedQueue, data: bytes, *fds: int) -> None:
    """Send a message as a hostile worker does, and close the descriptors that it brings."""
    extra = [(*RIGHTS, array.array("i", fds))] if fds else []
    queue._sender.sendmsg([data], extra)
    for fd in set(fds):
        os.close(fd)


def a_pipe() -> list[int]:
    return list(os.pipe())


def a_connection() -> list[int]:
    ours, theirs = socket.socketpair()
    theirs.detach()
    return [ours.detach()]


@pytest.mark.parametrize(
    ("data", "fds"),
    [
        (b"x", list),
        (b"", list),
        (MESSAGE, list),
        (MESSAGE + b"x", a_connection),
        (MESSAGE[:-1], a_connection),
        (MESSAGE, lambda: a_connection() * 2),
        (MESSAGE, lambda: a_connection() * 200),
        (MESSAGE, lambda: a_pipe()[:1]),
        (MESSAGE, lambda: [os.memfd_create("gift")]),
        (MESSAGE, lambda: [socket.socket(socket.AF_UNIX).detach()]),
        (MESSAGE, lambda: [socket.socketpair(type=socket.SOCK_DGRAM)[0].detach()]),
        (b"\xff" * len(MESSAGE), a_connection),
        (struct.pack(LAYOUT, VERSION, socket.AF_UNIX, b"\xff", 0, b"", 0), a_connection),
        (struct.pack(LAYOUT, VERSION, socket.AF_INET, b"", 0, b"", 0), a_connection),
        (bytes([VERSION + 1]) + MESSAGE[1:], a_connection),
    ],
)
def test_an_invalid_message_is_dropped_with_its_descriptors(
    queue: SharedQueue, data: bytes, fds: Callable[[], list[int]]
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        given = fds()
    send(queue, data, *given)
    gc.collect()
    with pytest.raises(InvalidMessageError):
        queue.get()
    with pytest.raises(BlockingIOError):
        queue.get()
    assert len(os.listdir("/proc/self/fd")) <= before + 1, "the far end of the pair, at most"


def test_credentials_are_not_taken_for_a_descriptor(
    queue: SharedQueue, pair: tuple[socket.socket, socket.socket]
) -> None:
    queue.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    ours, theirs = pair
    own = struct.pack("iII", os.getpid(), os.getuid(), os.getgid())
    queue._sender.sendmsg(
        [MESSAGE],
        [(socket.SOL_SOCKET, 2, own), (*RIGHTS, array.array("i", [ours.fileno()]))],
    )
    ours.close()
    with opened(queue.get()) as taken:
        taken.send(b"!")
        assert theirs.recv(1) == b"!"


def test_no_call_waits_although_a_worker_made_the_queue_block(queue: SharedQueue) -> None:
    for end in (queue.socket, queue._sender):
        os.set_blocking(end.fileno(), True)
    with pytest.raises(BlockingIOError):
        queue.get()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        while queue.put(ours.fileno(), ours.family, NO_ADDRESSES):
            pass
    assert queue.discard_all() > 0


def test_a_queue_that_was_shut_down_raises_broken_pipe(queue: SharedQueue) -> None:
    queue.socket.shutdown(socket.SHUT_RDWR)
    with pytest.raises(BrokenPipeError):
        queue.get()
    assert queue.discard_all() == 0
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert not queue.put(ours.fileno(), ours.family, NO_ADDRESSES)


def test_invalid_messages_do_not_stop_discard_all(queue: SharedQueue) -> None:
    send(queue, b"strange")
    send(queue, MESSAGE, *a_connection())
    assert queue.has_messages()
    assert queue.discard_all() == 1
    assert not queue.has_messages()
