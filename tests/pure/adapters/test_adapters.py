"""The adapters as their frameworks call them, on an embedded store that other processes share."""

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from cachelib.base import BaseCache
from limits import RateLimitItemPerHour, RateLimitItemPerSecond
from limits.aio.strategies import FixedWindowRateLimiter as AsyncFixedWindow
from limits.aio.strategies import SlidingWindowCounterRateLimiter as AsyncSlidingWindow
from limits.storage import storage_from_string
from limits.strategies import (
    FixedWindowRateLimiter,
    MovingWindowRateLimiter,
    SlidingWindowCounterRateLimiter,
)
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starsessions import SessionAutoloadMiddleware, SessionMiddleware

import prefork.adapters.limits
from prefork.adapters.cachelib import Cache as CachelibCache
from prefork.adapters.starsessions import Store as SessionStore
from tests.pure.store.stores import in_child


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "store"
    path.mkdir(mode=0o700)
    monkeypatch.setenv("PREFORK_STORE", str(path))
    return path


def wait_until_gone(get: Any) -> None:
    while get() is not None:
        time.sleep(0.005)


# cachelib.


def test_cachelib_keeps_any_value_with_its_timeout() -> None:
    cache = CachelibCache()
    assert isinstance(cache, BaseCache)
    value = {"user": 5, "list": [1, None, "é"]}
    assert cache.set("key", value)
    assert cache.get("key") == value
    assert not cache.add("key", "other")
    assert cache.set_many({"a": 1, "b": False}) == ["a", "b"]
    assert cache.get_many("a", "none", "b") == [1, None, False]
    assert cache.get_dict("a", "b") == {"a": 1, "b": False}
    assert cache.has("b")
    assert cache.delete_many("a", "b") == ["a", "b"]
    assert not cache.delete("a")
    assert (cache.inc("n"), cache.inc("n", 4), cache.dec("n", 2)) == (1, 5, 3)
    assert cache.set("for ever", 1, timeout=0)
    assert cache.set("key", "short", timeout=1)
    wait_until_gone(lambda: cache.get("key"))
    assert cache.get("for ever") == 1
    assert cache.clear()
    assert cache.get("for ever") is None


def test_keys_of_any_length_are_kept_apart() -> None:
    cache = CachelibCache()
    long = "x" * 5000
    cache.set(long + "1", 1)
    cache.set(long + "2", 2)
    assert (cache.get(long + "1"), cache.get(long + "2")) == (1, 2)


def test_what_another_process_writes_is_seen() -> None:
    cache = CachelibCache()
    cache.set("key", "mine")
    assert in_child(lambda: cache.set("key", [cache.get("key")]) or None) == 0
    assert cache.get("key") == ["mine"]


# Django.


@pytest.fixture
def django_cache() -> Any:
    from django.conf import settings

    if not settings.configured:
        settings.configure()
    from prefork.adapters.django import Cache

    return Cache("here", {"KEY_PREFIX": "p", "TIMEOUT": 300})


def test_a_django_cache_does_what_its_documentation_says(django_cache: Any) -> None:
    cache = django_cache
    cache.set("key", {"a": (1, 2)})
    assert cache.get("key") == {"a": (1, 2)}
    assert cache.get("none", "default") == "default"
    assert not cache.add("key", 1)
    assert cache.add("new", 1)
    assert cache.get_or_set("made", lambda: 5) == 5
    cache.set_many({"x": 1, "y": None})
    assert cache.get_many(["x", "y", "z"]) == {"x": 1, "y": None}
    assert (cache.incr("x", 9), cache.decr("x")) == (10, 9)
    with pytest.raises(ValueError, match="not found"):
        cache.incr("none")
    assert "x" in cache
    assert cache.touch("x", 1000)
    assert not cache.touch("none", 1000)
    cache.set("versioned", 1, version=2)
    assert cache.get("versioned") is None
    assert cache.incr_version("versioned", version=2) == 3
    assert cache.get("versioned", version=3) == 1
    cache.set("never", 1, timeout=0)
    assert cache.get("never") is None
    cache.set("key", 1, timeout=0)
    assert cache.get("key") is None
    assert not cache.touch("x", 0) or cache.get("x") is None
    cache.set("soon", 1, timeout=0.05)
    wait_until_gone(lambda: cache.get("soon"))
    cache.delete_many(["new", "made"])
    cache.set("kept", 1, timeout=None)
    assert cache.get("kept") == 1
    cache.clear()
    assert cache.get("kept") is None


@pytest.mark.parametrize("value", [0, 5, -3, True, 1.5, "5", b"5", 2**63, None])
def test_a_value_has_the_same_type_as_before(value: Any, django_cache: Any) -> None:
    django_cache.set("key", value)
    found = django_cache.get("key", "none")
    assert (type(found), found) == (type(value), value)
    assert CachelibCache().set("key", value)
    assert type(CachelibCache().get("key")) is type(value)


def test_a_counter_keeps_its_time_to_live(
    django_cache: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Throttles count so: ``add`` with the length of their window, then ``incr``."""
    now = time.time()
    monkeypatch.setattr("prefork.store.embedded.time", lambda: now)
    cache = CachelibCache()
    for each, add in ((django_cache, django_cache.incr), (cache, cache.inc)):
        each.set("hits", 1, timeout=60)
        now += 40
        assert add("hits") == 2
        now += 40
        assert each.get("hits") is None
    with pytest.raises(ValueError, match="not found"):
        django_cache.incr("hits")


@pytest.mark.parametrize(
    ("value", "delta"), [(1.5, 1), (2**63 - 1, 1), (2**70, -1), (1, 0.5), (True, 1)]
)
def test_any_number_can_be_added_to(value: Any, delta: Any, django_cache: Any) -> None:
    django_cache.set("number", value)
    assert django_cache.incr("number", delta) == value + delta
    assert django_cache.get("number") == value + delta


def test_two_locations_of_django_are_two_caches(django_cache: Any) -> None:
    from prefork.adapters.django import Cache

    other = Cache("there", {})
    django_cache.set("key", 1)
    other.set("key", 2)
    other.clear()
    assert django_cache.get("key") == 1


@pytest.mark.parametrize("end", ["", "é" * 40, "\0", "\udc80"])
def test_long_and_strange_locations_of_django_are_kept_apart(end: str, django_cache: Any) -> None:
    from prefork.adapters.django import Cache

    long = "/var/cache/" + "x" * 100 + end
    names = ["", end, f"{long}1", f"{long}2"]
    names.append(Cache(names[2], {})._namespace.removeprefix("django."))
    caches = [Cache(name, {}) for name in dict.fromkeys(names)]
    for number, cache in enumerate(caches):
        cache.set("key", number)
    assert [cache.get("key") for cache in caches] == list(range(len(caches)))


def test_a_short_location_of_django_is_its_namespace(django_cache: Any) -> None:
    from prefork.adapters.django import Cache

    for location in ("", "here", "é" * 46):
        Cache(location, {}).set("key", 1)
        namespace = prefork.store(namespace=f"django.{location}")
        assert list(namespace.keys())


def test_sessions_of_django_live_in_the_cache(django_cache: Any) -> None:
    from django.contrib.sessions.backends.cache import SessionStore as DjangoSession

    class Session(DjangoSession):
        def __init__(self, key: str | None = None) -> None:
            super().__init__(key)
            self._cache = django_cache

    session = Session()
    session["user"] = 7
    session.create()
    again = Session(session.session_key)
    assert again["user"] == 7
    again.delete()
    assert "user" not in Session(session.session_key)


# limits.


STRATEGIES = [FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_exactly_the_limit_passes_among_processes(strategy: Any, folder: Path) -> None:
    limiter = strategy(storage_from_string("prefork://"))
    item = RateLimitItemPerHour(200)
    reader, writer = os.pipe()
    waiting, go = os.pipe()
    pids = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            os.close(go)
            limiter.test(item, "client")  # opens the store
            os.read(waiting, 1)  # until all are there
            hits = [limiter.hit(item, "client") for _ in range(150)]
            os.write(writer, b"".join(b"%d" % hit for hit in hits))
            os._exit(0)
        pids.append(pid)
    os.close(go)
    for pid in pids:
        os.waitpid(pid, 0)
    passed = os.read(reader, 1000)
    for fd in (reader, writer, waiting):
        os.close(fd)
    assert sorted(passed) == sorted(b"0" * 400 + b"1" * 200)
    reset, remaining = limiter.get_window_stats(item, "client")
    assert remaining == 0
    assert time.time() < reset <= time.time() + 3601
    assert limiter.hit(item, "another client")
    limiter.clear(item, "client")
    assert limiter.hit(item, "client")


def test_a_sliding_window_counts_a_share_of_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 36000.0
    monkeypatch.setattr("prefork.adapters.limits.time.time", lambda: now)
    storage = storage_from_string("prefork://")
    limiter = SlidingWindowCounterRateLimiter(storage)
    item = RateLimitItemPerHour(4)
    assert [limiter.hit(item) for _ in range(5)] == [True] * 4 + [False]
    assert storage.get_sliding_window(item.key_for(), 3600) == (0, 0.0, 4, 7200.0)
    now += 3600 + 1800  # half of the last window counts
    assert storage.get_sliding_window(item.key_for(), 3600) == (4, 1800.0, 0, 5400.0)
    assert [limiter.hit(item) for _ in range(3)] == [True, True, False]
    assert not limiter.test(item)
    now += 3600 * 2
    assert limiter.get_window_stats(item).remaining == 4
    limiter.hit(item)
    limiter.clear(item)
    assert limiter.get_window_stats(item).remaining == 4


def test_a_sliding_window_begins_with_its_first_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 36000.0 - 0.5  # just before an hour of the Unix epoch
    monkeypatch.setattr("prefork.adapters.limits.time.time", lambda: now)
    limiter = SlidingWindowCounterRateLimiter(storage_from_string("prefork://"))
    item = RateLimitItemPerHour(4)
    assert [limiter.hit(item) for _ in range(4)] == [True] * 4
    for later in (1, 1000, 2598):  # in all less than a period
        now += later
        assert not limiter.hit(item)
        assert limiter.get_window_stats(item) == (36000.0 - 0.5 + 3600, 0)
    now += 2  # into the next one
    assert [limiter.hit(item), limiter.hit(item)] == [True, False]
    now += 10 * 3600
    assert limiter.get_window_stats(item) == (now, 4)


def test_a_sliding_window_ends_in_time_after_the_clock_was_set_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 500_000.0
    monkeypatch.setattr("prefork.adapters.limits.time.time", lambda: now)
    storage = storage_from_string("prefork://")
    limiter = SlidingWindowCounterRateLimiter(storage)
    item = RateLimitItemPerHour(2)
    limiter.hit(item)
    now -= 100_000
    assert storage.get_sliding_window(item.key_for(), 3600) == (0, 0.0, 1, 7200.0)
    assert [limiter.hit(item), limiter.hit(item)] == [True, False]
    now += 2 * 3600
    assert limiter.hit(item, cost=2)


def test_reset_returns_the_number_of_counts() -> None:
    storage = storage_from_string("prefork://")
    item = RateLimitItemPerHour(2)
    for client in ("a", "b", "c" * 300):
        storage.incr(item.key_for(client), 3600)
        assert storage.get_expiry(item.key_for(client)) > time.time() + 3000
    assert storage.reset() == 3
    assert storage.get(item.key_for("a")) == 0
    assert storage.get_expiry(item.key_for("a")) <= time.time()


def test_a_window_ends() -> None:
    storage = storage_from_string("prefork://")
    assert storage.check()
    limiter = FixedWindowRateLimiter(storage)
    item = RateLimitItemPerSecond(1)
    assert limiter.hit(item)
    while not limiter.hit(item):
        time.sleep(0.01)
    assert storage.reset() >= 1


def test_the_async_storage_counts_in_the_same_window() -> None:
    async def run() -> list[bool]:
        limiter = AsyncFixedWindow(storage_from_string("async+prefork://"))  # type: ignore[arg-type]
        item = RateLimitItemPerHour(5)
        return [await limiter.hit(item, "client") for _ in range(4)]

    assert asyncio.run(run()) == [True] * 4

    async def slide() -> list[bool]:
        limiter = AsyncSlidingWindow(storage_from_string("async+prefork://"))  # type: ignore[arg-type]
        item = RateLimitItemPerHour(2)
        hits = [await limiter.hit(item, "client") for _ in range(3)]
        assert (await limiter.get_window_stats(item, "client")).remaining == 0
        await limiter.clear(item, "client")
        return [*hits, await limiter.hit(item, "client")]

    assert asyncio.run(slide()) == [True, True, False, True]
    limiter = FixedWindowRateLimiter(storage_from_string("prefork://"))
    assert [limiter.hit(RateLimitItemPerHour(5), "client") for _ in "12"] == [True, False]


# starsessions.


async def count(request: Request) -> PlainTextResponse:
    request.session["n"] = request.session.get("n", 0) + 1
    return PlainTextResponse(str(request.session["n"]))


async def leave(request: Request) -> PlainTextResponse:
    request.session.clear()
    return PlainTextResponse("bye")


def session_app(lifetime: int) -> Starlette:
    middleware: list[Any] = [
        Middleware(
            SessionMiddleware, store=SessionStore(), lifetime=lifetime, cookie_https_only=False
        ),
        Middleware(SessionAutoloadMiddleware),
    ]
    return Starlette(routes=[Route("/", count), Route("/leave", leave)], middleware=middleware)


@pytest.mark.parametrize("lifetime", [0, 3600])
def test_a_session_of_starlette_goes_on_in_another_worker(lifetime: int) -> None:
    async def run() -> list[str]:
        first, second = (httpx.ASGITransport(app=session_app(lifetime)) for _ in "12")
        cookies = httpx.Cookies()
        said = []
        for worker, path in ((first, "/"), (second, "/"), (first, "/"), (first, "/leave")):
            made = httpx.AsyncClient(transport=worker, base_url="http://a", cookies=cookies)
            async with made as client:
                said.append((await client.get(path)).text)
                cookies = client.cookies
        return said

    assert asyncio.run(run()) == ["1", "2", "3", "bye"]
