"""Locks that say whether an app runs: masters hold them for good, observers for an instant."""

import fcntl
import os
import threading
from pathlib import Path

from prefork.unix.home import claim_folder, remove_app
from prefork.unix.lock_file import acquire_lock, is_locked


def test_an_observer_does_not_prevent_a_lock(tmp_path: Path) -> None:
    ours, observer = (os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT) for _ in range(2))
    fcntl.flock(observer, fcntl.LOCK_SH)
    timer = threading.Timer(0.05, os.close, [observer])
    timer.start()
    assert acquire_lock(ours)
    timer.join()
    other = os.open(tmp_path / "lock", os.O_RDWR)
    assert is_locked(other)
    assert not acquire_lock(other)
    for fd in (ours, other):
        os.close(fd)


def test_an_app_is_removed_only_while_nothing_runs_there(tmp_path: Path) -> None:
    """Removed beside a start, the new master would lose its socket and its state."""
    home = tmp_path / "home"
    folder = claim_folder(home, "web", exact=True)
    folder.write_state({"name": "web"})
    folder.control.touch()
    assert not remove_app(folder.path)
    assert (folder.path / "state").exists()
    folder.close(keep=True)
    assert remove_app(folder.path)
    assert not folder.path.exists()
    assert remove_app(folder.path), "there is nothing to do"


def test_a_folder_whose_owner_is_about_to_end_is_waited_for(tmp_path: Path) -> None:
    """Its master, or a process that removes it, has closed the socket already."""
    folder = claim_folder(tmp_path / "home", "web", exact=True)
    timer = threading.Timer(0.05, folder.close, [False])
    timer.start()
    claim_folder(tmp_path / "home", "web", exact=True).close(keep=False)
    timer.join()
