"""Connections on their way from one worker to another."""

import os
import resource
import socket
from collections.abc import Iterator

import pytest

from prefork.http.peer import Addresses
from prefork.unix.shared_queue import Shared, SharedQueue, unread

NOBODY = Addresses(None, None)


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


def opened(shared: Shared) -> socket.socket:
    return socket.socket(fileno=shared.fd)


@pytest.mark.parametrize(
    "addresses",
    [
        NOBODY,
        Addresses(("127.0.0.1", 54321), ("127.0.0.1", 80)),
        Addresses(("fe80::1234:5678:9abc:def0%a-long-ifname00", 65535), ("::", 0)),
        Addresses(None, ("198.51.100.1", 443)),
    ],
)
def test_what_is_known_of_it_goes_along(
    queue: SharedQueue, pair: tuple[socket.socket, socket.socket], addresses: Addresses
) -> None:
    ours, theirs = pair
    theirs.send(b"unread")
    assert queue.give(ours.fileno(), ours.family, addresses)
    ours.close()
    shared = queue.take()
    assert (shared.family, shared.addresses) == (socket.AF_UNIX, addresses)
    assert not os.get_inheritable(shared.fd)
    assert unread(shared.fd) == 6
    with opened(shared) as taken:
        taken.send(b"answer")
        assert theirs.recv(100) == b"answer"


def test_first_in_first_out_and_each_once(queue: SharedQueue) -> None:
    pairs = [socket.socketpair() for _ in range(5)]
    for number, (ours, _) in enumerate(pairs):
        assert queue.waiting() == number
        assert queue.give(ours.fileno(), ours.family, NOBODY)
        ours.close()
    for left, (_, theirs) in zip(range(4, -1, -1), pairs, strict=True):
        with opened(queue.take()) as taken, theirs:
            assert queue.waiting() == left
            taken.send(b"!")
            assert theirs.recv(1) == b"!"
    with pytest.raises(BlockingIOError):
        queue.take()


def test_a_full_queue_takes_nothing_and_forgets_nothing(
    queue: SharedQueue, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    given = 0
    while queue.give(ours.fileno(), ours.family, NOBODY):
        given += 1
    assert given > 50
    assert queue.waiting() == given
    theirs.send(b"still here")
    assert ours.recv(100) == b"still here"
    for _ in range(given):
        os.close(queue.take().fd)


def test_who_has_no_descriptor_left_leaves_it_to_others(
    queue: SharedQueue, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, _ = pair
    assert queue.give(ours.fileno(), ours.family, NOBODY)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            queue.take()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert queue.waiting() == 1
    os.close(queue.take().fd)


def test_a_closed_queue_takes_nothing(pair: tuple[socket.socket, socket.socket]) -> None:
    queue = SharedQueue()
    queue.close()
    assert not queue.give(pair[0].fileno(), pair[0].family, NOBODY)
