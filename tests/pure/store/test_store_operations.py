"""Each backend does what a dictionary with expiry does, for any sequence of operations."""

import asyncio
import os
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from prefork.errors import StoreUnavailable, StoreValueError
from prefork.store.current_store import open_backend
from prefork.store.embedded import EmbeddedBackend
from prefork.store.entry_format import MAX_KEY
from prefork.store.process_memory import ProcessMemoryBackend
from prefork.store.store_api import SharedStore
from prefork.unix.store_place import StorePlace
from tests.pure.store.stores import embedded_in, in_child, place_in
from tests.redis_server import RedisServer, needs_redis

KEYS = st.binary(max_size=3) | st.sampled_from([b"", b"\0", b"\xff" * MAX_KEY, b"a" * MAX_KEY])
VALUES = st.binary(max_size=40) | st.integers(-(2**63), 2**63 - 1).map(lambda n: b"%d" % n)
TTLS = st.none() | st.floats(1000, 5000)


def number_of(value: bytes) -> int | None:
    text = value.decode("latin-1")
    plain = text.removeprefix("-")
    return int(text) if plain.isdigit() and plain.isascii() and len(text) <= 20 else None


class Operations(RuleBasedStateMachine):
    """Operations on a store, and the same on a dictionary."""

    def make_backend(self) -> Any:
        raise NotImplementedError

    sort = staticmethod(list)
    """Other stores yield their keys sorted."""

    def __init__(self) -> None:
        super().__init__()
        self.store = SharedStore(self.make_backend(), "here", timeout=30)
        self.other = self.store.namespace("here2")
        self.other.set("kept", b"1")
        self.model: dict[bytes, bytes] = {}

    @rule(key=KEYS, value=VALUES, ttl=TTLS)
    def set(self, key: bytes, value: bytes, ttl: float | None) -> None:
        self.store.set(key, value, ttl)
        self.model[key] = value

    @rule(key=KEYS, value=VALUES)
    def add(self, key: bytes, value: bytes) -> None:
        assert self.store.add(key, value) == (key not in self.model)
        self.model.setdefault(key, value)

    @rule(key=KEYS)
    def delete(self, key: bytes) -> None:
        assert self.store.delete(key) == (self.model.pop(key, None) is not None)

    @rule(key=KEYS, ttl=TTLS)
    def touch(self, key: bytes, ttl: float | None) -> None:
        assert self.store.touch(key, ttl) == (key in self.model)

    @rule(key=KEYS, by=st.integers(-5, 5), ttl=TTLS)
    def incr(self, key: bytes, by: int, ttl: float | None) -> None:
        old = number_of(self.model.get(key, b"0"))
        if old is None or old + by not in range(-(2**63), 2**63):
            with pytest.raises(ValueError, match=r"number|64 bits"):
                self.store.incr(key, by, ttl)
            return
        assert self.store.incr(key, by, ttl) == old + by
        self.model[key] = b"%d" % (old + by)

    @rule(key=KEYS, expected=st.none() | VALUES, value=VALUES)
    def compare_and_set(self, key: bytes, expected: bytes | None, value: bytes) -> None:
        same = self.model.get(key) == expected
        assert self.store.compare_and_set(key, expected, value) == same
        if same:
            self.model[key] = value

    @rule(key=KEYS, value=VALUES)
    def replace(self, key: bytes, value: bytes) -> None:
        assert self.store.compare_and_set(key, self.model.get(key), value)
        self.model[key] = value

    @rule(values=st.dictionaries(KEYS, VALUES, max_size=5), ttl=TTLS)
    def set_many(self, values: dict[bytes, bytes], ttl: float | None) -> None:
        self.store.set_many(values, ttl)
        self.model |= values

    @rule(key=KEYS)
    def expire(self, key: bytes) -> None:
        if self.store.touch(key, 0.001):
            while self.store.get(key) is not None:
                time.sleep(0.001)
        self.model.pop(key, None)

    @rule(prefix=st.binary(max_size=1))
    def delete_prefix(self, prefix: bytes) -> None:
        gone = [key for key in self.model if key.startswith(prefix)]
        assert self.store.delete_prefix(prefix) == len(gone)
        for key in gone:
            del self.model[key]

    @invariant()
    def same(self) -> None:
        assert self.store.get_many(self.model) == self.model
        assert self.sort(list(self.store.keys())) == sorted(self.model)
        assert self.other.get("kept") == b"1"


class EmbeddedOperations(Operations):
    def make_backend(self) -> EmbeddedBackend:
        self.folder = TemporaryDirectory()
        return EmbeddedBackend(place_in(Path(self.folder.name)))

    def teardown(self) -> None:
        self.folder.cleanup()


class MemoryOperations(Operations):
    def make_backend(self) -> ProcessMemoryBackend:
        return ProcessMemoryBackend()


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        RedisOperations.server = server
        yield server


def redis_backend(server: RedisServer) -> Any:
    server.command("FLUSHALL")
    return open_backend(StorePlace(server.url, app="web"))


class RedisOperations(Operations):
    server: RedisServer
    sort = staticmethod(sorted)

    def make_backend(self) -> Any:
        return redis_backend(self.server)


QUICK = settings(
    max_examples=30,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestEmbedded = EmbeddedOperations.TestCase
TestEmbedded.settings = QUICK
TestMemory = MemoryOperations.TestCase
TestMemory.settings = QUICK


@needs_redis
@pytest.mark.usefixtures("redis_server")
class TestRedis(RedisOperations.TestCase):
    settings = QUICK


@pytest.fixture(params=["embedded", "memory", pytest.param("redis", marks=needs_redis)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> SharedStore:
    if request.param == "redis":
        server = request.getfixturevalue("redis_server")
        return SharedStore(redis_backend(server), waits_in_loop=False)
    tmp_path.chmod(0o700)
    return (
        embedded_in(tmp_path)
        if request.param == "embedded"
        else SharedStore(ProcessMemoryBackend())
    )


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), 1e30])
def test_a_time_to_live_is_a_positive_number_of_seconds(store: SharedStore, ttl: float) -> None:
    with pytest.raises(StoreValueError, match=r"ttl is .* above 0, up to 3162240000 \(100 years\)"):
        store.set("key", b"", ttl)
    assert store.get("key") is None


def test_keys_and_values_of_a_wrong_type_are_refused(store: SharedStore) -> None:
    with pytest.raises(TypeError, match="a value is bytes, not str"):
        store.set("key", "text")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a key is str or bytes, not int"):
        store.get(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="incremented by an int, not by float"):
        store.incr("n", 0.5)  # type: ignore[arg-type]


def test_a_key_has_up_to_250_bytes(store: SharedStore) -> None:
    store.set("é" * 125, b"1")
    assert store.get(("é" * 125).encode()) == b"1"
    with pytest.raises(StoreValueError, match="the key has 251 bytes, and the maximum is 250"):
        store.get("a" * 251)


@pytest.mark.parametrize("name", ["a" * 101, "a\0b"])
def test_a_namespace_has_up_to_100_bytes_without_zero(store: SharedStore, name: str) -> None:
    with pytest.raises(StoreValueError, match="the namespace "):
        store.namespace(name)


NO_COUNTERS = [b"007", b"00", b"-0", b"+1", b" 1", b"1\n", b"1.0", b"", b"9" * 19, b"\xd9\xa1"]


@pytest.mark.parametrize("value", NO_COUNTERS)
def test_a_counter_is_a_number_as_redis_writes_it(store: SharedStore, value: bytes) -> None:
    store.set("n", value)
    with pytest.raises(ValueError, match="is no whole number of 64 bits"):
        store.incr("n", -1)
    assert store.get("n") == value


def test_a_counter_keeps_the_time_to_live_of_its_first_count(store: SharedStore) -> None:
    assert store.incr("hits", ttl=0.2) == 1
    assert store.incr("hits", ttl=3600) == 2
    while store.get("hits") is not None:
        time.sleep(0.002)
    assert store.incr("hits", 5) == 5
    assert store.decr("hits", 7) == -2


def test_the_async_operations_do_what_the_others_do(store: SharedStore) -> None:
    async def run() -> None:
        await store.aset("a", b"1")
        assert await store.aget("a") == b"1"
        assert not await store.aadd("a", b"2")
        assert await store.aincr("a", 4) == 5
        assert await store.adecr("a") == 4
        assert await store.acompare_and_set("a", b"4", b"x")
        await store.aset_many({"b": b"2", b"c": b"3"}, 60)
        assert await store.aget_many(["a", "b", b"c", "d"]) == {"a": b"x", "b": b"2", b"c": b"3"}
        assert await store.atouch("a", 60)
        assert await store.adelete("a")
        assert await store.adelete_prefix("") == 2

    asyncio.run(run())


def test_a_check_writes_and_changes_no_entry(store: SharedStore) -> None:
    store.set("key", b"1")
    store._backend.require_writable(10)
    assert list(store.keys()) == [b"key"]


def test_a_check_of_a_full_disk_fails_and_leaves_no_file(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    store = embedded_in(tmp_path)
    store.set("key", b"1")
    names = sorted(path.name for path in tmp_path.iterdir())

    def check() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
        with pytest.raises(StoreUnavailable, match=r"cannot write in .*: File too large"):
            store._backend.require_writable(10)

    assert in_child(check) == 0
    expected = sorted([*names, *_mark_of_child(tmp_path)])
    assert sorted(path.name for path in tmp_path.iterdir()) == expected


def _mark_of_child(folder: Path) -> list[str]:
    """Return the mark that the child has left, which was not closed."""
    own = f"user.{os.getpid()}"
    return [path.name for path in folder.glob("user.*") if path.name != own]
