"""Files of the home that several commands write."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from prefork.errors import MachineError
from prefork.unix.home import check_next_start, claim_folder, replace_file
from tests.live.harness import shared_folder
from tests.pure.children import as_root, fork_child

OTHER = 65534


def test_several_commands_may_replace_a_file_at_the_same_time(tmp_path: Path) -> None:
    """Each one succeeds, and the file has the text of one of them."""
    path = tmp_path / "saved.toml"
    texts = [letter * 4096 for letter in "abcdefgh"]

    def replace(text: str) -> None:
        for _ in range(100):
            replace_file(path, text)
            assert path.read_text() in texts

    with ThreadPoolExecutor(len(texts)) as threads:
        list(threads.map(replace, texts))
    assert [each.name for each in tmp_path.iterdir()] == ["saved.toml"]


@pytest.fixture
def linked() -> Iterator[tuple[Path, Path]]:
    """Yield a folder of another user's, and a path in root's folder where a symlink may be."""
    with shared_folder() as folder:
        (folder / "private").mkdir(mode=0o700)
        os.chown(folder / "private", OTHER, OTHER)
        yield folder / "private", folder / "home"


def claim_as_other(home: Path) -> int | None:
    """Claim the folder of an app as another user; return 0, or 1 if the home is refused."""

    def claim() -> int:
        os.setgroups([])
        os.setresgid(OTHER, OTHER, OTHER)
        os.setresuid(OTHER, OTHER, OTHER)
        try:
            claim_folder(home, "web", exact=True)
        except MachineError as error:
            return 1 if "is not a folder of this user's" in str(error) else 2
        return 0

    return fork_child(claim).reap().code


@as_root
def test_a_home_may_be_a_symlink_that_root_has_made(linked: tuple[Path, Path]) -> None:
    """systemd makes the runtime directory of a unit with DynamicUser= so."""
    private, home = linked
    home.symlink_to("private")
    assert claim_as_other(home) == 0
    assert [each.name for each in private.iterdir()] == ["web"]


@as_root
def test_a_home_that_is_a_symlink_of_another_user_is_refused(linked: tuple[Path, Path]) -> None:
    private, home = linked
    home.symlink_to("private")
    os.chown(home, OTHER, OTHER, follow_symlinks=False)
    assert claim_as_other(home) == 1
    assert not list(private.iterdir())


def test_the_owner_of_a_folder_can_start_its_app_again(tmp_path: Path) -> None:
    folder = claim_folder(tmp_path / "home", "web", exact=True)
    before = os.listdir(folder.path)
    check_next_start(folder.path)
    assert os.listdir(folder.path) == before


@as_root
@pytest.mark.parametrize("given", ["home", "home/web"])
def test_root_cannot_start_the_app_of_another_user_again(tmp_path: Path, given: str) -> None:
    folder = claim_folder(tmp_path / "home", "web", exact=True)
    os.chown(tmp_path / given, OTHER, OTHER)
    with pytest.raises(MachineError, match="is not a folder of this user's"):
        check_next_start(folder.path)
