"""Full disks and limits of file sizes: each verb reports what the machine refused."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.harness import PATIENCE, command
from tests.live.home import Home, fetch, temporary_home
from tests.live.small_disk import fill, small_disk
from tests.pure.children import as_root

BUG = "bug in prefork"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with temporary_home(tmp_path) as home:
        yield home


def run_to(
    home: Home, stdout: str, *words: str, unbuffered: str = "", err: str = ""
) -> tuple[int, str]:
    """Run a verb whose stdout is the file ``stdout``; return its exit code and stderr."""
    with open(stdout, "wb") as out, open(err or os.devnull, "wb") as err_file:
        done = subprocess.run(
            [sys.executable, "-m", "prefork", *words],
            cwd=home.folder,
            env={**home.environ(), "PYTHONUNBUFFERED": unbuffered},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err_file if err else subprocess.PIPE,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    return done.returncode, done.stderr or ""


READING = [
    ("list",),
    ("list", "--json"),
    ("show", "web"),
    ("logs", "web"),
    ("start", "--help"),
    ("list", "--help"),
    ("--help",),
    ("--version",),
    ("--print-config", "web:app"),
    ("--check", "web:app"),
    ("check", "web:app"),
    ("completion", "bash"),
]


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_stdout_on_a_full_disk_is_a_machine_error(home: Home, unbuffered: str) -> None:
    home.start()
    for words in READING:
        code, stderr = run_to(home, "/dev/full", *words, unbuffered=unbuffered)
        assert stderr.endswith("cannot write to stdout: No space left on device\n"), words
        assert stderr.count("\n") == 1, words
        assert code == 111, words


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_verb_does_its_work_although_its_stdout_is_full(home: Home, unbuffered: str) -> None:
    home.start("one")
    home.start("two")
    for words in (("reload", "all"), ("scale", "one", "2"), ("stop", "one", "two")):
        code, stderr = run_to(home, "/dev/full", *words, unbuffered=unbuffered)
        assert code == 111, stderr
        assert "cannot write to stdout: No space left on device" in stderr
        assert BUG not in stderr
    assert [app["state"] for app in home.client.apps()] == ["stopped", "stopped"]
    code, stderr = run_to(home, "/dev/full", "start", "one", "two", unbuffered=unbuffered)
    assert code == 111
    assert fetch(home.app("one")) == fetch(home.app("two")) == b"one"


def test_a_watching_verb_ends_when_its_stdout_is_full(home: Home) -> None:
    home.start()
    for words in (("list", "--watch", "--json"), ("logs", "-f", "web")):
        code, stderr = run_to(home, "/dev/full", *words)
        assert (code, BUG in stderr) == (111, False), stderr


def test_stderr_on_a_full_disk_keeps_the_exit_code(home: Home) -> None:
    assert run_to(home, os.devnull, "reload", "nothing", err="/dev/full")[0] == 100
    assert run_to(home, "/dev/full", "list", err="/dev/full")[0] == 111


def test_a_closed_pipe_is_no_machine_error(home: Home) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "prefork", "list", "--json"],
        cwd=home.folder,
        env=home.environ(),
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=PATIENCE,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_each_of_several_apps_is_reported_once(home: Home, tmp_path: Path) -> None:
    """Masters are forked while a part of the text is still in the buffer."""
    home.write(
        "apps.toml", "".join(f'[apps.{n}]\napp = "web:app"\nbind = ["127.0.0.1:0"]\n' for n in "ab")
    )
    code, stderr = run_to(home, str(tmp_path / "out"), "start", "apps.toml")
    assert code == 0, stderr
    names = [line.split(":")[0] for line in (tmp_path / "out").read_text().splitlines()]
    assert sorted(names) == ["a", "b"]  # they start side by side


# Files.


@as_root
@pytest.mark.parametrize("options", [[], ["--stop-first"]], ids=["changed", "stop-first"])
def test_an_app_is_not_stopped_that_a_full_disk_could_not_start(
    tmp_path: Path, options: list[str]
) -> None:
    with small_disk(tmp_path / "small", "1m") as disk, temporary_home(disk) as home:
        home.write("web.toml", "app = 'web:app'\nbind = '127.0.0.1:0'\n")
        home.run_ok("start", "web.toml")
        home.write("web.toml", "app = 'web:app'\nbind = '127.0.0.1:0'\numask = '077'\n")
        fill(disk)
        said = home.run_failing(111, "restart", "web", *options)
        assert "prefork: web: not restarted, the present master serves on: cannot write" in said
        assert "No space left on device" in said
        assert fetch(home.app()) == b"one"
        (disk / "filling").unlink()
        assert "running gen 1" in home.run_ok("restart", "web", *options)


@as_root
def test_a_failed_write_on_a_full_disk_leaves_no_file(home: Home, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small") as small:
        home.home = small / "home"
        home.client.home = home.home
        home.start("web", "--log-file", str(tmp_path / "log"), "--log-dir", str(tmp_path))
        saved = home.run_ok("save")
        fill(small)
        stderr = home.run_failing(111, "start", "--pid-file", str(small / "pid"), *OTHER_APP)
        assert f"cannot write {home.home}/other/environment: No space left on device" in stderr
        assert not (small / "pid").exists()
        saved_file = small / "home" / "saved.toml"
        before = saved_file.read_text()
        stderr = home.run_failing(111, "save")
        assert f"cannot write {home.home}/saved.toml: No space left on device" in stderr
        assert "saved 1 app" in saved
        assert saved_file.read_text() == before
        assert not list(home.home.glob("*.new"))
        assert home.run_ok("list")
        done = command("init", cwd=small)
        assert done.returncode == 111
        assert "cannot write prefork.toml: No space left on device" in done.stderr
        assert not (small / "prefork.toml").exists()
        assert home.run_ok("reload", "web")
        assert not list((home.home / "web").glob("*.new"))
        assert json.loads((home.home / "web" / "state").read_text())["name"] == "web"
        assert home.run_ok("stop", "web")
        assert home.run_ok("delete", "web")


OTHER_APP = ("-b", "127.0.0.1:0", "--name", "other", "web:app")


@pytest.mark.parametrize("limit", [0, 1, 64, 512, 4096])
def test_a_limit_of_the_file_size_is_reported(home: Home, limit: int, tmp_path: Path) -> None:
    """``ulimit -f``: an app that does not start says why, and one that does serves requests."""
    home.start()
    verbs = (
        ("start", *OTHER_APP),
        ("start", "--pid-file", str(tmp_path / "pid"), *OTHER_APP),
        ("save",),
        ("init",),
        ("list",),
        ("reload", "web"),
        ("stop", "web"),
        ("start", "web"),
        ("--check", "web:app"),
    )

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    for words in verbs:
        done = subprocess.run(
            [sys.executable, "-m", "prefork", *words],
            cwd=home.folder,
            env=home.environ(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            preexec_fn=limited,
            check=False,
        )
        assert BUG not in done.stderr, (words, done.stderr)
        assert "Traceback" not in done.stderr, (words, done.stderr)
        assert done.returncode in (0, 100, 111), (words, done.stderr)
        assert done.returncode == 0 or done.stderr.startswith("prefork: "), (words, done.stderr)
    assert not list(home.home.glob("*.new"))
