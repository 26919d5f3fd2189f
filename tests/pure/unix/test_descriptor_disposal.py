"""Descriptors that take as long to close as their sender likes: the master never waits for them."""

import os
import socket
from collections.abc import Iterator
from time import monotonic

import pytest

from prefork.unix import descriptor_disposal
from prefork.unix.descriptor_disposal import (
    UnexpectedDescriptorError,
    peek,
    receive_plain,
    run_in_child,
    shutdown_and_close,
)
from prefork.unix.notify import NotifySocket
from prefork.unix.poller import Poller
from tests.hostile.attacks import lingering_socket

SOON = 10.0
"""Seconds; the sockets of these tests would linger for an hour."""

KINDS = [socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM]


@pytest.fixture
def poller() -> Iterator[Poller]:
    poller = Poller()
    yield poller
    descriptor_disposal.wait_for_children()
    poller.close_copy()


@pytest.fixture(autouse=True)
def within_time() -> Iterator[None]:
    began = monotonic()
    yield
    assert monotonic() - began < SOON


def hostile(kind: int, *messages: bytes) -> socket.socket:
    """Return a socket with these messages in its queue, and then one with a socket that lingers."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    with theirs:
        for data in messages:
            theirs.send(data)
        fd = lingering_socket()
        socket.send_fds(theirs, [b"gift"], [fd])
        os.close(fd)  # ours is not the last copy: that is in the queue
    return ours


@pytest.mark.parametrize("kind", KINDS)
def test_a_descriptor_is_noticed_and_not_received(poller: Poller, kind: int) -> None:
    ours = hostile(kind)
    before = os.listdir("/proc/self/fd")
    seen = peek(ours, 100)
    assert (seen.data, seen.has_descriptors) == (b"gift", True)
    with pytest.raises(UnexpectedDescriptorError):
        receive_plain(ours, 100)
    assert os.listdir("/proc/self/fd") == before
    shutdown_and_close(poller, ours)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_packet_before_a_descriptor_is_received(poller: Poller, kind: int) -> None:
    ours = hostile(kind, b"one", b"x" * 5000)
    assert receive_plain(ours, 10_000) == b"one"
    assert receive_plain(ours, 10_000) == b"x" * 5000
    with pytest.raises(UnexpectedDescriptorError):
        receive_plain(ours, 10_000)
    shutdown_and_close(poller, ours)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("before", [(), (b"one",), (b"", b"")])
def test_a_socket_is_closed_whatever_waits_in_its_queue(
    poller: Poller, kind: int, before: tuple[bytes, ...]
) -> None:
    ours = hostile(kind, *before)
    shutdown_and_close(poller, ours)
    assert ours.fileno() == -1


def test_many_sockets_are_closed_by_few_children(poller: Poller) -> None:
    for _ in range(20):
        shutdown_and_close(poller, hostile(socket.SOCK_STREAM))
    assert len(descriptor_disposal._children) == 1
    while descriptor_disposal._children:
        for react in poller.wait(SOON):
            react()
    assert descriptor_disposal._to_close == []


def test_a_packet_that_is_too_long_is_a_value_error() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        theirs.send(b"x" * 101)
        theirs.send(b"y" * 100)
        with pytest.raises(ValueError, match="more than 100 bytes"):
            receive_plain(ours, 100)
        assert receive_plain(ours, 100) == b"y" * 100
        with pytest.raises(BlockingIOError):
            receive_plain(ours, 100)
        theirs.close()
        assert receive_plain(ours, 100) == b""


def test_a_child_whose_job_never_ends_is_killed(
    poller: Poller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descriptor_disposal, "CHILD_TIMEOUT", 0.1)
    ended: list[bool] = []
    run_in_child(poller, lambda: os.read(os.pipe()[0], 1), lambda: ended.append(True))
    (child,) = descriptor_disposal._children
    assert descriptor_disposal.knows_pid(child.pid)
    while not ended:
        for react in poller.wait(SOON):
            react()
    assert not descriptor_disposal.knows_pid(child.pid)


def test_a_notify_message_with_descriptors_is_read_here_and_dropped_in_a_child(
    poller: Poller,
) -> None:
    notify = NotifySocket()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.connect("\0" + notify.address[1:])
        fd = lingering_socket()
        socket.send_fds(end, [b"BARRIER=1"], [fd])
        os.close(fd)
        end.send(b"READY=1")
        assert [notice.data for notice in notify.read()] == [b"BARRIER=1"]
        assert notify.is_paused
        assert list(notify.read()) == []
        gone: list[bool] = []
        run_in_child(poller, notify.discard_next, lambda: gone.append(True))
        while not gone:
            for react in poller.wait(SOON):
                react()
        notify.is_paused = False
        assert [notice.data for notice in notify.read()] == [b"READY=1"]
    notify.hang_up(poller)
