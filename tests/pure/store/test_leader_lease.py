"""The lease of the leader on a real server: granted to one, renewed, lost, and taken over."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from prefork.store.leader_lease import LeaderLease
from prefork.store.lease_state import LeaseTimes
from prefork.unix.store_place import StorePlace
from tests.redis_server import PATIENCE, RedisServer, needs_redis

pytestmark = needs_redis

TIMES = LeaseTimes(lease=1.0, valid=0.8, renewal=0.1, retry=0.05, call=0.2)
"""Short ones. A server grants no lease in the first two seconds after its start."""


class Candidate:
    """A worker that its master names, and what it was told."""

    def __init__(self, url: str, owner: str) -> None:
        self.news = threading.Condition()
        self.tokens: list[int] = []
        self.lost = 0
        self.shown: list[str] = []
        log = logging.getLogger("prefork.test")
        place = StorePlace(url, app="web")
        self.lease = LeaderLease(place, owner, owner, log, self._show, TIMES)
        self.lease.start(self._granted, self._lost)

    def _show(self, state: str, _token: int, _until: float) -> None:
        with self.news:
            self.shown.append(state)
            self.news.notify_all()

    def _granted(self, token: int) -> None:
        assert self.lease.is_held()
        with self.news:
            self.tokens.append(token)
            self.news.notify_all()

    def _lost(self) -> None:
        assert not self.lease.is_held()
        with self.news:
            self.lost += 1
            self.news.notify_all()

    def wait(self, terms: int = 0, lost: int = 0, shown: str = "") -> None:
        def happened() -> bool:
            last = not shown or self.shown[-1:] == [shown]
            return len(self.tokens) >= terms and self.lost >= lost and last

        with self.news:
            assert self.news.wait_for(happened, PATIENCE), (self.tokens, self.lost, self.shown)

    def die(self) -> None:
        """End the thread without giving the lease back, as a kill does."""
        self.lease._release = lambda: None  # type: ignore[method-assign]
        self.stop()

    def stop(self) -> None:
        self.lease.stop()
        assert self.lease._running.acquire(timeout=PATIENCE)
        self.lease._running.release()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as made:
        yield made


@contextmanager
def candidate(server: RedisServer, owner: str) -> Iterator[Candidate]:
    made = Candidate(server.url, owner)
    try:
        yield made
    finally:
        made.stop()


def record(server: RedisServer) -> bytes:
    return server.command("HGETALL", "prefork-leader:web:")


def test_one_candidate_leads_and_the_next_one_when_the_lease_was_given_back(
    server: RedisServer,
) -> None:
    with candidate(server, "host-b:2:x") as second, candidate(server, "host-a:1:x") as first:
        for each in (first, second):
            each.wait(shown="waiting")
        with first.news:
            pass
        leads, waits = wait_for_leader(first, second)
        waits.wait(shown="elsewhere")
        assert not waits.lease.is_held()
        leads.stop()
        waits.wait(terms=1)
        assert waits.tokens[0] > leads.tokens[0]
        assert leads.lost == 0


def wait_for_leader(*candidates: Candidate) -> tuple[Candidate, Candidate]:
    """Return the candidate that leads, and the other one."""
    first, second = candidates
    while not (first.tokens or second.tokens):
        with first.news:
            first.news.wait(0.01)
    return (first, second) if first.tokens else (second, first)


def test_the_next_worker_of_the_same_master_takes_the_lease_over_at_once(
    server: RedisServer,
) -> None:
    with candidate(server, "host-a:1:x") as first:
        first.wait(terms=1)
        first.die()
        before = record(server)
        with candidate(server, "host-a:1:x") as heir:
            heir.wait(terms=1)
            assert heir.tokens[0] > first.tokens[0]
            assert b"host-a:1:x" in before
            assert set(heir.shown) == {"held"}


def test_a_lease_that_is_not_renewed_ends_and_its_holder_knows(server: RedisServer) -> None:
    with candidate(server, "host-a:1:x") as first, candidate(server, "host-b:2:x") as second:
        leads, waits = wait_for_leader(first, second)
        server.command("CLIENT", "PAUSE", "3000")
        leads.wait(lost=1)
        assert not leads.lease.is_held()
        waits.wait(terms=1)  # the loser asks no more before the work of its term has ended
        assert waits.tokens[0] > leads.tokens[0]
        assert waits.lease.is_held()
        leads.lease.end_term()
        leads.wait(shown="elsewhere")
        assert len(leads.tokens) == 1


def test_a_server_that_lost_its_data_or_was_started_waits_for_the_end_of_the_last_lease(
    server: RedisServer,
) -> None:
    with candidate(server, "host-a:1:x") as holder:
        holder.wait(terms=1)
        server.command("DEL", "prefork-leader:web:")
        holder.wait(lost=1)
        with candidate(server, "host-b:2:x") as other:
            other.wait(shown="waiting")
            other.wait(terms=1)
            server.kill()
            other.wait(lost=1, shown="unavailable")
            server.start()
            other.lease.end_term()
            other.wait(shown="waiting")
            other.wait(terms=2)
        assert other.tokens[1] > other.tokens[0] > holder.tokens[0]
