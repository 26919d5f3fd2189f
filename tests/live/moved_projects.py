"""Projects that another server serves, their move to prefork, and what a visitor sees of each.

The projects are in ``tests/projects``. A visit makes the same requests to any server and returns
what they brought, without what has to differ: dates, tokens, the port, and how a body is framed.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import connect

from tests.live.harness import PATIENCE, wait_for

PROJECTS = Path(__file__).parents[1] / "projects"
DOCS = Path(__file__).parents[2] / "prefork" / "docs"

Seen = dict[str, Any]
"""The results of a visit, by its steps."""

VALIDATORS = ("etag", "last-modified")
"""Fields whose values name the time of a file, or its path."""

LARGE = 100_000
"""Bytes of a body of which only the checksum is kept."""

FRAMING = {
    "date",
    "expires",
    "server",
    "connection",
    "keep-alive",
    "transfer-encoding",
    "set-cookie",
}
"""Fields of a response that are the server's own, and cookies, which are compared by name."""

TOKEN = re.compile(r'(name="csrfmiddlewaretoken" value=")(\w+)')
FILE = bytes(range(256)) * 4096
CREDENTIALS = {"username": "admin", "password": "correct horse"}


@dataclass(frozen=True)
class Project:
    """A folder of ``tests/projects``.

    ``page``: the page of the manual that moves it. ``old``: the command of its old server.
    ``prepare``: a command that runs once, before it is served. ``visit``: see above.
    """

    name: str
    page: str
    old: str
    prepare: str
    visit: Callable[[httpx.Client], Seen]

    def commands(self) -> list[str]:
        """Return the commands of the page that move the project."""
        page = (DOCS / f"{self.page}.md").read_text()
        found = re.findall(rf"^```sh moves {self.name}\n(.*?)^```$", page, re.M | re.S)
        assert len(found) == 1, f"{self.page}.md has {len(found)} lists for {self.name}"
        return str(found[0]).splitlines()


def new_client(port: int, *, keeps_connections: bool = True) -> httpx.Client:
    """Return a client with a cookie jar, for one server.

    A worker that leaves still answers on the connections that it has, so a client that wants to see
    new code makes a new one for each request.
    """
    limits = httpx.Limits(max_keepalive_connections=None if keeps_connections else 0)
    url = f"http://127.0.0.1:{port}"
    return httpx.Client(base_url=url, timeout=PATIENCE, trust_env=False, limits=limits)


def summarise(answer: httpx.Response) -> Seen:
    """Return what of a response may not depend on the server."""
    place = f"127.0.0.1:{answer.url.port}"

    def plain(text: str) -> str:
        return TOKEN.sub(r"\1TOKEN", text.replace(place, "SERVER"))

    fields = [
        (name, "given" if name in VALIDATORS else value)
        for name, value in answer.headers.multi_items()
        if name not in FRAMING
    ]
    is_large = len(answer.content) > LARGE
    return {
        "status": answer.status_code,
        "fields": sorted((name, plain(value)) for name, value in fields),
        "cookies": sorted(
            re.sub("=.*?(;|$)|expires=[^;]*; ", r"\1", value, count=2, flags=re.I)
            for value in answer.headers.get_list("set-cookie")
        ),
        "body": sha256(answer.content).hexdigest() if is_large else plain(answer.text),
    }


class Visitor:
    """Makes requests, and keeps what they bring in ``seen``."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self.seen: Seen = {}

    def get(self, step: str, path: str, **fields: str) -> httpx.Response:
        """Get a page. An underscore in the name of a field is a dash."""
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        return self._note(step, self._client.get(path, headers=named))

    def post(self, step: str, path: str, **form: Any) -> httpx.Response:
        """Send a form, as ``data`` or with ``files``."""
        return self._note(step, self._client.post(path, **form))

    def _note(self, step: str, answer: httpx.Response) -> httpx.Response:
        assert step not in self.seen
        self.seen[step] = summarise(answer)
        return answer


# Django.


def csrf_token(page: httpx.Response) -> str:
    """Return the token of the first form of a page."""
    match = TOKEN.search(page.text)
    assert match is not None, page.text
    return match[2]


def visit_shop(client: httpx.Client) -> Seen:
    """Buy as a guest, log in, order, work in the admin with an upload, and get static files."""
    visitor = Visitor(client)
    items = visitor.get("the items", "/")
    style = re.search(r'href="(/static/shop/style\.\w+\.css)"', items.text)
    assert style is not None, items.text
    file = visitor.get("a static file", style[1], Accept_Encoding="identity")
    visitor.get("it is compressed", style[1], Accept_Encoding="gzip")
    visitor.get("it is unchanged", style[1], If_None_Match=file.headers["etag"])
    visitor.get("a part of it", style[1], Range="bytes=0-3", Accept_Encoding="identity")
    visitor.post("a form without a token", "/cart/add/1/")
    token = csrf_token(items)
    visitor.post("into the cart", "/cart/add/1/", data={"csrfmiddlewaretoken": token})
    visitor.get("the cart and its message", "/")
    visitor.get("orders need a login", "/orders/")
    token = csrf_token(visitor.get("the login", "/accounts/login/?next=/orders/"))
    wrong = {"csrfmiddlewaretoken": token, "username": "admin", "password": "no"}
    visitor.post("a wrong password", "/accounts/login/", data=wrong)
    form = {"csrfmiddlewaretoken": token, **CREDENTIALS}
    visitor.post("the right one", "/accounts/login/?next=/orders/", data=form)
    token = csrf_token(visitor.get("no orders", "/orders/"))
    visitor.post("order", "/orders/", data={"csrfmiddlewaretoken": token})
    visitor.get("the orders", "/orders/")
    visitor.get("the admin", "/admin/")
    visitor.get("its list", "/admin/shop/item/?q=tea")
    token = csrf_token(visitor.get("its form", "/admin/shop/item/add/"))
    item = {"csrfmiddlewaretoken": token, "name": "Käse & co", "price": "4.20", "stock": "7"}
    leaflet = {"leaflet": ("leaflet.bin", FILE)}
    visitor.post("a new item", "/admin/shop/item/add/", data=item, files=leaflet)
    sent = visitor.get("its file", "/leaflets/2/")
    assert sent.content == FILE
    visitor.get("a streamed table", "/prices.csv")
    visitor.get("no such page", "/missing/?a=b")
    return visitor.seen


# FastAPI.


def read_events(client: httpx.Client, count: int, after: int = 0) -> list[str]:
    """Return the lines of an event stream that ends after ``count`` messages."""
    where = {"limit": count, "after": after}
    with client.stream("GET", "/events", params=where) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        return [line for line in stream.iter_lines() if line]


def visit_chat(client: httpx.Client) -> Seen:
    """Log in, write in three ways, listen to the events, and upload a file."""
    visitor = Visitor(client)
    visitor.get("a guest", "/")
    visitor.get("a static file", "/static/chat.css", Accept_Encoding="identity")
    visitor.post("a login", "/login", data={"name": "Zoë"})
    visitor.post("a message", "/messages", data={"text": "how do you do?"})
    with connect(f"ws://127.0.0.1:{client.base_url.port}/ws/Tom", proxy=None) as socket:
        greeting = socket.recv(PATIENCE)
        socket.send("fine, <thanks>")
        visitor.seen["a WebSocket"] = [greeting, socket.recv(PATIENCE)]
        socket.send("leave")
        wait_for(lambda: socket.protocol.close_code, "the app closes the WebSocket")
        visitor.seen["its end"] = (socket.protocol.close_code, socket.protocol.close_reason)
    visitor.seen["events"] = read_events(client, 2)
    visitor.get("the messages of a user", "/")
    wait_for(lambda: client.get("/audit").json(), "the background task has written")
    visitor.get("the audit", "/audit")
    visitor.post("an upload", "/files", files={"file": ("a file", FILE)})
    visitor.post("a form without its field", "/messages", data={"txt": ""})
    proxied = {"X_Forwarded_For": "203.0.113.9", "X_Forwarded_Proto": "https"}
    visitor.get("behind a proxy", "/client", **proxied)
    visitor.get("the description", "/openapi.json")
    visitor.get("no such page", "/missing")
    return visitor.seen


# Flask.


def visit_notes(client: httpx.Client) -> Seen:
    """Write notes, attach a file, and export all."""
    visitor = Visitor(client)
    visitor.get("the first visit", "/")
    visitor.get("the second", "/")
    visitor.get("a static file", "/static/notes.css", Accept_Encoding="identity")
    visitor.post("a note", "/add", data={"text": "buy <tea>"})
    visitor.get("it and its message", "/")
    visitor.get("the message came once", "/")
    visitor.post("a file", "/files/", files={"file": ("../a file.bin", FILE)})
    assert visitor.get("comes back", "/files/a_file.bin").content == FILE
    visitor.get("a part of it", "/files/a_file.bin", Range="bytes=4-7")
    visitor.get("an export", "/notes.txt")
    visitor.post("a form without its field", "/add", data={"txt": ""})
    visitor.get("no such page", "/missing")
    return visitor.seen


DJANGO = Project(
    "django_shop",
    "coming-from-gunicorn",
    "gunicorn mysite.wsgi",
    "python manage.py migrate && python manage.py collectstatic --noinput"
    " && python manage.py createsuperuser --noinput --username admin --email admin@example.org"
    " && python manage.py restock tea 3.50 10",
    visit_shop,
)
FASTAPI = Project("fastapi_chat", "coming-from-uvicorn", "./serve.sh", "true", visit_chat)
FLASK = Project(
    "flask_notes",
    "coming-from-gunicorn",
    # As Heroku, foreman and honcho run a line of a Procfile.
    "sh -c \"exec $(sed -n 's/^web: //p' Procfile)\"",
    "flask --app notes create-tables",
    visit_notes,
)
ALL = {project.name: project for project in (DJANGO, FASTAPI, FLASK)}


def describe_difference(old: Seen, new: Seen) -> str:
    """Return the steps that brought different things; empty if there are none."""
    return "\n".join(
        f"{step}:\n  {json.dumps(old.get(step))}\n  {json.dumps(new.get(step))}"
        for step in {**old, **new}
        if old.get(step) != new.get(step)
    )
