"""Snapshots of a process that goes on."""

import time
from pathlib import Path

from prefork.store.embedded import EmbeddedBackend
from prefork.store.entry_format import unpack_entry
from prefork.store.store_api import SharedStore
from prefork.store.store_snapshot import read_snapshot
from prefork.unix.directory import Directory
from tests.pure.store.stores import in_child, place_in


def entries_in_snapshot(folder: Path) -> dict[bytes, bytes]:
    with Directory.open(folder) as directory:
        try:
            blocks = list(read_snapshot(directory))
        except FileNotFoundError:
            return {}
    return {key: unpack_entry(data).value for block in blocks for key, data in block}


def wait_for_snapshot(folder: Path, expected: dict[bytes, bytes]) -> None:
    deadline = time.monotonic() + 60
    while entries_in_snapshot(folder) != expected:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_last_changes_of_a_burst_get_into_a_snapshot(folder: Path) -> None:
    backend = EmbeddedBackend(place_in(folder), snapshot_interval=0.05)
    store = SharedStore(backend, timeout=60)
    store.set("first", b"1")
    store.set("second", b"2")
    wait_for_snapshot(folder, {b"\0first": b"1", b"\0second": b"2"})
    store.set("first", b"3")
    wait_for_snapshot(folder, {b"\0first": b"3", b"\0second": b"2"})
    backend.close()


def test_a_snapshot_that_failed_is_tried_again_without_another_change(folder: Path) -> None:
    reports: list[str] = []
    obstacle = folder / "snapshot"
    obstacle.mkdir()
    (obstacle / "file").touch()
    place = place_in(folder, report=reports.append)
    backend = EmbeddedBackend(place, snapshot_interval=0.05)
    SharedStore(backend, timeout=60).set("key", b"1")
    deadline = time.monotonic() + 60
    while not [each for each in reports if each.startswith("cannot write a snapshot")]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (obstacle / "file").unlink()
    obstacle.rmdir()
    wait_for_snapshot(folder, {b"\0key": b"1"})
    backend.close()


def test_a_child_writes_a_snapshot_of_its_own_changes(folder: Path) -> None:
    backend = EmbeddedBackend(place_in(folder), snapshot_interval=0.05)
    store = SharedStore(backend, timeout=60)
    store.set("parent", b"1")

    def other() -> None:
        store.set("child", b"2")
        wait_for_snapshot(folder, {b"\0child": b"2", b"\0parent": b"1"})

    assert in_child(other) == 0
    backend.close()
