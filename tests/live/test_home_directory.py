"""Users without a home directory, and the environment variables of the workers' user."""

import json
import os
import pwd
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.harness import Server, command, serving, shared_folder
from tests.pure.children import as_root

STRANGER = "4000000001"
"""A user id without an entry in the user database."""

OTHER = pwd.getpwuid(65534)
"""A user that has an entry."""

APP = """\
import json, os

def app(environ, start_response):
    start_response("200 OK", [])
    return [json.dumps(dict(os.environ)).encode()]
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yield a folder in which every user may create files."""
    with shared_folder() as folder:
        (folder / "web.py").write_text(APP)
        folder.chmod(0o1777)
        yield folder


@pytest.fixture
def homeless(folder: Path) -> list[str]:
    """Return a prefix that runs a command as a user without an entry and without HOME."""
    setpriv = shutil.which("setpriv")
    if os.geteuid() != 0 or setpriv is None:
        pytest.skip("needs root and setpriv")
    number = ["--reuid", STRANGER, "--regid", STRANGER, "--clear-groups"]
    # The interpreter may be below root's own home: reading, and nothing else, stays allowed.
    number += ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
    prefix = [setpriv, *number, "env", "-u", "HOME", "-u", "PREFORK_HOME"]
    if command("--version", cwd=folder, prefix=prefix).returncode != 0:
        pytest.skip("the interpreter cannot be read by other users")
    return prefix


def variables(server: Server) -> dict[str, str]:
    found: dict[str, str] = json.loads(server.get()[1])
    return found


@pytest.mark.parametrize("words", [("list",), ("start", "web:app"), ("stop", "all"), ("save",)])
def test_a_verb_reports_a_missing_home_directory(
    folder: Path, homeless: list[str], words: tuple[str, ...]
) -> None:
    ended = command(*words, cwd=folder, prefix=homeless)
    assert ended.returncode == 111
    assert f"user {STRANGER} has no home directory, and HOME is not set; " in ended.stderr
    assert "set PREFORK_HOME" in ended.stderr
    assert not (folder / "~").exists()


def test_an_app_serves_without_a_home_directory(folder: Path, homeless: list[str]) -> None:
    with serving(folder, "web:app", prefix=homeless) as server:
        server.wait_log(
            "WARNING .*has no home directory.*; the app serves, but `prefork list` does not show it"
        )
        assert server.get()[0] == 200
        assert not (folder / "~").exists()
        assert server.stop() == 0


def test_watching_files_needs_no_home_directory(folder: Path, homeless: list[str]) -> None:
    with serving(folder, "web:app", "--watch", prefix=homeless) as server:
        server.wait_log("INFO watching /")
        assert server.stop() == 0


@as_root
def test_workers_get_the_variables_of_their_user(folder: Path) -> None:
    with serving(folder, "web:app", "-u", OTHER.pw_name) as server:
        found = variables(server)
        assert found["HOME"] == OTHER.pw_dir
        assert found["LOGNAME"] == found["USER"] == OTHER.pw_name


@as_root
def test_a_user_without_an_entry_gets_a_home_too(folder: Path) -> None:
    with serving(folder, "web:app", "-u", STRANGER, "-g", STRANGER) as server:
        found = variables(server)
        assert (found["HOME"], found["LOGNAME"], found["USER"]) == ("/", STRANGER, STRANGER)


@as_root
def test_variables_of_the_settings_win(folder: Path) -> None:
    with serving(folder, "web:app", "-u", OTHER.pw_name, "-e", "HOME=/srv") as server:
        assert variables(server)["HOME"] == "/srv"


def test_without_a_user_option_the_variables_stay(folder: Path) -> None:
    with serving(folder, "web:app", env={"HOME": "/somewhere"}) as server:
        assert variables(server)["HOME"] == "/somewhere"
