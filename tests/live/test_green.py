"""Apps that patch the standard library at their import, as gevent and eventlet do.

prefork itself keeps using the modules as they were before.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.live.harness import APPS, Server, command, serving
from tests.live.held_requests import read_response, send_request

libraries = pytest.mark.parametrize("library", ["gevent", "eventlet"])


@contextmanager
def green(folder: Path, library: str, app: str, *arguments: str) -> Iterator[Server]:
    words = ("--pythonpath", str(APPS), *arguments)
    with serving(folder, f"green:{app}", *words, env={"GREEN": library}) as server:
        yield server


@libraries
@pytest.mark.parametrize("app", ["wsgi", "asgi", "main"])
def test_an_app_that_patches_the_library_is_served(tmp_path: Path, library: str, app: str) -> None:
    arguments = {"main": ("--interface", "socket")}.get(app, ("--access-log", "access"))
    with green(tmp_path, library, app, *arguments) as server:
        (worker,) = server.workers()
        for path, body in (
            ("/", b"hello"),
            ("/sleep", b"together"),
            ("/talk", b"HELLO"),
            ("/run", b"ran"),
        ) * 2:
            assert read_response(send_request(server.port, path, "Connection: close\r\n")) == (
                200,
                body,
            ), path
        if app != "main":
            post = "Content-Length: 5\r\nConnection: close\r\n"
            connection = send_request(server.port, "/", post)
            connection.sendall(b"12345")
            assert read_response(connection) == (200, b"hello")
        assert [each.pid for each in server.workers()] == [worker.pid]
        assert server.stop() == 0
        assert server.count("Traceback|kill timeout|cannot release") == 0
    if app != "main":
        assert (tmp_path / "access").read_text().count('" 200 ') == 9


@libraries
def test_threads_are_refused_in_a_patched_app(tmp_path: Path, library: str) -> None:
    """Green threads share one thread of the kernel: if one blocks, the loop stands still."""
    arguments = ("-b", "127.0.0.1:0", "--threads", "2", "--pythonpath", str(APPS), "green:wsgi")
    ended = command(*arguments, cwd=tmp_path, env={"GREEN": library})
    assert ended.returncode == 100
    assert f"{library} has patched threading" in ended.stderr
    assert "leave out --threads" in ended.stderr
    assert "Traceback" not in ended.stderr


@libraries
def test_a_hang_of_a_patched_app_is_reported(tmp_path: Path, library: str) -> None:
    with green(tmp_path, library, "wsgi", "--timeout", "1s") as server:
        send_request(server.port, "/hang").close()
        server.wait_log(r"is stuck: GET /hang from .* at .*green.py:\d+ in _hang")
        server.wait_log("gone: hang")


@libraries
def test_a_process_forked_by_a_patched_app_is_no_worker(tmp_path: Path, library: str) -> None:
    with green(tmp_path, library, "wsgi") as server:
        (worker,) = server.workers()
        assert read_response(send_request(server.port, "/fork", "Connection: close\r\n")) == (
            200,
            b"3",
        )
        assert read_response(send_request(server.port, "/", "Connection: close\r\n")) == (
            200,
            b"hello",
        )
        assert [each.pid for each in server.workers()] == [worker.pid]
        assert server.stop() == 0
