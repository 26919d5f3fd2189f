"""The store while its processes are killed, reloaded, stopped and forked for long."""

import ctypes
import math
import mmap
import os
import random
import re
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from time import monotonic

import pytest

from prefork.errors import StoreUnavailable
from prefork.store.damage_check import find_damage
from prefork.store.store_api import SharedStore
from tests.live.harness import APPS, Server, own_environment, wait_for
from tests.live.session_client import SessionClient
from tests.live.small_disk import fill, small_disk
from tests.live.store_apps import frameworks
from tests.pure.children import as_root
from tests.pure.store.stores import embedded_in, in_child
from tests.redis_server import RedisServer, needs_redis

pytestmark = pytest.mark.timeout(900)

USERS = 8
REQUESTS = 10_000
RELOADS = 20
KILL_INTERVAL = 1.0
"""Seconds between two kills of workers."""


class Storm:
    """Users who visit and look at a server whose workers are killed meanwhile."""

    def __init__(self, server: Server, is_away: Callable[[], bool] = bool) -> None:
        self.server = server
        self.users = [
            SessionClient(server.port, f"user{number}", is_away) for number in range(USERS)
        ]
        self.kills = 0
        self._turns = [threading.Lock() for _ in self.users]
        self._ended = threading.Event()
        self._failures: list[BaseException] = []
        acts = [
            lambda user=user, turn=turn: self._browse(user, turn)
            for user, turn in zip(self.users, self._turns, strict=True)
        ]
        self._threads = [threading.Thread(target=self._run, args=(act,)) for act in acts]
        self._threads.append(threading.Thread(target=self._run, args=(self._kill,)))

    def __enter__(self) -> "Storm":
        for user in self.users:
            user.log_in()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        for user in self.users:
            user.close()
        if self._failures:
            raise self._failures[0]

    def _run(self, act: Callable[[], None]) -> None:
        try:
            act()
        except BaseException as error:
            self._failures.append(error)
            self._ended.set()

    def _browse(self, user: SessionClient, turn: threading.Lock) -> None:
        while not self._ended.is_set():
            with turn:
                user.visit()
                user.look()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Keep the users from requests; those that have begun end first."""
        with ExitStack() as turns:
            for turn in self._turns:
                turns.enter_context(turn)
            yield

    def _kill(self) -> None:
        rng = random.Random(20)
        while not self._ended.wait(KILL_INTERVAL):
            if workers := self.server.workers():
                rng.choice(workers).kill()
                self.kills += 1

    def requests(self) -> int:
        """Return how many requests were answered. Raises the failure of a user."""
        if self._failures:
            raise self._failures[0]
        return sum(user.requests for user in self.users)

    def require_kills(self) -> None:
        """Assert that workers were killed all the time, and print what happened."""
        repeated = sum(user.repeated for user in self.users)
        print(f"{self.requests()} requests, {repeated} repeated, {self.kills} kills")
        assert self.kills >= RELOADS / 4

    def reload(self) -> None:
        """Reload, and wait until that has succeeded, or failed because of a kill."""
        ends = r"reloaded to gen|reload failed"
        done = self.server.count(ends)
        self.server.send(signal.SIGHUP)
        self.server.wait_log(ends, done + 1)


SOAKED = {
    "flask": ("store_flask", {}),
    "django": ("store_django", {"SESSION_BACKEND": "cache"}),
    "django-cached-db": ("store_django", {"SESSION_BACKEND": "cached_db"}),
}


@pytest.mark.parametrize("app", SOAKED)
def test_no_login_is_lost_while_workers_are_killed_and_reloaded(tmp_path: Path, app: str) -> None:
    with serving_logins(tmp_path, app) as server, Storm(server) as storm:
        for _ in range(RELOADS):
            storm.reload()
        wait_for(lambda: storm.requests() >= REQUESTS, "all requests", 600)
    storm.require_kills()


OUTAGE_END = 10.0
"""Seconds after the start of a Redis server in which workers may still report that it is away."""


@needs_redis
@pytest.mark.parametrize(
    ("app", "paused"), [("flask", False), ("django", True), ("django-cached-db", True)]
)
def test_no_login_is_lost_when_the_redis_server_is_restarted(
    tmp_path: Path, app: str, paused: bool
) -> None:
    """The users of Flask-Session go on, and their logins are there again after failed requests.

    Those of Django wait. Its backend ``cache`` takes an error of a cache for an empty session, and
    replaces it; ``cached_db`` reads what the cache had before from it again.
    """
    back_at = 0.0

    def is_away() -> bool:
        return monotonic() < back_at

    with (
        RedisServer(tmp_path, "--appendonly", "yes", "--appendfsync", "always") as redis,
        serving_logins(tmp_path, app, "--store", redis.url) as server,
        Storm(server, is_away) as storm,
    ):
        for number in range(RELOADS):
            storm.reload()
            if number % 5 == 4:
                with storm.paused() if paused else nullcontext():
                    back_at = 0.0 if paused else math.inf
                    redis.kill()
                    redis.start()
                    back_at = 0.0 if paused else monotonic() + OUTAGE_END
        wait_for(lambda: storm.requests() >= REQUESTS, "all requests", 600)
    storm.require_kills()


@contextmanager
def serving_logins(folder: Path, app: str, *arguments: str) -> Iterator[Server]:
    """Serve an app of SOAKED."""
    module, env = SOAKED[app]
    env = {**env, "DATABASE": str(folder / "database")}
    if module == "store_django":
        make_database(env)
    with frameworks(folder, module, *arguments, env=env) as server:
        yield server


def make_database(env: dict[str, str]) -> None:
    """Create the tables and the users of the Django app."""
    subprocess.run(
        [sys.executable, str(APPS / "store_django.py")],
        env={**own_environment(), **env},
        check=True,
        capture_output=True,
    )


# Writers that are killed, and forks.

WRITERS = 2
KILLS = 200
FORKS = 1000


class Writers:
    """Processes that increment the counter ``n`` for ever, and count that in shared memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._done = mmap.mmap(-1, 8 * WRITERS)
        self._pids = [self._start(slot) for slot in range(WRITERS)]

    def _start(self, slot: int) -> int:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                self._end_with(parent)
                self._write_for_ever(slot)
            finally:
                os._exit(1)
        return pid

    @staticmethod
    def _end_with(parent: int) -> None:
        """Have the kernel end this process when the test has ended (prctl(2))."""
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)

    def _write_for_ever(self, slot: int) -> None:
        store = embedded_in(self._folder, 60)
        while True:
            store.incr("n")
            struct.pack_into("<Q", self._done, 8 * slot, self.done(slot) + 1)
            store.set(b"r" + os.urandom(1), bytes(300), 60)  # a store that is full would drop "n"
            for _ in range(20):  # so that others get their turn: waiting is polling
                store.get("n")

    def done(self, slot: int) -> int:
        """Return how many increments a writer has completed, in all its lives."""
        return int(struct.unpack_from("<Q", self._done, 8 * slot)[0])

    def all_done(self) -> int:
        """Return how many increments were completed."""
        return sum(map(self.done, range(WRITERS)))

    def kill_and_replace(self, slot: int) -> None:
        """Kill a writer after it has written something, and start another one."""
        before = self.done(slot)
        wait_for(lambda: self.done(slot) > before, "the writer writes")
        self._kill(slot)
        self._pids[slot] = self._start(slot)

    def _kill(self, slot: int) -> None:
        os.kill(self._pids[slot], signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(self._pids[slot], 0)[1])
        assert code == -signal.SIGKILL, f"a writer ended by itself with {code}"

    def end(self) -> None:
        """Kill all."""
        for slot in range(WRITERS):
            self._kill(slot)


def fork_often(folder: Path) -> None:
    """Use the store in many children, as an app that forks for each of its tasks."""
    store = embedded_in(folder, 60)

    def use() -> None:
        assert store.get("n") is not None
        store.incr("forked")

    store.incr("n", 0)
    for _ in range(FORKS):
        assert in_child(use) == 0


def test_killed_writers_and_forks_lose_nothing_and_leave_no_lock(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    folder.mkdir(mode=0o700)
    store = embedded_in(folder, 60)
    rng = random.Random(20)
    writers = Writers(folder)
    forker = os.fork()
    if forker == 0:
        os._exit(in_child(lambda: fork_often(folder)))
    for number in range(1, KILLS + 1):
        writers.kill_and_replace(rng.randrange(WRITERS))
        assert store.incr("survived") == number
    assert os.waitstatus_to_exitcode(os.waitpid(forker, 0)[1]) == 0
    writers.end()
    completed = writers.all_done()
    # A writer may have been killed between its increment and its note of it.
    assert completed <= int(store.get("n") or 0) <= completed + KILLS + WRITERS
    assert store.get("forked") == b"%d" % FORKS
    assert store._backend._writing.holder() is None  # type: ignore[attr-defined]
    assert not list(folder.glob("damaged-*"))
    (data,) = (path for path in folder.glob("data-*") if not path.name.endswith("-lock"))
    assert find_damage(str(data)) == ""


# A full disk.

FULL = re.compile("No space left on device|the disk is full")


def refusal(store: SharedStore) -> str:
    """Write until the store refuses; return its message, or an empty text if it takes all."""
    for number in range(5000):
        try:
            store.set(f"{number}", bytes(1000))
        except StoreUnavailable as error:
            return str(error)
    return ""


@as_root
def test_a_full_disk_refuses_writes_and_nothing_else(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "1m") as small:
        folder = small / "store"
        folder.mkdir(mode=0o700)
        filler = small / "filler"
        filler.write_bytes(bytes(256 * 1024))
        assert in_child(lambda: write_until_full(folder, filler)) == 0
        assert in_child(lambda: open_and_read(folder)) == 0


def write_until_full(folder: Path, filler: Path) -> None:
    store = embedded_in(folder)
    store.set("first", b"1")
    assert FULL.search(refusal(store))
    assert store.get("first") == b"1"
    assert FULL.search(refusal(store))
    assert in_child(lambda: open_and_read(folder)) == 0  # another worker opens it meanwhile
    filler.unlink()
    assert store.incr("n") == 1
    store.set("more", bytes(1000))


def open_and_read(folder: Path) -> None:
    assert embedded_in(folder).get("first") == b"1"


@as_root
@pytest.mark.parametrize("room", [0, 4, 8, 16, 64, 128, 160])
def test_a_store_that_begins_on_a_full_disk_is_unavailable(tmp_path: Path, room: int) -> None:
    """LMDB maps its table of readers into memory: a hole in it would end the process by SIGBUS."""
    with small_disk(tmp_path / "small", "1m") as small:
        folder = small / "store"
        folder.mkdir(mode=0o700)
        (small / "room").write_bytes(bytes(room * 1024))
        fill(small)
        (small / "room").unlink()
        assert in_child(lambda: begin_on_full_disk(folder, small / "filling")) == 0


def begin_on_full_disk(folder: Path, filling: Path) -> None:
    store = None
    try:
        store = embedded_in(folder)
        message = refusal(store)
    except StoreUnavailable as error:
        message = str(error)
    assert FULL.search(message)
    filling.unlink()
    store = store or embedded_in(folder)
    assert store.add("key", b"1")
