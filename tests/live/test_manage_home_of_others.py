"""A home that another user may exchange, and root that reads the home of another user."""

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from prefork.unix.identity import describe_user
from tests.live.harness import PATIENCE, Server, shared_folder
from tests.live.home import Home, fetch, temporary_home
from tests.pure.children import as_root

OTHER = 65534
OTHER_USER = describe_user(OTHER)
WORDS = ("start", "-b", "127.0.0.1:0", "--name", "web", "web:app")

pytestmark = as_root


@pytest.fixture
def home() -> Iterator[Home]:
    """Yield a home; the folder ``theirs`` beside it belongs to another user."""
    with shared_folder() as folder, temporary_home(folder) as home:
        (folder / "theirs").mkdir()
        os.chown(folder / "theirs", OTHER, OTHER)
        yield home


def theirs(home: Home) -> Path:
    return home.folder.parent / "theirs"


def give(*paths: Path) -> None:
    for path in paths:
        os.chown(path, OTHER, OTHER, follow_symlinks=False)


@contextmanager
def held(lock: Path) -> Iterator[None]:
    """Hold the lock as a master does."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        give(lock)
        yield


def an_app(where: Path, **state: object) -> Path:
    """Create the folder of an app in a home of another user."""
    where.mkdir(mode=0o700, exist_ok=True)
    folder = where / "web"
    folder.mkdir(mode=0o700)
    (folder / "state").write_text(json.dumps({"name": "web", **state}))
    give(where, folder, folder / "state")
    return folder


def test_a_home_below_a_folder_of_another_user_is_refused(home: Home) -> None:
    home.home = theirs(home) / "deep" / "home"
    stderr = home.run_failing(111, *WORDS)
    assert (
        f"cannot use {home.home}/web: {theirs(home)} belongs to {OTHER_USER}, who could" in stderr
    )
    assert list(theirs(home).iterdir()) == []
    environ = {"PREFORK_HOME": str(home.home)}
    server = Server("-b", "127.0.0.1:0", "web:app", cwd=home.folder, env=environ)
    try:
        server.ready().wait_log(
            f"belongs to {OTHER_USER}.*; the app serves, but `prefork list` does not show it"
        )
        assert server.get() == (200, b"one")
    finally:
        server.destroy()


def test_a_home_below_a_symlink_of_another_user_is_refused(home: Home) -> None:
    (theirs(home) / "link").symlink_to(home.folder)
    give(theirs(home) / "link")
    home.home = theirs(home) / "link" / "home"
    assert f"belongs to {OTHER_USER}" in home.run_failing(111, *WORDS)
    theirs(home).chmod(0o1777)
    os.chown(theirs(home), 0, 0)
    assert f"link is a symlink of {OTHER_USER}'s" in home.run_failing(111, *WORDS)
    assert not (home.folder / "home").exists()


@pytest.mark.parametrize("mode", [0o777, 0o775])
def test_a_home_below_a_folder_that_others_may_write_into_is_refused(home: Home, mode: int) -> None:
    above = home.home.parent / "above"
    above.mkdir()
    os.chown(above, 0, OTHER)
    above.chmod(mode)
    home.home = above / "home"
    assert f"others may write into {above}" in home.run_failing(111, *WORDS)
    assert list(above.iterdir()) == []


@pytest.mark.parametrize("mode", [0o1777, 0o775])
def test_sticky_folders_and_the_private_group_of_the_owner_pass(home: Home, mode: int) -> None:
    above = home.home.parent / "above"
    above.mkdir()
    above.chmod(mode)  # the group is root's own
    (home.home.parent / "link").symlink_to(above)
    home.home = home.home.parent / "link" / "home"
    home.client.home = home.home
    home.start()
    assert fetch(home.app()) == b"one"
    assert home.run_ok("delete", "web").endswith("web: deleted\n")
    assert list(home.home.iterdir()) == []


def test_force_ends_only_processes_of_the_folders_owner(home: Home) -> None:
    home.home = theirs(home)
    precious = subprocess.Popen(["sleep", "600"])
    try:
        with held(an_app(home.home, pid=precious.pid) / "lock"):
            stderr = home.run_failing(111, "stop", "--force", "web")
        assert f"no process of {OTHER_USER} can be identified as its master" in stderr
        assert precious.poll() is None
    finally:
        precious.kill()
        precious.wait(PATIENCE)


def test_force_ends_a_master_of_another_user_by_its_state(home: Home) -> None:
    """Root can end it although its control socket is gone."""
    home.home = theirs(home)
    code = "import os, time; os.setgid(65534); os.setuid(65534); print(flush=True); time.sleep(600)"
    master = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert master.stdout is not None
        master.stdout.readline()
        with held(an_app(home.home, pid=master.pid) / "lock"):
            home.run("stop", "--force", "--timeout", "0.1", "web")
        assert master.wait(PATIENCE) == -9
    finally:
        master.kill()
        master.wait(PATIENCE)
        assert master.stdout is not None
        master.stdout.close()


@pytest.mark.parametrize("name", ["state", "lock", "control"])
def test_a_fifo_in_the_folder_of_an_app_blocks_no_verb(home: Home, name: str) -> None:
    home.home = theirs(home)
    folder = an_app(home.home)
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    assert home.run_ok("list")
    assert home.run("logs", "web").returncode in (0, 100, 111)
    assert home.run("stop", "web").returncode in (0, 100)


@pytest.mark.parametrize("text", ["[" * 200_000, "1", '{"pid": "1"}', '{"name": 3}', ""])
def test_an_invalid_state_file_is_ignored(home: Home, text: str) -> None:
    home.home = theirs(home)
    (an_app(home.home) / "state").write_text(text)
    assert "no bug" not in home.run_ok("list")


@pytest.mark.parametrize(
    "wrong",
    [
        {"arguments": 5},
        {"log": True, "output": []},
        {"figures": "many", "listening": [None]},
        {"ended": 1e300, "exit_code": 1},
    ],
)
def test_a_state_with_wrong_values_hides_no_other_app(home: Home, wrong: dict[str, Any]) -> None:
    home.home = theirs(home)
    an_app(home.home, **wrong)
    own = home.home / "other"
    own.mkdir(mode=0o700)
    (own / "state").write_text(json.dumps({"name": "other"}))
    for verb in ("list", "report", "show web other", "why web other"):
        assert "other" in home.run_ok(*verb.split())
    assert "logs to no file" in home.run_failing(100, "logs", "web", "other")


@contextmanager
def answering(folder: Path, result: object) -> Iterator[None]:
    """Answer each request on the control socket of an app with ``result``, as its master would."""
    with socket.socket(socket.AF_UNIX) as listener, held(folder / "lock"):
        listener.bind(str(folder / "control"))
        listener.listen()
        give(folder / "control")

        def answer() -> None:
            with suppress(OSError):
                while True:
                    with listener.accept()[0] as client:
                        client.recv(65536)
                        client.sendall(json.dumps({"v": 1, "result": result}).encode() + b"\n")

        thread = threading.Thread(target=answer)
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "other", "state": "running", "workers": [{"slot": 0}, 5], "ready": 1},
        {"state": "denied", "figures": {"requests": "many"}, "started": "now"},
        {"deaths": [{}], "generation": "one", "workers": "all", "listening": {"a": 1}},
        {},
    ],
)
def test_a_wrong_answer_of_one_master_hides_no_other_app(home: Home, wrong: dict[str, Any]) -> None:
    home.home = theirs(home)
    folder = an_app(home.home)
    own = home.home / "xother"
    own.mkdir(mode=0o700)
    (own / "state").write_text(json.dumps({"name": "xother"}))
    with answering(folder, wrong):
        apps = json.loads(home.run_ok("list", "--json"))
        assert [app["name"] for app in apps] == ["web", "xother"]
        for verb in ("list", "report", "show web xother"):
            assert "xother" in home.run_ok(*verb.split())
        done = home.run("why", "web", "xother")
        assert "xother: no worker has died" in done.stdout
        assert "web: the answer of its master to why is malformed: " in done.stderr
        done = home.run("stop", "web", "xother")
        assert done.stderr.startswith("prefork: web: ")
        assert "xother" in done.stdout + done.stderr.splitlines()[-1]


def test_an_endless_state_file_is_ignored(home: Home) -> None:
    home.home = theirs(home)
    with (an_app(home.home) / "state").open("wb") as state:
        state.truncate(2**35)
    assert home.run_ok("list").startswith("no apps")


def test_a_saved_list_that_is_a_fifo_is_refused(home: Home) -> None:
    home.home.mkdir(mode=0o700)
    os.mkfifo(home.home / "saved.toml")
    stderr = home.run_failing(111, "resurrect")
    assert "saved.toml: it is a fifo, not a regular file" in stderr


def test_delete_follows_no_home_of_another_user_elsewhere(home: Home) -> None:
    """The user replaces the home by a symlink to root's."""
    an_app(home.home)
    shutil.chown(home.home / "web" / "state", 0)
    shutil.chown(home.home / "web", 0)
    shutil.chown(home.home, 0)
    roots, home.home = home.home, theirs(home) / "home"
    home.home.symlink_to(roots)
    give(home.home)
    for verb in ("list", "delete", "save"):
        stderr = home.run_failing(111, verb, *(["web"] if verb == "delete" else []))
        assert f"home is a symlink of {OTHER_USER}'s to a directory of another user's" in stderr
    assert (roots / "web" / "state").exists()
    home.home.unlink()


def test_no_verb_connects_through_a_symlink(home: Home) -> None:
    home.home = theirs(home)
    folder = an_app(home.home)
    with socket.socket(socket.AF_UNIX) as precious:
        precious.bind(str(home.folder / "precious"))
        precious.listen()
        precious.settimeout(0)
        (folder / "control").symlink_to(home.folder / "precious")
        give(folder / "control")
        with held(folder / "lock"):
            assert "hung" in home.run_ok("list")
            assert home.run_failing(111, "reload", "web")
        with pytest.raises(BlockingIOError):
            precious.accept()
