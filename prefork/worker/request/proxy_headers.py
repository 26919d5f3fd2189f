"""Apply to environ and scope what trusted proxies report: client, scheme, host, prefix; and the id.

The header fields of the proxies stay among the headers as they were sent. Only Host is replaced,
when the proxies may name it, because frameworks build their URLs from it.

Design
------
- **A prefix is one that a proxy removed.** WSGI gets it as SCRIPT_NAME with PATH_INFO as it
  arrived; ASGI as root_path, put back in front of ``path``, as its specification wants;
  ``raw_path`` is what arrived. To guess whether a path still has its prefix would let
  ``/shop/shop/admin`` past a rule for ``/shop/admin``.
"""

from typing import Any

from prefork.http.forwarded import ForwardedInfo


def apply_to_environ(environ: dict[str, Any], forwarded: ForwardedInfo) -> None:
    """Set what the proxies report in a WSGI environ. PATH_INFO stays: the proxy
    removed the prefix."""
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
    """Set what the proxies report in an ASGI scope; ``path`` gets the prefix back."""
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
    """Set the id of a request in an ASGI scope: as header ``name``, and as
    ``prefork.request_id``."""
    scope["prefork.request_id"] = request_id
    _replace_header(scope, name, request_id)


def _replace_header(scope: dict[str, Any], name: bytes, value: str) -> None:
    """Replace all header fields of this name by one."""
    others = [pair for pair in scope["headers"] if pair[0] != name]
    scope["headers"] = [*others, (name, value.encode("ascii"))]
