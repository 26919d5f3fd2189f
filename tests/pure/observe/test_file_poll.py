"""Changed files are found without the library that watches them."""

import os
from pathlib import Path

from prefork.config.watch_filter import WatchFilter
from prefork.observe.file_poll import FilePoller


def test_new_changed_and_removed_files_are_found(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "old.py").write_text("1")
    (tmp_path / "gone.py").write_text("1")
    changes = FilePoller(WatchFilter((str(tmp_path),))).poll(0.0)
    assert next(changes) == set()
    assert next(changes) == set()
    (tmp_path / "sub" / "old.py").write_text("22")
    (tmp_path / "new.html").write_text("1")
    (tmp_path / "gone.py").unlink()
    found = {os.path.relpath(path, tmp_path) for path in next(changes)}
    assert found == {"sub/old.py", "new.html", "gone.py"}
    assert next(changes) == set()


def test_what_is_ignored_or_a_loop_is_not_looked_at(tmp_path: Path) -> None:
    for name in (".git/config", "a.log", "data/x.csv", "app.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    (tmp_path / "self").symlink_to(tmp_path)
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    poller = FilePoller(WatchFilter((str(tmp_path),), ("*.csv",)))
    assert list(poller.look()) == [str(tmp_path / "app.py")]


def test_a_single_file_and_a_folder_that_comes_back_are_watched(tmp_path: Path) -> None:
    single, folder = tmp_path / "one.txt", tmp_path / "folder"
    single.write_text("1")
    poller = FilePoller(WatchFilter((str(single), str(folder))))
    assert list(poller.look()) == [str(single)]
    folder.mkdir()
    (folder / "a.py").write_text("1")
    assert set(poller.look()) == {str(single), str(folder / "a.py")}
