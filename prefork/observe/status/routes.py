"""Route the requests of the status server, and make the response to each.

Health and metrics are served to every client that can connect. The page and its data are subject to
access control (access_control.py).
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
from prefork.observe.status.access_control import AccessControl
from prefork.observe.status.master_client import MasterClient
from prefork.observe.status.recent_records import read_recent_records
from prefork.observe.status.scoreboard_view import ScoreboardView
from prefork.observe.status.store_health import StoreHealth
from prefork.printable import printable_line, printable_value
from prefork.wire.control import RefusedError
from prefork.wire.leader_view import find_leader
from prefork.wire.verb import PageAccess, Verb
from prefork.wire.verb_table import WHY, requests_of_page

CHANGE_TIMEOUT = 25.0
"""Seconds that a response waits for the end of a reload or a scale."""

NO_REGISTRY = "the home folder cannot be used, so the master accepts no requests; its log says why"
NO_LOG = "the app logs to no file; set --log-dir or --log-file"

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

_SECURITY_FIELDS = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Content-Security-Policy", _CSP),
)


@dataclass(frozen=True, slots=True)
class StatusResponse:
    """One response: status, body, content type, and additional header fields."""

    status: int
    body: bytes
    kind: str = "text/plain; charset=utf-8"
    fields: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class StatusRequest:
    """The part of a request that handlers use. ``trusted`` says that it has the token."""

    query: Mapping[str, list[str]]
    body: bytes
    has_token: bool


_PAGES = {
    path: StatusResponse(200, (Path(__file__).parent / name).read_bytes(), kind)
    for path, (name, kind) in _FILES.items()
}
"""The files of the page, by path.

They are read when the master imports this module. A status server that is started months later may
not find the files, because the Python environment was upgraded or moved.
"""


def text_response(status: int, line: str) -> StatusResponse:
    """Return a response with one line of text."""
    return StatusResponse(status, printable_line(line).encode() + b"\n")


def json_response(value: Any, status: int = 200) -> StatusResponse:
    """Return a JSON response. Texts are made printable, because apps and clients choose them.

    A browser would reorder a text with bidi controls, and a lone surrogate is not valid in JSON
    (RFC 8259, section 8.2).
    """
    body = json.dumps(printable_value(value), allow_nan=False).encode()
    return StatusResponse(status, body, "application/json")


class StatusSite:
    """The handler of the status server's connections (http/server_state.py)."""

    streams_body = False
    can_cancel = False
    upgrade = None
    has_byte_fields = False
    encode_field = staticmethod(response_head.encode_field)

    def __init__(
        self,
        view: ScoreboardView,
        access: AccessControl,
        master: MasterClient,
        loop: asyncio.AbstractEventLoop,
        log: logging.Logger,
    ) -> None:
        self._view = view
        self._access = access
        self._master = master
        self._loop = loop
        self._log = log
        self.on_view: Callable[[], None] = lambda: None
        """Called when the page asks for its data, for which samples are then taken."""
        self._calls: set[asyncio.Task[None]] = set()
        self._files = _PAGES
        self._public: dict[str, Callable[[], StatusResponse | Awaitable[StatusResponse]]] = {
            "/livez": lambda: text_response(200, "alive"),
            "/readyz": self._readyz,
            "/metrics": self._metrics,
        }
        self._guarded: dict[str, Callable[[StatusRequest], Awaitable[StatusResponse]]] = {
            "/status.json": self._status,
            "/deaths.json": self._deaths,
            "/log.json": self._log_tail,
        }
        allowed = requests_of_page(access.has_token).values()
        self._changes: dict[str, Verb] = {
            f"/{verb.name}": verb for verb in allowed if verb.page is PageAccess.WITH_TOKEN
        }

    # The methods of a handler.

    def handle(self, exchange: Exchange) -> None:
        """Respond to a request: at once, or when the master has answered."""
        try:
            response = self._route(exchange)
        except ClientError as error:
            response = text_response(error.status, str(error))
        except Exception as error:
            response = self._report_bug(error)
        if isinstance(response, StatusResponse):
            self._send(exchange, response)
        else:
            call = self._loop.create_task(self._respond_later(exchange, response))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)

    async def wait_for_calls(self) -> None:
        """Do nothing: no call outlives its request."""

    def time_out(self, exchange: Exchange) -> None:
        """Do nothing: each request to the master has a timeout of its own."""

    def client_disconnected(self, exchange: Exchange) -> None:
        """Do nothing: a request to the master continues when its client is gone."""

    async def _respond_later(self, exchange: Exchange, pending: Awaitable[StatusResponse]) -> None:
        try:
            response = await pending
        except ClientError as error:
            response = text_response(error.status, str(error))
        except RefusedError as error:
            # The master refused the request, for example a scale beyond max-workers.
            response = json_response({"error": str(error)}, 409)
        except TimeoutError:
            response = json_response({"error": "the master does not answer; it may hang"}, 504)
        except MachineError as error:
            response = json_response({"error": str(error)}, 503)
        except Exception as error:
            response = self._report_bug(error)
        self._send(exchange, response)

    def _report_bug(self, error: Exception) -> StatusResponse:
        self._log.error("status server: this is a bug in prefork, please report it", exc_info=error)
        return text_response(500, "this is a bug in prefork; its log says more")

    def _send(self, exchange: Exchange, response: StatusResponse) -> None:
        fields = (("Content-Type", response.kind), *response.fields, *_SECURITY_FIELDS)
        try:
            exchange.respond(
                response.status, response_head.STATUS_LINES[response.status], fields, response.body
            )
        except ClientGoneError:
            pass
        if exchange.body is not None:
            exchange.body.discard()

    # Routing.

    def _route(self, exchange: Exchange) -> "StatusResponse | Awaitable[StatusResponse]":
        """Raises ClientError."""
        path = exchange.request.path.partition(b"?")[0].decode("latin-1")
        if path in self._changes:
            wrong = _wrong_method(exchange, ("POST",))
            return wrong or self._route_change(exchange, path)
        if not (path in self._public or path in self._guarded or path in self._files):
            return text_response(404, "there is no such page")
        if wrong := _wrong_method(exchange, ("GET", "HEAD")):
            return wrong
        if path in self._public:
            return self._public[path]()
        request = self._parse_request(exchange)
        return self._files[path] if path in self._files else self._guarded[path](request)

    def _route_change(
        self, exchange: Exchange, path: str
    ) -> "StatusResponse | Awaitable[StatusResponse]":
        """Raises ClientError."""
        request = self._parse_request(exchange)
        if not request.has_token:
            fields = (("WWW-Authenticate", "Bearer"),)
            return StatusResponse(401, b"this needs the token of --status-token\n", fields=fields)
        return self._change(self._changes[path], request)

    def _parse_request(self, exchange: Exchange) -> StatusRequest:
        """Parse a request. Raises ClientError if a page of another website may have sent it."""
        headers = dict(exchange.request.headers)
        self._access.check_origin(headers)
        query = parse_qs(exchange.request.query.decode("latin-1"))
        body = b"" if exchange.body is None else exchange.body.file.read()  # type: ignore[union-attr]
        return StatusRequest(query, body, self._access.has_valid_token(headers))

    # Responses without the master.

    def _readyz(self) -> StatusResponse | Awaitable[StatusResponse]:
        if self._view.health is None:
            return self._tell_verdict()
        return self._check_store(self._view.health)

    async def _check_store(self, health: StoreHealth) -> StatusResponse:
        await health.refresh()
        return self._tell_verdict()

    def _tell_verdict(self) -> StatusResponse:
        verdict = self._view.verdict()
        return text_response(200 if verdict.ready else 503, verdict.text)

    async def _metrics(self) -> StatusResponse:
        """Return the metrics of the app."""
        view = self._view
        await view.refresh_memory()
        rows = view.rows()
        head = view.head()
        leader = find_leader(rows, head["leader_token"])
        head["leader_token"] = leader["token"] if leader else 0
        value = metrics.format_metrics(view.app, head, rows, view.memory(rows))
        return StatusResponse(200, value.encode(), metrics.CONTENT_TYPE)

    async def _status(self, request: StatusRequest) -> StatusResponse:
        """Return the data of the page."""
        since = _number(request, "since")
        self.on_view()
        if self._view.health is not None:
            await self._view.health.refresh()
        await self._view.refresh_memory()
        value = self._view.status(since)
        value["token"] = (
            "none" if not self._access.has_token else "known" if request.has_token else "asked"
        )
        return json_response(value)

    # Responses that need the master.

    async def _deaths(self, request: StatusRequest) -> StatusResponse:
        """Return the last deaths of workers, which the master knows."""
        if not self._master.has_control:
            return json_response({"deaths": [], "missing": NO_REGISTRY})
        value = await self._master.ask(WHY)
        deaths = [dict(death) for death in value["deaths"]]
        if not self._may_read_texts(request):
            for death in deaths:
                death["reason"] = ""  # The app wrote it, so it is as secret as the log.
        return json_response({"deaths": deaths})

    async def _log_tail(self, request: StatusRequest) -> StatusResponse:
        if not self._may_read_texts(request):
            return json_response({"records": [], "missing": "unlock it with the token"})
        fds = await self._master.open_logs()
        try:
            if not fds:
                return json_response({"records": [], "missing": NO_LOG})
            return json_response({"records": await asyncio.to_thread(read_recent_records, fds)})
        finally:
            for fd in fds:
                os.close(fd)

    def _may_read_texts(self, request: StatusRequest) -> bool:
        """Return whether the request may read texts of the app, which may contain secrets.

        If there is a token, the request must have it.
        """
        return request.has_token or not self._access.has_token

    # Changes.

    async def _change(self, verb: Verb, request: StatusRequest) -> StatusResponse:
        """Have the master execute a verb with the arguments in the body, and return the outcome."""
        arguments = _parse_arguments(verb, request.body)
        try:
            done = await self._master.ask(verb, CHANGE_TIMEOUT, **arguments)
        except TimeoutError:
            return json_response({"result": None, "goes_on": True}, 202)
        return json_response({"result": dict(done)})


def _parse_arguments(verb: Verb, body: bytes) -> dict[str, Any]:
    """Return the arguments without which a verb has no meaning. Raises ClientError."""
    needed = [field for field in verb.fields if not field.flags]
    if not needed:
        return {}
    try:
        content = json.loads(body)
        return {field.name: content[field.name] for field in needed}
    except (ValueError, TypeError, KeyError, RecursionError):
        texts = (f'"{field.name}" ({field.text})' for field in needed)
        raise ClientError(400, f"the body must be a JSON object with {', '.join(texts)}") from None


def _wrong_method(exchange: Exchange, allowed: tuple[str, ...]) -> StatusResponse | None:
    if exchange.request.method in allowed:
        return None
    line = f"only {' and '.join(allowed)} here\n"
    return StatusResponse(405, line.encode(), fields=(("Allow", ", ".join(allowed)),))


def _number(request: StatusRequest, name: str) -> float:
    try:
        return float(request.query[name][0]) if name in request.query else 0.0
    except ValueError:
        raise ClientError(400, f"{name} must be a number") from None
