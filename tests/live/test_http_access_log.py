"""The access log: its formats, a line for each request, and no line that a client forged."""

import base64
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.live.harness import PATIENCE, Server, serving, wait_for
from tests.live.raw_client import ask, chunked, get, post, tcp, unix
from tests.live.web_apps import KINDS, lazy_servers, open_gate, serving_app

LINE = re.compile(
    r"(?P<host>\S+) - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "
    r'"(?P<request>[^"]*)" (?P<status>\d{3}) (?P<size>\d+|-)'
)


class Logged:
    """A server and its access log."""

    def __init__(self, server: Server, path: Path) -> None:
        self.server = server
        self.path = path

    def lines(self, pattern: str, count: int = 1) -> list[str]:
        """Wait for ``count`` complete lines that match ``pattern``, and return all of them."""

        def found() -> list[str]:
            text = self.path.read_text()
            assert text.isascii()
            whole = text[: text.rfind("\n") + 1].splitlines()
            assert all(LINE.fullmatch(line) for line in whole)
            return [line for line in whole if re.search(pattern, line)]

        wait_for(lambda: len(found()) >= count, f"{count} lines with {pattern}")
        return found()

    def line(self, pattern: str) -> dict[str, str]:
        """Return the fields of the one line that matches ``pattern``."""
        (line,) = self.lines(pattern)
        match = LINE.fullmatch(line)
        assert match
        return match.groupdict()


@contextmanager
def logged(kind: str, folder: Path, *arguments: str) -> Iterator[Logged]:
    """Serve with an access log."""
    path = folder / "access.log"
    with serving_app(kind, folder, "--access-log", str(path), *arguments) as server:
        yield Logged(server, path)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: Any) -> Iterator[Callable[[str], Server]]:
    def start(kind: str) -> AbstractContextManager[Server]:
        folder = tmp_path_factory.mktemp(kind)
        return serving_app(
            kind, folder, "--limit-body", "1k", "--access-log", str(folder / "access.log")
        )

    with lazy_servers(start) as made:
        yield made


@pytest.fixture(params=list(KINDS))
def shared(servers: Callable[[str], Server], request: pytest.FixtureRequest) -> Logged:
    server = servers(request.param)
    return Logged(server, server.cwd / "access.log")


def test_each_answer_is_a_line_in_the_common_log_format(shared: Logged) -> None:
    with tcp(shared.server) as wire:
        wire.send(
            get("/hello?a=%20b"),
            get("/hello?a", method="HEAD"),
            get("/stream?a"),
            get("/status/204?a"),
            get("/status/404?a"),
            post("/echo?a", b"x" * 1000),
            get("/echo?a", "Transfer-Encoding: chunked", method="POST") + chunked(b"five!"),
        )
        for method in ("GET", "HEAD", "GET", "GET", "GET", "POST", "POST"):
            wire.answer(method)
    ask(shared.server, get("/hello?a", version="1.0"))
    found = [LINE.fullmatch(line) for line in shared.lines(r"\?a", 8)]
    assert [(m["host"], m["request"], m["status"], m["size"]) for m in found if m] == [
        ("127.0.0.1", "GET /hello?a=%20b HTTP/1.1", "200", "5"),
        ("127.0.0.1", "HEAD /hello?a HTTP/1.1", "200", "-"),
        ("127.0.0.1", "GET /stream?a HTTP/1.1", "200", "11"),
        ("127.0.0.1", "GET /status/204?a HTTP/1.1", "204", "-"),
        ("127.0.0.1", "GET /status/404?a HTTP/1.1", "404", "4"),
        ("127.0.0.1", "POST /echo?a HTTP/1.1", "200", "1000"),
        ("127.0.0.1", "POST /echo?a HTTP/1.1", "200", "5"),
        ("127.0.0.1", "GET /hello?a HTTP/1.0", "200", "5"),
    ]


@pytest.mark.parametrize(
    ("request_", "pattern", "status"),
    [
        (b"nonsense\r\n\r\n", '"- ', "501"),
        (b"GET /no-host HTTP/1.1\r\n\r\n", "/no-host ", "400"),
        (get("/no-version x"), "/no-version", "400"),
        (get("/long/" + "a" * 9000), "/long/", "414"),
        (get("/too-much", "Content-Length: 9999", method="POST"), "/too-much ", "413"),
        (get("/chunk", "Transfer-Encoding: chunked", method="POST") + b"x", "/chunk ", "400"),
    ],
    ids=["method", "host", "version", "long", "large", "chunk"],
)
def test_a_refused_request_is_logged(
    shared: Logged, request_: bytes, pattern: str, status: str
) -> None:
    assert str(ask(shared.server, request_).status) == status
    line = shared.line(f"{pattern}.* {status} ")
    assert (line["host"], line["status"]) == ("127.0.0.1", status)


def test_a_failed_request_is_logged(shared: Logged) -> None:
    assert ask(shared.server, get("/there-is-no-such-page")).status == 500
    assert shared.line("/there-is-no-such-page")["status"] == "500"


def test_a_response_whose_client_disconnected_is_logged(shared: Logged) -> None:
    with tcp(shared.server) as wire:
        wire.send(get("/endless/left"))
        wire.read_exactly(100_000)
        wire.reset()
    line = shared.line("/endless/left")
    assert (line["request"], line["status"]) == ("GET /endless/left HTTP/1.1", "200")
    assert int(line["size"]) >= 65536


def test_a_client_cannot_forge_lines_quotes_or_control_characters(shared: Logged) -> None:
    with tcp(shared.server) as wire:
        wire.send(get("/hello?before")).answer()
    shared.lines("before")
    # Lines are in the order of the responses: all before this one belong to other tests.
    assert ask(shared.server, get("/told/evil")).status == 200
    shared.line("/told/evil")
    evil = (b'/evil?"\\', b"/evil?\xff", b"/evil?\x7f", b"/evil?\x1b[31m", b"/evil?\t")
    for target in evil:
        with tcp(shared.server) as wire:
            wire.send(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target).is_cut()
    assert ask(shared.server, get("/told/end")).status == 200
    shared.line("/told/end")
    every = shared.lines("")
    mark = next(number for number, line in enumerate(every) if "/told/evil" in line)
    found = every[mark + 1 : -1]
    assert len(found) == 5
    for line in found:
        match = LINE.fullmatch(line)
        assert match
        assert not re.search(r"""["\\]""", re.sub(r"\\x[0-9a-f]{2}", "", match["request"]))
    assert r"/evil?\x22\x5c" in found[0]


def test_a_client_without_an_address_is_a_dash(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with logged("wsgi", tmp_path, "-b", f"unix:{path}") as log, unix(path) as wire:
        wire.send(get("/hello")).answer()
        assert log.line("/hello")["host"] == "-"


def test_the_access_log_may_be_the_standard_output(tmp_path: Path) -> None:
    path = tmp_path / "stdout"
    with (
        path.open("wb") as stdout,
        serving_app("asgi", tmp_path, "--access-log", "-", stdout=stdout) as server,
    ):
        assert ask(server, get("/hello")).status == 200
        wait_for(lambda: path.read_text().endswith('"GET /hello HTTP/1.1" 200 5\n'), "a line")


def test_a_stopped_worker_has_written_all_its_lines(tmp_path: Path) -> None:
    with logged("asgi", tmp_path) as log, tcp(log.server) as wire:
        wire.send(*[get("/hello")] * 200)
        for _ in range(200):
            wire.answer()
        assert log.server.stop() == 0
        assert len(log.path.read_text().splitlines()) == 200


def test_workers_share_the_log_line_by_line(tmp_path: Path) -> None:
    with logged("wsgi", tmp_path, "-w", "3") as log:
        log.server.ready(3)
        for _ in range(20):
            with tcp(log.server) as wire:
                wire.send(*[get("/told/" + "a" * 200)] * 30)
                for _ in range(30):
                    wire.answer()
        assert len(log.lines("/told/a{200} ", 600)) == 600


def test_usr1_reopens_the_log_after_a_rotation(tmp_path: Path) -> None:
    with logged("wsgi", tmp_path) as log:
        old = tmp_path / "access.log.1"
        assert ask(log.server, get("/told/before")).status == 200
        log.line("before")
        log.path.rename(old)
        log.server.send(signal.SIGUSR1)
        wait_for(log.path.exists, "there is a new file")
        assert ask(log.server, get("/told/after")).status == 200
        log.line("after")
        assert ["before" in line for line in old.read_text().splitlines()] == [True]
        assert ["after" in line for line in log.path.read_text().splitlines()] == [True]


# Formats.


def whole_lines(path: Path, count: int) -> list[str]:
    """Wait until the file has ``count`` lines, and return them."""

    def enough() -> list[str]:
        lines = path.read_text().splitlines(keepends=True)
        return lines if len(lines) >= count and lines[-1].endswith("\n") else []

    return wait_for(enough, f"{count} lines")


EVERYTHING = (
    "%(h)s %(l)s %(u)s %(m)s %(U)s %(q)s %(H)s %(s)s %(b)s %(B)s '%(f)s' '%(a)s' %(p)s %(host)s "
    "%(scheme)s %(peer)s %(slot)s %(generation)s %({X-Some}i)s %({x-none}i)s %({Content-Type}o)s "
    "%({x-none}o)s %(request_id)s 100%%"
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_custom_format_may_have_every_directive(kind: str, tmp_path: Path) -> None:
    with logged(kind, tmp_path, "--access-log-format", EVERYTHING) as log:
        user = base64.b64encode(b"jane doe:secret").decode()
        fields = (
            "Referer: http://a/?b",
            "User-Agent: Some/1.0",
            f"Authorization: Basic {user}",
            'X-Some: a "b"',
        )
        (worker,) = log.server.workers()
        for _ in range(3):  # The head of the last ones is cached.
            with tcp(log.server) as wire:
                wire.send(get("/hello?x=y", *fields)).answer()
        expected = (
            r"127.0.0.1 - jane\x20doe GET /hello x=y HTTP/1.1 200 5 5 'http://a/?b' 'Some/1.0' "
            rf"{worker.pid} test http 127.0.0.1 0 1 a \x22b\x22 - text/plain - - 100%"
        )
        assert whole_lines(log.path, 3) == [expected + "\n"] * 3


@pytest.mark.parametrize("kind", KINDS)
def test_json_is_valid_for_all_client_input(kind: str, tmp_path: Path) -> None:
    with logged(kind, tmp_path, "--access-log-format", "json") as log:
        nasty = 'say "\\" \xff caf\u00c3\u00a9'
        assert ask(log.server, get("/hello?q=%22", f"User-Agent: {nasty}")).status == 200
        assert ask(log.server, get("/hello", version="1.0", method="HEAD"), "HEAD").status == 200
        with tcp(log.server) as wire:
            wire.send(b'GET /"\x7f\xff HTTP/1.1\r\n\r\n').is_cut()
        assert ask(log.server, b"nonsense\r\n\r\n").status == 501
        lines = [json.loads(line) for line in whole_lines(log.path, 4)]
        assert set(map(frozenset, lines)) == {frozenset(lines[0])}
        first, head, evil, nonsense = lines
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", first["time"])
        assert (first["method"], first["path"], first["query"]) == ("GET", "/hello", "q=%22")
        assert (first["status"], first["bytes"], first["agent"]) == (200, 5, 'say "\\" \\xff café')
        assert 0 <= first["duration"] < PATIENCE
        assert (head["protocol"], head["bytes"], head["referer"]) == ("HTTP/1.0", 0, None)
        assert evil["status"] == 400
        assert (nonsense["status"], nonsense["method"]) == (501, None)


def test_a_duration_is_the_time_of_the_app(tmp_path: Path) -> None:
    words = ("--access-log-format", "%(U)s %(L)s %(M)s %(D)s %(T)s")
    with logged("asgi", tmp_path, *words) as log, tcp(log.server) as wire:
        wire.send(get("/hold/door"))
        wait_for(lambda: log.server.get("/hello")[0] == 200, "the loop is free")
        open_gate(log.server, "door")
        wire.answer()
        (line,) = [line for line in whole_lines(log.path, 3) if line.startswith("/hold")]
        seconds, milliseconds, microseconds, whole = line.split()[1:]
        assert 0 < float(seconds) < PATIENCE
        # The two durations are measured separately, one right after the other.
        assert int(milliseconds) - int(float(seconds) * 1000) in range(9)
        assert int(microseconds) - round(float(seconds) * 1e6) in range(-1, 9000)
        assert int(whole) - int(float(seconds)) in (0, 1)


# A log that cannot be written.


LONG = "/told/" + "a" * 8000


def flood(server: Server, count: int) -> None:
    """Send ``count`` requests with a line of 8 KB each, and check their responses."""
    with tcp(server) as wire:
        for _ in range(count // 20):
            wire.send(*[get(LONG)] * 20)
            for _ in range(20):
                assert wire.answer().status == 200


def test_an_unread_stdout_loses_lines_and_nothing_else(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    with (
        open(reader, "rb") as out,
        open(writer, "wb") as end,
        serving_app("asgi", tmp_path, "--access-log", "-", stdout=end) as server,
    ):
        flood(server, 800)  # 6.4 MB; the pipe and the queue take 4.3.
        data = out.readline()
        while b"/hello" not in data:
            # Reading makes room, and new requests are logged again.
            assert server.get("/hello")[0] == 200
            data = out.read1(1 << 20)
        lost = int(server.wait_log(r"access log: (\d+) lines were lost")[1])
        assert 0 < lost < 800
        assert server.count("lines were lost") == 1
        # The pipe still blocks for the other processes that share it.
        assert os.get_blocking(end.fileno())


def test_a_worker_exits_although_its_log_is_stuck(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    with (
        open(reader, "rb"),
        open(writer, "wb") as end,
        serving_app("wsgi", tmp_path, "--access-log", "-", stdout=end) as server,
    ):
        flood(server, 40)
        assert server.stop() == 0
        server.wait_log(r"access log: \d+ lines could not be written in time")
        assert not server.count("killed")


def test_a_fifo_may_get_its_reader_later(tmp_path: Path) -> None:
    fifo = tmp_path / "access.fifo"
    os.mkfifo(fifo)
    with serving_app("wsgi", tmp_path, "--access-log", str(fifo)) as server:
        assert server.get("/hello")[0] == 200
        for _ in range(2):
            with fifo.open("rb") as out:
                assert b'"GET /hello HTTP/1.1" 200 5' in out.readline()
            assert server.get("/hello")[0] == 200
        assert not server.count("access log")


def test_a_full_disk_is_logged_once_and_lines_continue_when_there_is_room(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.symlink_to("/dev/full")
    with serving_app("wsgi", tmp_path, "--access-log", str(path)) as server:
        for _ in range(3):
            assert server.get("/hello")[0] == 200
            server.wait_log("cannot write the access log: No space left on device")
        path.unlink()
        server.send(signal.SIGUSR1)
        server.wait_log("reopened the logs")
        wait_for(lambda: server.get("/hello")[0] == 200 and path.stat().st_size, "lines again")
        server.wait_log(r"access log: [1-9]\d* lines were lost")
        assert server.count("No space left") == 1


def test_a_quick_stop_writes_waiting_lines(tmp_path: Path) -> None:
    with logged("asgi", tmp_path) as log:
        with tcp(log.server) as wire:
            wire.send(*[get("/hello")] * 10)
            for _ in range(10):
                wire.answer()
        log.server.send(signal.SIGQUIT)
        assert log.server.wait_exit() == 0
        # The last request may be cut between its response and its line.
        assert len(log.path.read_text().splitlines()) in (9, 10)


APP_WITH_A_ZONE = """\
import os, time
os.environ["TZ"] = "Pacific/Kiritimati"  # as Django does, from its TIME_ZONE
time.tzset()
def app(environ, start_response):
    raise ValueError("wrong")
"""


def test_the_logs_keep_the_zone_of_the_master_when_an_app_sets_another(tmp_path: Path) -> None:
    (tmp_path / "zoned.py").write_text(APP_WITH_A_ZONE)
    options = ("--access-log", "access.log", "--access-log-format", "%(t)s %(time)s")
    with serving(tmp_path, "zoned:app", *options, env={"TZ": "UTC-3"}) as server:
        assert ask(server, get("/")).status == 500
        stamps = [
            datetime.fromisoformat(server.wait_log(rf"^(\S+ [\d:]+)\.\d+ .*{text}")[1])
            for text in ("listening on", "the app failed")
        ]
        assert abs(stamps[0] - stamps[1]) < timedelta(hours=1)
        lines = tmp_path / "access.log"
        wait_for(lambda: lines.read_text().endswith("\n"), "the line of the request")
        assert re.search(r" \+0300\] \S+\+03:00\n", lines.read_text())
