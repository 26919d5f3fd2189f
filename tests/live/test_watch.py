"""Changed files bring a reload, except ignored ones."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.live.app_sources import write_version
from tests.live.client_load import client_load
from tests.live.harness import Server, command, command_line, serving, wait_for
from tests.live.held_requests import Gate
from tests.live.home import fetch, temporary_home
from tests.live.programs import running_program
from tests.live.reloads import assert_nothing_lost


def watcher(server: Server, count: int = 1) -> psutil.Process:
    """Return the watcher, when it has logged ``count`` times that it watches."""
    server.wait_log("INFO watching /", count)
    children = psutil.Process(server.pid).children()
    (found,) = [child for child in children if "watcher" in command_line(child)]
    return found


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_new_code_under_load_loses_no_request(tmp_path: Path, interface: str) -> None:
    write_version(tmp_path, 1, interface)
    with (
        serving(tmp_path, "app:app", "--watch", workers=2) as server,
        client_load(server.port, 16, 16) as clients,
    ):
        watcher(server)
        clients.run_phase("quiet", 500)
        for n in range(2, 6):
            clients.begin_phase(f"change {n}")
            write_version(tmp_path, n, interface)
            server.wait_log(rf"reloaded to gen {n} ")
            server.wait_log(rf"gen {n - 1}\) gone: reload", 2)
            clients.run_phase(f"changed {n}", 100)
        report = clients.stop()
        assert_nothing_lost(report)
        for n in range(2, 6):
            assert list(report.phase(f"changed {n}").versions) == [f"{n:04d}"]
        assert server.count(r"1 file changed \(app.py\); reloading") == 4
        assert server.stop() == 0
        assert server.is_gone()


def test_a_bad_deploy_keeps_the_old_code_and_the_next_change_tries_again(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    with serving(tmp_path, "app:app", "--watch") as server:
        watcher(server)
        (tmp_path / "app.py").write_text("def (\n")
        server.wait_log("reload failed, gen 1 serves on")
        server.wait_log("SyntaxError")
        assert server.get()[1].startswith(b"0001 ")
        write_version(tmp_path, 3)
        server.wait_log("reloaded to gen 3")
        assert server.get()[1].startswith(b"0003 ")


def test_changes_during_a_roll_cause_one_more(tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    write_version(tmp_path, 1)
    with serving(tmp_path, "app:app", "--watch") as server:
        watcher(server)
        write_version(tmp_path, 2, code="open('gate').read()")
        gate.wait_entered()
        for n in (1, 2, 3):
            (tmp_path / f"more{n}.py").write_text("")
            server.wait_log(rf"more{n}.py\); one more reload when this one has ended")
        write_version(tmp_path, 3)
        server.wait_log(r"app.py\); one more reload when this one has ended")
        gate.open()
        server.wait_log("reloaded to gen 3")
        assert server.get()[1].startswith(b"0003 ")
        (tmp_path / "last.py").write_text("")
        server.wait_log("reloaded to gen 4")
        assert server.count("reloading to gen") == 3


def test_ignored_files_bring_no_reload(tmp_path: Path) -> None:
    """The output of the app and the registry are in the watched folder, too."""
    write_version(tmp_path, 1, code="print('hello')")
    options = ("--watch", "--log-dir", ".", "--access-log", "access.txt", "--watch-ignore", "data")
    more = ("--watch-ignore", "static/*.map", "--pid-file", "here")
    home = {"PREFORK_HOME": str(tmp_path / "home")}
    for folder in ("static", "templates"):
        (tmp_path / folder).mkdir()
    with serving(tmp_path, "app:app", *options, *more, env=home) as server:
        watcher(server)
        assert server.get()[0] == 200
        for name in (
            "data/x.csv",
            "static/a.map",
            "debug.log",
            ".git/index",
            "a.pyc",
            "db.sqlite3",
        ):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text("one")
        wait_for((tmp_path / "access.txt").read_text, "a line in the access log")
        (tmp_path / "templates/index.html").write_text("one")
        server.wait_log("reloaded to gen 2")
        assert re.findall(r"files? changed \((.*)\)", server.log) == ["templates/index.html"]


def test_named_paths_are_watched_instead_of_the_code(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    (tmp_path / "conf").mkdir()
    for name in ("conf/a.toml", "one.env"):
        (tmp_path / name).write_text("one")
    options = ("--watch", "--watch-path", "conf", "--watch-path", "one.env")
    with serving(tmp_path, "app:app", *options) as server:
        watcher(server)
        write_version(tmp_path, 2)
        (tmp_path / "conf/a.toml").write_text("two")
        server.wait_log(r"1 file changed \(a.toml\); reloading")
        server.wait_log("reloaded to gen 2")
        (tmp_path / "one.env").write_text("two")
        server.wait_log(r"1 file changed \(one.env\); reloading")
        server.wait_log("reloaded to gen 3")


def test_a_release_behind_a_symlink_is_noticed(tmp_path: Path) -> None:
    for n in (1, 2):
        (tmp_path / f"release{n}").mkdir()
        write_version(tmp_path / f"release{n}", n)
    current = tmp_path / "current"
    current.symlink_to("release1")
    with serving(current, "app:app", "--watch") as server:
        watcher(server)
        (tmp_path / "next").symlink_to("release2")
        os.replace(tmp_path / "next", current)
        server.wait_log(r"1 file changed \(current\); reloading")
        server.wait_log("reloaded to gen 2")
        assert server.get()[1].startswith(b"0002 ")
        watcher(server, 2)
        write_version(tmp_path / "release2", 3)
        server.wait_log("reloaded to gen 3")
        assert server.get()[1].startswith(b"0003 ")


def test_a_replaced_release_is_noticed_while_ignored_files_change(tmp_path: Path) -> None:
    for n in (1, 2):
        (tmp_path / f"release{n}").mkdir()
        write_version(tmp_path / f"release{n}", n)
    current = tmp_path / "current"
    current.symlink_to("release1")
    busy = tmp_path / "release1" / "busy.log"
    with serving(current, "app:app", "--watch") as server, written_all_the_time(busy):
        watcher(server)
        (tmp_path / "next").symlink_to("release2")
        os.replace(tmp_path / "next", current)
        server.wait_log(r"1 file changed \(current\); reloading")
        server.wait_log("reloaded to gen 2")
        assert server.get()[1].startswith(b"0002 ")


def test_a_change_is_logged_while_ignored_files_change(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    with (
        serving(tmp_path, "app:app", "--watch") as server,
        written_all_the_time(tmp_path / "busy.log"),
    ):
        watcher(server)
        write_version(tmp_path, 2)
        server.wait_log(r"1 file changed \(app.py\); reloading")


@pytest.mark.parametrize("writer", ["worker", "master"])
def test_output_redirected_into_the_folder_is_no_change(tmp_path: Path, writer: str) -> None:
    """Each reload prints, so an output file that counted would bring the next reload."""
    code = "print('hello', flush=True)" if writer == "worker" else ""
    options = ("--watch", *(() if writer == "worker" else ("--log-file", "-")))
    write_version(tmp_path, 1, code=code)
    output = tmp_path / "output.txt"
    with output.open("wb") as stdout:
        server = Server("-b", "127.0.0.1:0", *options, "app:app", cwd=tmp_path, stdout=stdout)
        try:
            told = server.wait_log if writer == "worker" else partial(wait_in, output)
            told("INFO watching /")
            for n in (2, 3):
                write_version(tmp_path, n, code=code)
                told(f"reloaded to gen {n} ")
            (tmp_path / "last.py").write_text("")
            told("reloaded to gen 4 ")
            text = output.read_text() if writer == "master" else server.log
            assert re.findall(r"files? changed \((.*)\)", text) == ["app.py", "app.py", "last.py"]
        finally:
            server.destroy()


def wait_in(file: Path, pattern: str) -> None:
    wait_for(lambda: re.search(pattern, file.read_text()), pattern)


@contextmanager
def written_all_the_time(path: Path) -> Iterator[None]:
    """Let another process append to a file, opening it anew each time, until the end of the
    block."""
    source = (
        "import sys, time\n"
        "while True:\n"
        "    open(sys.argv[1], 'a').write('x')\n"
        "    time.sleep(0.01)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", source, str(path)])
    try:
        wait_for(path.exists, "the first line")
        yield
    finally:
        writer.kill()
        writer.wait()


def test_a_watcher_that_dies_has_a_successor_and_none_outlives_the_master(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    with serving(tmp_path, "app:app", "--watch") as server:
        before = watcher(server)
        before.kill()
        server.wait_log(r"not watching files: the watcher died \(SIGKILL\); trying again")
        after = watcher(server, 2)
        assert after.pid != before.pid
        write_version(tmp_path, 2)
        server.wait_log("reloaded to gen 2")
        server.send(signal.SIGKILL)
        server.wait_exit()
        wait_for(server.is_gone, "nothing is left")


def test_a_reload_starts_and_ends_watching(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    file = tmp_path / "prefork.toml"
    file.write_text("")
    with serving(tmp_path, "app:app", "-c", "prefork.toml") as server:
        file.write_text('watch = true\nwatch-delay = "50ms"\n')
        server.send(signal.SIGHUP)
        server.wait_log("reloaded to gen 2")
        known = watcher(server)
        file.write_text("watch = false\n")
        server.wait_log(r"1 file changed \(prefork.toml\)")
        server.wait_log("reloaded to gen 3")
        wait_for(lambda: not known.is_running(), "the watcher is gone")
        assert server.count("ERROR") == 0
        assert server.stop() == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--watch-path", "nowhere"), "watch: there is no "),
        (("--watch-path", "/"), "watch: all of / is too much"),
    ],
)
def test_paths_that_cannot_be_watched_are_refused(
    tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    write_version(tmp_path, 1)
    done = command("--watch", *options, "-b", "127.0.0.1:0", "app:app", cwd=tmp_path)
    assert done.returncode == 100
    assert said in done.stderr


def test_without_the_extra_the_files_are_polled(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    source = (
        "import sys; sys.modules['watchfiles'] = None; from prefork.cli.command import main; "
        "sys.exit(main())"
    )
    words = ["-c", source, "--watch", "-b", "127.0.0.1:0", "app:app"]
    server = Server(*words, cwd=tmp_path, program=(sys.executable,))
    try:
        server.wait_log(
            r"INFO watching /.* by looking at all files; pip install 'prefork\[watch\]'"
        )
        write_version(tmp_path, 2)
        server.wait_log("reloaded to gen 2")
        assert server.get()[1].startswith(b"0002 ")
        assert server.stop() == 0
    finally:
        server.destroy()


def test_an_app_from_a_file_is_watched_in_the_background(tmp_path: Path) -> None:
    """The watcher of a daemon must not keep the starter waiting; its log is beside the code."""
    with temporary_home(tmp_path) as home:
        home.write(
            "shop.toml",
            '[defaults]\nwatch = true\nwatch-ignore = ["*.csv"]\n[apps.web]\napp = "web:app"\n'
            'bind = "127.0.0.1:0"\nlog-dir = "logs"\n',
        )
        home.run_ok("start", "shop.toml")
        assert fetch(home.app()) == b"one"

        log = home.home / "web" / "log"
        wait_for(lambda: "INFO watching /" in log.read_text(), "a watcher")
        home.write("web.py", (home.folder / "web.py").read_text().replace("one", "two"))
        wait_for(lambda: "reloaded to gen 2" in log.read_text(), "new code")
        assert fetch(home.app()) == b"two"
        home.run_ok("stop", "web")


def test_a_program_is_rolled_when_its_source_changes(tmp_path: Path) -> None:
    script = tmp_path / "work.sh"
    script.write_text("while :; do sleep 1000 & wait; done # 1\n")
    with running_program(
        tmp_path, ["sh", "work.sh"], "--watch", "--ready", "100ms", workers=2
    ) as server:
        watcher(server)
        script.write_text("while :; do sleep 1000 & wait; done # 2\n")
        server.wait_log("reloaded to gen 2")
        server.wait_log(r"gen 1\) gone: reload", 2)
        assert server.stop() == 0


def test_the_watcher_has_a_title(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    with serving(tmp_path, "app:app", "--watch", "-n", "shop") as server:
        assert command_line(watcher(server)) == "prefork: watcher [shop]"
        assert server.stop() == 0
        assert server.is_gone()
