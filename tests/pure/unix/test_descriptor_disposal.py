"""Descriptors that take as long to close as their sender likes: the master never waits for them."""

import os
import socket
from collections.abc import Iterator
from time import monotonic

import pytest

from prefork.unix import descriptor_disposal
from prefork.unix.descriptor_disposal import DescriptorError, close_shut, do_elsewhere, look, take
from prefork.unix.notify import NotifySocket
from prefork.unix.poller import Waiter
from tests.hostile.attacks import lingering

SOON = 10.0
"""Seconds; what lingers here would take an hour."""

KINDS = [socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM]


@pytest.fixture
def waiter() -> Iterator[Waiter]:
    made = Waiter()
    yield made
    descriptor_disposal.wait_for_all()
    made.close_copy()


@pytest.fixture(autouse=True)
def within_time() -> Iterator[None]:
    began = monotonic()
    yield
    assert monotonic() - began < SOON


def hostile(kind: int, *messages: bytes) -> socket.socket:
    """Our end, with these messages in its queue and then one with a socket that lingers."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    with theirs:
        for data in messages:
            theirs.send(data)
        fd = lingering()
        socket.send_fds(theirs, [b"gift"], [fd])
        os.close(fd)  # ours is not the last copy: that is in the queue
    return ours


@pytest.mark.parametrize("kind", KINDS)
def test_a_descriptor_is_seen_and_not_received(waiter: Waiter, kind: int) -> None:
    ours = hostile(kind)
    before = os.listdir("/proc/self/fd")
    seen = look(ours, 100)
    assert (seen.data, seen.has_descriptors) == (b"gift", True)
    with pytest.raises(DescriptorError):
        take(ours, 100)
    assert os.listdir("/proc/self/fd") == before
    close_shut(waiter, ours)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_packet_that_is_before_it_is_taken(waiter: Waiter, kind: int) -> None:
    ours = hostile(kind, b"one", b"x" * 5000)
    assert take(ours, 10_000) == b"one"
    assert take(ours, 10_000) == b"x" * 5000
    with pytest.raises(DescriptorError):
        take(ours, 10_000)
    close_shut(waiter, ours)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("before", [(), (b"one",), (b"", b"")])
def test_a_socket_is_closed_whatever_waits_in_it(
    waiter: Waiter, kind: int, before: tuple[bytes, ...]
) -> None:
    ours = hostile(kind, *before)
    close_shut(waiter, ours)
    assert ours.fileno() == -1


def test_many_are_closed_by_few(waiter: Waiter) -> None:
    for _ in range(20):
        close_shut(waiter, hostile(socket.SOCK_STREAM))
    assert len(descriptor_disposal._children) == 1
    while descriptor_disposal._children:
        for react in waiter.wait(SOON):
            react()
    assert descriptor_disposal._ends == []


def test_a_packet_that_is_too_long_is_a_value_error() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        theirs.send(b"x" * 101)
        theirs.send(b"y" * 100)
        with pytest.raises(ValueError, match="more than 100 bytes"):
            take(ours, 100)
        assert take(ours, 100) == b"y" * 100
        with pytest.raises(BlockingIOError):
            take(ours, 100)
        theirs.close()
        assert take(ours, 100) == b""


def test_a_job_that_never_ends_is_ended(waiter: Waiter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptor_disposal, "PATIENCE", 0.1)
    ended: list[bool] = []
    do_elsewhere(waiter, lambda: os.read(os.pipe()[0], 1), lambda: ended.append(True))
    (child,) = descriptor_disposal._children
    assert descriptor_disposal.knows_pid(child.pid)
    while not ended:
        for react in waiter.wait(SOON):
            react()
    assert not descriptor_disposal.knows_pid(child.pid)


def test_a_notice_with_descriptors_is_read_here_and_taken_elsewhere(waiter: Waiter) -> None:
    notify = NotifySocket()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.connect("\0" + notify.address[1:])
        fd = lingering()
        socket.send_fds(end, [b"BARRIER=1"], [fd])
        os.close(fd)
        end.send(b"READY=1")
        assert [notice.data for notice in notify.read()] == [b"BARRIER=1"]
        assert notify.is_held
        assert list(notify.read()) == []
        gone: list[bool] = []
        do_elsewhere(waiter, notify.drop, lambda: gone.append(True))
        while not gone:
            for react in waiter.wait(SOON):
                react()
        notify.is_held = False
        assert [notice.data for notice in notify.read()] == [b"READY=1"]
    notify.hang_up(waiter)
