"""A pid file whose lock says that a master runs."""

import os
from pathlib import Path

import pytest

from prefork.errors import MachineError
from prefork.unix.pidfile import PidFile
from prefork.unix.process import (
    ExitStatus,
)
from tests.pure.children import fork_child


def test_a_pid_file_holds_our_pid_while_it_is_open(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    held = PidFile(str(path))
    assert path.read_text() == f"{os.getpid()}\n"
    held.close()
    assert not path.exists()


def test_a_stale_pid_file_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text("4194304 and more than a pid\n")
    held = PidFile(str(path))
    assert path.read_text() == f"{os.getpid()}\n"
    held.close()


def test_a_locked_pid_file_is_refused_with_the_pid_of_its_owner(tmp_path: Path) -> None:
    path = str(tmp_path / "pid")
    held = PidFile(path)
    with pytest.raises(MachineError, match=f"already running: pid {os.getpid()} holds .*{path}"):
        PidFile(path)
    held.close()
    PidFile(path).close()


def test_a_child_that_closed_its_copy_leaves_the_lock_to_its_parent(tmp_path: Path) -> None:
    path = str(tmp_path / "pid")
    held = PidFile(path)
    reader, writer = os.pipe()

    def life() -> int:
        held.close_copy()
        os.close(writer)
        os.read(reader, 1)  # until the parent is done
        return 0

    child = fork_child(life)
    held.close()
    PidFile(path).close()
    os.close(writer)
    assert child.reap() == ExitStatus(0, None)
    os.close(reader)


def test_a_pid_file_that_was_replaced_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    held = PidFile(str(path))
    path.unlink()
    path.write_text("another's\n")
    held.close()
    assert path.read_text() == "another's\n"


def test_a_pid_file_that_is_gone_already_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    held = PidFile(str(path))
    path.unlink()
    held.close()


def test_a_pid_file_in_a_folder_that_does_not_exist_is_a_machine_error(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"cannot write the pid file .*: No such file"):
        PidFile(str(tmp_path / "missing/pid"))
