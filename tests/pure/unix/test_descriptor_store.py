"""Listeners in the descriptor store of systemd: their names, and what comes back."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from prefork.config.addresses import InheritedSocket, parse_address
from prefork.unix.descriptor_store import DescriptorStore, is_stored_name, stored_name
from prefork.unix.listeners import Listener, open_listeners
from prefork.unix.systemd import SystemdNotifier


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def open_at(stack: ExitStack, text: str) -> Listener:
    (listener,) = open_listeners(parse_address(text), 10)
    stack.callback(listener.close)
    return listener


class Manager:
    """The other end of NOTIFY_SOCKET, and a store whose messages come here."""

    def __init__(self, stack: ExitStack, path: Path, limit: str, passed: dict[int, str]) -> None:
        self.socket = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        self.socket.bind(str(path))
        self.socket.settimeout(0)
        self.environ = {"NOTIFY_SOCKET": str(path), "FDSTORE": limit}
        self.store = DescriptorStore(self.environ, SystemdNotifier(self.environ), passed)
        for listener in self.store.taken_over:
            stack.callback(listener.close)

    def heard(self) -> list[tuple[str, int]]:
        """Return the messages since the last call, each with the number of its descriptors."""
        messages = []
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(self.socket, 4096, 10)
            except BlockingIOError:
                return messages
            for fd in fds:
                os.close(fd)
            messages.append((data.decode(), len(fds)))


def stored(name: str) -> tuple[str, int]:
    return f"FDSTORE=1\nFDPOLL=0\nFDNAME={name}", 1


def removed(name: str) -> tuple[str, int]:
    return f"FDSTOREREMOVE=1\nFDNAME={name}", 0


def test_listeners_are_stored_once_and_removed_when_they_close(
    stack: ExitStack, tmp_path: Path
) -> None:
    manager = Manager(stack, tmp_path / "notify", "64", {})
    assert manager.environ == {}
    one, two = open_at(stack, "127.0.0.1:0"), open_at(stack, f"unix:{tmp_path}/a.sock,mode=600")
    names = [stored_name(one), stored_name(two)]
    manager.store.update([one, two])
    assert sorted(manager.heard()) == sorted(map(stored, names))
    manager.store.update([one, two])
    assert manager.heard() == []
    manager.store.update([two])
    assert manager.heard() == [removed(names[0])]


def test_names_are_what_systemd_accepts(stack: ExitStack, tmp_path: Path) -> None:
    for text in ("127.0.0.1:0", f"unix:{tmp_path}/ä %:.sock", f"unix:@{tmp_path}"):
        name = stored_name(open_at(stack, text))
        assert name.isascii()
        assert name.isprintable()
        assert not set(name) & set(": ")
        assert is_stored_name(name)
    for foreign in ("", "prefork.socket", "prefork-web.socket", "prefork@web.socket", "connection"):
        assert not is_stored_name(foreign)


@pytest.mark.parametrize("kind", ["127.0.0.1:0", "localhost:0", "unix:{}/a.sock", "unix:@{}/a"])
def test_a_stored_listener_comes_back_as_it_was(
    stack: ExitStack, tmp_path: Path, kind: str
) -> None:
    before = open_listeners(parse_address(kind.format(tmp_path)), 10)
    for each in before:
        stack.callback(each.close)
    passed = {os.dup(each.socket.fileno()): stored_name(each) for each in before}
    manager = Manager(stack, tmp_path / "notify", "64", passed)
    after = manager.store.taken_over
    assert [(each.address, each.inode) for each in after] == [
        (each.address, each.inode) for each in before
    ]
    assert [each.inode_number for each in after] == [each.inode_number for each in before]
    assert not any(os.get_inheritable(each.socket.fileno()) for each in after)
    manager.store.update(after)
    assert manager.heard() == [], "systemd has them"
    manager.store.update([])
    assert set(manager.heard()) == {removed(name) for name in passed.values()}


def test_sockets_of_activation_are_not_stored(stack: ExitStack, tmp_path: Path) -> None:
    manager = Manager(stack, tmp_path / "notify", "64", {})
    opened = open_at(stack, "127.0.0.1:0")
    manager.store.update([Listener(opened.socket, InheritedSocket(3))])
    assert manager.heard() == []


def test_what_does_not_listen_is_closed_and_removed(stack: ExitStack, tmp_path: Path) -> None:
    deaf = socket.socket().detach()
    listening = open_at(stack, "127.0.0.1:0").socket
    names = {
        deaf: "prefork--127.0.0.1%3A80",
        os.open(os.devnull, os.O_RDONLY): "prefork--127.0.0.1%3A81",
        os.dup(listening.fileno()): "prefork--no%20address",
    }
    manager = Manager(stack, tmp_path / "notify", "64", names)
    assert manager.store.taken_over == []
    for fd in names:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
    manager.store.update([open_at(stack, "127.0.0.1:0")])
    assert {removed(name) for name in names.values()} < set(manager.heard())


@pytest.mark.parametrize("limit", ["", "0", "many", "-1"])
def test_a_service_without_a_store_is_sent_nothing(
    stack: ExitStack, tmp_path: Path, limit: str
) -> None:
    manager = Manager(stack, tmp_path / "notify", limit, {})
    manager.store.update([open_at(stack, "127.0.0.1:0")])
    assert manager.heard() == []


def test_a_name_that_is_too_long_is_not_stored(stack: ExitStack, tmp_path: Path) -> None:
    manager = Manager(stack, tmp_path / "notify", "64", {})
    opened = open_at(stack, "127.0.0.1:0")
    long = parse_address("unix:/" + "%" * 100)
    manager.store.update([Listener(opened.socket, long)])
    assert manager.heard() == []
