"""prefork.lock and prefork.secret: among processes and threads, and when their holder dies."""

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import prefork
from prefork.errors import StoreBusy, StoreUnavailable, StoreValueError, UsageError
from prefork.store.named_lock import _Known
from prefork.unix.store_place import StorePlace, set_store_place
from tests.pure.store.stores import in_child
from tests.redis_server import RedisServer, needs_redis


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "store"
    path.mkdir(mode=0o700)
    monkeypatch.setenv("PREFORK_STORE", str(path))
    return path


@pytest.fixture(params=["embedded", pytest.param("redis", marks=needs_redis)])
def each_store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> Iterator[str]:
    """Run a test on a store of this machine, and on one on a server."""
    if request.param == "embedded":
        yield "embedded"
        return
    with RedisServer(tmp_path) as server:
        monkeypatch.setenv("PREFORK_STORE", server.url)
        yield "redis"


@pytest.mark.usefixtures("each_store")
def test_a_lock_has_one_holder_among_processes_and_threads(folder: Path) -> None:
    held = folder.parent / "held"
    # The first lock imports modules. A child that is forked meanwhile waits for ever for a thread
    # that it does not have: CPython does not reset the locks of imports.
    lock = prefork.lock
    with lock("one"):
        pass

    def work() -> None:
        for _ in range(20):
            with lock("one"):
                os.close(os.open(held, os.O_CREAT | os.O_EXCL))  # fails while another holds it
                held.unlink()

    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in "12"]
    for each in threads:
        each.start()
    codes = [in_child(work) for _ in "12"]
    for each in threads:
        each.join()
    assert (failures, codes) == ([], [0, 0])


@pytest.mark.usefixtures("each_store")
def test_the_token_rises_over_names_and_processes() -> None:
    tokens = []
    for name in ("a", "b", "a"):
        with prefork.lock(name) as token:
            tokens.append(token)

    def other() -> None:
        with prefork.lock("a") as token:
            assert token > tokens[-1]

    assert in_child(other) == 0
    assert tokens == sorted(set(tokens))
    assert tokens[-1] < 2**53  # exact in JSON


def test_the_token_rises_when_the_file_was_lost(folder: Path) -> None:
    def acquire() -> None:
        with prefork.lock("a") as token:
            (folder.parent / "token").write_text(str(token))

    tokens = []
    for _ in "12":
        assert in_child(acquire) == 0
        tokens.append(int((folder.parent / "token").read_text()))
        (folder / "locks").unlink()
    assert tokens[0] < tokens[1]


def test_a_lock_is_free_when_its_holder_was_killed_even_if_a_child_of_it_lives() -> None:
    reader, writer = os.pipe()
    holder = os.fork()
    if holder == 0:
        with prefork.lock("job"):
            if os.fork() == 0:
                os.write(writer, os.getpid().to_bytes(8, "little"))
            signal.pause()
    grandchild = int.from_bytes(os.read(reader, 8), "little")
    try:
        with (
            pytest.raises(StoreBusy, match=f"process {holder} holds it"),
            prefork.lock("job", 0.01),
        ):
            pass
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
        os.kill(grandchild, 0)
        with prefork.lock("job", timeout=30):
            pass
    finally:
        os.kill(grandchild, signal.SIGKILL)
        os.close(reader)
        os.close(writer)


@pytest.mark.usefixtures("each_store")
def test_a_child_that_leaves_the_block_of_its_parent_does_not_release_the_lock() -> None:
    with prefork.lock("job"):
        pid = os.fork()
        if pid == 0:
            os._exit(leave_and_try())
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def leave_and_try() -> int:
    return 0 if busy_message("job") else 1


def busy_message(name: str) -> str:
    """Return the message of the StoreBusy that the lock raises; empty: it is free."""
    try:
        with prefork.lock(name, timeout=0.01):
            return ""
    except StoreBusy as error:
        return str(error)


def test_another_thread_gets_the_lock_after_its_timeout_or_its_release(each_store: str) -> None:
    here = f"process {os.getpid()} on {socket.gethostname()}"
    holder = "another thread of this process" if each_store == "embedded" else here
    with prefork.lock("a"):
        assert f"{holder} holds it" in busy_message("a")
        with prefork.lock("b", timeout=0.01):
            pass


@pytest.mark.usefixtures("each_store")
def test_an_async_lock_lets_the_loop_run_while_it_waits() -> None:
    async def run() -> list[str]:
        order: list[str] = []
        held = asyncio.Event()

        async def hold() -> None:
            async with prefork.lock("a"):
                order.append("first")
                held.set()
                await asyncio.sleep(0)
                order.append("still first")

        async def wait() -> None:
            await held.wait()
            async with prefork.lock("a", timeout=30):
                order.append("second")

        await asyncio.gather(hold(), wait())
        return order

    assert asyncio.run(run()) == ["first", "still first", "second"]


@pytest.mark.parametrize("name", ["", "a" * 251])
def test_the_name_of_a_lock_has_1_to_250_bytes(name: str) -> None:
    with pytest.raises(StoreValueError, match="the name of a lock has"):
        prefork.lock(name)


# Secrets.


def test_a_secret_is_made_once_and_is_private(folder: Path, each_store: str) -> None:
    def other() -> None:
        (folder.parent / "theirs").write_text(prefork.secret("key"))

    assert in_child(other) == 0
    secret = prefork.secret("key")
    assert secret == (folder.parent / "theirs").read_text()
    assert len(secret) == 64
    assert prefork.secret("other") != secret
    modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == ({0o600} if each_store == "embedded" else set())


def test_many_processes_that_ask_at_once_get_one_secret(folder: Path, each_store: str) -> None:
    reader, writer = os.pipe()
    pids = []
    for _ in range(8):
        pid = os.fork()
        if pid == 0:
            os.write(writer, prefork.secret("key").encode())
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)
    text = os.read(reader, 8 * 64).decode()
    os.close(reader)
    os.close(writer)
    assert text == prefork.secret("key") * 8
    names = [path.name for path in folder.iterdir()]
    assert names == (["secret.key"] if each_store == "embedded" else [])


@pytest.mark.parametrize("name", ["", "../key", "a/b", "a" * 101, "é"])
def test_the_name_of_a_secret_leads_out_of_no_folder(name: str) -> None:
    with pytest.raises(StoreValueError, match="the secret cannot be called"):
        prefork.secret(name)


def test_a_secret_that_was_changed_by_hand_is_not_used(folder: Path) -> None:
    (folder / "secret.key").write_text("hunter2")
    with pytest.raises(StoreUnavailable, match="remove it to get a new secret") as caught:
        prefork.secret("key")
    assert "hunter2" not in str(caught.value)


@pytest.mark.usefixtures("each_store")
def test_a_lock_of_a_name_that_is_used_once_costs_nothing_later() -> None:
    for number in range(100):
        with prefork.lock(f"order-{number}"):
            assert len(_Known.locks) <= 1
    assert not _Known.locks
    assert not _Known.held


@pytest.mark.parametrize("is_worker", [True, False])
def test_a_lock_whose_object_is_forgotten_stays_held(
    is_worker: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_worker:
        monkeypatch.delenv("PREFORK_STORE")
    prefork.lock("forgotten").__enter__()
    with pytest.raises(StoreBusy, match="another thread of this process holds it"):
        prefork.lock("forgotten", timeout=0.01).__enter__()


@needs_redis
def test_a_lock_leaves_one_key_for_all_names_on_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RedisServer(tmp_path) as server:
        monkeypatch.setenv("PREFORK_STORE", server.url)
        monkeypatch.setenv("PREFORK_NAME", "web")
        tokens = []
        for number in range(10):
            with prefork.lock(f"order-{number}") as token:
                tokens.append(token)
        assert tokens == sorted(set(tokens))
        assert server.command("DBSIZE") == b":1\r\n"


def test_a_timeout_is_a_number() -> None:
    with pytest.raises(StoreValueError, match="timeout is nan"):
        prefork.lock("job", timeout=float("nan"))
    with pytest.raises(StoreValueError, match="timeout is nan"):
        prefork.store(timeout=float("nan"))
    with prefork.lock("job", timeout=float("inf")):
        prefork.store(timeout=float("inf")).set("key", b"1")


# Outside of prefork.


@pytest.mark.parametrize("kind", ["./store", "web", "redis:host", "file:///tmp", "redis://a:b@"])
def test_a_value_that_names_no_store_is_an_error(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFORK_STORE", kind)
    calls: list[Callable[[], object]] = [
        prefork.store,
        lambda: prefork.store.get("key"),
        lambda: prefork.lock("a"),
        lambda: prefork.secret("a"),
    ]
    for call in calls:
        with pytest.raises(UsageError, match=r"^the value of PREFORK_STORE is not embedded, "):
            call()


@pytest.mark.parametrize("kind", ["embedded", "memory", ""])
def test_the_warning_says_why_nothing_is_shared(kind: str, tmp_path: Path) -> None:
    environ = {**os.environ, "PREFORK_STORE": kind, "PREFORK_HOME": str(tmp_path)}
    code = "import prefork; prefork.store()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, check=True, capture_output=True, text=True
    )
    why = f"PREFORK_STORE={kind} is only for workers" if kind else "PREFORK_STORE is not set"
    assert f"is no worker of prefork and {why}, so its store" in done.stderr


def test_without_prefork_all_works_in_the_memory_of_the_process(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("PREFORK_STORE")
    prefork.store.set("key", b"1")
    assert prefork.store().get("key") == b"1"
    with prefork.lock("a") as token:
        assert token > 0
    assert prefork.secret("s") == prefork.secret("s")
    assert len(caplog.records) <= 1


def test_a_store_that_is_off_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFORK_STORE", "off")
    with pytest.raises(StoreUnavailable, match="switched off by --store off"):
        prefork.store()


def test_the_module_can_be_called_and_knows_only_the_operations() -> None:
    assert prefork.store.incr("n") == prefork.store().decr("n", 0) == 1
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = prefork.store.nothing


@pytest.fixture
def as_worker() -> Iterator[None]:
    """Let the test set the place of the store, as a worker does."""
    yield
    set_store_place(None)


def test_a_worker_gets_the_same_store_for_the_same_namespace(folder: Path, as_worker: None) -> None:
    folders = [str(folder), str(folder.parent / "two")]
    Path(folders[1]).mkdir(mode=0o700)
    found = []
    places = [StorePlace(each, folder=each) for each in folders]
    for place in (places[0], places[0], places[1]):
        set_store_place(place)
        found.append(prefork.store(namespace="here"))
        found[-1].add("place", place.folder.encode())
    assert found[0] is found[1]
    names = [folders[0], folders[0], folders[1]]
    assert [store.get("place") for store in found] == [name.encode() for name in names]
