"""The store on a Redis server that is away, refuses, hangs, or answers nonsense."""

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import prefork
from prefork.errors import StoreBusy, StoreUnavailable
from prefork.store import redis_lock
from prefork.store.current_store import open_backend
from prefork.store.store_api import SharedStore
from prefork.unix.store_place import StorePlace
from tests.pure.store.stores import in_child
from tests.redis_server import PATIENCE, RedisServer, needs_redis

pytestmark = needs_redis


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as made:
        yield made


def store_at(url: str) -> SharedStore:
    """Return a store at a URL, as a worker gets it."""
    return SharedStore(open_backend(StorePlace(url, app="web")), waits_in_loop=False)


@contextmanager
def listener(answer: bytes | None) -> Iterator[str]:
    """Yield the URL of a server that answers each read with the same bytes; None: with nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve(accepted: socket.socket) -> None:
            with accepted:
                try:
                    while accepted.recv(4096):
                        accepted.sendall(answer or b"")
                except OSError:
                    return

        def accept() -> None:
            while True:
                try:
                    accepted, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(accepted,), daemon=True).start()

        if answer is not None:
            threading.Thread(target=accept, daemon=True).start()
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)


# A server that is away.


def test_a_refused_connection_is_unavailable_and_the_next_call_after_a_start_succeeds(
    server: RedisServer,
) -> None:
    for url in (server.url, server.tcp_url):
        store = store_at(url)
        store.set("key", b"1")
        server.kill()
        for _ in "12":
            with pytest.raises(StoreUnavailable, match="cannot be reached"):
                store.get("key")
        server.start()
        assert store.get("key") is None
        store.set("key", b"2")
        server.kill()
        server.start()  # while no call was made, so the connection is a closed one
        assert store.incr("key") == 1


def test_a_silent_server_costs_its_timeout_and_then_nothing_for_a_moment() -> None:
    with listener(None) as url:
        store = store_at(f"{url}?socket_timeout=0.05")
        with pytest.raises(StoreUnavailable, match="did not answer in time"):
            store.get("key")
        with pytest.raises(StoreUnavailable, match="a moment ago"):
            store.get("key")


@contextmanager
def slow_listener(beginning: bytes, part: bytes, count: int) -> Iterator[str]:
    """Yield the URL of a server that sends the beginning of an answer, and then a part of it every
    20 ms; then it closes the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError):
                connection, _ = listening.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(beginning)
                    for _ in range(count):
                        time.sleep(0.02)
                        connection.sendall(part)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"redis://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_a_server_that_sends_byte_by_byte_costs_the_timeout() -> None:
    with slow_listener(b"$100000\r\n", b"x", 200) as url:
        store = store_at(f"{url}?socket_timeout=0.5")
        with pytest.raises(StoreUnavailable, match="did not answer in time"):
            store.get("key")


def test_a_large_answer_may_take_longer_than_the_timeout() -> None:
    part = b"x" * 16384
    with slow_listener(b"$819200\r\n", part, 50) as url:
        store = store_at(f"{url}?socket_timeout=0.5")
        with pytest.raises(StoreUnavailable, match="cannot be reached"):  # the end lacks
            store.get("key")


def test_many_async_calls_to_a_silent_server_do_not_wait_for_each_other() -> None:
    """They are made in a few threads: without the moment each would wait for all before it."""

    async def run(store: SharedStore) -> list[BaseException | bytes | None]:
        calls = (store.aget("key") for _ in range(500))
        return await asyncio.gather(*calls, return_exceptions=True)

    with listener(None) as url:
        results = asyncio.run(run(store_at(f"{url}?socket_timeout=0.5")))
    texts = [str(each) for each in results if isinstance(each, StoreUnavailable)]
    assert len(texts) == 500
    assert sum("a moment ago" in text for text in texts) > 250


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"-ERR unknown command\r\n",
        b"-\xff\xfe\x1b[31m\r\n",
        b"*1\r\n" * 5000,
        b":1\r\n",
        b"+OK\r\n",
        b"$3\r\nabc\r\n",
        b"*2\r\n$1\r\n0\r\n*-1\r\n",
        b"*-1\r\n",
        b"$99999999999999999999\r\n",
        b"\0" * 100,
    ],
)
def test_no_answer_of_a_server_raises_anything_else(
    answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listener(answer) as address:
        url = f"{address}?socket_timeout=0.2"
        monkeypatch.setenv("PREFORK_STORE", url)
        store = store_at(url)
        calls: list[Callable[[], object]] = [
            lambda: store.get("key"),
            lambda: store.set("key", b""),
            lambda: store.add("key", b""),
            lambda: store.incr("key"),
            lambda: store.touch("key"),
            lambda: store.delete("key"),
            lambda: store.compare_and_set("key", None, b""),
            lambda: store.get_many(["key", "other"]),
            lambda: store.set_many({"key": b""}),
            lambda: list(store.keys()),
            lambda: store.delete_prefix(""),
            store.stats,
            lambda: prefork.lock("job", timeout=0).__enter__(),
            lambda: prefork.secret("key"),
        ]
        for call in calls:
            with suppress(StoreUnavailable, StoreBusy):
                call()


def test_a_server_that_dies_in_the_middle_of_a_change_makes_it_whole_or_not_at_all(
    server: RedisServer,
) -> None:
    store = store_at(server.url)
    values = {f"key{number}": bytes(100_000) for number in range(50)}
    failures: list[BaseException] = []
    began = threading.Event()

    def write() -> None:
        while not failures:
            try:
                store.set_many(values)
                store.delete_prefix("key")
                began.set()
            except BaseException as error:
                failures.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    assert began.wait(PATIENCE)
    server.kill()
    writer.join(PATIENCE)
    assert [type(each) for each in failures] == [StoreUnavailable]
    server.start()
    assert store.get("key1") is None


# A server that refuses.


def test_a_wrong_password_is_refused_and_never_shown(server: RedisServer) -> None:
    server.command("CONFIG", "SET", "requirepass", "right-horse")
    for url in (
        f"redis://:wrong-horse@127.0.0.1:{server.port}",
        f"unix://user:wrong-horse@{server.socket}",
        f"redis://127.0.0.1:{server.port}?password=wrong-horse",
        server.url,
    ):
        with pytest.raises(StoreUnavailable, match=r"password|Authentication") as caught:
            store_at(url).get("key")
        assert "horse" not in str(caught.value)
    assert store_at(f"redis://:right-horse@127.0.0.1:{server.port}/0").incr("key") == 1
    assert store_at(f"valkey+unix://:right-horse@{server.socket}?db=0").get("key") == b"1"


def test_a_replica_refuses_writes_and_is_left_for_the_server_that_took_its_place(
    server: RedisServer,
) -> None:
    store = store_at(server.tcp_url)
    store.set("key", b"1")
    server.command("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(StoreUnavailable, match="is a replica"):
        store.set("key", b"2")
    with pytest.raises(StoreUnavailable, match="is a replica"):
        store.incr("key")  # a script
    with pytest.raises(StoreUnavailable, match="is a replica"):
        open_backend(StorePlace(server.tcp_url, app="web")).require_writable(1)
    assert store.get("key") == b"1"
    server.command("REPLICAOF", "NO", "ONE")
    assert store.incr("key") == 2


def test_a_server_without_memory_refuses_writes_and_answers_reads(server: RedisServer) -> None:
    store = store_at(server.url)
    store.set("key", b"1")
    server.command("CONFIG", "SET", "maxmemory", "1")
    for call in (lambda: store.set("key", b"2"), lambda: store.incr("key")):
        with pytest.raises(StoreUnavailable, match=r"refused: .*maxmemory"):
            call()
    assert store.get("key") == b"1"


def test_a_wrong_option_in_the_url_is_named(server: RedisServer) -> None:
    for option, named in (("colour=blue", "colour"), ("db=x", "db")):
        with pytest.raises(StoreUnavailable, match=f"URL of the server is wrong: .*{named}"):
            store_at(f"{server.url}?{option}")


# Processes and threads.


def test_forks_while_threads_use_the_store_make_connections_of_their_own(
    server: RedisServer,
) -> None:
    store = store_at(server.url)
    stop = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            while not stop.is_set():
                store.incr("threads")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in "123"]
    for each in threads:
        each.start()
    try:
        codes = {in_child(lambda: store.incr("children")) for _ in range(20)}
    finally:
        stop.set()
        for each in threads:
            each.join()
    assert (codes, failures) == ({0}, [])
    assert store.get("children") == b"20"


def test_apps_and_kinds_of_keys_do_not_meet(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other = (
        SharedStore(open_backend(StorePlace(server.url, app=name))) for name in ("web", "web2")
    )
    monkeypatch.setenv("PREFORK_STORE", server.url)
    monkeypatch.setenv("PREFORK_NAME", "web")
    secret = prefork.secret("key")
    other.set("key", b"other")
    with prefork.lock("a\0b"):
        store.namespace("lock:a").set("b", b"1")
        store.clear()
        assert list(store.keys()) == []
    assert other.get("key") == b"other"
    assert prefork.secret("key") == secret


# Locks.


@pytest.fixture
def place(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> RedisServer:
    monkeypatch.setenv("PREFORK_STORE", server.url)
    monkeypatch.setenv("PREFORK_NAME", "web")
    return server


def busy_lock() -> str:
    """Return the message of the StoreBusy that the lock raises."""
    with pytest.raises(StoreBusy) as caught:
        prefork.lock("job", timeout=0).__enter__()
    return str(caught.value)


def test_a_lock_whose_lease_has_ended_is_another_s_and_its_holder_learns_it(
    place: RedisServer,
) -> None:
    lock = prefork.lock("job")
    first = lock.__enter__()
    place.command("DEL", "prefork-lock:web:job")  # as at the end of the lease
    with prefork.lock("job", timeout=0) as second:
        assert second > first
        with pytest.raises(StoreUnavailable, match="the lock 'job' was lost"):
            lock.__exit__()
        assert busy_lock()


def test_a_lock_names_its_holder_and_ends_some_time_after_its_death(place: RedisServer) -> None:
    reader, writer = os.pipe()
    holder = os.fork()
    if holder == 0:
        with prefork.lock("job") as token:
            os.write(writer, token.to_bytes(8))
            signal.pause()
    token = int.from_bytes(os.read(reader, 8))
    os.close(reader)
    os.close(writer)
    assert f"process {holder} on {socket.gethostname()} holds it" in busy_lock()
    os.kill(holder, signal.SIGKILL)
    os.waitpid(holder, 0)
    place.command("PEXPIRE", "prefork-lock:web:job", "1")
    with prefork.lock("job", timeout=PATIENCE) as next_token:
        assert next_token > token


def test_the_token_of_a_lock_rises_where_the_server_lost_its_data(place: RedisServer) -> None:
    tokens = []
    for _ in "12":
        with prefork.lock("job") as token:
            tokens.append(token)
        place.kill()
        place.start()
    assert 0 < tokens[0] < tokens[1] < 2**53


def test_a_lease_that_has_ended_is_renewed_no_more(
    place: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_lock, "LEASE", 0.3)
    lock = redis_lock.RedisLockBackend(StorePlace(place.url, app="web"), "job")
    assert lock.try_acquire()
    place.kill()
    renewing = threading.Thread(target=lock._keep, args=(lock._value, threading.Event()))
    renewing.start()
    renewing.join(PATIENCE)
    assert not renewing.is_alive()
    lock._ended.set()


def test_a_lock_that_cannot_be_released_says_when_it_is_free(place: RedisServer) -> None:
    lock = prefork.lock("job")
    lock.__enter__()
    place.kill()
    with pytest.raises(StoreUnavailable, match="is free when its lease ends, in 15 s"):
        lock.__exit__()


def test_a_task_that_is_cancelled_while_it_waits_for_the_server_keeps_no_lock(
    place: RedisServer,
) -> None:
    async def run() -> None:
        prefork.store().get("key")  # so that the connection is there
        place.send_signal(signal.SIGSTOP)
        task = asyncio.create_task(prefork.lock("job").__aenter__())
        await asyncio.sleep(0.01)  # the request is on its way, or not yet: both are right
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        place.send_signal(signal.SIGCONT)
        async with prefork.lock("job", timeout=PATIENCE):
            pass

    asyncio.run(run())


def test_an_async_lock_waits_for_the_server_outside_of_the_loop(place: RedisServer) -> None:
    async def run() -> int:
        prefork.store().get("key")
        place.send_signal(signal.SIGSTOP)
        task = asyncio.create_task(prefork.lock("job").__aenter__())
        steps = 0
        while steps < 100:
            await asyncio.sleep(0)
            steps += 1
        assert not task.done()
        place.send_signal(signal.SIGCONT)
        return await task

    assert asyncio.run(run()) > 0
