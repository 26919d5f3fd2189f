"""A process that opens the store, or that was stopped meanwhile, and those that wait for it."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from prefork.errors import StoreBusy
from prefork.store.damage_check import find_damage
from prefork.store.embedded import EmbeddedBackend
from prefork.store.store_folder import OPENING
from prefork.unix.directory import Directory
from prefork.unix.record_locks import RecordLock, open_lock_file
from tests.pure.store.stores import child, embedded_in, fill, in_child, place_in


def hold_opening(folder: Path, writer: int) -> None:
    """Hold the lock of a process that opens the store, as one does that was stopped meanwhile."""
    with Directory.open(folder) as directory:
        assert RecordLock(open_lock_file(directory, "shared"), OPENING).acquire(60)
        os.write(writer, b".")
        signal.pause()


def test_the_check_of_a_store_waits_for_no_thread_that_opens_another_one(folder: Path) -> None:
    """Else two threads that open two stores would wait for each other for ever."""
    assert in_child(lambda: fill(folder)) == 0
    (file,) = (each for each in folder.glob("data-*") if not each.name.endswith("-lock"))
    busy = EmbeddedBackend(place_in(folder.parent / "other"))
    assert busy._use.acquire(timeout=0)
    found: list[str] = []
    check = threading.Thread(target=lambda: found.append(find_damage(str(file))), daemon=True)
    check.start()
    check.join(60)
    busy._use.release()
    assert found == [""]


def test_a_fork_waits_for_no_thread_that_opens_the_store(folder: Path) -> None:
    """That thread may need a lock that another module holds around the fork."""
    assert in_child(lambda: fill(folder)) == 0
    backend = EmbeddedBackend(place_in(folder), 60)
    with child(lambda writer: hold_opening(folder, writer)):
        opening = threading.Thread(target=lambda: backend.open(60), daemon=True)
        opening.start()
        while not backend._is_opening:
            os.sched_yield()
        assert in_child(lambda: None) == 0
        assert opening.is_alive()
    opening.join(60)
    assert not opening.is_alive()
    assert backend.is_open()


def test_a_process_that_opens_the_store_costs_others_their_timeout(folder: Path) -> None:
    assert in_child(lambda: fill(folder)) == 0
    with child(lambda writer: hold_opening(folder, writer)) as pid:
        store = embedded_in(folder, 0.05)
        calls: list[Callable[[], object]] = [
            lambda: store.get("key1"),
            lambda: store.get_many(["key1"]),
            lambda: list(store.keys()),
            store.stats,
            lambda: store.set("mine", b"1"),
            lambda: store.delete_prefix(""),
            lambda: store._backend.require_writable(0.05),
        ]
        for call in calls:
            with pytest.raises(StoreBusy, match=f"process {pid} has been opening .* for 0.05 s"):
                call()
    assert embedded_in(folder, 60).get("key1") is not None


def test_a_process_that_makes_the_folder_costs_others_their_timeout(folder: Path) -> None:
    with (
        child(lambda writer: hold_opening(folder, writer)) as pid,
        pytest.raises(StoreBusy, match=f"process {pid} has been opening the store"),
    ):
        EmbeddedBackend(place_in(folder), timeout=0.05)
    assert embedded_in(folder).get("key") is None


@pytest.mark.parametrize("name", ["aget", "aset"])
def test_the_event_loop_runs_while_another_process_opens_the_store(folder: Path, name: str) -> None:
    assert in_child(lambda: fill(folder)) == 0
    store = embedded_in(folder, 60)

    async def use(pid: int) -> None:
        arguments = [b"1"] * (name == "aset")
        call = asyncio.ensure_future(getattr(store, name)("key1", *arguments))
        for _ in range(50):
            await asyncio.sleep(0.001)
            assert not call.done()
        os.kill(pid, signal.SIGKILL)
        await call

    with child(lambda writer: hold_opening(folder, writer)) as pid:
        asyncio.run(use(pid))
    assert store.get("key1") is not None
