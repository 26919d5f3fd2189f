"""Back-pressure: however large a body is and however slow its reader, the worker stays small."""

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.live.harness import APPS, Server, serving, wait_for
from tests.live.process_memory import PeakMemory
from tests.live.raw_client import RawConnection, ask, get, tcp
from tests.live.web_apps import lazy_servers

GIGABYTE = 2**30
MEGABYTE = 2**20
LITTLE = 16 * MEGABYTE
"""Bytes by which a worker may grow, however large a body is."""

KERNEL = sum(int(Path(f"/proc/sys/net/ipv4/tcp_{way}mem").read_text().split()[2]) for way in "rw")
"""More bytes than the kernel keeps for a connection, on both sides together."""

KINDS = {"wsgi": ("flow:wsgi",), "threads": ("flow:wsgi", "--threads", "2"), "asgi": ("flow:asgi",)}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: Any) -> Iterator[Callable[[str], Server]]:
    def start(kind: str) -> AbstractContextManager[Server]:
        # Spooled bodies go to disk, in the test's own folder.
        folder = tmp_path_factory.mktemp(kind)
        app, *threads = KINDS[kind]
        arguments = ("--pythonpath", str(APPS), "-e", f"TMPDIR={folder}", *threads)
        return serving(folder, app, *arguments)

    with lazy_servers(start) as made:
        yield made


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(servers: Callable[[str], Server], kind: str) -> Server:
    return servers(kind)


@pytest.fixture
def peak(server: Server) -> PeakMemory:
    (worker,) = server.workers()
    return PeakMemory(worker.pid)


def progress(server: Server) -> int:
    return int(ask(server, get("/progress")).body)


def produced(server: Server) -> int:
    """Return the bytes that the app has produced, when it has stopped producing."""
    before = -1
    while before != (now := progress(server)):
        before = now
    return now


def test_a_response_of_a_gigabyte_costs_no_memory(server: Server, peak: PeakMemory) -> None:
    with tcp(server) as wire:
        wire.send(get(f"/produce/{GIGABYTE}", version="1.0"))
        assert wire.head().closes
        wire.read_and_discard(GIGABYTE)
        assert wire.ends_cleanly()
    assert peak.grown() < LITTLE


def test_an_app_produces_no_more_than_its_client_reads(server: Server, peak: PeakMemory) -> None:
    with tcp(server) as wire:
        wire.send(get(f"/produce/{GIGABYTE}", version="1.0"))
        wire.head()
        for read in range(20 * MEGABYTE, 120 * MEGABYTE, 20 * MEGABYTE):
            wire.read_and_discard(20 * MEGABYTE)
            assert read <= produced(server) < read + KERNEL
        wire.reset()
    assert peak.grown() < LITTLE
    assert ask(server, get("/progress")).status == 200


def test_many_slow_readers_share_a_worker(server: Server, kind: str, peak: PeakMemory) -> None:
    if kind == "threads":
        pytest.skip("each of them holds a thread")
    wires = [tcp(server, receive_buffer=65536) for _ in range(10)]
    for wire in wires:
        wire.send(get(f"/produce/{GIGABYTE}", version="1.0"))
    for wire in wires:
        wire.head()
    for wire in wires:
        wire.read_and_discard(MEGABYTE)
        wire.reset()
    assert peak.grown() < LITTLE


def test_large_responses_follow_each_other_on_one_connection(server: Server) -> None:
    with tcp(server, receive_buffer=65536) as wire:
        for _ in range(2):
            wire.send(*[get(f"/produce/{4 * MEGABYTE}")] * 3, get("/progress"))
            for _ in range(3):
                assert len(wire.answer().body) == 4 * MEGABYTE
            assert int(wire.answer().body) == 4 * MEGABYTE


UPLOADS = {
    "length": (get("/consume", f"Content-Length: {GIGABYTE}", method="POST"), b"", b""),
    "chunked": (
        get("/consume", "Transfer-Encoding: chunked", method="POST"),
        b"100000\r\n",
        b"\r\n",
    ),
}


def upload(wire: RawConnection, framing: str) -> None:
    head, before, after = UPLOADS[framing]
    piece = before + b"x" * MEGABYTE + after
    wire.send(head)
    for _ in range(GIGABYTE // MEGABYTE):
        wire.send(piece)
    if before:
        wire.send(b"0\r\n\r\n")


# Where both framings take the same way to the disk, one of them has to do.
@pytest.mark.parametrize("framing", list(UPLOADS))
def test_an_upload_of_a_gigabyte_costs_no_memory(
    server: Server, kind: str, peak: PeakMemory, framing: str
) -> None:
    if (kind, framing) in (("wsgi", "chunked"), ("threads", "length")):
        pytest.skip("the other framing does it")
    with tcp(server) as wire:
        upload(wire, framing)
        assert int(wire.answer().body) == GIGABYTE
    assert peak.grown() < LITTLE


def spooled(server: Server) -> list[str]:
    """Return the files without a name in the server's folder that its worker has open."""
    (worker,) = server.workers()
    found = []
    for fd in Path(f"/proc/{worker.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed a moment ago
            found.append(os.readlink(fd))
    here = str(server.cwd)
    # tempfile once tries the folder with a file that has a name.
    return [name for name in found if name.startswith(here) and name.endswith(" (deleted)")]


def test_a_large_upload_waits_on_disk_and_leaves_nothing_behind(server: Server, kind: str) -> None:
    if kind == "asgi":
        pytest.skip("ASGI reads as it comes")
    with tcp(server) as wire:
        wire.send(get("/consume", f"Content-Length: {16 * MEGABYTE}", method="POST"))
        wire.send(b"x" * 13 * MEGABYTE)
        wait_for(lambda: len(spooled(server)) == 1, "the body is on disk")
        # The file has no name, so it does not stay even if the worker is killed.
        assert [path.name for path in server.cwd.iterdir()] == []
        wire.send(b"x" * 3 * MEGABYTE)
        assert int(wire.answer().body) == 16 * MEGABYTE
        wait_for(lambda: not spooled(server), "the body is gone")
        wire.send(get("/consume", f"Content-Length: {16 * MEGABYTE}", method="POST"))
        wire.send(b"x" * 13 * MEGABYTE)
        wait_for(lambda: len(spooled(server)) == 1, "the body is on disk")
        wire.reset()
    wait_for(lambda: not spooled(server), "the body is gone with its client")


def test_a_refused_body_leaves_its_memory_to_others(tmp_path: Path) -> None:
    arguments = ("--pythonpath", str(APPS), "--limit-body", "600k", "--body-memory", "1m")
    with serving(tmp_path, "flow:wsgi", *arguments, "-e", f"TMPDIR={tmp_path}") as server:
        for _ in range(3):
            with tcp(server) as wire:
                wire.send(get("/consume", "Transfer-Encoding: chunked", method="POST"))
                assert wire.send(b"100000\r\n" + b"x" * MEGABYTE).answer().status == 413
        with tcp(server) as wire:
            wire.send(get("/consume", "Content-Length: 600000", method="POST"), b"x" * 500_000)
            assert ask(server, get("/progress")).status == 200
            assert not spooled(server)
            assert int(wire.send(b"x" * 100_000).answer().body) == 600_000


def pour(wire: RawConnection, most: int) -> int:
    """Send until the socket takes no more for a while; return the bytes that were sent."""
    piece = b"x" * MEGABYTE
    wire.socket.settimeout(0.3)
    sent = 0
    try:
        while sent < most:
            sent += wire.socket.send(piece)
    except TimeoutError:
        pass
    return sent


def test_a_client_sends_no_more_than_the_app_reads(
    server: Server, kind: str, peak: PeakMemory
) -> None:
    if kind != "asgi":
        pytest.skip("WSGI gets its body whole")
    with tcp(server) as wire:
        wire.send(get("/linger", f"Content-Length: {GIGABYTE}", method="POST"))
        sent = pour(wire, GIGABYTE)
        assert progress(server) <= sent < progress(server) + KERNEL
        wire.reset()
    assert ask(server, get("/hurry")).status == 200
    assert peak.grown() < LITTLE
