"""Sockets of socket activation are matched to the addresses of bind."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from prefork.config.addresses import Address, InheritedSocket, TcpAddress, parse_address
from prefork.errors import UsageError
from prefork.unix.activation import match_activated


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def tcp(opened: ExitStack, host: str = "127.0.0.1") -> tuple[int, int]:
    """Open a TCP socket; return its descriptor and its port."""
    sock = opened.enter_context(socket.create_server((host, 0)))
    return sock.fileno(), sock.getsockname()[1]


def unix(opened: ExitStack, name: str | Path) -> int:
    sock = opened.enter_context(socket.socket(socket.AF_UNIX))
    sock.bind(str(name))
    sock.listen()
    return sock.fileno()


def match(fds: list[int], *bind: str) -> tuple[Address, ...]:
    return match_activated([parse_address(text) for text in bind], fds)


def refusal(fds: list[int], *bind: str) -> str:
    with pytest.raises(UsageError) as caught:
        match(fds, *bind)
    return str(caught.value)


def test_sockets_take_the_places_of_their_addresses_in_any_order(
    opened: ExitStack, tmp_path: Path
) -> None:
    (one, port), (two, other_port) = tcp(opened), tcp(opened)
    path = unix(opened, tmp_path / "app.sock")
    bind = (f"127.0.0.1:{other_port}", f"unix:{tmp_path}/app.sock,mode=660", f"127.0.0.1:{port}")
    assert match([one, two, path], *bind) == tuple(map(InheritedSocket, (two, path, one)))


def test_a_passed_socket_that_bind_does_not_have_is_refused_with_both_lists(
    opened: ExitStack,
) -> None:
    (one, port), (two, other_port) = tcp(opened), tcp(opened)
    text = refusal([one, two], f"127.0.0.1:{port}", "127.0.0.1:1")
    assert f"systemd passes 127.0.0.1:{other_port} (fd://{two}), and bind has " in text
    assert f"bind has 127.0.0.1:{port}, 127.0.0.1:1;" in text
    assert f"(fd://{one})" not in text, "it has its place"
    assert "bind has no address" in refusal([one])


def test_an_address_that_is_not_passed_stays_for_prefork_to_open(opened: ExitStack) -> None:
    fd, port = tcp(opened)
    bind = (f"127.0.0.1:{port}", "unix:other.sock")
    assert match([fd], *bind) == (InheritedSocket(fd), parse_address("unix:other.sock"))


def test_a_scheme_stays_with_its_socket(opened: ExitStack) -> None:
    fd, port = tcp(opened)
    assert match([fd], f"https://127.0.0.1:{port}") == (InheritedSocket(fd, "https"),)
    assert match([fd], f"fd://{fd},scheme=https") == (InheritedSocket(fd, "https"),)


def test_a_descriptor_of_bind_means_itself_alone(opened: ExitStack) -> None:
    (one, _), (two, _) = tcp(opened), tcp(opened)
    assert match([one, two], f"fd://{two}", f"fd://{one}") == (
        InheritedSocket(two),
        InheritedSocket(one),
    )
    assert f"(fd://{two})" in refusal([one, two], f"fd://{one}")


def test_a_name_means_all_of_its_addresses(opened: ExitStack) -> None:
    fd, port = tcp(opened)
    assert match([fd], f"localhost:{port}") == (InheritedSocket(fd),)
    assert "no.such.host.invalid" in refusal([fd], f"no.such.host.invalid:{port}")


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
def test_a_socket_for_both_families_stands_for_both_wildcards(opened: ExitStack) -> None:
    dual = opened.enter_context(
        socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    )
    fd, port = dual.fileno(), dual.getsockname()[1]
    assert match([fd], f"*:{port}") == (InheritedSocket(fd),)
    assert match([fd], f"*:{port}", f"[::]:{port}") == (InheritedSocket(fd),), "once"
    assert "127.0.0.1" in refusal([fd], f"127.0.0.1:{port}")


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
def test_a_socket_for_ipv6_alone_is_no_wildcard_of_ipv4(opened: ExitStack) -> None:
    only = opened.enter_context(socket.create_server(("::", 0), family=socket.AF_INET6))
    fd, port = only.fileno(), only.getsockname()[1]
    assert match([fd], f"[::]:{port}") == (InheritedSocket(fd),)
    assert f"[::]:{port} (fd://{fd})" in refusal([fd], f"*:{port}")


def test_unix_sockets_are_compared_by_place_and_by_name(opened: ExitStack, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    path = unix(opened, tmp_path / "real" / "app.sock")
    assert match([path], f"unix:{tmp_path}/link/app.sock") == (InheritedSocket(path),)
    name = f"prefork-{tmp_path.name}-{os.getpid()}"
    abstract = unix(opened, f"\0{name}")
    assert match([abstract], f"unix:@{name}") == (InheritedSocket(abstract),)
    assert f"unix:@{name} (fd://{abstract})" in refusal([abstract], f"unix:./@{name}")


def test_what_is_no_stream_socket_is_named(opened: ExitStack) -> None:
    datagrams = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    netlink = opened.enter_context(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))
    reader, writer = os.pipe()
    opened.callback(os.close, reader)
    os.close(writer)
    for fd in (datagrams.fileno(), netlink.fileno(), reader, writer):
        assert f"no stream socket (fd://{fd})" in refusal([fd], "8000")


def test_no_sockets_change_nothing() -> None:
    assert match_activated((TcpAddress("127.0.0.1", 8000),), ()) == (TcpAddress("127.0.0.1", 8000),)
