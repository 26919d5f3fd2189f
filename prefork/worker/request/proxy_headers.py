"""What an app behind a proxy is told: who the client is, what it asked for, and which request this
is.

The fields of the proxies stay among the headers as they were sent. Only when they may say what the
Host was, Host becomes that, because frameworks make their URLs of it.
"""

from typing import Any

from prefork.http.forwarded import ForwardedInfo


def apply_to_environ(environ: dict[str, Any], origin: ForwardedInfo) -> None:
    """WSGI. The path arrived without its front, so PATH_INFO stays as it is."""
    if origin.client is not None:
        host, port = origin.client
        environ["REMOTE_ADDR"] = host
        environ["REMOTE_PORT"] = str(port) if port else ""
    if origin.scheme is not None:
        environ["wsgi.url_scheme"] = origin.scheme
        if origin.scheme == "https":
            environ["HTTPS"] = "on"
        else:
            environ.pop("HTTPS", None)
    if origin.server is not None:
        environ["HTTP_HOST"] = origin.host
        environ["SERVER_NAME"], environ["SERVER_PORT"] = origin.server[0], str(origin.server[1])
    if origin.prefix is not None:
        environ["SCRIPT_NAME"] = origin.prefix


def apply_to_scope(scope: dict[str, Any], origin: ForwardedInfo) -> None:
    """ASGI. ``path`` holds the front that a proxy took away; ``raw_path`` is what arrived."""
    if origin.client is not None:
        scope["client"] = origin.client
    if origin.scheme is not None:
        scope["scheme"] = origin.scheme
    if origin.server is not None and origin.host is not None:
        scope["server"] = origin.server
        _replace(scope, b"host", origin.host)
    if origin.prefix is not None and scope["path"] != "*":
        scope["path"] = origin.prefix + scope["path"].removeprefix(scope["root_path"])
        scope["root_path"] = origin.prefix


def add_request_id(scope: dict[str, Any], name: bytes, request_id: str) -> None:
    """ASGI: the id among the headers, and as a key of ours."""
    scope["prefork.request_id"] = request_id
    _replace(scope, name, request_id)


def _replace(scope: dict[str, Any], name: bytes, value: str) -> None:
    others = [pair for pair in scope["headers"] if pair[0] != name]
    scope["headers"] = [*others, (name, value.encode("ascii"))]
