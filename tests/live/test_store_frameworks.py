"""Sessions, caches and limits of unmodified frameworks, which all workers of an app share."""

import asyncio
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.live.harness import Server
from tests.live.session_client import SessionClient
from tests.live.store_apps import WORKERS, frameworks

LIMIT = 5
REQUESTS = 200


async def ask_at_once(port: int, path: str, count: int) -> Counter[int]:
    """Open ``count`` connections, send a request on each at once, and count the statuses."""
    opened = [asyncio.open_connection("127.0.0.1", port) for _ in range(count)]
    streams = await asyncio.gather(*opened)
    request = f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()
    for _, writer in streams:
        writer.write(request)
    answers = await asyncio.gather(*(reader.read() for reader, _ in streams))
    for _, writer in streams:
        writer.close()
    return Counter(int(answer.split(b" ", 2)[1]) for answer in answers)


def require_limit(server: Server, page: str, rounds: int) -> None:
    """Ask for a page with a limit by several clients, each with all its requests at once.

    The window of a client begins with its first request, and takes an hour.
    """
    for number in range(rounds):
        path = f"{page}?client={page[1:]}{number}"
        statuses = asyncio.run(ask_at_once(server.port, path, REQUESTS))
        assert statuses == {200: LIMIT, 429: REQUESTS - LIMIT}, path


ROUNDS = pytest.mark.parametrize("rounds", [2, pytest.param(20, marks=pytest.mark.slow)])


@ROUNDS
def test_workers_of_flask_share_logins_pages_and_limits(tmp_path: Path, rounds: int) -> None:
    with frameworks(tmp_path, "store_flask") as server:
        require_limit(server, "/limited", rounds)
        users = [SessionClient(server.port, f"user{number}") for number in range(WORKERS)]
        for user in users:
            user.log_in()
            user.visit()
        page = users[0].get("/page?of=a")
        for worker in server.workers():
            worker.send_signal(signal.SIGKILL)
        server.ready(2 * WORKERS)
        for user in users:
            user.visit()
            assert user.get("/page?of=a") == page
        assert users[0].get("/page?of=b") != page
        for user in users:
            user.close()


@ROUNDS
def test_workers_of_fastapi_share_sessions_and_limits(tmp_path: Path, rounds: int) -> None:
    with frameworks(tmp_path, "store_fastapi") as server:
        require_limit(server, "/limited", rounds)
        require_limit(server, "/async-limited", rounds)
        user = SessionClient(server.port, "ann")
        user.log_in()
        user.visit()
        server.send(signal.SIGHUP)
        server.wait_log("reloaded to gen 2")
        user.visit()
        user.look()
        user.close()
