"""Listening sockets: opened, adopted, refused, taken over and cleaned up."""

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
from prefork.unix.listen_check import is_program_listening
from prefork.unix.listeners import (
    Listener,
    adopt_inherited_socket,
    kernel_backlog_limit,
    open_listeners,
    update_listener,
)
from tests.pure.children import as_root


@contextmanager
def listening(*addresses: object, backlog: int = 5) -> Iterator[list[Listener]]:
    """The listeners of ``addresses``, closed at the end as the master does."""
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


def answers(sock: socket.socket) -> bool:
    """Whether a client reaches ``sock``."""
    with socket.socket(sock.family, socket.SOCK_STREAM) as client:
        client.settimeout(5)
        client.connect(sock.getsockname())
        accepted, _ = sock.accept()
        accepted.close()
    return True


def test_port_zero_lets_the_kernel_choose_and_the_listener_says_which() -> None:
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
        told = refusal(TcpAddress("127.0.0.1", port))
    assert told.startswith(f"cannot listen on 127.0.0.1:{port}: the port is in use")
    assert f"by pid {os.getpid()} (" in told
    assert told.endswith("; stop it or choose another port")


def test_a_closed_port_is_free_again_at_once() -> None:
    with listening(TcpAddress("127.0.0.1", 0)) as (first,):
        port = first.socket.getsockname()[1]
        assert answers(first.socket)
    with listening(TcpAddress("127.0.0.1", port)) as (second,):
        assert answers(second.socket)


def test_an_address_of_another_machine_is_refused() -> None:
    # TEST-NET-1, which nobody has (RFC 5737).
    assert refusal(TcpAddress("192.0.2.1", 0)).endswith("this machine has no such address")


@pytest.mark.parametrize("host", ["prefork.invalid", "a..b", "x" * 64])
def test_a_name_that_does_not_resolve_is_a_mistake_of_the_caller(host: str) -> None:
    assert refusal(TcpAddress(host, 80), UsageError).startswith(f"cannot listen on {host}:80: ")


def test_a_unix_socket_is_made_with_the_mode_that_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with listening(UnixAddress(str(path), 0o640)) as (listener,):
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        assert str(listener) == f"unix:{path}"
        assert answers(listener.socket)
    assert not path.exists()


@as_root
def test_a_unix_socket_is_given_to_the_owner_that_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    nobody = pwd.getpwnam("nobody")
    with listening(UnixAddress(str(path), None, "nobody")):
        assert (path.stat().st_uid, path.stat().st_gid) == (nobody.pw_uid, os.getegid())
    with listening(UnixAddress(str(path), None, f":{nobody.pw_gid}")):
        assert (path.stat().st_uid, path.stat().st_gid) == (os.geteuid(), nobody.pw_gid)


def test_an_owner_that_does_not_exist_leaves_no_socket_behind(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    assert "no user is called" in refusal(UnixAddress(str(path), None, "no-such-user"), UsageError)
    assert not path.exists()


def test_a_stale_unix_socket_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    assert path.is_socket()
    with listening(UnixAddress(str(path))) as (listener,):
        assert answers(listener.socket)


def test_a_live_unix_socket_is_refused_and_left_to_its_owner(tmp_path: Path) -> None:
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


def test_a_folder_that_does_not_exist_is_told(tmp_path: Path) -> None:
    told = refusal(UnixAddress(str(tmp_path / "missing/app.sock")))
    assert told.endswith("no such file or directory")


def test_a_path_that_is_too_long_is_told(tmp_path: Path) -> None:
    assert refusal(UnixAddress(str(tmp_path / ("x" * 200)))).endswith("path too long")


def test_a_path_is_not_removed_when_it_is_somebody_elses_by_now(tmp_path: Path) -> None:
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
    assert Path(tmp_path / "s").is_socket(), "whoever made the path removes it"


def test_an_inherited_socket_that_is_only_bound_begins_to_listen() -> None:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        with listening(InheritedSocket(os.dup(opened.fileno()))) as (listener,):
            assert answers(listener.socket)


def test_a_descriptor_that_is_no_listening_socket_is_refused_and_stays_open() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        fd = datagrams.fileno()
        told = refusal(InheritedSocket(fd), UsageError)
        assert told == f"cannot listen on fd://{fd}: it is no listening stream socket"
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
    """A name that no other process has."""
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
        said = refusal(address)
    assert said == (
        f"cannot listen on {address}: another process has this name; stop it or choose another name"
    )


def test_an_abstract_name_that_is_too_long_is_told() -> None:
    assert "too long" in refusal(UnixAddress("@" + "x" * 200))


@pytest.mark.parametrize("name", [b"\0\xff\x1b\n", b"\0padded\0\0"])
def test_an_inherited_abstract_socket_is_shown(name: bytes) -> None:
    unique = b"\0" + uuid.uuid4().hex.encode() + name
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(unique)
        sock.listen()
        listener = adopt_inherited_socket(os.dup(sock.fileno()))
        try:
            shown = str(listener)
            assert shown.startswith(f"unix:@{uuid.UUID(unique[1:33].decode()).hex}\\x00")
            assert shown.isprintable()
        finally:
            listener.close()


def test_who_listens_is_told_whatever_names_others_have(tmp_path: Path) -> None:
    """/proc/net/unix has the names of all, also those with spaces, line ends and no UTF-8."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(b"\0" + uuid.uuid4().bytes + b" \xff\n00 x\n")
        other.listen()
        spaces = UnixAddress(str(tmp_path / "a  b "))
        for address in (abstract(), abstract(" a  b"), spaces):
            assert not is_program_listening(address, os.getpid())
            with listening(address):
                assert is_program_listening(address, os.getpid()), address
