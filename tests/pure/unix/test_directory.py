"""Directories that are held open: where names lead, and what no other user can bring about."""

import os
import stat
from pathlib import Path

import pytest

from prefork.unix.directory import Directory, UntrustedFileError, resolve_file
from prefork.unix.identity import describe_user
from prefork.unix.path_trust import UntrustedParentError
from prefork.unix.process import ExitStatus
from prefork.unix.regular_file import NotRegularFileError
from tests.pure.children import as_root, fork_child

OTHER, THIRD = 65534, 65533
OTHER_USER = describe_user(OTHER)


@pytest.fixture
def above(tmp_path: Path) -> Path:
    folder = tmp_path / "above"
    (folder / "folder").mkdir(parents=True)
    return folder


def inode(path: Path) -> int:
    return path.stat().st_ino


def opened(path: Path, **how: bool) -> int:
    with Directory.open(path, **how) as folder:  # type: ignore[arg-type]
        return folder.status.st_ino


def test_paths_of_all_forms_lead_to_the_same_directory(
    above: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(above)
    (above / "link").symlink_to("folder")
    (above / "absolute").symlink_to(above)
    (above / "folder" / "up").symlink_to("../../above/folder")
    for path in ("folder", "./folder/", "link", "folder/../link", "absolute/link", "folder/up"):
        assert opened(Path(path)) == opened(above / path) == inode(above / "folder"), path
        assert opened(above / path, strict=True) == inode(above / "folder")


def test_links_of_the_kernel_lead_where_the_kernel_says(above: Path) -> None:
    fd = os.open(above, os.O_RDONLY)
    try:
        assert opened(Path(f"/proc/self/fd/{fd}/folder")) == inode(above / "folder")
        assert opened(Path("/proc/self/cwd")) == os.stat(".").st_ino
    finally:
        os.close(fd)


def test_a_path_to_something_else_than_a_directory_is_refused(above: Path) -> None:
    (above / "file").touch()
    (above / "circle").symlink_to("circle")
    with pytest.raises(NotADirectoryError):
        Directory.open(above / "file" / "below")
    with pytest.raises(FileNotFoundError):
        Directory.open(above / "missing")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        Directory.open(above / "circle")
    with pytest.raises(IsADirectoryError):
        Directory.open_parent("..")


def test_missing_components_are_made(above: Path) -> None:
    with Directory.open(above / "a" / "b", make=0o750) as folder:
        assert stat.S_IMODE(folder.status.st_mode) == 0o750
    assert (above / "a" / "b").is_dir()


def test_no_descriptor_is_left_open(above: Path) -> None:
    before = os.listdir("/proc/self/fd")
    (above / "link").symlink_to(above / "folder")
    for path in ("folder", "link", "missing", "link/missing", "link/../link"):
        try:
            Directory.open(above / path).close()
        except FileNotFoundError:
            pass
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_directory_stays_the_same_after_its_name_was_exchanged(above: Path) -> None:
    with Directory.open(above / "folder") as folder:
        (above / "folder").rename(above / "away")
        (above / "folder").mkdir()
        os.close(folder.create("one", 0o600))
        assert [path.name for path in above.rglob("one")] == ["one"]
        assert (above / "away" / "one").exists()
        folder.reopen()
        assert folder.listdir() == []
        assert folder.status.st_ino == inode(above / "folder")


def test_files_in_a_directory_are_created_read_replaced_and_removed(above: Path) -> None:
    with Directory.open(above) as folder:
        folder.write_atomically("file", b"one", 0o600)
        folder.write_atomically("file", b"two", 0o640)
        assert folder.read("file", 3) == b"two"
        assert stat.S_IMODE((above / "file").stat().st_mode) == 0o640
        with pytest.raises(FileExistsError):
            folder.create("file", 0o600)
        (above / "link").symlink_to("file")
        (above / "hard").hardlink_to(above / "file")
        with pytest.raises(NotRegularFileError, match="it is a symlink"):
            folder.open_regular("link")
        with pytest.raises(UntrustedFileError, match="it is a hard link"):
            folder.open_regular("hard")
        folder.remove("hard")
        folder.remove("missing")
        with open(folder.open_or_create("file", os.O_RDWR, 0o600)) as file:
            assert folder.is_same_file("file", file.fileno())
            folder.rename("file", "other")
            assert not folder.is_same_file("file", file.fileno())
            assert folder.lstat("file") is None
        assert sorted(folder.listdir()) == ["folder", "link", "other"]


def test_a_failed_write_leaves_no_file_behind(above: Path) -> None:
    (above / "file").mkdir()
    with Directory.open(above) as folder, pytest.raises(IsADirectoryError):
        folder.write_atomically("file", b"one", 0o600)
    assert sorted(path.name for path in above.iterdir()) == ["file", "folder"]


def test_a_file_is_found_through_symlinks_that_pass_the_check(above: Path) -> None:
    (above / "first").symlink_to("folder/second")
    (above / "folder" / "second").symlink_to(above / "file")
    seen: list[str] = []
    folder, name = resolve_file(str(above / "first"), lambda where, _: seen.append(where.path.name))
    with folder:
        assert (folder.status.st_ino, name) == (inode(above), "file")
    assert seen == ["above", "folder"]

    def refuse(_where: Directory, _link: os.stat_result) -> None:
        raise UntrustedFileError("no")

    with pytest.raises(UntrustedFileError):
        resolve_file(str(above / "first"), refuse)
    (above / "circle").symlink_to("circle")
    with pytest.raises(OSError, match="Too many levels"):
        resolve_file(str(above / "circle"), lambda *_: None)


@as_root
@pytest.mark.parametrize("owner", [OTHER, THIRD])
def test_root_follows_a_link_of_another_user_to_that_users_folders_only(
    above: Path, owner: int
) -> None:
    (above / "link").symlink_to("folder")
    os.chown(above / "link", OTHER, OTHER, follow_symlinks=False)
    with pytest.raises(UntrustedFileError, match=f"link is a symlink of {OTHER_USER}'s to a dir"):
        Directory.open(above / "link")
    os.chown(above / "folder", owner, owner)
    if owner == OTHER:
        assert opened(above / "link") == inode(above / "folder")
    else:
        with pytest.raises(UntrustedFileError):
            Directory.open(above / "link")


@as_root
def test_users_other_than_root_follow_every_symlink(above: Path) -> None:
    (above / "link").symlink_to("folder")
    os.chown(above / "link", THIRD, THIRD, follow_symlinks=False)
    found = inode(above / "folder")

    def life() -> int:
        os.chdir(above)
        os.setuid(OTHER)
        return 0 if opened(Path("link")) == found else 1

    assert fork_child(life).reap() == ExitStatus(0, None)


# Parents.


@as_root
def test_parents_that_another_user_owns_or_may_write_to_are_refused(above: Path) -> None:
    os.chown(above, OTHER, OTHER)
    with pytest.raises(
        UntrustedParentError, match=f"above belongs to {OTHER_USER}, who could exchange"
    ):
        Directory.open(above / "folder", strict=True)
    os.chown(above, 0, OTHER)
    for mode in (0o777, 0o775, 0o2775):
        above.chmod(mode)
        with pytest.raises(
            UntrustedParentError, match=r"others may write into .*above, .*; chmod go-w"
        ):
            Directory.open(above / "folder", strict=True)


@as_root
def test_sticky_parents_and_those_of_a_private_group_pass(above: Path) -> None:
    found = inode(above / "folder")
    above.chmod(0o1777)
    assert opened(above / "folder", strict=True) == found
    above.chmod(0o775)  # writable to the group of root, which has no other members
    assert opened(above / "folder", strict=True) == found


@as_root
def test_a_symlink_of_another_user_in_a_sticky_folder_is_refused(above: Path) -> None:
    above.chmod(0o1777)
    (above / "link").symlink_to("folder")
    assert opened(above / "link", strict=True) == inode(above / "folder")
    os.chown(above / "link", OTHER, OTHER, follow_symlinks=False)
    os.chown(above / "folder", OTHER, OTHER)
    with pytest.raises(UntrustedFileError):
        Directory.open(above / "link", strict=True)
