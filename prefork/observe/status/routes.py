"""What is under which path: an answer for each request, as an app would give it.

Health and metrics are for anybody who gets through to us, by whatever name. The page and what it
asks for are guarded (access.py).
"""

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from prefork.errors import ClientError, ClientGoneError, MachineError
from prefork.http import response_head
from prefork.http.exchange import Exchange
from prefork.observe.status import metrics
from prefork.observe.status.access_control import Access
from prefork.observe.status.master_client import MasterClient
from prefork.observe.status.recent_records import last_records
from prefork.observe.status.scoreboard_view import ScoreboardView
from prefork.printable import printable_line, printable_value
from prefork.wire.control import RefusedError

RELOAD_PATIENCE = 25.0
"""Seconds that an answer waits for the end of a reload or a change of the number of workers."""

NO_REGISTRY = "its home cannot be used, so the master takes no questions; its log says why"
NO_LOG = "it logs to no file; give it one with --log-dir or --log-file"

_FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/charts.js": ("charts.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}

_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_GUARDS = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Content-Security-Policy", _CSP),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent."""

    status: int
    body: bytes
    kind: str = "text/plain; charset=utf-8"
    fields: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class StatusRequest:
    """A request. ``trusted``: it brings the token."""

    query: Mapping[str, list[str]]
    body: bytes
    trusted: bool


_PAGES = {
    path: Answer(200, (Path(__file__).parent / name).read_bytes(), kind)
    for path, (name, kind) in _FILES.items()
}
"""Read with the module: a successor of this process may begin when the files are not there any
more, because the Python environment was upgraded or moved."""


def text(status: int, line: str) -> Answer:
    """A line of text."""
    return Answer(status, printable_line(line).encode() + b"\n")


def as_json(told: Any, status: int = 200) -> Answer:
    """For programs, and for our page. What apps and clients said is made printable: a browser
    reorders text by its bidi controls, and a lone surrogate is no JSON (RFC 8259, section 8.2)."""
    body = json.dumps(printable_value(told), allow_nan=False).encode()
    return Answer(status, body, "application/json")


class StatusSite:
    """The handler of our connections (http/server_state.py)."""

    streams_body = False
    can_cancel = False
    upgrade = None
    encode_field = staticmethod(response_head.encode_field)

    def __init__(
        self,
        view: ScoreboardView,
        access: Access,
        master: MasterClient,
        loop: asyncio.AbstractEventLoop,
        log: logging.Logger,
    ) -> None:
        self._view = view
        self._access = access
        self._master = master
        self._loop = loop
        self._log = log
        self.on_look: Callable[[], None] = lambda: None
        """Called when somebody looks at what samples are taken for."""
        self._calls: set[asyncio.Task[None]] = set()
        self._files = _PAGES
        self._open: dict[str, Callable[[], Answer]] = {
            "/livez": lambda: text(200, "alive"),
            "/readyz": self._readyz,
            "/metrics": self._metrics,
        }
        self._guarded: dict[str, Callable[[StatusRequest], Awaitable[Answer]]] = {
            "/status.json": self._status,
            "/deaths.json": self._deaths,
            "/log.json": self._log_tail,
        }
        self._changes: dict[str, Callable[[StatusRequest], Awaitable[Answer]]] = {}
        if access.has_token:
            self._changes = {"/reload": lambda _: self._change("reload"), "/scale": self._scale}

    # As a handler.

    def handle(self, exchange: Exchange) -> None:
        """Answer at once what is known here; else when the master has answered."""
        try:
            answer = self._find(exchange)
        except ClientError as error:
            answer = text(error.status, str(error))
        except Exception as error:
            answer = self._broken(error)
        if isinstance(answer, Answer):
            self._send(exchange, answer)
        else:
            call = self._loop.create_task(self._answer_later(exchange, answer))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)

    async def wait_for_calls(self) -> None:
        """Nobody waits for us."""

    def time_out(self, exchange: Exchange) -> None:
        """Every call has a patience of its own."""

    def client_disconnected(self, exchange: Exchange) -> None:
        """What it asked of the master goes on."""

    async def _answer_later(self, exchange: Exchange, coming: Awaitable[Answer]) -> None:
        try:
            answer = await coming
        except ClientError as error:
            answer = text(error.status, str(error))
        except RefusedError as error:
            # The master understood, and says no.
            answer = as_json({"error": str(error)}, 409)
        except TimeoutError:
            answer = as_json({"error": "the master does not answer; it may hang"}, 504)
        except MachineError as error:
            answer = as_json({"error": str(error)}, 503)
        except Exception as error:
            answer = self._broken(error)
        self._send(exchange, answer)

    def _broken(self, error: Exception) -> Answer:
        self._log.error("status server: this is a bug in prefork, please report it", exc_info=error)
        return text(500, "this is a bug in prefork; its log says more")

    def _send(self, exchange: Exchange, answer: Answer) -> None:
        fields = (("Content-Type", answer.kind), *answer.fields, *_GUARDS)
        try:
            exchange.respond(
                answer.status, response_head.STATUS_LINES[answer.status], fields, answer.body
            )
        except ClientGoneError:
            pass
        if exchange.body is not None:
            exchange.body.discard()

    # Which path.

    def _find(self, exchange: Exchange) -> "Answer | Awaitable[Answer]":
        """Raises ClientError."""
        path = exchange.request.path.partition(b"?")[0].decode("latin-1")
        if path in self._changes:
            wrong = _wrong_method(exchange, ("POST",))
            return wrong or self._find_change(exchange, path)
        if not (path in self._open or path in self._guarded or path in self._files):
            return text(404, "there is no such page here")
        if wrong := _wrong_method(exchange, ("GET", "HEAD")):
            return wrong
        if path in self._open:
            return self._open[path]()
        asked = self._asked(exchange)
        return self._files[path] if path in self._files else self._guarded[path](asked)

    def _find_change(self, exchange: Exchange, path: str) -> "Answer | Awaitable[Answer]":
        """Raises ClientError."""
        asked = self._asked(exchange)
        if not asked.trusted:
            fields = (("WWW-Authenticate", "Bearer"),)
            return Answer(401, b"this takes the token of --status-token\n", fields=fields)
        return self._changes[path](asked)

    def _asked(self, exchange: Exchange) -> StatusRequest:
        """Raises ClientError for a request that another page may have made."""
        headers = dict(exchange.request.headers)
        self._access.check_source(headers)
        query = parse_qs(exchange.request.query.decode("latin-1"))
        body = b"" if exchange.body is None else exchange.body.file.read()  # type: ignore[union-attr]
        return StatusRequest(query, body, self._access.knows(headers))

    # What is known here.

    def _readyz(self) -> Answer:
        verdict = self._view.verdict()
        return text(200 if verdict.ready else 503, verdict.text)

    def _metrics(self) -> Answer:
        view = self._view
        rows = view.rows()
        told = metrics.format_metrics(view.app, view.head(), rows, view.resident(rows))
        return Answer(200, told.encode(), metrics.CONTENT_TYPE)

    async def _status(self, asked: StatusRequest) -> Answer:
        since = _number(asked, "since")
        self.on_look()
        told = self._view.status(since)
        told["token"] = (
            "none" if not self._access.has_token else "known" if asked.trusted else "asked"
        )
        return as_json(told)

    # What the master knows.

    async def _deaths(self, asked: StatusRequest) -> Answer:
        if not self._master.talks:
            return as_json({"deaths": [], "missing": NO_REGISTRY})
        told = await self._master.ask("why")
        deaths = [dict(death) for death in told["deaths"]]
        if not self._may_read(asked):
            for death in deaths:
                death["reason"] = ""  # the app's own words, as the log is
        return as_json({"deaths": deaths})

    async def _log_tail(self, asked: StatusRequest) -> Answer:
        if not self._may_read(asked):
            return as_json({"records": [], "missing": "unlock it with the token"})
        fds = await self._master.logs()
        try:
            if not fds:
                return as_json({"records": [], "missing": NO_LOG})
            return as_json({"records": await asyncio.to_thread(last_records, fds)})
        finally:
            for fd in fds:
                os.close(fd)

    def _may_read(self, asked: StatusRequest) -> bool:
        """What the app says may hold secrets, so a token guards it if there is one."""
        return asked.trusted or not self._access.has_token

    # What changes something.

    async def _scale(self, asked: StatusRequest) -> Answer:
        try:
            workers = json.loads(asked.body)["workers"]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise ClientError(400, 'the body is to be {"workers": 4}, or "+1" or "-1"') from None
        return await self._change("scale", workers=workers)

    async def _change(self, verb: str, **arguments: Any) -> Answer:
        try:
            done = await self._master.ask(verb, RELOAD_PATIENCE, **arguments)
        except TimeoutError:
            return as_json({"result": None, "goes_on": True}, 202)
        return as_json({"result": dict(done)})


def _wrong_method(exchange: Exchange, allowed: tuple[str, ...]) -> Answer | None:
    if exchange.request.method in allowed:
        return None
    line = f"only {' and '.join(allowed)} here\n"
    return Answer(405, line.encode(), fields=(("Allow", ", ".join(allowed)),))


def _number(asked: StatusRequest, name: str) -> float:
    try:
        return float(asked.query[name][0]) if name in asked.query else 0.0
    except ValueError:
        raise ClientError(400, f"{name} is to be a number") from None
