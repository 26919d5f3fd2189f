"""A home of another user, and files of another user in it, are neither followed nor changed."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.live.harness import command, wait_for
from tests.live.home import Home, fetch, temporary_home
from tests.pure.children import as_root

OTHER = 65534


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with temporary_home(tmp_path) as home:
        yield home


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "precious"
    path.write_text("precious\n")
    yield path
    assert path.read_text() == "precious\n"


def refused(home: Home, message: str) -> None:
    words = ("start", "-b", "127.0.0.1:0", "--name", "web", "web:app")
    assert message in home.run_failing(111, *words)


@as_root
def test_a_home_of_another_user_is_refused(home: Home) -> None:
    home.home.mkdir(mode=0o700)
    os.chown(home.home, OTHER, OTHER)
    refused(home, f"{home.home} is not a folder of this user's, but user ")
    assert list(home.home.iterdir()) == []


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770])
def test_a_home_that_others_may_write_into_is_refused(home: Home, mode: int) -> None:
    home.home.mkdir()
    home.home.chmod(mode)
    refused(home, f"others may write into {home.home}")
    assert list(home.home.iterdir()) == []
    if mode & 0o2:  # an app in there may be another user's
        assert f"chmod go-w {home.home}" in home.run_failing(111, "list")
    home.home.chmod(0o755)
    home.start()


def test_a_home_that_is_a_symlink_is_refused(home: Home, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    home.home.symlink_to(tmp_path / "elsewhere")
    refused(home, "is not a folder of this user's")
    assert list((tmp_path / "elsewhere").iterdir()) == []


@as_root
def test_a_folder_of_another_user_is_refused(home: Home) -> None:
    folder = home.home / "web"
    folder.mkdir(parents=True)
    home.home.chmod(0o700)
    os.chown(folder, OTHER, OTHER)
    refused(home, f"{folder} is not a folder of this user's, but user ")
    assert list(folder.iterdir()) == []


def a_folder(home: Home) -> Path:
    home.home.mkdir(mode=0o700)
    folder = home.home / "web"
    folder.mkdir(mode=0o700)
    return folder


@pytest.mark.parametrize("name", ["lock", "state.new", "log"])
def test_a_symlink_in_the_folder_is_not_followed(home: Home, target: Path, name: str) -> None:
    folder = a_folder(home)
    (folder / name).symlink_to(target)
    if name == "lock":
        refused(home, "cannot use")
    elif name == "state.new":
        home.start()
        assert home.app()["state"] == "running"
    elif os.geteuid() == 0:
        os.chown(folder / name, OTHER, OTHER, follow_symlinks=False)
        refused(home, "it is a symlink of user ")


def test_force_ends_the_master_and_not_the_pid_of_the_state_file(home: Home) -> None:
    home.start()
    pid = home.app()["pid"]
    state = home.home / "web" / "state"
    state.write_text(state.read_text().replace(str(pid), str(os.getpid())))
    assert home.run_ok("stop", "--force", "web") == "web: stopped\n"
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), "it is gone")


def test_the_control_socket_replaces_any_file_in_its_place(home: Home, target: Path) -> None:
    folder = a_folder(home)
    (folder / "control").symlink_to(target)
    home.start()
    assert not (folder / "control").is_symlink()
    assert fetch(home.app()) == b"one"


def test_the_output_of_workers_goes_through_no_symlink(home: Home, target: Path) -> None:
    folder = a_folder(home)
    (folder / "web.out").symlink_to(target)
    home.write("web.py", "print('lost')\n" + (home.folder / "web.py").read_text())
    home.start()
    home.run_ok("rotate", "web")
    assert "cannot open" in home.run_ok("logs", "web")


def a_symlink(path: Path, target: Path) -> None:
    path.symlink_to(target)


def a_hard_link(path: Path, target: Path) -> None:
    path.hardlink_to(target)


def a_file_of_others(path: Path, target: Path) -> None:
    path.write_bytes(target.read_bytes())
    path.parent.chmod(0o1777)
    os.chown(path, OTHER, OTHER)


@as_root
@pytest.mark.parametrize("make", [a_symlink, a_hard_link, a_file_of_others])
@pytest.mark.parametrize("option", ["--pid-file", "--log-file", "--access-log", "--bind=unix:"])
def test_foreign_files_at_paths_that_the_operator_chose_are_refused(
    home: Home, tmp_path: Path, target: Path, option: str, make: Callable[[Path, Path], None]
) -> None:
    """An attacker leaves them in a folder that all users may write to."""
    folder = tmp_path / "open"
    folder.mkdir()
    path = folder / "file"
    make(path, target)
    os.chown(path, OTHER, OTHER, follow_symlinks=False)
    before = os.lstat(path)
    if option.endswith(":"):
        words = [f"{option}{path},mode=666"]
    else:
        words = ["-b", "127.0.0.1:0", option, str(path)]
    done = command(*words, "web:app", cwd=home.folder, env={"PREFORK_HOME": str(home.home)})
    assert done.returncode == 111, done.stderr
    assert str(path) in done.stderr
    after = os.lstat(path)
    assert (after.st_ino, after.st_mode, after.st_size) == (
        before.st_ino,
        before.st_mode,
        before.st_size,
    )
    os.chown(target, 0, 0)


def test_a_foreign_socket_at_the_place_of_a_dead_master_is_not_taken_for_a_master(
    home: Home,
) -> None:
    """No lock is held, so the app does not run."""
    folder = a_folder(home)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(folder / "control"))
        sock.listen()
        assert home.run_ok("list").startswith("no apps")
        home.start()
        assert fetch(home.app()) == b"one"
