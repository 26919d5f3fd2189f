"""The homes of services: which of the folders in /run/prefork a user may trust."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from prefork.unix.system_homes import list_system_homes
from tests.pure.children import as_root

OTHER, THIRD = 65534, 65533
pytestmark = as_root


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yield the folder of homes, which all users may enter."""
    with tempfile.TemporaryDirectory(prefix="prefork-run-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@contextmanager
def acting_as(uid: int) -> Iterator[None]:
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


def make_home(folder: Path, name: str, uid: int = 0, mode: int = 0o700) -> Path:
    path = folder / name
    path.mkdir()
    os.chown(path, uid, -1)
    path.chmod(mode)
    return path


def test_root_gets_the_homes_of_all_users_and_others_their_own_and_roots(folder: Path) -> None:
    roots, mine = make_home(folder, "a"), make_home(folder, "b", OTHER)
    third = make_home(folder, "c", THIRD)
    assert list_system_homes(folder) == [roots, mine, third]
    with acting_as(OTHER):
        assert list_system_homes(folder) == [roots, mine]


def test_a_home_that_others_may_write_into_is_left_out(folder: Path) -> None:
    good = make_home(folder, "good", mode=0o755)
    make_home(folder, "group", mode=0o770)
    make_home(folder, "all", mode=0o1777)
    assert list_system_homes(folder) == [good]


def test_what_is_no_folder_is_left_out(folder: Path) -> None:
    (folder / "file").write_text("")
    os.mkfifo(folder / "fifo")
    (folder / "dangling").symlink_to("nowhere")
    assert list_system_homes(folder) == []


def test_a_symlink_of_root_is_followed_as_with_dynamic_users(folder: Path) -> None:
    private = folder / "private"
    private.mkdir()
    homes = folder / "prefork"
    homes.mkdir()
    make_home(private, "web", OTHER)
    (homes / "web").symlink_to("../private/web")
    assert list_system_homes(homes) == [homes / "web"]


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o775])
def test_a_folder_in_which_others_may_make_homes_is_not_looked_into(
    folder: Path, mode: int
) -> None:
    make_home(folder, "a")
    assert list_system_homes(folder)
    folder.chmod(mode)
    assert list_system_homes(folder) == []


def test_a_folder_of_another_user_is_not_looked_into(folder: Path) -> None:
    make_home(folder, "a")
    os.chown(folder, OTHER, -1)
    assert list_system_homes(folder) == []
    with acting_as(OTHER):
        assert list_system_homes(folder) == [], "also not by that user"


def test_a_folder_that_another_user_could_exchange_is_not_looked_into(folder: Path) -> None:
    homes = folder / "prefork"
    homes.mkdir()
    make_home(homes, "a")
    assert list_system_homes(homes)
    folder.chmod(0o777)
    assert list_system_homes(homes) == []


def test_a_machine_without_services_has_none(folder: Path) -> None:
    assert list_system_homes(folder / "none") == []
