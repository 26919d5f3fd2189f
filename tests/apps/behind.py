"""Answers with the client and the server as the app sees them, alike for both interfaces."""

import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """WSGI: the facts of environ."""
    fields = {
        key[5:].lower().replace("_", "-"): value
        for key, value in environ.items()
        if key.startswith("HTTP_")
    }
    assert environ.get("HTTPS") == ("on" if environ["wsgi.url_scheme"] == "https" else None)
    account = {
        "client": environ["REMOTE_ADDR"],
        "port": environ["REMOTE_PORT"],
        "scheme": environ["wsgi.url_scheme"],
        "server": f"{environ['SERVER_NAME']} {environ['SERVER_PORT']}",
        "root": environ["SCRIPT_NAME"],
        "path": environ["SCRIPT_NAME"] + environ["PATH_INFO"],
        "fields": fields,
        "id": environ.get("prefork.request_id"),
    }
    start_response("200 OK", [("X-Mark", 'a "b"'), *_own_id(environ["PATH_INFO"])])
    return [json.dumps(account).encode()]


async def asgi(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """ASGI: the facts of scope. A WebSocket is refused with the same account."""
    if scope["type"] == "lifespan":
        raise NotImplementedError
    host, port = scope["client"] or ("", "")
    fields: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        fields[name] = f"{fields[name]},{value}" if name in fields else value
    account = {
        "client": host,
        "port": str(port or ""),
        "scheme": scope["scheme"],
        "server": " ".join(map(str, scope["server"] or ("localhost", 80))),
        "root": scope["root_path"],
        "path": scope["path"],
        "fields": fields,
        "id": scope.get("prefork.request_id"),
    }
    headers = [("X-Mark", 'a "b"'), *_own_id(scope["path"])]
    encoded = [(name.encode(), value.encode()) for name, value in headers]
    is_http = scope["type"] == "http"
    response = "http.response" if is_http else "websocket.http.response"
    status = 200 if is_http else 403
    await send({"type": f"{response}.start", "status": status, "headers": encoded})
    await send({"type": f"{response}.body", "body": json.dumps(account).encode()})


def _own_id(path: str) -> list[tuple[str, str]]:
    return [("X-Request-Id", "the app's own")] if path.endswith("/own-id") else []
