"""Regular files of a bounded size, opened without waiting."""

import os
import socket
from pathlib import Path

import pytest

from prefork.unix.regular_file import NotRegularFileError, open_regular, read_regular


def test_a_regular_file_is_read_also_by_a_symlink(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(str(tmp_path / "link"), 5) == b"12345"


def test_a_file_above_the_limit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"123456")
    with pytest.raises(NotRegularFileError, match="it has more than 5 bytes"):
        read_regular(str(tmp_path / "file"), 5)


def test_files_of_other_kinds_are_refused_at_once_and_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "socket"))
    for name, kind in {"fifo": "a fifo", "link": "a fifo", "socket": "a socket"}.items():
        with pytest.raises(NotRegularFileError, match=f"it is {kind}, not a regular file"):
            open_regular(str(tmp_path / name))
    with pytest.raises(NotRegularFileError, match="it is a fifo, not a regular file"):
        open_regular(str(tmp_path / "fifo"), os.O_WRONLY)  # without a reader
    with pytest.raises(NotRegularFileError, match="it is a symlink, not a regular file"):
        open_regular(str(tmp_path / "link"), os.O_NOFOLLOW)
    with pytest.raises(NotRegularFileError, match="it is a device, not a regular file"):
        open_regular("/dev/zero")
    with pytest.raises(IsADirectoryError):
        open_regular(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        open_regular(str(tmp_path / "missing"))


def test_a_circle_of_symlinks_is_named_as_a_symlink(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(NotRegularFileError, match="Too many levels of symbolic links"):
        open_regular(str(tmp_path / "a"))
