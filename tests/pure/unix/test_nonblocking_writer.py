"""Writing without waiting for a reader, on real descriptors of each kind."""

import os
import pty
import socket
import tty
from collections.abc import Iterator
from contextlib import suppress

import pytest

from prefork.unix.nonblocking_writer import (
    NonblockingWriter,
    reopen_nonblocking,
    write_with_timeout,
)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for fd in (reader, writer):
        with suppress(OSError):
            os.close(fd)


def fill(target: NonblockingWriter) -> int:
    """Write until there is no room; return how many bytes were taken."""
    taken = 0
    try:
        while True:
            taken += target.write(b"x" * 4096)
    except BlockingIOError:
        return taken


def test_a_reopened_pipe_does_not_block_while_the_original_description_does(
    pipe: tuple[int, int],
) -> None:
    reader, writer = pipe
    private = reopen_nonblocking(writer)
    try:
        assert (os.get_blocking(private), os.get_blocking(writer)) == (False, True)
        assert not os.get_inheritable(private)
        target = NonblockingWriter(private)
        assert target.is_pipe
        assert fill(target) == 65536
        assert not target.wait_writable(0.0)
        os.read(reader, 4096)
        assert target.wait_writable(None)
        assert target.write(b"more") == 4
    finally:
        os.close(private)


def test_a_pipe_that_blocks_is_filled_by_splice(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    target = NonblockingWriter(writer)
    assert fill(target) == 65536
    assert os.get_blocking(writer)
    assert os.read(reader, 4096) == b"x" * 4096
    assert target.write(b"line\n") == 5
    assert os.read(reader, 100_000).endswith(b"xline\n")


def test_a_pipe_without_a_reader_raises_at_once(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.close(reader)
    private = reopen_nonblocking(writer)  # ENXIO: it is a copy that shares the description
    try:
        with pytest.raises(BrokenPipeError):
            NonblockingWriter(private).write(b"x")
        assert write_with_timeout(private, b"x", 5.0) == 0
    finally:
        os.close(private)


def test_a_socket_is_written_with_msg_dontwait() -> None:
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, its:
        private = reopen_nonblocking(its.fileno())
        try:
            target = NonblockingWriter(private)
            assert fill(target) > 65536
            assert os.get_blocking(its.fileno())
            assert ours.recv(10) == b"x" * 10
            ours.close()
            with pytest.raises(OSError, match=r"Broken pipe|reset"):
                target.write(b"x")
        finally:
            os.close(private)


@pytest.mark.parametrize("is_private", [True, False])
def test_a_terminal_is_written_without_waiting(is_private: bool) -> None:
    ours, its = pty.openpty()
    tty.setraw(its)
    fd = reopen_nonblocking(its) if is_private else os.dup(its)
    try:
        assert os.get_blocking(fd) is not is_private
        assert os.get_blocking(its)
        assert write_with_timeout(fd, b"a line that is longer than one small piece" * 3) == 126
        assert os.read(ours, 4096).startswith(b"a line")
        if is_private:
            assert fill(NonblockingWriter(fd)) > 0
    finally:
        for each in (fd, ours, its):
            os.close(each)


def test_a_regular_file_keeps_its_offset_and_is_written_directly(tmp_path: object) -> None:
    path = f"{tmp_path}/file"
    with open(path, "wb") as file:
        os.write(file.fileno(), b"one\n")
        private = reopen_nonblocking(file.fileno())
        NonblockingWriter(private).write(b"two\n")
        os.close(private)
        os.write(file.fileno(), b"three\n")
    with open(path, "rb") as file:
        assert file.read() == b"one\ntwo\nthree\n"


def test_a_full_disk_and_a_closed_descriptor_are_errors() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    target = NonblockingWriter(full)
    with pytest.raises(OSError, match="No space"):
        target.write(b"x")
    os.close(full)
    target.refresh()
    with pytest.raises(OSError, match="Bad file"):
        target.write(b"x")
    with pytest.raises(OSError, match="Bad file"):
        reopen_nonblocking(full)


def test_write_with_timeout_drops_what_finds_no_room(pipe: tuple[int, int]) -> None:
    _, writer = pipe
    assert write_with_timeout(writer, b"x" * 70_000, 0.01) == 65536


def test_another_file_may_take_the_place_of_a_descriptor(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    fd = os.open(os.devnull, os.O_WRONLY)
    target = NonblockingWriter(fd)
    assert not target.is_pipe
    os.dup2(writer, fd)
    target.refresh()
    assert target.is_pipe
    fill(target)
    assert os.read(reader, 10) == b"x" * 10
    os.close(fd)
