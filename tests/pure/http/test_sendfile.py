"""Files as bodies of responses: by sendfile(2) over a socket, read in pieces elsewhere."""

import os
import socket
from pathlib import Path

import pytest

from prefork.http.limits import Limits
from tests.pure.http.asgi_server import (
    App,
    AsgiServer,
    Event,
    anonymous_tls,
    read_response,
    request,
    sending,
    serving,
    start,
)
from tests.pure.http.socket_server import SocketServer

MAX_READ_SIZE = 64 * 1024
"""Bytes up to which a file leaves in one write with the head."""

MAX_SENDFILE_SIZE = 1024 * 1024
"""Bytes that one call of sendfile(2) sends at the most."""

SIZES = [0, 1, MAX_READ_SIZE, MAX_READ_SIZE + 1, 3 * MAX_SENDFILE_SIZE + 5]
LARGE = 2 * MAX_SENDFILE_SIZE
CLOSE = (b"connection", b"close")


def path_event(path: Path | str) -> Event:
    return {"type": "http.response.pathsend", "path": str(path)}


def write(folder: Path, size: int) -> Path:
    """Write a file of random bytes and return its path."""
    path = folder / "file"
    path.write_bytes(os.urandom(size))
    return path


def sending_file(path: Path | str, *fields: tuple[bytes, bytes], trailers: bool = False) -> App:
    return sending(start(200, *fields, trailers=trailers), path_event(path))


# By sendfile.


@pytest.mark.parametrize("size", SIZES)
def test_a_client_gets_the_whole_file(tmp_path: Path, size: int) -> None:
    path = write(tmp_path, size)
    with SocketServer(sending_file(path, CLOSE)) as server:
        client = server.connect_socket().send(request())
        assert client.read_until_ended() == path.read_bytes()
        assert b"\r\nContent-Length: %d\r\n" % size in client.out


def test_a_connection_goes_on_after_a_file(tmp_path: Path) -> None:
    path = write(tmp_path, LARGE)
    with SocketServer(sending_file(path)) as server:
        client = server.connect_socket()
        for number in range(1, 4):
            client.send(request())
            client.run_until(lambda n=number: client.out.count(path.read_bytes()) == n, reads=True)
        assert client.out.count(b"HTTP/1.1 200 OK") == 3


def test_a_slow_client_gets_the_file_as_it_reads(tmp_path: Path) -> None:
    path = write(tmp_path, LARGE)
    with SocketServer(sending_file(path, CLOSE), Limits(send_timeout=8)) as server:
        client = server.connect_socket().send(request())
        while not client.has_ended:
            for _ in range(10):
                server.run_turn()
            assert client.read(100_000) or client.has_ended
            server.loop.ahead += 4
            server.run(server.state.tick)
        assert client.out.endswith(path.read_bytes())


def test_a_client_that_takes_nothing_is_cut_off(tmp_path: Path) -> None:
    path = write(tmp_path, LARGE)
    with SocketServer(sending_file(path), Limits(send_timeout=8)) as server:
        client = server.connect_socket().send(request())
        client.run_until(client.has_full_buffer)
        server.pass_time(10)
        assert len(client.read_until_ended()) < LARGE
        assert not server.state.connections


@pytest.mark.parametrize("closes", [True, False], ids=["closes", "stops reading"])
def test_a_client_that_leaves_ends_the_transfer(tmp_path: Path, closes: bool) -> None:
    path = write(tmp_path, LARGE)
    with SocketServer(sending_file(path)) as server:
        client = server.connect_socket().send(request())
        client.run_until(client.has_full_buffer)
        client.read()
        if closes:
            client.close()
        else:
            client.socket.shutdown(socket.SHUT_RD)
        client.run_until(lambda: not server.state.connections)
        assert not server.handler.running


def test_a_file_that_shrinks_meanwhile_is_cut_off(tmp_path: Path) -> None:
    path = write(tmp_path, LARGE)
    with SocketServer(sending_file(path)) as server:
        client = server.connect_socket().send(request())
        client.run_until(client.has_full_buffer)
        os.truncate(path, MAX_READ_SIZE)
        assert len(client.read_until_ended()) < LARGE


def test_what_was_written_before_the_file_is_sent_before_it(tmp_path: Path) -> None:
    """The head does not fit into the kernel's buffer."""
    path = write(tmp_path, LARGE)
    large_field = (b"x-large", b"x" * 1_000_000)
    with SocketServer(sending_file(path, CLOSE, large_field)) as server:
        client = server.connect_socket().send(request())
        assert client.read_until_ended() == path.read_bytes()
        other = server.connect_socket().send(request())
        other.run_until(other.has_full_buffer)
        other.close()
        other.run_until(lambda: not server.handler.running)


# In pieces.


@pytest.mark.parametrize("size", SIZES)
def test_over_tls_the_file_is_read_and_sent_in_pieces(tmp_path: Path, size: int) -> None:
    path = write(tmp_path, size)
    with AsgiServer(sending_file(path)) as server:
        client = server.connect(tls=anonymous_tls()).send(request())
        response = read_response(client)
        assert response.body == path.read_bytes()
        assert response.fields == {b"content-length": b"%d" % size}


@pytest.mark.parametrize("size", SIZES)
def test_with_trailers_the_file_is_chunked(tmp_path: Path, size: int) -> None:
    path = write(tmp_path, size)
    begin = start(200, (b"trailer", b"x-sum"), trailers=True)
    trailers = {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]}
    app = sending(begin, path_event(path), trailers)
    with serving(app, request(b"/", b"TE: trailers")) as client:
        response = read_response(client)
        assert response.body == path.read_bytes()
        assert response.trailers == ((b"x-sum", b"1"),)


def test_in_pieces_a_slow_client_is_waited_for(tmp_path: Path) -> None:
    path = write(tmp_path, LARGE)
    with AsgiServer(sending_file(path)) as server:
        client = server.connect(swallows=100_000, tls=anonymous_tls()).send(request())
        assert len(client.transport.out) < 200_000
        client.catch_up()
        assert read_response(client).body == path.read_bytes()


def test_a_file_that_shrinks_while_it_is_sent_in_pieces_is_cut_off(tmp_path: Path) -> None:
    path = write(tmp_path, LARGE)
    with AsgiServer(sending_file(path)) as server:
        client = server.connect(swallows=100_000, tls=anonymous_tls()).send(request())
        os.truncate(path, MAX_READ_SIZE)
        assert client.catch_up().was_reset


# How much of it.


@pytest.mark.parametrize("size", [10, LARGE])
def test_no_more_is_sent_than_the_apps_length(tmp_path: Path, size: int) -> None:
    path = write(tmp_path, size)
    app = sending_file(path, (b"content-length", b"5"))
    with serving(app) as client:
        assert read_response(client).body == path.read_bytes()[:5]
        assert not client.closed


def test_a_file_that_is_shorter_than_the_apps_length_is_a_500(tmp_path: Path) -> None:
    app = sending_file(write(tmp_path, 4), (b"content-length", b"5"))
    with serving(app) as client:
        assert read_response(client).status == 500


@pytest.mark.parametrize("size", SIZES)
def test_a_response_to_head_has_the_length_of_the_file(tmp_path: Path, size: int) -> None:
    with serving(sending_file(write(tmp_path, size)), request(method=b"HEAD")) as client:
        response = read_response(client, b"HEAD")
        assert response.fields == {b"content-length": b"%d" % size}
        assert not client.closed


@pytest.mark.parametrize("path", ["/no/such/file", "/dev/null", "/"])
def test_what_is_no_regular_file_is_a_500(path: str) -> None:
    with serving(sending_file(path)) as client:
        assert read_response(client).status == 500


# Files below /proc do not tell their size.

PROC = "/proc/self/limits"


def test_a_file_that_does_not_tell_its_size_is_sent_to_its_end() -> None:
    with serving(sending_file(PROC)) as client:
        response = read_response(client)
        assert response.fields == {b"transfer-encoding": b"chunked"}
        assert response.body == Path(PROC).read_bytes()


def test_a_file_that_does_not_tell_its_size_is_sent_up_to_the_apps_length() -> None:
    with serving(sending_file(PROC, (b"content-length", b"5"))) as client:
        assert read_response(client).body == Path(PROC).read_bytes()[:5]
    with serving(sending_file(PROC), request(method=b"HEAD")) as client:
        assert read_response(client, b"HEAD").body == b""


def test_a_sparse_file_has_its_size(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    path.touch()
    os.truncate(path, 1000)
    with serving(sending_file(path)) as client:
        assert read_response(client).fields == {b"content-length": b"1000"}
