"""Answers each request with an account of it, and records all complete requests.

``/seen`` tells what that was, and forgets it. The accounts of both interfaces look alike:
a path as text, fields by their names in small letters, repeated ones joined.
"""

import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

seen: list[str] = []


def _answer(account: dict[str, Any]) -> bytes:
    if account["path"] == "/seen":
        told = json.dumps(seen).encode()
        seen.clear()
        return told
    seen.append(f"{account['method']} {account['path']}")
    return json.dumps(account).encode()


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Read the whole request and describe it."""
    fields = {
        key[5:].lower().replace("_", "-"): value
        for key, value in environ.items()
        if key.startswith("HTTP_")
    }
    for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if key in environ:
            fields[key.lower().replace("_", "-")] = environ[key]
    body = _answer(
        {
            "method": environ["REQUEST_METHOD"],
            "version": environ["SERVER_PROTOCOL"],
            "path": environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace"),
            "query": environ["QUERY_STRING"],
            "fields": fields,
            "body": environ["wsgi.input"].read().decode("latin-1"),
        }
    )
    start_response("200 OK", [("Content-Type", "application/json")])
    return [body]


async def asgi(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Read the whole request and describe it; one whose client leaves early is not recorded."""
    if scope["type"] != "http":
        raise NotImplementedError
    data, more = b"", True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        data += event["body"]
        more = event["more_body"]
    fields: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        joint = "; " if name == "cookie" else ","
        fields[name] = fields[name] + joint + value if name in fields else value
    body = _answer(
        {
            "method": scope["method"],
            "version": "HTTP/" + scope["http_version"],
            "path": scope["path"],
            "query": scope["query_string"].decode("latin-1"),
            "fields": fields,
            "body": data.decode("latin-1"),
        }
    )
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
