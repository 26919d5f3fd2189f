"""Many clients: idle ones cost little, slow ones cost others nothing, too many wait."""

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.live.harness import PATIENCE, Server, wait_for
from tests.live.many_connections import HELLO, connect_many, require_descriptors, send_one_byte_each
from tests.live.process_memory import PeakMemory, private_bytes
from tests.live.raw_client import RawConnection, ask, get, tcp
from tests.live.web_apps import lazy_servers, open_gate, serving_app

CROWD = 2000
HONEST = 32
REQUESTS = 20
KB = 1024


@pytest.fixture(scope="module")
def servers(tmp_path_factory: Any) -> Iterator[Callable[[str], Server]]:
    def start(kind: str) -> Any:
        return serving_app(kind, tmp_path_factory.mktemp(kind), "--header-timeout", "3s")

    with lazy_servers(start) as made:
        yield made


@pytest.fixture(params=["wsgi", "asgi"])
def server(servers: Callable[[str], Server], request: pytest.FixtureRequest) -> Server:
    require_descriptors(CROWD)
    return servers(request.param)


def test_an_idle_connection_costs_less_than_3_kilobytes(server: Server) -> None:
    (worker,) = server.workers()
    with connect_many(server, CROWD // 10, HELLO):
        pass  # memory that is allocated once is allocated now
    before = private_bytes(worker.pid)
    with connect_many(server, CROWD, HELLO):
        # Some memory is given back a few seconds after the last response.
        wait_for(
            lambda: private_bytes(worker.pid) - before < CROWD * 3 * KB,
            "idle connections cost less than 3 KB each",
        )
        assert ask(server, HELLO).body == b"hello"


def test_2000_slowloris_connections_stop_no_honest_client(servers: Callable[[str], Server]) -> None:
    require_descriptors(CROWD)
    server = servers("wsgi")
    failures: list[object] = []

    def be_honest() -> None:
        try:
            with tcp(server) as wire:
                for _ in range(REQUESTS):
                    assert wire.send(HELLO).answer().body == b"hello"
            for _ in range(REQUESTS // 4):
                assert ask(server, HELLO).body == b"hello"
        except Exception as failure:
            failures.append(failure)

    with connect_many(server, CROWD) as attackers:
        clients = [threading.Thread(target=be_honest) for _ in range(HONEST)]
        for client in clients:
            client.start()
        while any(client.is_alive() for client in clients):
            send_one_byte_each(attackers)
        assert failures == []
        # A byte now and then does not extend the deadline of a head.
        wait_for(lambda: send_one_byte_each(attackers) == 0, "all attackers are cut off")
    assert not server.count("Traceback|ERROR"), server.log


def test_a_worker_may_have_as_many_descriptors_as_the_system_allows(tmp_path: Path) -> None:
    few = ("sh", "-c", 'ulimit -Sn 60; exec "$@"', "sh")
    with serving_app("wsgi", tmp_path, prefix=few) as server:
        (worker,) = server.workers()
        limits = Path(f"/proc/{worker.pid}/limits").read_text()
        found = re.search(r"Max open files +(\w+) +(\w+)", limits)
        assert found
        assert int(found[1]) == min(int(found[2]), 2**20)


LIMITS = {
    "option": ((), ("--limit-connections", "30")),
    "descriptors": (("sh", "-c", 'ulimit -n 94; exec "$@"', "sh"), ()),
}


@pytest.mark.parametrize("limit", list(LIMITS))
def test_a_client_of_a_full_worker_waits_until_another_one_leaves(
    limit: str, tmp_path: Path
) -> None:
    prefix, arguments = LIMITS[limit]
    with serving_app("asgi", tmp_path, *arguments, prefix=prefix) as server:
        with connect_many(server, 30, HELLO) as inside:
            outside = [tcp(server).send(HELLO) for _ in range(30)]
            server.wait_log("at the limit of its connections")
            assert not any(wire.is_readable(within=0) for wire in outside)
            inside[0].close()
            wait_for(lambda: any(w.is_readable(within=0) for w in outside), "one comes in")
        for wire in outside:
            with wire:
                assert wire.answer().body == b"hello"
        assert not server.count("cannot accept")


def test_a_sibling_accepts_the_clients_of_a_full_worker(tmp_path: Path) -> None:
    few = ("--limit-connections", "10")
    with (
        serving_app("wsgi", tmp_path, *few, workers=2) as server,
        connect_many(server, 20, HELLO) as inside,
    ):
        assert len(inside) == 20


def test_limits_server_header_and_underscores_are_options(tmp_path: Path) -> None:
    manners = ("--server-header", "me/1.0", "--underscores", "refuse")
    limits = ("--limit-requests-per-connection", "3", "--limit-concurrency", "1")
    with serving_app("asgi", tmp_path, *manners, *limits) as server:
        with tcp(server) as wire:
            answers = [wire.send(HELLO).answer() for _ in range(3)]
            assert [answer.closes for answer in answers] == [False, False, True]
            assert wire.ends_cleanly()
        assert answers[0].get("server") == "me/1.0"
        assert ask(server, get("/hello", "X_Y: z")).status == 400
        with tcp(server) as busy, tcp(server) as other:
            busy.send(get("/half/stream")).head()
            answer = other.send(HELLO).answer()
            assert (answer.status, answer.closes) == (503, False)
            assert answer.get("retry-after") == "1"
            busy.reset()
            wait_for(lambda: ask(server, HELLO).status == 200, "there is room again")
            assert other.send(HELLO).answer().body == b"hello"
            open_gate(server, "stream")


def test_all_clients_are_answered_in_the_end_however_low_the_limit(tmp_path: Path) -> None:
    done: list[bytes] = []
    with serving_app("wsgi", tmp_path, "--limit-connections", "2") as server:

        def visit() -> None:
            for _ in range(10):
                sock = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
                with RawConnection(sock) as wire:
                    done.append(wire.send(get("/hello", "Connection: close")).answer().body)

        clients = [threading.Thread(target=visit) for _ in range(8)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
    assert done == [b"hello"] * 80


def test_a_long_pipeline_is_read_as_its_requests_are_answered(tmp_path: Path) -> None:
    """Each of 40 clients sends thousands of requests behind one that waits.

    They do not become objects before their turn comes, and all are answered in their order.
    """
    requests = [get(f"/told/{number}") for number in range(4000)]
    with serving_app("asgi", tmp_path, "--timeout", "off") as server, ExitStack() as stack:
        (worker,) = server.workers()
        wires = [stack.enter_context(tcp(server)) for _ in range(40)]
        for wire in wires:
            assert wire.send(HELLO).answer().body == b"hello"
        peak = PeakMemory(worker.pid)
        worker.suspend()  # so that all bytes have arrived when the worker reads
        try:
            for wire in wires:
                wire.socket.setblocking(False)
                wire.socket.send(b"".join([get("/hold/all"), *requests]))
                wire.socket.settimeout(PATIENCE)
        finally:
            worker.resume()
        wait_for(lambda: ask(server, HELLO).body == b"hello", "all was read")
        assert peak.grown() < 32 * KB * KB
        with tcp(server) as first:
            first.send(get("/hold/all"), *requests)
            open_gate(server, "all")
            assert first.answer().body == b"all"
            assert [first.answer().body for _ in requests] == [b"%d" % n for n in range(4000)]
