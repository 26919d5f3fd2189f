"""Limits of bodies on disk, and which bodies are refused."""

import logging
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.errors import ClientError, MachineError
from prefork.http.buffer_pool import BufferPool
from prefork.http.spool import SpooledBody
from prefork.http.spool_disk import FREE_SPACE_CHECK_INTERVAL, SpoolDisk, SpoolFile, check_folder

PIECE = memoryview(bytes(100))


def refused(status: int, act: object, *arguments: object) -> None:
    with pytest.raises(ClientError) as raised:
        act(*arguments)  # type: ignore[operator]
    assert raised.value.status == status


@pytest.fixture
def disk() -> SpoolDisk:
    return SpoolDisk(limit=1000)


@pytest.fixture
def files(disk: SpoolDisk) -> Iterator[list[SpoolFile]]:
    """A list whose files are closed at the end."""
    made: list[SpoolFile] = []
    yield made
    for file in made:
        file.close()
    assert disk.bytes_used == 0


def test_one_body_may_use_the_whole_limit_and_no_more(
    disk: SpoolDisk, files: list[SpoolFile]
) -> None:
    files.append(disk.open())
    for _ in range(10):
        files[0].write(PIECE)
    refused(413, files[0].write, PIECE)
    assert disk.bytes_used == 1000


def test_new_bodies_are_refused_before_those_in_progress(
    disk: SpoolDisk, files: list[SpoolFile]
) -> None:
    files += [disk.open(), disk.open()]
    for _ in range(7):
        files[0].write(PIECE)
    files[1].write(memoryview(bytes(50)))
    refused(503, disk.open)
    files[1].write(PIECE)  # this body had begun
    files[1].write(PIECE)
    refused(503, files[1].write, PIECE)
    files[1].close()
    files.append(disk.open())


def test_a_body_that_announces_too_many_bytes_is_refused_at_once(disk: SpoolDisk) -> None:
    disk.check_length(1000, memory=0)
    disk.check_length(2000, memory=2000)
    refused(413, disk.check_length, 1001, 0)
    SpoolDisk().check_length(1 << 62, memory=0)


def test_a_part_of_the_file_system_stays_free() -> None:
    SpoolDisk(min_free=1).open().close()
    found = os.statvfs("/tmp")
    whole = found.f_blocks * found.f_frsize
    if found.f_bavail * found.f_frsize > whole // 10:
        SpoolDisk(min_free=1 << 62).open().close()  # never more than a tenth


def test_the_free_space_is_checked_again_while_a_body_grows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel's answer is replaced, because a test must not fill the disk."""
    disk = SpoolDisk(min_free=100)
    file = disk.open()
    full = os.statvfs_result((1, 1, 10_000, 99, 99, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "fstatvfs", lambda _fd: full)
    file.write(memoryview(bytes(FREE_SPACE_CHECK_INTERVAL - 1)))
    refused(503, file.write, PIECE)
    refused(503, disk.open)
    file.close()
    assert disk.bytes_used == 0


def test_a_folder_that_is_gone_is_a_503(tmp_path: Path) -> None:
    refused(503, SpoolDisk(str(tmp_path / "gone")).open)


def test_a_write_that_the_system_refuses_is_a_503(disk: SpoolDisk, files: list[SpoolFile]) -> None:
    files.append(disk.open())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150, hard))
    try:
        files[0].write(PIECE)
        refused(503, files[0].write, PIECE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_the_folder_of_the_bodies_is_checked_at_the_start(tmp_path: Path) -> None:
    check_folder(str(tmp_path))
    with pytest.raises(MachineError, match="no file can be made in"):
        check_folder(str(tmp_path / "nothing"))


def test_the_log_warns_once_until_there_is_space_again(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("spool")
    disk = SpoolDisk(limit=100, log=log)
    for _ in range(2):
        file = disk.open()
        file.write(PIECE)
        refused(503, disk.open)
        refused(503, disk.open)
        file.close()
    assert len(caplog.records) == 2
    assert "body-spool" in caplog.text


@given(
    st.lists(st.tuples(st.integers(0, 4), st.binary(max_size=300) | st.none()), max_size=60),
    st.integers(0, 800),
)
def test_the_count_of_bytes_is_right_after_any_history(
    steps: list[tuple[int, bytes | None]], limit: int
) -> None:
    """Bodies grow, end and are discarded in any order; a refused body is discarded at once."""
    disk = SpoolDisk(limit=limit)
    bodies: dict[int, SpooledBody] = {}
    for which, data in steps:
        body = bodies.setdefault(which, SpooledBody(BufferPool(0), disk))
        try:
            if data is None:
                body.end()
                raise ClientError(400, "the next")
            body.feed(data)
        except ClientError:
            bodies.pop(which).discard()
        assert 0 <= disk.bytes_used <= limit
    for body in bodies.values():
        body.discard()
    assert disk.bytes_used == 0
