"""An unread log: pipes, fifos, terminals and sockets that are full, and a full disk.

The app serves on a unix socket, because its log, which would tell the port, is not read.
"""

import http.client
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from prefork import Client
from tests.live.harness import PATIENCE, wait_for

APP = """\
import os
import time


def app(environ, start_response):
    name = environ["PATH_INFO"][1:]
    if name == "boom":
        raise RuntimeError("x" * 2000)
    if name == "hang":
        time.sleep(600)
    start_response("200 OK", [])
    return [b"%d" % os.getpid()]
"""

KINDS = ("pipe", "foreign pipe", "fifo", "fifo as log file", "terminal", "socket")

FLOOD = 300
"""Number of requests that log 2 KB each; pipe and buffer of a worker take half of them."""

_NO_OVERRIDE = "-dac_override,-dac_read_search"


class Sink:
    """The destination of the log. ``writer`` None: the server opens ``path`` itself."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.path = folder / "log.fifo"
        self.writer: int | None = None
        self.prefix: tuple[str, ...] = ()
        match kind:
            case "pipe" | "foreign pipe":
                self.reader, self.writer = os.pipe()
            case "fifo" | "fifo as log file":
                os.mkfifo(self.path)
                self.reader = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
                os.set_blocking(self.reader, True)
                if kind == "fifo":
                    self.writer = os.open(self.path, os.O_WRONLY)
            case "terminal":
                self.reader, self.writer = pty.openpty()
                tty.setraw(self.writer)
            case "socket":
                ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
                self.reader, self.writer = ours.detach(), its.detach()
        if kind == "foreign pipe" and self.writer is not None:
            # As a pipe of a container runtime: the server may write to it, but not open it.
            os.fchown(self.writer, 65534, 65534)
            os.fchmod(self.writer, 0)
            self.prefix = ("setpriv", "--bounding-set", _NO_OVERRIDE)

    def close(self) -> None:
        os.close(self.reader)
        if self.writer is not None:
            os.close(self.writer)


class Unread:
    """A server whose log is read only by ``read_until``."""

    def __init__(self, sink: Sink, folder: Path, *arguments: str, program: str = "") -> None:
        (folder / "app.py").write_text(program + APP)
        self.folder, self.sink = folder, sink
        self.socket = folder / "http"
        self.environ = {k: v for k, v in os.environ.items() if not k.startswith("PREFORK_")}
        self.environ |= {"PREFORK_HOME": str(folder / "home"), "PWD": str(folder)}
        (folder / "home").mkdir(mode=0o700)
        self.client = Client(folder / "home")
        output = subprocess.DEVNULL if sink.writer is None else sink.writer
        if sink.writer is None:
            arguments = ("--log-file", str(sink.path), *arguments)
        self.process = subprocess.Popen(
            [
                *(*sink.prefix, sys.executable, "-m", "prefork"),
                *("-b", f"unix:{self.socket}", "-w", "1", "--timeout", "1s", *arguments),
            ],
            cwd=folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )

    def get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(PATIENCE)
        try:
            connection.sock.connect(str(self.socket))
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def pid(self) -> int:
        """Return the pid of the worker that responds, as soon as one does."""

        def answer() -> int:
            try:
                status, body = self.get("/")
            except (OSError, http.client.HTTPException):
                return 0
            return int(body) if status == 200 else 0

        return wait_for(answer, "an answer")

    def flood(self) -> None:
        """Log more than pipe and buffer take."""
        for _ in range(FLOOD):
            assert self.get("/boom")[0] == 500

    def verb(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "prefork", *words],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def read_until(self, pattern: str, count: int = 1) -> list[str]:
        """Read the log until ``count`` lines match, and return those lines."""
        data = b""
        found: list[str] = []

        def there() -> bool:
            nonlocal data, found
            if select.select([self.sink.reader], [], [], 0.05)[0]:
                data += os.read(self.sink.reader, 65536)
            lines = data.decode().replace("\r", "").split("\n")[:-1]
            found = [line for line in lines if re.search(pattern, line)]
            return len(found) >= count

        wait_for(there, pattern)
        return found

    def destroy(self) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


@contextmanager
def unread(kind: str, folder: Path, *arguments: str, program: str = "") -> Iterator[Unread]:
    """Start a server, and wait for its worker. ``program`` is code that the app runs first."""
    if kind == "foreign pipe" and os.geteuid() != 0:
        pytest.skip("only root may give a pipe away")
    sink = Sink(kind, folder)
    server = Unread(sink, folder, *arguments, program=program)
    try:
        server.pid()
        yield server
    finally:
        server.destroy()
        sink.close()


@pytest.mark.parametrize("kind", KINDS)
def test_reload_crash_hang_and_stop_work_while_no_process_reads_the_log(
    tmp_path: Path, kind: str
) -> None:
    with unread(kind, tmp_path, "--access-log", "-", "app:app") as server:
        first = server.pid()
        server.flood()
        assert "answers" in server.verb("ping", "app")
        # A reload, with the last records of the old worker.
        assert "reloaded" in server.verb("reload", "app")
        second = server.pid()
        assert second != first
        server.flood()
        # A crash.
        os.kill(second, signal.SIGKILL)
        third = server.pid()
        assert third != second
        # A hang, whose stacks are written by the worker.
        with pytest.raises((OSError, http.client.HTTPException)):
            server.get("/hang")
        assert server.pid() != third
        server.flood()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 0
        if sink_writer := server.sink.writer:
            assert os.get_blocking(sink_writer)  # for every process that shares it


@pytest.mark.parametrize("kind", KINDS)
def test_when_the_log_is_read_again_one_line_counts_the_missing_ones(
    tmp_path: Path, kind: str
) -> None:
    with unread(kind, tmp_path, "app:app") as server:
        server.flood()
        pattern = r"^\S+ \S+ \[(\d+)\] WARNING (\d+) lines of this log were dropped"
        (line,) = server.read_until(pattern)
        match = re.search(pattern, line)
        assert match is not None
        assert int(match[1]) == server.pid()
        assert 0 < int(match[2]) < FLOOD * 20
        # All later lines are there, and those of the master, too.
        assert server.get("/boom")[0] == 500
        server.read_until("RuntimeError: x")
        server.process.send_signal(signal.SIGTERM)
        server.read_until(rf"\[{server.process.pid}\] INFO stopped")
        assert server.process.wait(PATIENCE) == 0


def test_the_master_writes_its_waiting_lines_when_there_is_room(tmp_path: Path) -> None:
    with unread("pipe", tmp_path, "app:app") as server:
        server.flood()  # the worker fills the pipe
        server.process.send_signal(signal.SIGUSR1)
        assert "answers" in server.verb("ping", "app")
        # The master logs no other line meanwhile: its loop waits for room.
        server.read_until(rf"\[{server.process.pid}\] INFO reopened the logs")


@pytest.mark.parametrize("kind", ["pipe", "foreign pipe"])
def test_unwritten_output_of_an_app_does_not_delay_its_workers_exit(
    tmp_path: Path, kind: str
) -> None:
    # It stays in the buffer of sys.stdout until the end.
    with unread(kind, tmp_path, "app:app", program="print('x' * 100)\n") as server:
        server.flood()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 0  # the kill timeout is 30 s


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_program_may_flood_an_unread_log(tmp_path: Path, kind: str) -> None:
    program = "while :; do echo x >&2; done"
    sink = Sink(kind, tmp_path)
    server = Unread(
        sink, tmp_path, "--name=app", "--kill-timeout=1s", "--ready=10ms", "--", "sh", "-c", program
    )
    try:
        wait_for(lambda: server.client.apps() and "running" in server.verb("list"), "it runs")
        assert "answers" in server.verb("ping", "app")
        assert "reloaded" in server.verb("reload", "app")
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(PATIENCE)
    finally:
        server.destroy()
        sink.close()


def test_the_guard_ends_a_program_while_the_log_is_unread(tmp_path: Path) -> None:
    program = "echo $$ > pid; trap 'echo leaving >&2; exit' TERM; while :; do echo x >&2; done"
    sink = Sink("pipe", tmp_path)
    server = Unread(
        sink, tmp_path, "--name=app", "--kill-timeout=1s", "--ready=10ms", "--", "sh", "-c", program
    )
    try:
        wait_for(lambda: server.client.apps() and "running" in server.verb("list"), "it runs")
        pid = int((tmp_path / "pid").read_text())
        server.process.kill()
        wait_for(lambda: not psutil.pid_exists(pid), "the program is ended")
    finally:
        server.destroy()
        sink.close()


def test_a_full_disk_behind_stderr(tmp_path: Path) -> None:
    sink = Sink("pipe", tmp_path)
    assert sink.writer is not None
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, sink.writer)
    os.close(full)
    server = Unread(sink, tmp_path, "--access-log", "-", "app:app")
    try:
        first = server.pid()
        server.flood()
        assert "reloaded" in server.verb("reload", "app")
        assert server.pid() != first
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 0
    finally:
        server.destroy()
        sink.close()


def test_a_master_that_gives_up_writes_the_reason_to_an_unread_log(tmp_path: Path) -> None:
    sink = Sink("pipe", tmp_path)
    assert sink.writer is not None
    os.set_blocking(sink.writer, False)
    try:
        while True:
            os.write(sink.writer, bytes(65536))
    except BlockingIOError:
        os.set_blocking(sink.writer, True)
    server = Unread(sink, tmp_path, "missing:app")
    try:
        assert server.process.wait(PATIENCE) == 102
    finally:
        server.destroy()
        sink.close()


def test_a_slow_reader_gets_every_line(tmp_path: Path) -> None:
    with unread("pipe", tmp_path, "app:app") as server:
        stop = threading.Event()
        taken = bytearray()

        def read_slowly() -> None:
            while not stop.is_set():
                if select.select([server.sink.reader], [], [], 0.05)[0]:
                    taken.extend(os.read(server.sink.reader, 2000))

        reader = threading.Thread(target=read_slowly)
        reader.start()
        try:
            for _ in range(60):
                assert server.get("/boom")[0] == 500
            wait_for(lambda: taken.count(b"RuntimeError: xx") == 60, "all tracebacks")
        finally:
            stop.set()
            reader.join()
        assert b"were dropped" not in taken
