"""As the first process of a container: orphans, signals, logs to stdout, exit codes.

The container is a pid namespace of our own (unshare(1)), where that is permitted.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.live.harness import PATIENCE, Server, command, command_line, wait_for

UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "--"]


def container() -> list[str]:
    """Return the prefix that starts a container, or skip where that is not permitted."""
    if (
        not shutil.which("unshare")
        or subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("pid namespaces are not permitted here")
    return UNSHARE


def first_process(server: Server) -> psutil.Process:
    """Return the master, which is pid 1 of its namespace."""
    (master,) = psutil.Process(server.pid).children()
    status = Path(f"/proc/{master.pid}/status").read_text()
    assert "\t1\n" in status[status.index("NSpid:") :]
    return master


@contextmanager
def contained(folder: Path, *arguments: str) -> Iterator[tuple[Server, psutil.Process]]:
    prefix = container()
    server = Server("-b", "127.0.0.1:0", *arguments, cwd=folder, prefix=prefix)
    try:
        server.ready()
        yield server, first_process(server)
    finally:
        server.destroy()


ORPHANS = """\
import os

def app(environ, start_response):
    if os.fork() == 0:
        if os.fork() == 0:
            os._exit(0)  # its parent is gone, or soon will be
        os._exit(0)
    os.wait()
    start_response("200 OK", [])
    return [b"one"]
"""


def test_orphans_are_reaped_and_signals_heard(tmp_path: Path) -> None:
    (tmp_path / "web.py").write_text(ORPHANS)
    with contained(tmp_path, "web:app") as (server, master):
        for _ in range(20):
            assert server.get() == (200, b"one")

        def has_zombies() -> bool:
            try:
                family = [each.status() for each in master.children(recursive=True)]
            except psutil.NoSuchProcess:
                return True  # one was reaped between the two looks
            return psutil.STATUS_ZOMBIE in family

        wait_for(lambda: not has_zombies(), "no zombies")
        master.send_signal(signal.SIGHUP)
        server.wait_log("reloaded to gen 2")
        assert server.get() == (200, b"one")
        master.send_signal(signal.SIGTERM)
        assert server.wait_exit() == 0


def test_a_program_and_its_orphans(tmp_path: Path) -> None:
    (tmp_path / "job.sh").write_text("(sleep 0.01 &) ; sleep 1000\n")
    with contained(tmp_path, "--ready", "10ms", "--", "sh", "job.sh") as (server, master):

        def is_alone() -> bool:
            titles = [command_line(each) for each in master.children(recursive=True)]
            return [title for title in titles if title.startswith("sleep")] == ["sleep 1000"]

        wait_for(is_alone, "the orphan is reaped")
        master.send_signal(signal.SIGTERM)
        assert server.wait_exit() == 0


LATE = ["--ready", "5s"]
"""A ``--ready`` so late that the program fails before it counts as ready."""


@pytest.mark.parametrize(
    ("script", "options", "code"),
    [
        ("sleep 1; exit 3", ["--max-restarts", "0"], 3),
        ("sleep 1; kill -9 $$", ["--max-restarts", "0"], 137),
        ("sleep 1; exit 0", ["--stop-exit-codes", "0"], 0),
        ("sleep 1; exit 7", ["--stop-exit-codes", "7"], 7),
        ("exit 0", ["--max-restarts", "0", "--stop-exit-codes", "0", "--ready", "auto"], 0),
        ("exit 7", ["--max-restarts", "0", "--stop-exit-codes", "7", *LATE], 7),
        ("sleep 1; exit 0", ["--max-restarts", "0"], 102),
        ("exit 5", LATE, 5),
        ("exit 0", LATE, 102),
        ("exit 5", ["-w", "2", *LATE], 102),
        ("exec ./nothing", LATE, 127),
    ],
)
@pytest.mark.parametrize("where", ["container", "plain"])
def test_the_exit_code_of_a_program_that_ends_for_good(
    tmp_path: Path, script: str, options: list[str], code: int, where: str
) -> None:
    prefix = container() if where == "container" else []
    begin = ["--ready", "10ms", *options, "--", "sh", "-c", script]
    done = command(*begin, cwd=tmp_path, prefix=prefix)
    assert done.returncode == code, done.stderr


def test_a_stop_exits_0_whatever_the_exit_code_of_the_program(tmp_path: Path) -> None:
    script = "trap 'exit 9' TERM; while :; do sleep 0.05; done"
    with contained(tmp_path, "--ready", "10ms", "--", "sh", "-c", script) as (server, master):
        master.send_signal(signal.SIGTERM)
        assert server.wait_exit() == 0


def test_a_stop_while_the_master_waits_to_restart_the_program(tmp_path: Path) -> None:
    options = ("--ready", "10ms", "--min-uptime", "100s")
    with contained(tmp_path, *options, "--", "sh", "-c", "sleep 1; exit 9") as (server, master):
        server.wait_log("a new one in [5-9]", patience=2 * PATIENCE)
        master.send_signal(signal.SIGTERM)
        assert server.wait_exit() == 0


def test_the_log_goes_to_stdout(tmp_path: Path) -> None:
    (tmp_path / "web.py").write_text(ORPHANS)
    with open(tmp_path / "out", "wb") as out:
        server = Server("-b", "127.0.0.1:0", "--log-file", "-", "web:app", cwd=tmp_path, stdout=out)
    try:
        said = tmp_path / "out"
        wait_for(lambda: "ready in" in said.read_text(), "it is ready")
        assert server.stop() == 0
        assert said.read_text().endswith("stopped\n")
        assert server.log == ""
        assert not os.path.exists(tmp_path / "-")
    finally:
        server.destroy()
