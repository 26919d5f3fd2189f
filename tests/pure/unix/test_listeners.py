"""Listening sockets: opened, adopted, refused, handed over and cleaned up."""

import os
import pwd
import socket
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from prefork.config.addresses import InheritedSocket, TcpAddress, UnixAddress, parse_address
from prefork.errors import MachineError, UsageError
from prefork.unix.listen_check import SocketTables, is_listening_at
from prefork.unix.listeners import (
    Listener,
    adopt_inherited_socket,
    check_address,
    kernel_backlog_limit,
    open_listeners,
    update_listener,
)
from tests.pure.children import as_root


@contextmanager
def listening(*addresses: object, backlog: int = 5) -> Iterator[list[Listener]]:
    """Yield the listeners of ``addresses``; close them afterwards as the master does."""
    opened: list[Listener] = []
    try:
        for address in addresses:
            opened += open_listeners(address, backlog)  # type: ignore[arg-type]
        yield opened
    finally:
        for listener in opened:
            listener.close()


def refusal(address: object, kind: type[Exception] = MachineError) -> str:
    with pytest.raises(kind) as caught, listening(address):
        pass
    return str(caught.value)


@pytest.mark.parametrize("place", ["127.0.0.1:0", "unix:{}/web.sock", "unix:@{}"])
def test_an_address_is_checked_without_a_socket_that_listens(tmp_path: Path, place: str) -> None:
    """The error is the one that listening there gives, and no path is made or removed."""
    address = parse_address(place.format(tmp_path))
    check_address(address)
    assert not list(tmp_path.iterdir())
    with listening(address) as (listener,):
        if isinstance(address, TcpAddress):
            address = TcpAddress("127.0.0.1", listener.socket.getsockname()[1])
        told = refusal(address)
        with pytest.raises(MachineError) as caught:
            check_address(address)
        assert str(caught.value) == told
        assert answers(listener.socket)


def test_a_stale_socket_and_an_inherited_one_are_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    check_address(UnixAddress(str(path)))
    assert path.exists()
    check_address(InheritedSocket(99))


def answers(sock: socket.socket) -> bool:
    """Return whether a client can connect to ``sock``."""
    with socket.socket(sock.family, socket.SOCK_STREAM) as client:
        client.settimeout(5)
        client.connect(sock.getsockname())
        accepted, _ = sock.accept()
        accepted.close()
    return True


def test_port_zero_lets_the_kernel_choose_and_the_listener_shows_the_port() -> None:
    with listening(TcpAddress("127.0.0.1", 0)) as (listener,):
        port = listener.socket.getsockname()[1]
        assert port > 0
        assert str(listener) == f"127.0.0.1:{port}"
        assert answers(listener.socket)


def test_a_listener_never_blocks_is_not_inherited_by_programs_and_has_no_delay() -> None:
    with listening(TcpAddress("127.0.0.1", 0)) as (listener,):
        assert listener.socket.getblocking() is False
        assert listener.socket.get_inheritable() is False
        assert listener.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        with pytest.raises(BlockingIOError):
            listener.socket.accept()


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6 loopback")
def test_ipv6_is_listened_on_and_shown_in_brackets() -> None:
    with listening(parse_address("[::1]:0")) as (listener,):
        assert str(listener) == f"[::1]:{listener.socket.getsockname()[1]}"
        assert answers(listener.socket)


def test_a_name_is_listened_on_at_each_of_its_addresses() -> None:
    found = {info[4][0] for info in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
    with listening(TcpAddress("localhost", 0)) as opened:
        names = {listener.socket.getsockname()[0] for listener in opened}
    assert names
    assert names <= found
    assert "127.0.0.1" in names or "127.0.0.1" not in found


def test_a_port_in_use_names_its_user_and_the_next_step() -> None:
    with listening(TcpAddress("127.0.0.1", 0)) as (first,):
        port = first.socket.getsockname()[1]
        message = refusal(TcpAddress("127.0.0.1", port))
    assert message.startswith(f"cannot listen on 127.0.0.1:{port}: the port is in use")
    assert f"by pid {os.getpid()} (" in message
    assert message.endswith("; stop it or choose another port")


def test_a_closed_port_is_free_again_at_once() -> None:
    with listening(TcpAddress("127.0.0.1", 0)) as (first,):
        port = first.socket.getsockname()[1]
        assert answers(first.socket)
    with listening(TcpAddress("127.0.0.1", port)) as (second,):
        assert answers(second.socket)


def test_an_address_of_another_machine_is_refused() -> None:
    # TEST-NET-1, which no machine has (RFC 5737).
    assert refusal(TcpAddress("192.0.2.1", 0)).endswith("this machine has no such address")


@pytest.mark.parametrize("host", ["prefork.invalid", "a..b", "x" * 64])
def test_a_name_that_does_not_resolve_is_a_usage_error(host: str) -> None:
    assert refusal(TcpAddress(host, 80), UsageError).startswith(f"cannot listen on {host}:80: ")


def test_a_unix_socket_gets_the_requested_mode(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with listening(UnixAddress(str(path), 0o640)) as (listener,):
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        assert str(listener) == f"unix:{path}"
        assert answers(listener.socket)
    assert not path.exists()


@as_root
def test_a_unix_socket_gets_the_requested_owner(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    other = pwd.getpwuid(65534)
    with listening(UnixAddress(str(path), None, other.pw_name)):
        assert (path.stat().st_uid, path.stat().st_gid) == (other.pw_uid, os.getegid())
    with listening(UnixAddress(str(path), None, f":{other.pw_gid}")):
        assert (path.stat().st_uid, path.stat().st_gid) == (os.geteuid(), other.pw_gid)


def test_an_owner_that_does_not_exist_leaves_no_socket_behind(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    assert "no user is called" in refusal(UnixAddress(str(path), None, "no-such-user"), UsageError)
    assert not path.exists()


def test_a_stale_unix_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    assert path.is_socket()
    with listening(UnixAddress(str(path))) as (listener,):
        assert answers(listener.socket)


def test_a_live_unix_socket_of_another_server_is_refused_and_stays(tmp_path: Path) -> None:
    address = UnixAddress(str(tmp_path / "app.sock"))
    with listening(address) as (owner,):
        assert "another server is using it; stop that one first" in refusal(address)
        probe, _ = owner.socket.accept()
        probe.close()
        assert answers(owner.socket)


def test_a_unix_socket_whose_backlog_is_full_counts_as_live(tmp_path: Path) -> None:
    address = UnixAddress(str(tmp_path / "app.sock"))
    with listening(address, backlog=1) as (owner,):
        clients = []
        try:
            while True:
                client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
                clients.append(client)
                client.connect(owner.socket.getsockname())
        except BlockingIOError:
            assert "another server is using it" in refusal(address)
        finally:
            for client in clients:
                client.close()


def test_a_path_that_is_no_socket_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    assert "exists and is no socket; remove it" in refusal(UnixAddress(str(path)))
    assert path.read_text() == "data"


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    message = refusal(UnixAddress(str(tmp_path / "missing/app.sock")))
    assert message.endswith("no such file or directory")


def test_a_path_that_is_too_long_is_refused(tmp_path: Path) -> None:
    assert refusal(UnixAddress(str(tmp_path / ("x" * 200)))).endswith("path too long")


def test_a_path_that_another_process_replaced_is_not_removed(tmp_path: Path) -> None:
    address = UnixAddress(str(tmp_path / "app.sock"))
    with listening(address):
        os.unlink(address.path)
        (second,) = open_listeners(address, 5)
    assert answers(second.socket)
    second.close()
    assert not os.path.exists(address.path)


def test_a_path_that_is_gone_already_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with listening(UnixAddress(str(path))):
        path.unlink()
    assert not path.exists()


def test_an_inherited_listener_is_adopted(tmp_path: Path) -> None:
    for family, name in ((socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_UNIX, str(tmp_path / "s"))):
        with socket.socket(family, socket.SOCK_STREAM) as opened:
            opened.bind(name)
            opened.listen()
            fd = os.dup(opened.fileno())
            os.set_inheritable(fd, True)
            with listening(InheritedSocket(fd)) as (listener,):
                assert listener.socket.fileno() == fd
                assert listener.socket.getblocking() is False
                assert os.get_inheritable(fd) is False
                assert answers(listener.socket)
    assert Path(tmp_path / "s").is_socket(), "the process that created the path removes it"


def test_an_inherited_socket_that_is_only_bound_begins_to_listen() -> None:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        with listening(InheritedSocket(os.dup(opened.fileno()))) as (listener,):
            assert answers(listener.socket)


def test_a_descriptor_that_is_no_listening_socket_is_refused_and_stays_open() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        fd = datagrams.fileno()
        message = refusal(InheritedSocket(fd), UsageError)
        assert message == f"cannot listen on fd://{fd}: it is no listening stream socket"
        assert datagrams.getsockname(), "it was not ours to close"
    with socket.socket() as unbound, pytest.raises(UsageError, match="no listening"):
        adopt_inherited_socket(unbound.fileno())


def test_a_descriptor_that_is_no_socket_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        assert "no socket was inherited there" in refusal(
            InheritedSocket(file.fileno()), UsageError
        )
        assert os.fstat(file.fileno())
        closed = os.dup(file.fileno())
        os.close(closed)
    assert "bad file descriptor" in refusal(InheritedSocket(closed), UsageError).lower()


def test_the_kernels_ceiling_for_backlogs_can_be_read() -> None:
    ceiling = kernel_backlog_limit()
    assert ceiling is not None
    assert ceiling >= 1


def abstract(extra: str = "") -> UnixAddress:
    """Return an abstract address that no other process has."""
    return UnixAddress(f"@prefork-{uuid.uuid4()}{extra}")


def test_an_abstract_socket_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    address = abstract()
    with listening(address) as (listener,):
        assert listener.socket.getsockname() == address.bind_name.encode()
        assert str(listener) == str(address) == f"unix:{address.path}"
        assert listener.is_bound_to(parse_address(str(address)))
        assert not listener.is_bound_to(abstract())
        assert not listener.is_bound_to(UnixAddress(f"./{address.path}"))
        assert answers(listener.socket)
        update_listener(listener, address, 7)
    assert list(tmp_path.iterdir()) == []
    with listening(address):
        pass  # it is free again at once


def test_closing_an_abstract_socket_removes_no_file_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    address = abstract()
    (tmp_path / address.path).touch()
    with listening(address):
        pass
    assert (tmp_path / address.path).exists()


def test_an_abstract_name_in_use_is_refused() -> None:
    address = abstract()
    with listening(address):
        message = refusal(address)
    assert message == (
        f"cannot listen on {address}: another process has this name; stop it or choose another name"
    )


def test_an_abstract_name_that_is_too_long_is_refused() -> None:
    assert "too long" in refusal(UnixAddress("@" + "x" * 200))


@pytest.mark.parametrize("name", [b"\0\xff\x1b\n", b"\0padded\0\0"])
def test_an_inherited_abstract_socket_is_shown(name: bytes) -> None:
    unique = b"\0" + uuid.uuid4().hex.encode() + name
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(unique)
        sock.listen()
        listener = adopt_inherited_socket(os.dup(sock.fileno()))
        try:
            text = str(listener)
            assert text.startswith(f"unix:@{uuid.UUID(unique[1:33].decode()).hex}\\x00")
            assert text.isprintable()
        finally:
            listener.close()


def test_a_listening_program_is_found_whatever_names_other_sockets_have(tmp_path: Path) -> None:
    """/proc/net/unix lists the names of all sockets, also those with spaces, line ends and other
    bytes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(b"\0" + uuid.uuid4().bytes + b" \xff\n00 x\n")
        other.listen()
        spaces = UnixAddress(str(tmp_path / "a  b "))
        for address in (abstract(), abstract(" a  b"), spaces):
            assert not is_listening_at(address, [os.getpid()], SocketTables())
            with listening(address):
                assert is_listening_at(address, [os.getpid()], SocketTables()), address
