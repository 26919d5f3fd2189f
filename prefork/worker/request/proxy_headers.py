"""What an app behind a proxy is told: who the client is, what it asked for, and which request this
is.

The fields of the proxies stay among the headers as they were sent. Only when they may say what the
Host was, Host becomes that, because frameworks make their URLs of it.
"""

from typing import Any

from prefork.http.forwarded import ForwardedInfo


def apply_to_environ(environ: dict[str, Any], forwarded: ForwardedInfo) -> None:
    """WSGI. The path arrived without its front, so PATH_INFO stays as it is."""
    if forwarded.client is not None:
        host, port = forwarded.client
        environ["REMOTE_ADDR"] = host
        environ["REMOTE_PORT"] = str(port) if port else ""
    if forwarded.scheme is not None:
        environ["wsgi.url_scheme"] = forwarded.scheme
        if forwarded.scheme == "https":
            environ["HTTPS"] = "on"
        else:
            environ.pop("HTTPS", None)
    if forwarded.server is not None:
        environ["HTTP_HOST"] = forwarded.host
        environ["SERVER_NAME"], environ["SERVER_PORT"] = (
            forwarded.server[0],
            str(forwarded.server[1]),
        )
    if forwarded.prefix is not None:
        environ["SCRIPT_NAME"] = forwarded.prefix


def apply_to_scope(scope: dict[str, Any], forwarded: ForwardedInfo) -> None:
    """ASGI. ``path`` holds the front that a proxy took away; ``raw_path`` is what arrived."""
    if forwarded.client is not None:
        scope["client"] = forwarded.client
    if forwarded.scheme is not None:
        scope["scheme"] = forwarded.scheme
    if forwarded.server is not None and forwarded.host is not None:
        scope["server"] = forwarded.server
        _replace_header(scope, b"host", forwarded.host)
    if forwarded.prefix is not None and scope["path"] != "*":
        scope["path"] = forwarded.prefix + scope["path"].removeprefix(scope["root_path"])
        scope["root_path"] = forwarded.prefix


def add_request_id(scope: dict[str, Any], name: bytes, request_id: str) -> None:
    """ASGI: the id among the headers, and as a key of ours."""
    scope["prefork.request_id"] = request_id
    _replace_header(scope, name, request_id)


def _replace_header(scope: dict[str, Any], name: bytes, value: str) -> None:
    others = [pair for pair in scope["headers"] if pair[0] != name]
    scope["headers"] = [*others, (name, value.encode("ascii"))]
