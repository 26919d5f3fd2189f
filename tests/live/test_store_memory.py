"""The store in memory (``--store memory``): seen by verbs, removed by delete, kept from others."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from prefork.unix.store_place import memory_folder
from tests.live.harness import Server, command, serving, shared_folder
from tests.live.home import temporary_home
from tests.live.store_app import APP, OTHER, THIRD, body, home_of, store_of, verb
from tests.pure.children import as_root


@contextmanager
def memory_server(*options: str) -> Iterator[Server]:
    """Serve the app of the store, in the list as ``web``, and delete it at the end."""
    with shared_folder() as folder, temporary_home(folder) as made:
        (folder / "app.py").write_text(APP)
        words = ("app:app", "--name", "web", "--store", "memory", *options)
        env = {"PREFORK_HOME": str(made.home)}
        try:
            with serving(folder, *words, env=env) as server:
                server.ready()
                yield server
        finally:
            for uid in (os.geteuid(), OTHER, THIRD):
                shutil.rmtree(memory_folder(str(made.home / "web" / "store"), uid), True)


def folder_of(server: Server, uid: int) -> Path:
    return memory_folder(str(store_of(server)), uid)


@pytest.mark.parametrize("uid", [os.geteuid(), pytest.param(OTHER, marks=as_root)])
def test_the_verbs_see_a_store_in_memory(uid: int) -> None:
    options = () if uid == os.geteuid() else ("-u", str(uid), "-g", str(uid))
    with memory_server(*options) as server:
        assert "no worker of web has used its store yet" in verb(server, "get", "n").stderr
        assert body(server, "/incr?key=n") == "1"
        assert verb(server, "get", "n").stdout == "1"
        assert str(folder_of(server, uid)) in verb(server, "stats").stdout
        assert verb(server, "set", "key", "v", "--ttl", "1h").returncode == 0
        assert body(server, "/get?key=key") == "b'v'"
        assert verb(server, "set", "--", "-n", "1").returncode == 0
        assert body(server, "/get?key=-n") == "b'1'"
        refused = verb(server, "set", "key", "v", "--ttl", "x").stderr
        assert refused == "prefork: --ttl: x is not a duration such as 30s, 1600ms or 2m\n"
        assert {path.stat().st_uid for path in folder_of(server, uid).iterdir()} == {uid}


@pytest.mark.parametrize("uid", [os.geteuid(), pytest.param(OTHER, marks=as_root)])
def test_delete_removes_a_store_in_memory(uid: int) -> None:
    options = () if uid == os.geteuid() else ("-u", str(uid), "-g", str(uid))
    with shared_folder() as folder, temporary_home(folder) as made:
        used = 'prefork.store().incr("starts")\nprefork.secret("key")\n'
        (folder / "app.py").write_text(APP + used)
        env = {"PREFORK_HOME": str(made.home)}
        store = memory_folder(str(made.home / "web" / "store"), uid)
        words = ("app:app", "--name", "web", "--store", "memory", "-b", "127.0.0.1:0", *options)
        secrets = []
        for _ in "12":
            done = command("start", *words, cwd=folder, env=env)
            assert done.returncode == 0, done.stderr
            seen = command("store", "web", "get", "starts", cwd=folder, env=env)
            assert seen.stdout == "1"
            secrets.append((store / "secret.key").read_text())
            assert command("delete", "web", cwd=Path("/"), env=env).returncode == 0
            assert not store.exists()
        assert len(set(secrets)) == 2


@as_root
def test_root_gets_no_store_of_its_own_in_the_place_of_that_of_the_workers() -> None:
    with memory_server("-u", str(OTHER), "-g", str(OTHER)) as server:
        code = "import prefork; prefork.store(app='web').get('n')"
        for used in (False, True):
            env = {**os.environ, "PREFORK_HOME": str(home_of(server))}
            done = subprocess.run(
                [sys.executable, "-c", code], env=env, check=False, capture_output=True, text=True
            )
            assert "the store is only for that user's processes" in done.stderr, used
            assert not folder_of(server, 0).exists()
            assert body(server, "/incr?key=n") == str(1 + used)


@as_root
def test_a_folder_that_another_user_made_in_its_place_is_named_with_that_user() -> None:
    with memory_server() as server:
        folder = folder_of(server, 0)
        folder.mkdir(0o700)
        os.chown(folder, THIRD, THIRD)
        message = f"has made {folder} in the place of the store of user root"
        assert message in body(server, "/incr?key=n")
        assert message in verb(server, "get", "n").stderr


def test_the_verb_refuses_several_apps(tmp_path: Path) -> None:
    with shared_folder() as folder, temporary_home(folder) as made:
        (folder / "app.py").write_text(APP)
        env = {"PREFORK_HOME": str(made.home)}
        for name in ("one", "two"):
            done = command(
                "start", "app:app", "--name", name, "-b", "127.0.0.1:0", cwd=folder, env=env
            )
            assert done.returncode == 0, done.stderr
        done = command("store", "all", "clear", cwd=folder, env=env)
        assert done.returncode == 100
        assert "store takes one app, and all means 2 apps: one, two" in done.stderr
        command("delete", "all", cwd=folder, env=env)
