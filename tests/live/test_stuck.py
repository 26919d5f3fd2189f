"""A worker that hangs is reported and replaced; an ASGI call that awaits for ever is cancelled."""

import signal
from pathlib import Path

import pytest

from tests.live.app_sources import write_version
from tests.live.harness import command, serving
from tests.live.held_requests import read_response, send_request

BLOCKED = """
import time
def calculates_for_ever():
    time.sleep(3600)
"""

MAIN_BLOCKED = """
import time
def calculates_for_ever(connection):
    connection.recv(1)
    time.sleep(3600)
def app(listener):
    while True:
        connection, _ = listener.accept()
        calculates_for_ever(connection)
"""

PLACE = r"at /.*/app.py:\d+ in calculates_for_ever"
NAMED = {
    "main": rf"no request that is known; its main thread is {PLACE}",
}
"""The report of a main. For other kinds it names method, target, client and age."""


LATE = """\
import os, time
def app(listener):
    while not os.path.exists("go"):
        time.sleep(0.01)
    connection, _ = listener.accept()
    time.sleep(3600)
"""


def test_a_main_that_accepts_long_after_it_was_ready_has_a_deadline(tmp_path: Path) -> None:
    """The master has read all deadlines by then, and nothing but the worker can wake it."""
    (tmp_path / "app.py").write_text(LATE)
    with serving(tmp_path, "app:app", "--timeout", "1s", "-n", "late") as server:
        (tmp_path / "go").touch()
        with send_request(server.port, "/"):
            server.wait_log("passed its deadline")


@pytest.mark.parametrize("kind", ["wsgi", "threads", "asgi", "main"])
def test_a_blocked_request_is_named_with_its_stack_and_its_worker_replaced(
    tmp_path: Path, kind: str
) -> None:
    name = f"stuck-{kind}"
    arguments = ["--timeout", "1s", "-n", name]
    if kind == "asgi":
        write_version(tmp_path, 1, "asgi", BLOCKED.replace("def calc", "async def calc"))
    elif kind == "main":
        (tmp_path / "app.py").write_text(MAIN_BLOCKED)
    else:
        write_version(tmp_path, 1, "wsgi", BLOCKED)
        arguments += ["--threads", "2"] if kind == "threads" else []
    with serving(tmp_path, "app:app", *arguments, workers=2) as server:
        victim = send_request(server.port, "/calculates_for_ever?a=b")
        port = victim.getsockname()[1]
        request = rf"GET /calculates_for_ever\?a=b from 127.0.0.1:{port} for \d+\.\ds, {PLACE}"
        named = NAMED.get(kind, request)
        pid = server.wait_log(r"pid (\d+), gen 1\) passed its deadline")[1]
        server.wait_log(rf"\[{pid}\] ERROR worker \d is stuck: {named}")
        server.wait_log(
            rf"pid {pid}, gen 1\) gone: hang \(SIGKILL, --timeout\); a new one .*: {named}"
        )
        server.wait_log(r"^      time.sleep\(3600\)")
        server.wait_all_ready(2, 1)
        with pytest.raises((ConnectionError, EOFError)):
            read_response(victim)
        why = command("why", name, cwd=tmp_path).stdout
        assert "hang (SIGKILL, killed by --timeout)" in why
        assert "in calculates_for_ever" in " ".join(why.split())
        if kind != "main":
            assert server.get()[0] == 200


def one_stuck_worker(tmp_path: Path, code: str, *arguments: str) -> str:
    """The log of a worker that blocked in ``GET /blocks``, up to its replacement."""
    write_version(tmp_path, 1, "wsgi", code)
    with serving(tmp_path, "app:app", "--timeout", "1s", *arguments) as server:
        send_request(server.port, "/blocks").close()
        server.wait_log("gone: hang")
        server.ready(2)
        return server.log


def test_a_request_that_blocks_in_c_is_named(tmp_path: Path) -> None:
    """As in a database driver: no signal handler in Python runs before it returns."""
    code = "import ctypes\ndef blocks():\n    while True:\n        ctypes.CDLL(None).sleep(3600)"
    log = one_stuck_worker(tmp_path, code)
    assert "worker 0 is stuck: GET /blocks from 127.0.0.1:" in log
    assert "    ctypes.CDLL(None).sleep(3600)" in log


def test_code_that_holds_the_interpreter_shows_its_bare_stacks(tmp_path: Path) -> None:
    code = 'import re\ndef blocks():\n    re.match(r"(a+)+$", "a" * 60 + "b")'
    log = one_stuck_worker(tmp_path, code)
    assert "is stuck" not in log
    assert "in blocks" in log
    assert "(most recent call first)" in log


def test_all_requests_are_named_and_all_threads_shown(tmp_path: Path) -> None:
    code = """
import threading
def holds():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()
def other():
    holds()
"""
    write_version(tmp_path, 1, "wsgi", code)
    options = ("--timeout", "1s", "--threads", "2")
    with serving(tmp_path, "app:app", *options) as server:
        connections = [send_request(server.port, path) for path in ("/other", "/holds")]
        server.wait_log(r"is stuck: GET /\w+ from .* in holds")
        server.wait_log(r"^    and GET /\w+ from .* in holds")
        for number in range(2):
            server.wait_log(rf"^  thread 0x\w+ \(prefork-wsgi-{number}\):")
        server.wait_log(r"^  thread 0x\w+ \(MainThread\):")
        server.wait_log("gone: hang")
        for connection in connections:
            connection.close()


def test_a_boot_that_hangs_shows_where(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import time\ntime.sleep(3600)\n")
    ended = command("-b", "127.0.0.1:0", "--boot-timeout", "1s", "app:app", cwd=tmp_path)
    assert ended.returncode == 102
    assert "app.py:2 in <module>" in ended.stderr


# Awaiting.


DEEP = """
import asyncio
async def waits():
    await asyncio.wait_for(asyncio.gather(one(), two()), 3600)
async def one():
    async with asyncio.TaskGroup() as group:
        group.create_task(deep())
async def two():
    await asyncio.sleep(0)
async def deep():
    await asyncio.Event().wait()
"""


def test_an_asgi_call_that_awaits_for_ever_is_logged_and_cancelled(tmp_path: Path) -> None:
    """The log shows the tasks down to the innermost. Only the call ends, not the worker."""
    write_version(tmp_path, 1, "asgi", DEEP)
    with serving(tmp_path, "app:app", "--timeout", "1s") as server:
        assert server.get("/waits?a=b")[0] == 500
        server.wait_log(r"ERROR no answer in time: GET /waits\?a=b from 127.0.0.1:\d+ for \d")
        for name in ("waits", "one", "deep"):
            server.wait_log(rf'^    File ".*/app.py", line \d+, in {name}$')
        server.wait_log(r"^      await asyncio.Event\(\).wait\(\)")
        assert server.get()[0] == 200
        assert server.count("gone") == server.count("the app failed") == 0


def test_an_object_whose_class_raises_does_not_break_the_report(tmp_path: Path) -> None:
    code = """
import asyncio
class Proxy:
    __class__ = property(lambda self: 1 / 0)
async def waits():
    proxy = Proxy()
    await asyncio.wait([asyncio.create_task(asyncio.sleep(3600, proxy))])
"""
    write_version(tmp_path, 1, "asgi", code)
    with serving(tmp_path, "app:app", "--timeout", "1s") as server:
        assert server.get("/waits")[0] == 500
        server.wait_log("no answer in time: GET /waits")
        server.wait_log("return await future")
        assert server.get()[0] == 200
        assert server.count("cannot be shown|gone") == 0


def test_an_asgi_call_that_will_not_be_cancelled_ends_the_worker(tmp_path: Path) -> None:
    code = """
import asyncio
async def stays():
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass
"""
    write_version(tmp_path, 1, "asgi", code)
    with serving(tmp_path, "app:app", "--timeout", "1s") as server:
        victim = send_request(server.port, "/stays")
        server.wait_log(r"is stuck: GET /stays from .*, waits at /.*/app.py:\d+ in stays")
        server.wait_log("^  where it waits:")
        server.wait_log(r"gone: hang \(SIGKILL, --timeout\); a new one .*: GET /stays")
        victim.close()
        server.ready(2)
        assert server.get()[0] == 200


LIFESPAN = """\
import asyncio, contextlib

async def connect():
    await asyncio.Future()

@contextlib.asynccontextmanager
async def lifespan():
    {before}
    yield
    await connect()

async def app(scope, receive, send):
    assert scope["type"] == "lifespan"
    await receive()
    async with lifespan():
        await send({{"type": "lifespan.startup.complete"}})
        await receive()
    await send({{"type": "lifespan.shutdown.complete"}})
"""


def test_the_line_where_a_lifespan_startup_waits_is_named(tmp_path: Path) -> None:
    """Also through an asynchronous context manager, as FastAPI and Starlette have it."""
    (tmp_path / "app.py").write_text(LIFESPAN.format(before="await connect()"))
    failed = command("-b", "127.0.0.1:0", "--boot-timeout", "1s", "app:app", cwd=tmp_path)
    assert failed.returncode == 102
    place = rf"{tmp_path}/app.py:4 in connect"
    assert f"worker 0: not ready within --boot-timeout 1s: it is at {place}" in failed.stderr
    assert "where its lifespan waits:" in failed.stderr
    assert "line 8, in lifespan" in failed.stderr


def test_the_line_where_a_lifespan_shutdown_waits_is_named(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(LIFESPAN.format(before="pass"))
    with serving(tmp_path, "app:app", "--kill-timeout", "1s") as server:
        server.send(signal.SIGTERM)
        server.wait_log(
            r"killed, it did not leave within the kill timeout \(--kill-timeout\): "
            r"its lifespan shutdown waits at /.*/app.py:4 in connect"
        )
        assert server.wait_exit() == 0
