"""An interface that is one entry of the table, in a copy of the package, serves requests."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.live.harness import Server
from tests.package_copy import copy_package, insert_before, run_in_copy

ENTRY = """\
    InterfaceEntry(
        "toy",
        "toy for answer(method, path, query, body)",
        service="prefork.worker.toy_service:ToyService",
        detector="prefork.worker.toy_detector:ToyDetector",
    ),
"""

DETECTOR = """
from prefork.worker.interface import Detector, Fit

class ToyDetector(Detector):
    arguments = "toy takes four"

    @staticmethod
    def match(shape):
        return Fit(str(shape)) if shape.required == 4 else None

    @staticmethod
    def names_match(outer, inner):
        return inner.required == 4
"""

SERVICE = """
from prefork.http.response_head import encode_field, encode_wsgi_status
from prefork.worker.http_service import HttpService

class ToyService(HttpService):
    calls_at_once = 1
    blocks_loop = True

    async def start(self):
        self.context.log.info("the toy starts")
        return ToyHandler(self.app)

    async def stop(self, finish, stopped_at):
        await finish()
        self.context.log.info("the toy stops")

class ToyHandler:
    streams_body = False
    can_cancel = False
    upgrade = None
    has_byte_fields = False
    encode_field = staticmethod(encode_field)

    def __init__(self, app):
        self.app = app

    def handle(self, exchange):
        request = exchange.request
        body = exchange.body.read() if exchange.body is not None else b""
        answer = self.app(request.method, request.path, request.query, body)
        exchange.respond(*encode_wsgi_status("200 OK"), [("x-toy", "yes")], answer)

    async def wait_for_calls(self):
        pass

    def time_out(self, exchange):
        exchange.fail()

    def client_disconnected(self, exchange):
        pass
"""

APP = """
def answer(method, path, query, body):
    return f"{method} {path.decode()}".encode()
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with the two classes of the interface, and its entry in the table."""
    copied = copy_package(tmp_path_factory.mktemp("copy"))
    (copied / "worker" / "toy_detector.py").write_text(DETECTOR)
    (copied / "worker" / "toy_service.py").write_text(SERVICE)
    insert_before(copied / "config" / "interfaces.py", ")\n\nAPP_INTERFACES", ENTRY)
    return copied


@contextmanager
def serving_toy(package: Path, folder: Path, *arguments: str) -> Iterator[Server]:
    """Serve the app of the new interface with the copied package."""
    (folder / "toy_app.py").write_text(APP)
    env = {"PYTHONPATH": str(package.parent)}
    words = ("toy_app:answer", "-b", "127.0.0.1:0", "-w", "1", *arguments)
    server = Server(*words, cwd=folder, env=env)
    try:
        yield server.ready()
    finally:
        server.destroy()


def test_an_app_of_a_new_interface_is_detected_served_reloaded_and_stopped(
    package: Path, tmp_path: Path
) -> None:
    with serving_toy(package, tmp_path, "--access-log", "access") as server:
        server.wait_log(r"interface: toy \(4 required arguments\)")
        assert server.get("/a") == (200, b"GET /a")
        server.send(signal.SIGHUP)
        server.wait_log("reloaded to gen 2")
        assert server.get("/b") == (200, b"GET /b")
        assert server.stop() == 0
        assert server.count("the toy starts") == server.count("the toy stops") == 2
        assert server.count("Traceback") == 0
    assert '"GET /a HTTP/1.1" 200' in (tmp_path / "access").read_text()


def test_a_new_interface_may_be_named(package: Path, tmp_path: Path) -> None:
    with serving_toy(package, tmp_path, "--interface", "toy") as server:
        server.wait_log(r"interface: toy \(as asked\)")
        assert server.get("/") == (200, b"GET /")


def test_a_new_interface_is_in_the_help_and_in_the_error(package: Path) -> None:
    text = run_in_copy(
        package,
        "from prefork.config import OPTIONS\n"
        "from prefork.errors import AppError\n"
        "from prefork.worker.interface_detection import detect_interface\n"
        "print(OPTIONS['interface'].value_type.metavar, OPTIONS['interface'].text)\n"
        "try: detect_interface(lambda a, b, c, d, e: 1, 'auto')\n"
        "except AppError as error: print(error)\n",
    )
    assert "auto|wsgi|asgi|socket|toy" in text
    assert "wsgi, asgi, socket for main(listener), or toy for answer(" in text
    assert "main(listener) takes one, toy takes four." in text
