"""The access log: the common log format, a line for each answer, and no line by a client's will."""

import re
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.live.harness import Server, wait_for
from tests.live.web import KINDS, kept, web
from tests.live.wire import ask, chunked, get, post, tcp, unix

LINE = re.compile(
    r"(?P<host>\S+) - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "
    r'"(?P<request>[^"]*)" (?P<status>\d{3}) (?P<size>\d+|-)'
)


class Logged:
    """A server, and its access log."""

    def __init__(self, server: Server, path: Path) -> None:
        self.server = server
        self.path = path

    def lines(self, pattern: str, count: int = 1) -> list[str]:
        """Wait for so many whole lines that hold ``pattern``; all of them."""

        def found() -> list[str]:
            text = self.path.read_text()
            assert text.isascii()
            whole = text[: text.rfind("\n") + 1].splitlines()
            assert all(LINE.fullmatch(line) for line in whole)
            return [line for line in whole if re.search(pattern, line)]

        wait_for(lambda: len(found()) >= count, f"{count} lines with {pattern}")
        return found()

    def line(self, pattern: str) -> dict[str, str]:
        """The one line that holds ``pattern``, in its parts."""
        (line,) = self.lines(pattern)
        match = LINE.fullmatch(line)
        assert match
        return match.groupdict()


@contextmanager
def logged(kind: str, folder: Path, *arguments: str) -> Iterator[Logged]:
    """Serve with an access log."""
    path = folder / "access.log"
    with web(kind, folder, "--access-log", str(path), *arguments) as server:
        yield Logged(server, path)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: Any) -> Iterator[Callable[[str], Server]]:
    def start(kind: str) -> AbstractContextManager[Server]:
        folder = tmp_path_factory.mktemp(kind)
        return web(kind, folder, "--limit-body", "1k", "--access-log", str(folder / "access.log"))

    with kept(start) as made:
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
def test_a_refused_request_is_a_line_as_well(
    shared: Logged, request_: bytes, pattern: str, status: str
) -> None:
    assert str(ask(shared.server, request_).status) == status
    line = shared.line(f"{pattern}.* {status} ")
    assert (line["host"], line["status"]) == ("127.0.0.1", status)


def test_a_failed_request_is_a_line_as_well(shared: Logged) -> None:
    assert ask(shared.server, get("/there-is-no-such-page")).status == 500
    assert shared.line("/there-is-no-such-page")["status"] == "500"


def test_a_response_that_its_client_left_is_a_line_as_well(shared: Logged) -> None:
    with tcp(shared.server) as wire:
        wire.send(get("/endless/left"))
        wire.take(100_000)
        wire.reset()
    line = shared.line("/endless/left")
    assert (line["request"], line["status"]) == ("GET /endless/left HTTP/1.1", "200")
    assert int(line["size"]) >= 65536


def test_a_client_cannot_write_lines_quotes_or_control_characters(shared: Logged) -> None:
    with tcp(shared.server) as wire:
        wire.send(get("/hello?before")).answer()
    shared.lines("before")
    # Lines come in the order of the answers: all before this one are of other tests.
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
        web("asgi", tmp_path, "--access-log", "-", stdout=stdout) as server,
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


def test_usr1_follows_a_rotation(tmp_path: Path) -> None:
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
