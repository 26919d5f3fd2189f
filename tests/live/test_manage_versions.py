"""The command of this version manages a master of the version before it.

After ``pip install -U`` both meet. The master before is a copy of the package: its numbers differ,
its messages have no version yet, and it does not know the newest verbs.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import prefork
from prefork.version import __version__
from prefork.wire.control import RefusedError
from tests.live.harness import PATIENCE
from tests.live.home import APP, Home, fetch, temporary_home

BEFORE = "0.0.9"
"""The version of the copy."""

WIRE = ("control", "guard_messages", "log_writer_messages", "ready", "registry_state")
FORMATS = [
    *(f"wire/{name}.py" for name in (*WIRE, "scoreboard", "start_report", "watcher_messages")),
    "unix/shared_queue.py",
    "cli/registry/saved_apps.py",
]
"""The files of the formats with a number that differs."""


def replace(path: Path, pattern: str, by: str) -> None:
    """Replace text in a file of the copy, which has to be there."""
    text, count = re.subn(pattern, by, path.read_text(), flags=re.MULTILINE)
    assert count, f"{pattern} is not in {path}"
    path.write_text(text)


@pytest.fixture(scope="module")
def version_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a copy of the package of the version before."""
    folder = tmp_path_factory.mktemp("before")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(prefork.__file__).parent, folder / "prefork", ignore=ignored)
    package = folder / "prefork"
    replace(package / "version.py", r'"[\d.]+"', f'"{BEFORE}"')
    for format_of in FORMATS:
        replace(package / format_of, r"^VERSION = .*", "VERSION = 1")
    # Messages had no version at first.
    replace(package / "wire" / "versions.py", r'return \{"v": version, ', "return {")
    # A verb that only this version knows.
    replace(package / "wire" / "verb_table.py", r'^( +)\("state",\),$', r'\1("another",),')
    return folder


@pytest.fixture
def home(tmp_path: Path, version_before: Path) -> Iterator[Home]:
    """Return a home in which a master of the version before serves ``web``."""
    with temporary_home(tmp_path) as made:
        made.write("shop.py", APP.format(text="one"))
        words = ("start", "-b", "127.0.0.1:0", "--name", "web", "shop:app")
        run_before(made, version_before, *words)
        yield made


def run_before(home: Home, folder: Path, *words: str) -> str:
    """Run a command of the version before."""
    done = subprocess.run(
        [sys.executable, "-m", "prefork", *words],
        cwd=home.folder,
        env={**home.environ(), "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


def test_a_master_of_the_version_before_is_listed_reloaded_and_stopped(home: Home) -> None:
    app = home.app()
    assert (app["version"], app["answers"], app["state"]) == (BEFORE, True, "running")
    assert "web" in home.run_ok("list")
    assert BEFORE in home.run_ok("show", "web")
    assert fetch(app) == b"one"
    home.write("shop.py", APP.format(text="two"))
    assert "reloaded to gen 2" in home.run_ok("reload", "web")
    assert fetch(home.app()) == b"two"
    home.run_ok("scale", "web", "2")
    assert home.app()["ready"] == 2
    home.run_ok("why", "web")
    home.run_ok("rotate", "web")
    home.run_ok("stop", "web")
    assert home.app()["state"] == "stopped"


def test_a_verb_that_the_master_does_not_know_is_explained(home: Home) -> None:
    why = home.run_failing(100, "report", "web", "--state")
    assert f"web: its master is prefork {BEFORE} and does not know `state`" in why
    assert f"`prefork restart web` brings prefork {__version__} to it" in why


def test_a_verb_that_does_not_exist_is_refused_by_the_master(home: Home) -> None:
    entry = home.client.find("web")[0]
    with pytest.raises(RefusedError, match="no verb 'dance'"):
        home.client.ask(entry, "dance")


def test_restart_brings_the_present_version(home: Home) -> None:
    before = home.app()
    home.run_ok("restart", "web")
    after = home.app()
    assert (before["version"], after["version"]) == (BEFORE, __version__)
    assert after["listening"] == before["listening"]
    assert fetch(after) == b"one"


def test_the_version_before_manages_a_master_of_the_present_one(
    home: Home, version_before: Path
) -> None:
    home.run_ok("restart", "web")
    assert "web" in run_before(home, version_before, "list")
    assert "reloaded to gen 2" in run_before(home, version_before, "reload", "web")
    run_before(home, version_before, "stop", "web")
    assert home.app()["state"] == "stopped"


def write_later_version(path: Path, key: str) -> None:
    """Write another version into a file, as a later prefork would."""
    text = path.read_text()
    assert text.count(f"{key}2") == 1
    path.write_text(text.replace(f"{key}2", f"{key}9"))


def test_an_app_of_a_later_version_is_listed_and_not_started(home: Home) -> None:
    home.run_ok("restart", "web")
    home.run_ok("stop", "web")
    state = home.client.find("web")[0].path / "state"
    write_later_version(state, '"v": ')
    kept = state.read_text()
    assert home.app()["state"] == "stopped"
    for verb in ("start", "restart"):
        why = home.run_failing(100, verb, "web")
        assert "web: its state has version 9 of its format, and this prefork knows 2" in why
    assert state.read_text() == kept


def test_a_saved_list_of_a_later_version_is_refused_and_kept(home: Home) -> None:
    home.run_ok("restart", "web")
    home.run_ok("save")
    home.run_ok("stop", "web")
    saved = home.client.home / "saved.toml"
    write_later_version(saved, "v = ")
    kept = saved.read_text()
    why = home.run_failing(100, "resurrect")
    assert "the message has version 9 of its format, and this process knows 2" in why
    assert saved.read_text() == kept
    assert home.app()["state"] == "stopped"
