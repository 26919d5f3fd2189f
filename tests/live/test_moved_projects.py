"""Projects of gunicorn and uvicorn, moved by the commands of the manual, answer as before."""

import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from prefork import Client
from tests.live.fresh_environment import FreshEnvironment, build_wheels
from tests.live.harness import PATIENCE, Server, wait_for
from tests.live.moved_projects import (
    ALL,
    CREDENTIALS,
    PROJECTS,
    Project,
    csrf_token,
    describe_difference,
    new_client,
    read_events,
)

WORKERS = 2
"""All projects have so many."""

MOST_COMMANDS = 3
OLD_SERVER = r"(?:Listening at|Uvicorn running on):? http://127\.0\.0\.1:(\d+)"


def is_listening(port: int) -> bool:
    """Return whether a connection is taken."""
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE).close()
    except ConnectionRefusedError:
        return False
    return True


class Place:
    """A project, prepared, with an environment that has what it needs for its old server."""

    def __init__(self, project: Project, folder: Path, wheels: Path) -> None:
        self.project = project
        self._folder = folder
        self.environment = FreshEnvironment(folder, wheels)
        ready = Path(shutil.copytree(PROJECTS / project.name, folder / "ready"))
        self.environment.install("-r", ready / "requirements.txt")
        password = {"DJANGO_SUPERUSER_PASSWORD": CREDENTIALS["password"]}
        self.environment.run(project.prepare, ready, **password)

    def copy(self, name: str) -> Path:
        """Return a copy of the prepared project, with its own data and the same times of files."""
        return Path(shutil.copytree(self._folder / "ready", self._folder / name))

    @contextmanager
    def old_server(self) -> Iterator[int]:
        """Serve a copy as before; yield the port."""
        with self._running(self.project.old, self.copy("old")) as server:
            port = int(server.wait_log(OLD_SERVER)[1])
            # uvicorn logs the address before a worker listens.
            wait_for(lambda: is_listening(port), f"{self.project.old} serves")
            yield port

    @contextmanager
    def _running(self, line: str, folder: Path) -> Iterator[Server]:
        """Run a line of a shell until the end of the context."""
        environ = self.environment.environ(PORT="0")
        server = Server(cwd=folder, env=environ, program=("sh", "-c", f"exec {line}"))
        try:
            yield server
        finally:
            server.destroy()

    @contextmanager
    def moved(self, name: str) -> Iterator["MovedApp"]:
        """Move a copy by the commands of the page; yield the app."""
        folder = self.copy(name)
        *first, last = [line.partition("  #")[0].strip() for line in self.project.commands()]
        for line in first:
            self.environment.run(line, folder, PORT="0")
        with self._running(last, folder) as server:
            app = MovedApp(self.environment, folder)
            try:
                wait_for(lambda: app.ready_pids() or server.process.poll(), f"{last} serves")
                assert server.process.poll() in (None, 0)
                yield app
            finally:
                self.environment.run("prefork delete --force all", folder)


class MovedApp:
    """The only app in the list of an environment's prefork. ``folder``: of the project."""

    def __init__(self, environment: FreshEnvironment, folder: Path) -> None:
        self.folder = folder
        self._environment = environment
        self._client = Client(environment.home)

    def facts(self) -> dict[str, Any]:
        """Return what the client reports of it."""
        (app,) = self._client.apps()
        return app

    def port(self) -> int:
        """Return the port of its listener."""
        return int(self.facts()["listening"][0].rpartition(":")[2])

    def ready_pids(self) -> set[int]:
        """Return the pids of the workers when all are ready, else none."""
        apps = self._client.apps()
        workers = apps[0].get("workers", ()) if apps else ()
        pids = {worker["pid"] for worker in workers if worker["state"] == "ready"}
        return pids if len(pids) == WORKERS else set()

    def reload_new_code(self, file: str) -> None:
        """Change the version in a file of the project, and reload."""
        path = self.folder / file
        source = path.read_text()
        assert source.count('"one"') == 1
        path.write_text(source.replace('"one"', '"two"'))
        name = self.facts()["name"]
        self._environment.run(f"prefork reload {name}", self.folder)

    def kill_workers(self) -> None:
        """Kill all workers, and wait for the next ones."""
        before = self.ready_pids()
        assert before
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: (now := self.ready_pids()) and not now & before, "new workers are ready")


@pytest.fixture(scope="module")
def place_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Place]:
    """Prepare each project at its first use."""
    wheels = build_wheels(tmp_path_factory.mktemp("build"))

    @cache
    def prepare(name: str) -> Place:
        return Place(ALL[name], tmp_path_factory.mktemp(name), wheels)

    return prepare


@pytest.mark.parametrize("name", ALL)
def test_a_moved_project_answers_as_before(place_of: Callable[[str], Place], name: str) -> None:
    place = place_of(name)
    assert len(place.project.commands()) <= MOST_COMMANDS
    with place.old_server() as port, new_client(port) as client:
        before = place.project.visit(client)
    with place.moved("new") as app, new_client(app.port()) as client:
        after = place.project.visit(client)
    difference = describe_difference(before, after)
    assert not difference, difference


@contextmanager
def moved_app(place: Place, name: str) -> Iterator[tuple[MovedApp, httpx.Client]]:
    """Move a copy of a project; yield the app, and a client that sees each new worker."""
    with place.moved(name) as app, new_client(app.port(), keeps_connections=False) as client:
        yield app, client


def test_logins_of_django_survive_a_reload_and_dead_workers(
    place_of: Callable[[str], Place],
) -> None:
    with moved_app(place_of("django_shop"), "sessions") as (app, client):
        form = {"csrfmiddlewaretoken": csrf_token(client.get("/admin/login/")), **CREDENTIALS}
        assert client.post("/admin/login/?next=/admin/", data=form).status_code == 302
        assert "Site administration one" in client.get("/admin/").text
        app.reload_new_code("mysite/urls.py")
        assert "Site administration two" in client.get("/admin/").text
        app.kill_workers()
        assert "Site administration two" in client.get("/admin/").text


def test_sessions_of_fastapi_survive_and_websockets_move_on(
    place_of: Callable[[str], Place],
) -> None:
    with moved_app(place_of("fastapi_chat"), "sessions") as (app, client):
        url = f"ws://127.0.0.1:{app.port()}/ws/Tom"
        client.post("/login", data={"name": "Zoë"})
        assert "Hello Zoë, this is version one" in client.get("/").text
        with connect(url, proxy=None) as connection:
            assert connection.recv(PATIENCE) == "hello Tom, version one"
            app.reload_new_code("chat/main.py")
            with pytest.raises(ConnectionClosed) as end:
                connection.recv(PATIENCE)
            assert end.value.rcvd is not None
            assert end.value.rcvd.code == 1012
        with connect(url, proxy=None) as connection:
            assert connection.recv(PATIENCE) == "hello Tom, version two"
        assert "Hello Zoë, this is version two" in client.get("/").text
        app.kill_workers()
        assert "Hello Zoë, this is version two" in client.get("/").text


def test_an_event_stream_goes_on_after_a_reload(place_of: Callable[[str], Place]) -> None:
    """As the EventSource of a browser: it asks again from the last event on."""
    with moved_app(place_of("fastapi_chat"), "events") as (app, client):
        client.post("/messages", data={"text": "before"})
        with client.stream("GET", "/events") as stream:
            lines = stream.iter_lines()
            assert "data: a guest: before" in lines  # reads up to there
            app.reload_new_code("chat/main.py")
            with suppress(httpx.TransportError):  # a worker that leaves cuts the stream off
                assert not list(filter(None, lines))
        client.post("/messages", data={"text": "after"})
        assert "data: a guest: after" in read_events(client, 1, after=1)


def test_sessions_of_flask_survive_a_reload_and_dead_workers(
    place_of: Callable[[str], Place],
) -> None:
    with moved_app(place_of("flask_notes"), "sessions") as (app, client):
        client.post("/add", data={"text": "before"})
        assert "Visit 1, version one" in client.get("/").text
        app.reload_new_code("notes/__init__.py")
        assert "Visit 2, version two" in client.get("/").text
        app.kill_workers()
        third = client.get("/").text
        assert "Visit 3, version two" in third
        assert "before" in third
