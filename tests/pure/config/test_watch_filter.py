"""Changes that trigger a reload, and the messages of the watcher."""

import pytest

from prefork.config.watch_filter import WatchFilter, own_prefixes
from prefork.wire.watcher_messages import (
    FilesChanged,
    WatchFailed,
    decode_message,
    encode_changed,
    encode_trouble,
    encode_watching,
)

CODE = WatchFilter(("/srv/app",))


@pytest.mark.parametrize(
    "name", ["app.py", "a/b/views.py", "templates/index.html", ".env", "server.js", "go.mod"]
)
def test_changes_of_code_count(name: str) -> None:
    assert f"/srv/app/{name}" not in CODE


@pytest.mark.parametrize(
    "name",
    [
        ".git/index",
        "a/__pycache__/app.cpython-311.pyc",
        "app.pyc",
        "node_modules/left-pad/index.js",
        "env3/lib/python3.11/site-packages/x.py",
        ".venv/bin/python",
        ".mypy_cache/x.json",
        "app.py~",
        ".app.py.swp",
        "4913",
        "app.log",
        "app.log.1",
        "db.sqlite3",
        "db.sqlite3-journal",
    ],
)
def test_files_written_by_tools_and_apps_are_ignored(name: str) -> None:
    assert f"/srv/app/{name}" in CODE


def test_names_above_the_watched_folder_are_not_matched() -> None:
    assert "/home/venv/app.db/app.py" not in WatchFilter(("/home/venv/app.db",))


def test_a_pattern_matches_a_name_and_with_a_slash_a_path() -> None:
    ignored = WatchFilter(("/srv/app",), ("*.csv", "uploads", "static/*.map", "/data/"))
    for name in ("x.csv", "a/x.csv", "a/uploads/x", "static/a.map", "data/x", "data"):
        assert f"/srv/app/{name}" in ignored, name
    for name in ("x.csv.py", "uploads.py", "a/static/a.map", "a/data/x"):
        assert f"/srv/app/{name}" not in ignored, name


def test_a_path_is_relative_to_the_nearest_watched_folder() -> None:
    ignored = WatchFilter(("/srv", "/srv/venv/app"))
    assert "/srv/venv/x.py" in ignored
    assert "/srv/venv/app/x.py" not in ignored
    assert ignored.relative_path("/srv/venv/app/a/x.py") == "a/x.py"
    assert ignored.relative_path("/srv/venv/app") == "venv/app"


def test_a_watched_file_is_relative_to_itself() -> None:
    ignored = WatchFilter(("/etc/app.conf",))
    assert "/etc/app.conf" not in ignored
    assert ignored.relative_path("/etc/app.conf") == "app.conf"


def test_files_and_folders_of_prefork_are_ignored() -> None:
    ours = own_prefixes(
        ("/srv/app",), ["/srv/app/access.txt"], ["/srv/app/logs", "/srv/app", "/srv/"]
    )
    assert ours == ("/srv/app/access.txt", "/srv/app/logs/")
    ignored = WatchFilter(("/srv/app",), (), ours)
    for name in ("access.txt", "access.txt.1", "logs/web.out"):
        assert f"/srv/app/{name}" in ignored, name
    assert "/srv/app/logs.py" not in ignored


def test_the_watcher_reports_the_number_of_files_and_some_names() -> None:
    assert str(decode_message(encode_changed(["app.py"]))) == "1 file changed (app.py)"
    many = decode_message(encode_changed([f"{n}.py" for n in range(9)]))
    assert many == FilesChanged(9, ("0.py", "1.py", "2.py"))
    assert str(many) == "9 files changed (0.py, 1.py, 2.py, …)"


def test_the_watcher_reports_that_it_watches() -> None:
    assert (
        str(decode_message(encode_watching(("/srv/app", "/etc/app"))))
        == "watching /srv/app, /etc/app"
    )


def test_a_name_that_is_no_utf8_can_be_reported() -> None:
    assert decode_message(encode_changed(["caf\udce9.py"])) == FilesChanged(1, (r"caf\xe9.py",))


def test_a_name_with_a_line_end_is_reported_in_one_line() -> None:
    assert str(decode_message(encode_changed(["a\nb\x1b.py"]))) == r"1 file changed (a\nb\x1b.py)"


def test_the_watcher_reports_why_it_cannot_watch() -> None:
    assert decode_message(encode_trouble("no space\nleft")) == WatchFailed("no space\nleft")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"x",
        b"5",
        b"[]",
        b"{}",
        b'{"trouble": 5}',
        b'{"watching": "/srv"}',
        b'{"watching": [5]}',
        b'{"count": "3", "changed": ["a"]}',
        b'{"count": 3, "changed": [null]}',
        b"[" * 9999,
    ],
    ids=lambda line: repr(line[:20]),
)
def test_an_invalid_line_is_a_value_error(line: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the decoder's own words are as good
        decode_message(line)
