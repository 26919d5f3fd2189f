"""Files that another user put in the place of a pid file, a log or a socket stay as they are."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefork.config.addresses import UnixAddress
from prefork.errors import MachineError
from prefork.unix import append_file
from prefork.unix.append_file import open_append
from prefork.unix.identity import describe_user
from prefork.unix.listeners import open_listeners, update_listener
from prefork.unix.pidfile import PidFile
from tests.pure.children import as_root

OTHER = 65534
OTHER_USER = describe_user(OTHER)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "precious"
    path.write_text("precious\n")
    yield path
    assert path.read_text() == "precious\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    return folder / "file"


def append(path: Path) -> None:
    fd = open_append(str(path))
    os.write(fd, b"line\n")
    os.close(fd)


# Pid files.


def test_a_pid_file_that_is_a_symlink_is_refused(path: Path, target: Path) -> None:
    path.symlink_to(target)
    with pytest.raises(
        MachineError, match="it is a symlink, not a regular file; remove it or choose"
    ):
        PidFile(str(path))
    path.unlink()
    path.symlink_to(path.parent / "nothing")
    with pytest.raises(MachineError, match="it is a symlink"):
        PidFile(str(path))
    assert not (path.parent / "nothing").exists()


def test_a_pid_file_that_is_a_hard_link_or_a_fifo_is_refused(path: Path, target: Path) -> None:
    path.hardlink_to(target)
    with pytest.raises(MachineError, match="it is a hard link"):
        PidFile(str(path))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(MachineError, match="it is a fifo, not a regular file; remove it or choose"):
        PidFile(str(path))


@as_root
def test_a_pid_file_of_another_user_is_refused(path: Path) -> None:
    path.write_text("theirs\n")
    os.chown(path, OTHER, OTHER)
    with pytest.raises(MachineError, match="it belongs to user "):
        PidFile(str(path))
    assert path.read_text() == "theirs\n"


# Logs.


def test_an_own_symlink_is_followed_unless_every_user_may_exchange_it(
    path: Path, tmp_path: Path
) -> None:
    path.symlink_to(tmp_path / "log")
    append(path)
    assert (tmp_path / "log").read_text() == "line\n"
    path.parent.chmod(0o777)
    with pytest.raises(MachineError, match="every user may exchange it; name the file itself"):
        append(path)
    path.parent.chmod(0o1777)
    append(path)


def test_dev_stdout_leads_to_the_own_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    append(Path("/dev/stdout"))
    append(Path("/dev/null"))
    assert capfd.readouterr().out == "line\n"


@as_root
def test_a_symlink_of_another_user_is_not_followed(path: Path, target: Path) -> None:
    path.symlink_to(target)
    os.chown(path, OTHER, OTHER, follow_symlinks=False)
    with pytest.raises(MachineError, match=r"it is a symlink of user .*'s; name the file itself"):
        append(path)


def test_a_hard_link_is_not_written(path: Path, target: Path) -> None:
    path.hardlink_to(target)
    with pytest.raises(MachineError, match="it is a hard link"):
        append(path)


@as_root
def test_a_file_of_another_user_in_a_folder_open_to_all_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(append_file, "_trusted_uids", set())
    path.touch()
    os.chown(path, OTHER, OTHER)
    append(path)  # only we can have put it into this folder
    path.parent.chmod(0o1777)
    with pytest.raises(MachineError, match="every user may write into its folder"):
        append(path)
    assert path.read_text() == "line\n"
    append_file.set_worker_user(OTHER)
    append(path)
    assert path.read_text() == "line\n" * 2


# Sockets.


@pytest.mark.parametrize("exists", [True, False])
def test_a_socket_is_not_bound_through_a_symlink(path: Path, target: Path, exists: bool) -> None:
    path.symlink_to(target if exists else path.parent / "nothing")
    with pytest.raises(MachineError, match="the path exists and is no socket"):
        open_listeners(UnixAddress(str(path), 0o666), 8)
    assert path.is_symlink()
    assert list(path.parent.iterdir()) == [path]
    assert target.stat().st_mode & 0o777 != 0o666


def test_a_symlink_to_a_socket_without_a_listener_stays(path: Path, tmp_path: Path) -> None:
    stale = tmp_path / "stale"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(stale))
    path.symlink_to(stale)
    with pytest.raises(MachineError, match="the path exists and is no socket"):
        open_listeners(UnixAddress(str(path)), 8)
    assert path.is_symlink()
    assert stale.exists()


@as_root
def test_mode_and_owner_are_set_on_the_socket_itself(path: Path) -> None:
    (listener,) = open_listeners(UnixAddress(str(path), 0o640, f"{OTHER}:1"), 8)
    status = path.stat()
    assert (status.st_mode & 0o777, status.st_uid, status.st_gid) == (0o640, OTHER, 1)
    listener.close()
    assert not path.exists()


def test_a_socket_that_replaced_the_own_one_keeps_its_mode(path: Path) -> None:
    (ours,) = open_listeners(UnixAddress(str(path)), 8)
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        path.chmod(0o600)
        with pytest.raises(MachineError, match="another file is in its place"):
            update_listener(ours, UnixAddress(str(path), 0o666), 8)
        assert path.stat().st_mode & 0o777 == 0o600
        ours.close()
        assert path.exists()


@as_root
def test_nothing_is_created_behind_a_symlink_of_another_user(path: Path) -> None:
    theirs = path.parent / "theirs"
    theirs.symlink_to(path.parent.parent)
    os.chown(theirs, OTHER, OTHER, follow_symlinks=False)
    before = sorted(path.parent.parent.iterdir())
    where = str(theirs / "file")
    with pytest.raises(MachineError, match=f"theirs is a symlink of {OTHER_USER}'s"):
        open_listeners(UnixAddress(where), 8)
    with pytest.raises(MachineError, match=f"theirs is a symlink of {OTHER_USER}'s"):
        PidFile(where)
    with pytest.raises(MachineError, match=f"theirs is a symlink of {OTHER_USER}'s"):
        append(Path(where))
    assert sorted(path.parent.parent.iterdir()) == before


@as_root
def test_a_fifo_of_another_user_is_refused_as_a_log(path: Path) -> None:
    """Its owner could let the master wait for a reader."""
    os.mkfifo(path)
    os.chown(path, OTHER, OTHER)
    with pytest.raises(MachineError, match=f"it is a fifo of {OTHER_USER}'s; remove it"):
        append(path)


def test_an_own_fifo_is_opened_without_a_reader(path: Path) -> None:
    os.mkfifo(path)
    append(path)


@as_root
@pytest.mark.parametrize("folder_mode", [0o755, 0o775])
def test_a_log_gets_the_workers_user_as_its_owner(
    path: Path, monkeypatch: pytest.MonkeyPatch, folder_mode: int
) -> None:
    """A new log always changes its owner; an existing one only in a private folder."""
    monkeypatch.setattr(append_file, "_trusted_uids", set())
    monkeypatch.setattr(append_file, "_worker_user", (None, None))
    path.touch()
    path.parent.chmod(folder_mode)
    append_file.set_worker_user(OTHER, OTHER)
    append_file.prepare_log(str(path))
    assert path.stat().st_uid == (OTHER if folder_mode == 0o755 else 0)
    path.unlink()
    append_file.prepare_log(str(path))
    assert path.stat().st_uid == OTHER
