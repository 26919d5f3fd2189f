"""WSGI bodies on disk: clients cannot fill it, and get 503 when it is full."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.harness import Server, command, serving, wait_for
from tests.live.raw_client import RawConnection, get, post, tcp
from tests.live.web_apps import serving_app

MEBI = 1024 * 1024
SMALL = ("--body-memory", "1m", "--body-spool", "8m")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "spool").mkdir()
    with serving_app("wsgi", tmp_path, *SMALL, "--spool-dir", str(tmp_path / "spool")) as made:
        yield made


def on_disk(server: Server) -> int:
    """Return the bytes of the files without names that the worker has in its folder."""
    (worker,) = server.workers()
    folder, size = str(server.cwd / "spool"), 0
    for fd in Path(f"/proc/{worker.pid}/fd").iterdir():
        try:
            if str(fd.readlink()).startswith(folder):
                size += fd.stat().st_size
        except FileNotFoundError:
            pass  # closed a moment ago
    return size


def begin(server: Server, length: int, sent: int) -> RawConnection:
    """Begin an upload that stops after ``sent`` bytes; the app answers with its size."""
    wire = tcp(server)
    wire.send(b"POST /size HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % length)
    return wire.send(bytes(sent))


def test_clients_cannot_fill_the_disk_and_new_ones_get_503_with_retry_after(server: Server) -> None:
    wires = [begin(server, 5 * MEBI, 4 * MEBI), begin(server, 5 * MEBI, 3 * MEBI)]
    wait_for(lambda: on_disk(server) >= 7 * MEBI - 65536, "seven megabytes wait on disk")
    with begin(server, 5 * MEBI, 2 * MEBI) as late:
        answer = late.answer()
        assert (answer.status, answer.get("retry-after"), answer.closes) == (503, "1", True)
    with tcp(server) as small:
        assert small.send(post("/echo", b"x" * 1000)).answer().body == b"x" * 1000
        assert small.send(get("/hello")).answer().body == b"hello"
    server.wait_log("WARNING request bodies are refused with 503.*body-spool")
    with wires[0] as first:
        assert first.send(bytes(MEBI)).answer().status == 200
    wires[1].socket.close()
    wait_for(lambda: on_disk(server) == 0, "their files are gone")
    with begin(server, 5 * MEBI, 5 * MEBI) as again:
        assert again.answer().status == 200


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_beyond_the_limit_is_too_large(server: Server, framing: str) -> None:
    with tcp(server) as wire:
        if framing == "length":
            wire.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n" % (9 * MEBI))
            wire.send(b"Expect: 100-continue\r\n\r\n")
        else:
            wire.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(9):
                wire.send(b"%x\r\n%b\r\n" % (MEBI, bytes(MEBI)))
        answer = wire.answer()
        assert (answer.status, answer.closes) == (413, True)
    wait_for(lambda: on_disk(server) == 0, "its file is gone")


def test_an_asgi_app_takes_bodies_of_any_size(tmp_path: Path) -> None:
    with serving_app("asgi", tmp_path, *SMALL) as server, begin(server, 9 * MEBI, 9 * MEBI) as wire:
        assert wire.answer().status == 200


@pytest.fixture
def small_disk(tmp_path: Path) -> list[str]:
    """Return the prefix of a command that gets a file system of four megabytes at ``spool``."""
    (tmp_path / "spool").mkdir()
    mount = f'mount -t tmpfs -o size=4m none {tmp_path}/spool && exec "$@"'
    prefix = ["unshare", "--mount", "sh", "-c", mount, "--"]
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare")
    if subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount")
    return prefix


def test_a_disk_without_space_is_a_503_and_keeps_some(
    tmp_path: Path, small_disk: list[str]
) -> None:
    words = ("--pythonpath", str(Path(__file__).parent.parent / "apps"), "--body-memory", "1m")
    spool = ("--spool-dir", "spool", "--interface", "wsgi")
    with serving(tmp_path, "web_wsgi:app", *words, *spool, prefix=small_disk) as server:
        with begin(server, 30 * MEBI, 5 * MEBI) as wire:
            answer = wire.answer()
            assert (answer.status, answer.get("retry-after")) == (503, "1")
        server.wait_log(r"WARNING request bodies are refused with 503.*bytes free")
        with begin(server, 2 * MEBI, 2 * MEBI) as wire:
            assert wire.answer().status == 200
        assert server.get("/hello")[0] == 200


def test_a_missing_folder_is_an_error_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "web.py").write_text("def app(environ, start_response): ...\n")
    ended = command("-b", "127.0.0.1:0", "--spool-dir", "gone", "web:app", cwd=tmp_path)
    assert ended.returncode == 100
    assert f"spool-dir: there is no folder {tmp_path}/gone" in ended.stderr


def test_a_folder_that_the_workers_cannot_write_to_is_an_error_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "web.py").write_text("def app(environ, start_response): ...\n")
    ended = command("-b", "127.0.0.1:0", "--spool-dir", "/proc", "web:app", cwd=tmp_path)
    assert ended.returncode == 111
    assert "spool-dir: no file can be made in /proc" in ended.stderr
