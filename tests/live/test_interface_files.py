"""Files that the server sends unread: wsgi.file_wrapper and http.response.pathsend."""

import contextlib
import gzip
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Keyring
from tests.live.harness import APPS, Server, serving, wait_for
from tests.live.process_memory import PeakMemory
from tests.live.raw_client import CutOffError, ask, get, tcp, unix
from tests.live.tls_client import connect_tls, has_clean_log
from tests.live.web_apps import lazy_servers

KINDS = {
    "wsgi": ("files:wsgi",),
    "threads": ("files:wsgi", "--threads", "2"),
    "asgi": ("files:asgi",),
}
SMALL = b"small enough for one write"
LARGE = bytes(range(256)) * 16384
"""Four megabytes, more than the kernel takes at once from a client that does not read."""

HUGE = 1 << 28


def files(kind: str, folder: Path, *more: str) -> AbstractContextManager[Server]:
    """A server, and the files that it serves."""
    (folder / "small").write_bytes(SMALL)
    (folder / "large").write_bytes(LARGE)
    (folder / "empty").touch()
    (folder / "zipped").write_bytes(gzip.compress(LARGE, 1))
    with (folder / "huge").open("wb") as huge:
        huge.truncate(HUGE)
    app, *threads = KINDS[kind]
    arguments = ("--pythonpath", str(APPS), "-e", f"FILES={folder}", "--interface", kind)
    if kind == "threads":
        arguments = (*arguments[:-1], "wsgi")
    return serving(folder, app, *arguments, *threads, *more)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: Any) -> Iterator[Callable[[str], Server]]:
    def start(kind: str) -> AbstractContextManager[Server]:
        folder = tmp_path_factory.mktemp(kind)
        log = str(folder / "access.log")
        return files(kind, folder, "--send-timeout", "600ms", "--access-log", log)

    with lazy_servers(start) as made:
        yield made


@pytest.fixture(params=list(KINDS))
def server(servers: Callable[[str], Server], request: pytest.FixtureRequest) -> Server:
    return servers(request.param)


@pytest.fixture(params=["wsgi", "threads"])
def wsgi(servers: Callable[[str], Server], request: pytest.FixtureRequest) -> Server:
    return servers(request.param)


@pytest.fixture
def asgi(servers: Callable[[str], Server]) -> Server:
    return servers("asgi")


def open_descriptors(server: Server) -> list[str]:
    """Return the targets of all descriptors of the worker."""
    (worker,) = server.workers()
    found = []
    for fd in Path(f"/proc/{worker.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed a moment ago
            found.append(os.readlink(fd))
    return found


def is_open(server: Server, name: str) -> bool:
    """Return whether a worker has that file open."""
    return any(target.startswith(str(server.cwd / name)) for target in open_descriptors(server))


def sockets_in_sendfile(server: Server) -> set[str]:
    """Return the connections that the worker watches by a second descriptor, as only sendfile
    does."""
    sockets = [target for target in open_descriptors(server) if target.startswith("socket:")]
    return {target for target in sockets if sockets.count(target) > 1}


def test_a_file_is_sent_whole_and_then_the_next(server: Server) -> None:
    with tcp(server) as wire:
        for name, data in (("small", SMALL), ("large", LARGE), ("empty", b"")):
            answer = wire.send(get(f"/file/{name}")).answer()
            assert (answer.get("content-length"), answer.body) == (str(len(data)), data)
            answer = wire.send(get(f"/file/{name}?length={len(data)}")).answer()
            assert (answer.get("content-length"), answer.body) == (str(len(data)), data)
    wait_for(lambda: not is_open(server, "large"), "the file is closed")


def test_files_come_in_the_order_of_their_requests(server: Server) -> None:
    """Also behind a body that the client has not taken yet."""
    targets = ["/hello/x", "/file/large", "/file/small", "/body/large", "/file/large", "/hello/x"]
    bodies = [b"hello", LARGE, SMALL, LARGE, LARGE, b"hello"]
    with tcp(server, receive_buffer=65536) as wire:
        wire.send(*map(get, targets))
        assert [wire.answer().body for _ in targets] == bodies


@pytest.mark.parametrize("path", ["/proc/version", "/sys/kernel/mm/ksm/run"])
def test_a_file_that_does_not_say_its_size_is_read(server: Server, path: str) -> None:
    """Below /proc a size is 0, below /sys that of a page."""
    expected = Path(path).read_bytes()
    with tcp(server) as wire:
        for _ in range(2):
            answer = wire.send(get(f"/file/{path}")).answer()
            assert (answer.status, answer.body) == (200, expected)
        answer = wire.send(get(f"/file/{path}?length={len(expected)}")).answer()
        assert (answer.get("content-length"), answer.body) == (str(len(expected)), expected)
        assert wire.send(get(f"/file/{path}", method="HEAD")).answer("HEAD").status == 200
        answer = wire.send(get(f"/file/{path}", version="1.0")).answer()
        assert (answer.status, answer.body) == (200, expected)


def test_a_file_without_a_size_may_have_many_pages(server: Server) -> None:
    body = ask(server, get("/file//proc/self/maps")).body
    assert len(body) > 8192
    assert body.endswith(b"\n")
    assert b"[stack]" in body


def test_head_has_the_length_and_no_file(server: Server) -> None:
    with tcp(server) as wire:
        for query in ("", f"?length={len(LARGE)}"):
            answer = wire.send(get(f"/file/large{query}", method="HEAD")).answer("HEAD")
            assert answer.get("content-length") == str(len(LARGE))
        assert wire.send(get("/hello/x")).answer().body == b"hello"


def test_http_1_0_gets_it_as_well(server: Server) -> None:
    with tcp(server) as wire:
        answer = wire.send(get("/file/large", version="1.0")).answer()
        assert (answer.get("content-length"), answer.body) == (str(len(LARGE)), LARGE)
        assert wire.ends_cleanly()


@pytest.mark.parametrize("name", ["small", "large"])
def test_no_more_is_sent_than_content_length_says(server: Server, name: str) -> None:
    with tcp(server) as wire:
        answer = wire.send(get(f"/file/{name}?length=7")).answer()
        assert answer.body == (SMALL if name == "small" else LARGE)[:7]
        assert wire.send(get("/hello/x")).answer().body == b"hello"


@pytest.mark.parametrize("name", ["small", "large"])
def test_a_file_shorter_than_its_content_length_is_a_500(server: Server, name: str) -> None:
    with tcp(server) as wire:
        assert wire.send(get(f"/file/{name}?length=5000000")).answer().status == 500
        assert wire.send(get("/hello/x")).answer().body == b"hello"
    server.wait_log("Content-Length is 5000000 but the body has")
    assert not is_open(server, name)


def test_a_large_file_costs_no_memory(server: Server) -> None:
    (worker,) = server.workers()
    peak = PeakMemory(worker.pid)
    with tcp(server) as wire:
        wire.send(get("/file/huge"))
        assert wire.head().get("content-length") == str(HUGE)
        wire.read_and_discard(HUGE)
        assert wire.send(get("/hello/x")).answer().body == b"hello"
    assert peak.grown() < 16 << 20


def test_a_file_that_shrinks_on_its_way_is_cut_off(server: Server) -> None:
    shrinking = server.cwd / "shrinking"
    shrinking.write_bytes(LARGE * 4)
    with tcp(server, receive_buffer=32768) as wire:
        wire.send(get("/file/shrinking"))
        wire.head()
        os.truncate(shrinking, 1000)
        with pytest.raises(CutOffError):
            wire.read_and_discard(4 * len(LARGE))
    server.wait_log(r"the file ended \d+ bytes before its Content-Length")
    wait_for(lambda: not is_open(server, "shrinking"), "the file is closed")


def test_the_file_is_closed_when_the_client_leaves(server: Server) -> None:
    with tcp(server, receive_buffer=32768) as wire:
        wire.send(get("/file/huge"))
        wire.head()
        sockets = wait_for(lambda: sockets_in_sendfile(server), "it is sent by sendfile")
        assert is_open(server, "huge")
        wire.reset()
    wait_for(lambda: not is_open(server, "huge"), "the file is closed")
    wait_for(lambda: sockets.isdisjoint(open_descriptors(server)), "its connection is closed")
    assert not server.count("the app failed on GET /file/huge")
    assert ask(server, get("/hello/x")).body == b"hello"


def test_a_client_that_does_not_read_is_cut_off_and_others_are_served(server: Server) -> None:
    with tcp(server, receive_buffer=32768) as wire:
        wire.send(get("/file/huge"))
        wire.head()
        assert ask(server, get("/file/large")).body == LARGE
        wait_for(lambda: not is_open(server, "huge"), "the file is closed")
        with pytest.raises(CutOffError):
            wire.read_and_discard(HUGE)


def test_a_slow_reader_is_not_cut_off(asgi: Server) -> None:
    with tcp(asgi, receive_buffer=16384) as wire:
        wire.send(get("/file/huge"))
        wire.head()
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            wire.read_exactly(4096)
            time.sleep(0.05)  # the pace of a slow client, not a wait for anything
        assert is_open(asgi, "huge")


def test_the_access_log_has_what_was_sent(server: Server) -> None:
    ask(server, get("/file/large?logged"))
    log = server.cwd / "access.log"
    wait_for(lambda: f'large?logged HTTP/1.1" 200 {len(LARGE)}' in log.read_text(), "the line")


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_worker_that_drains_sends_its_file_to_the_end(kind: str, tmp_path: Path) -> None:
    with files(kind, tmp_path) as server, tcp(server, receive_buffer=32768) as wire:
        wire.send(get("/file/large"))
        head = wire.head()
        server.send(signal.SIGTERM)
        server.wait_log("drains")
        assert wire.body(head) == LARGE
        assert server.wait_exit() == 0


def test_a_file_goes_over_a_unix_socket(tmp_path: Path) -> None:
    with files("asgi", tmp_path, "-b", f"unix:{tmp_path}/socket") as server:
        server.wait_log("listening on .*socket")
        with unix(tmp_path / "socket") as wire:
            assert wire.send(get("/file/large")).answer().body == LARGE


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_file_goes_over_tls(kind: str, tmp_path: Path, keys: Keyring) -> None:
    """It is read and encrypted, not sent by sendfile."""
    with files(kind, tmp_path, "--tls-cert", keys.site.pair) as server:
        with connect_tls(server, keys.ca.trusting()) as wire:
            wire.send(get("/file/large"), get("/hello/x"), get("/file/small"))
            assert wire.answer().body == LARGE
            assert wire.answer().body == b"hello"
            assert wire.answer().body == SMALL
            wire.send(get("/file/huge"))
            wire.head()
            wire.reset()
        wait_for(lambda: not is_open(server, "huge"), "the file is closed")
        assert has_clean_log(server)


# WSGI.


@pytest.mark.parametrize("offset", [3, 5000])
def test_a_file_is_sent_from_its_position(wsgi: Server, offset: int) -> None:
    with tcp(wsgi) as wire:
        for how in ("file", "raw", "temporary"):
            answer = wire.send(get(f"/{how}/large?offset={offset}")).answer()
            assert answer.get("content-length") == str(len(LARGE) - offset)
            assert answer.body == LARGE[offset:]


@pytest.mark.parametrize("how", ["passed_on", "memory", "no_file", "raw", "temporary"])
def test_every_readable_object_can_be_wrapped(wsgi: Server, how: str) -> None:
    with tcp(wsgi) as wire:
        for name, data in (("small", SMALL), ("large", LARGE)):
            assert wire.send(get(f"/{how}/{name}")).answer().body == data
    wait_for(lambda: not is_open(wsgi, "large"), "the file is closed")


def test_an_object_with_a_descriptor_need_not_be_a_file(wsgi: Server) -> None:
    with tcp(wsgi) as wire:
        # Its descriptor is that of the compressed file.
        assert wire.send(get("/unzipped/zipped")).answer().body == LARGE
        assert wire.send(get("/pipe/small")).answer().body == SMALL
        assert wire.send(get("/hello/x")).answer().body == b"hello"


def test_a_file_may_follow_written_data(wsgi: Server) -> None:
    assert ask(wsgi, get("/behind/small")).body == b"written " + SMALL


# ASGI.


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("/file/missing", "the file cannot be sent: .*missing"),
        ("/file/", "is no file that can be sent"),
        ("/unstarted/small", "after the start, and as the whole body"),
    ],
)
def test_a_path_that_cannot_be_sent_is_a_500(asgi: Server, target: str, words: str) -> None:
    with tcp(asgi) as wire:
        assert wire.send(get(target)).answer().status == 500
        assert wire.send(get("/hello/x")).answer().body == b"hello"
    asgi.wait_log(words)


def test_a_file_is_the_whole_body_or_none_of_it(asgi: Server) -> None:
    with tcp(asgi) as wire:
        assert wire.send(get("/mixed/small")).is_cut()


def test_trailers_may_follow_a_file(asgi: Server) -> None:
    with tcp(asgi) as wire:
        for name, data in (("small", SMALL), ("large", LARGE)):
            answer = wire.send(get(f"/with_trailers/{name}?length=1", "TE: trailers")).answer()
            assert (answer.body, answer.trailers) == (data, [("x-sum", "right")])
        # A client that did not ask for trailers gets none.
        answer = wire.send(get("/with_trailers/large")).answer()
        assert (answer.get("content-length"), answer.trailers) == (str(len(LARGE)), [])
