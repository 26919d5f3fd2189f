"""Files in the folder of a store that prefork did not write, but its user did."""

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from prefork.store.embedded import EmbeddedBackend
from prefork.store.entry_format import HEAD
from tests.pure.store.stores import embedded_in, in_child, place_in


def put_symlink(path: Path) -> None:
    path.symlink_to("/dev/zero")


def put_folder(path: Path) -> None:
    path.mkdir()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "store"
    path.mkdir(mode=0o700)
    return path


def reports_of_use(folder: Path) -> list[str]:
    """Return what is reported when a process opens the store, writes to it and reads it."""
    reports: list[str] = []
    backend = EmbeddedBackend(place_in(folder, report=reports.append))
    backend.set(b"\0key", b"value", None, 10)
    assert backend.get(b"\0key", 2) == b"value"
    return reports


@pytest.mark.parametrize("put", [put_symlink, put_folder, os.mkfifo])
def test_what_is_no_regular_file_is_put_aside_and_never_opened(
    folder: Path, put: Callable[[Path], None]
) -> None:
    assert in_child(lambda: embedded_in(folder).set("key", b"old")) == 0
    path = folder / "data-1"
    path.unlink()
    put(path)
    (report,) = reports_of_use(folder)
    assert "not a regular file" in report
    (aside,) = folder.glob("damaged-*")
    assert aside.is_symlink() or not aside.is_file()


def test_facts_that_no_process_wrote_are_replaced(folder: Path) -> None:
    (folder / "shared").write_bytes(b"\xff" * 4096)
    assert reports_of_use(folder) == []


def snapshot_of(*entries: bytes) -> bytes:
    """Return a snapshot that has these bytes for entries, and the right checksum of them."""
    data = b"".join(entries)
    head = struct.pack("<II", len(data), zlib.crc32(data))
    return b"prefork store 1\n" + head + data + bytes(8)


def entry(key: bytes, value: bytes) -> bytes:
    return struct.pack("<HI", len(key), len(value)) + key + value


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(snapshot_of(b"cut"), "an entry is cut short", id="entry-cut"),
        pytest.param(snapshot_of(bytes(6000)), "an entry has no key", id="empty-keys"),
        pytest.param(snapshot_of(entry(b"\0k", b"")), "buffer", id="value-cut"),
        pytest.param(
            snapshot_of(entry(b"k" * 5000, HEAD.pack(0, 1))), "BAD_VALSIZE", id="long-key"
        ),
    ],
)
def test_a_snapshot_that_prefork_did_not_write_is_reported_and_the_store_starts(
    folder: Path, content: bytes, reason: str
) -> None:
    (folder / "snapshot").write_bytes(content)
    (report,) = reports_of_use(folder)
    assert "cannot be read whole" in report
    assert reason in report
