"""The store in workers: opened at its first use, shared, kept, and safe from other users."""

import base64
import json
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.live.harness import PATIENCE, Server, command, serving, shared_folder, wait_for
from tests.live.home import temporary_home
from tests.live.store_app import APP, OTHER, THIRD, body, home_of, store_of, verb
from tests.live.terminal import terminal_output
from tests.pure.children import as_root
from tests.redis_server import RedisServer, needs_redis


@contextmanager
def app_server(*options: str, **more: object) -> Iterator[Server]:
    with shared_folder() as folder, temporary_home(folder) as made:
        home = made.home
        (folder / "app.py").write_text(APP)
        arguments = ("app:app", "-w", "3", "--name", "web", *options)
        with serving(folder, *arguments, env={"PREFORK_HOME": str(home)}, **more) as server:  # type: ignore[arg-type]
            server.ready(3)
            yield server


USES_AT_IMPORT = """
prefork.secret("key")
prefork.store().incr("imports")
with prefork.lock("import"):
    pass
"""


@pytest.mark.parametrize("store", ["embedded", "memory", "folder"])
def test_a_check_of_an_app_that_uses_the_store_at_import_keeps_nothing(
    tmp_path: Path, store: str
) -> None:
    (tmp_path / "app.py").write_text(APP + USES_AT_IMPORT)
    kept = tmp_path / "kept"
    kind = str(kept) if store == "folder" else store
    env = {"PREFORK_HOME": str(tmp_path / "home")}
    done = command("--check", "--store", kind, "app:app", cwd=tmp_path, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ok: app:app: wsgi")
    assert not kept.exists()


def test_an_app_that_uses_no_store_has_no_file_of_it_and_imports_nothing() -> None:
    with app_server() as server:
        assert body(server, "/plain") == "[]"
        assert not store_of(server).exists()


def test_workers_share_the_store_and_a_killed_or_reloaded_one_loses_nothing() -> None:
    with app_server() as server:
        seen = [int(body(server, "/incr?key=n")) for _ in range(30)]
        secret = body(server, "/secret")
        token = int(body(server, "/lock"))
        for worker in server.workers():
            worker.send_signal(signal.SIGKILL)
        server.ready(6)
        server.process.send_signal(signal.SIGHUP)
        server.ready(9)
        seen.append(int(body(server, "/incr?key=n")))
        assert seen == list(range(1, 32))
        assert body(server, "/secret") == secret
        assert int(body(server, "/lock")) > token  # its holder is dead
        found = verb(server, "get", "n")
        assert found.stdout == "31"


def test_a_store_survives_its_master_and_delete_removes_it() -> None:
    with shared_folder() as folder, temporary_home(folder) as made:
        home = made.home
        (folder / "app.py").write_text(APP)
        env = {"PREFORK_HOME": str(home)}
        for count in "12":
            with serving(folder, "app:app", "--name", "web", env=env) as server:
                server.ready()
                assert body(server, "/incr?key=n") == count
        assert (home / "web" / "store").is_dir()
        done = command(
            "start", "app:app", "--name", "web", "-b", "127.0.0.1:0", cwd=folder, env=env
        )
        assert done.returncode == 0, done.stderr
        stats = command("store", "web", "stats", "--json", cwd=folder, env=env)
        assert json.loads(stats.stdout)["entries"] == 1
        assert command("delete", "web", cwd=Path("/"), env=env).returncode == 0
        assert not (home / "web").exists()


def test_each_verb_of_the_store_says_what_is_wrong() -> None:
    with app_server() as server:
        unused = verb(server, "get", "key")
        assert (unused.returncode, unused.stderr.strip()) == (
            100,
            "prefork: no worker of web has used its store yet",
        )
        body(server, "/incr?key=n")
        assert verb(server, "get", "key").returncode == 1
        assert "KEY VALUE" in verb(server, "set", "key").stderr
        long = verb(server, "set", "k" * 251, "v")
        assert "251 bytes, and the maximum is 250" in long.stderr
        assert verb(server, "set", "key", "v", "--ttl", "60").returncode == 0
        assert verb(server, "keys").stdout.split() == [
            "key",
            "n",
        ]
        assert verb(server, "delete", "key").returncode == 0
        assert verb(server, "delete", "key").returncode == 1
        assert verb(server, "clear").returncode == 0
        assert body(server, "/get?key=n") == "None"


HOSTILE = b"\x1b]0;owned\x07\nforged"


def test_the_verb_shows_what_is_in_the_store_and_nothing_of_it_acts_on_a_terminal(
    tmp_path: Path,
) -> None:
    with temporary_home(tmp_path) as home:
        home.write("app.py", APP)
        home.run_ok("start", "--name", "web", "-b", "127.0.0.1:0", "app:app")
        assert home.run_ok("store", "web") == "no worker of web has used its store yet\n"
        write_keys = (
            "import prefork\n"
            "prefork.store('web').incr('n')\n"
            "store = prefork.store('web', namespace='django.default')\n"
            f"store.set({HOSTILE!r}, {HOSTILE!r})"
        )
        python = [sys.executable, "-c", write_keys]
        subprocess.run(python, env=home.environ(), timeout=PATIENCE, check=True)

        shown = home.run_ok("store", "web").split()
        assert shown[-6:] == ["namespace", "keys", "(default)", "1", "django.default", "1"]
        assert json.loads(home.run_ok("store", "web", "--json"))["namespaces"] == {
            "": 1,
            "django.default": 1,
        }
        keys = home.run("store", "web", "keys")
        assert keys.stdout == "n\n"
        assert "--namespace NAME: django.default (1)" in keys.stderr
        words = ("--namespace", "django.default")
        (name,) = home.run_ok("store", "web", *words).splitlines()
        assert name == r"\x1b]0;owned\x07\nforged"
        got = json.loads(home.run_ok("store", "web", "get", name, "--json", *words))
        assert base64.b64decode(got["base64"]) == HOSTILE
        assert "is not UTF-8" in home.run_failing(100, "store", "web", "--namespace", r"\xff")
        for operation in (("keys",), ("get", name)):
            seen = terminal_output(home, "store", "web", *operation, *words)
            assert b"\x1b" not in seen
            assert name.encode() in seen
            assert seen.endswith(b"\n")


@as_root
def test_the_store_belongs_to_the_workers_user_and_root_becomes_that_user() -> None:
    with app_server("-u", str(OTHER), "-g", str(OTHER)) as server:
        assert body(server, "/incr?key=n") == "1"
        store = store_of(server)
        for path in (store, *store.iterdir()):
            status = path.stat()
            assert (status.st_uid, stat.S_IMODE(status.st_mode) & 0o077) == (OTHER, 0), path
        assert verb(server, "get", "n").stdout == "1"
        assert all(path.stat().st_uid == OTHER for path in store.iterdir())


@as_root
def test_a_worker_can_make_root_open_nothing_and_cannot_read_the_store_of_another_app(
    tmp_path: Path,
) -> None:
    with (
        app_server("-u", str(OTHER), "-g", str(OTHER)) as server,
        app_server("-u", str(THIRD), "-g", str(THIRD)) as second,
    ):
        assert body(server, "/incr?key=n") == body(second, "/incr?key=n") == "1"
        theirs = store_of(second) / "data-1"
        assert "PermissionError" in body(server, f"/read?path={theirs}")
        # The worker's user puts a link to a file of root's in the place of each file.
        victim = tmp_path / "victim"
        victim.write_text("precious")
        victim.chmod(0o600)
        store = store_of(server)
        for name in ("shared", "data-1", "snapshot"):
            (store / name).unlink(missing_ok=True)
            (store / name).symlink_to(victim)
        for words in (("get", "n"), ("stats",), ("clear",)):
            done = verb(server, *words)
            assert done.returncode == 111, done
            assert "precious" not in done.stdout + done.stderr
        assert victim.read_text() == "precious"


def test_a_store_in_a_folder_of_others_is_refused_and_the_worker_lives_on() -> None:
    with app_server() as server:
        body(server, "/incr?key=n")
        store_of(server).chmod(0o755)
        for worker in server.workers():
            worker.send_signal(signal.SIGKILL)
        server.ready(6)
        assert "chmod 700" in body(server, "/get?key=n")
        assert body(server, "/pid").isdecimal()
        store_of(server).chmod(0o700)
        assert wait_for(lambda: body(server, "/get?key=n") == "b'1'", "the store opens")


@pytest.mark.parametrize("kind", ["lmdb", "redis://", "./store"])
def test_a_wrong_store_ends_the_start_with_what_is_expected(tmp_path: Path, kind: str) -> None:
    done = command("--store", kind, "app:app", cwd=tmp_path)
    assert done.returncode == 100
    assert "embedded, memory, off, the absolute path of a folder, or redis://HOST" in done.stderr


@needs_redis
def test_workers_outlive_their_redis_server_and_show_no_password_of_it(tmp_path: Path) -> None:
    with RedisServer(tmp_path, "--requirepass", "horse") as redis:
        url = f"redis://:horse@127.0.0.1:{redis.port}/0"
        with app_server("--store", url) as server:
            assert body(server, "/incr?key=n") == "1"
            secret = body(server, "/secret")
            assert int(body(server, "/lock")) > 0
            redis.kill()
            assert body(server, "/incr?key=n").startswith("StoreUnavailable: the server of the st")
            redis.start()
            assert [body(server, "/incr?key=n") for _ in range(6)] == list("123456")
            assert body(server, "/secret") != secret  # this server keeps nothing
            assert verb(server, "get", "n").stdout == "6"
            env = {"PREFORK_HOME": str(home_of(server))}
            for words in (
                ("show", "web"),
                ("show", "web", "--json"),
                ("list", "--json"),
                ("reload", "web", "--dry-run"),
                ("report", "web", "--state"),
                ("--print-config", "--store", url, "app:app"),
            ):
                done = command(*words, cwd=server.cwd, env=env)
                assert done.returncode == 0, done
                assert "horse" not in done.stdout + done.stderr, words
            assert "horse" not in server.log
            assert "***@127.0.0.1" in command("show", "web", cwd=server.cwd, env=env).stdout


def readyz(status: Path) -> tuple[int, str]:
    """Return the status and the text of /readyz."""
    asked = ("curl", "-s", "-w", "\n%{http_code}", "--unix-socket", str(status))
    done = subprocess.run(
        [*asked, "http://localhost/readyz"], capture_output=True, text=True, check=True
    )
    text, _, code = done.stdout.rpartition("\n")
    return int(code), text.strip()


@needs_redis
def test_readyz_tells_whether_a_required_server_answers(tmp_path: Path) -> None:
    status = tmp_path / "status"
    options = ("--status", f"unix:{status}", "--store-required")
    with RedisServer(tmp_path) as redis, app_server("--store", redis.url, *options) as server:
        wait_for(lambda: readyz(status) == (200, "ready: 3 of 3 workers"), "ready")
        redis.kill()
        wait_for(lambda: readyz(status)[0] == 503, "not ready without the server")
        assert "the store is unavailable: the server of the store cannot" in readyz(status)[1]
        redis.start()
        wait_for(lambda: readyz(status)[0] == 200, "ready again")
        redis.send_signal(signal.SIGSTOP)
        wait_for(lambda: readyz(status)[0] == 503, "not ready while the server is stopped")
        redis.send_signal(signal.SIGCONT)
        wait_for(lambda: readyz(status)[0] == 200, "ready again")
        server.wait_log("the store is unavailable, and /readyz says 503")


@pytest.mark.parametrize("store", ["embedded", "off"])
def test_readyz_tells_whether_a_required_store_can_be_written(tmp_path: Path, store: str) -> None:
    status = tmp_path / "status"
    options = ("--status", f"unix:{status}", "--store-required", "--store", store)
    with app_server(*options) as server:
        wait_for(lambda: "first check" not in readyz(status)[1], "a check")
        if store == "off":
            assert readyz(status)[0] == 503
            assert "the store is switched off by --store off" in readyz(status)[1]
            server.wait_log("/readyz says 503, because the store is off")
        else:
            assert readyz(status) == (200, "ready: 3 of 3 workers")
            assert body(server, "/incr?key=n") == "1"
            assert verb(server, "keys").stdout.split() == ["n"]
