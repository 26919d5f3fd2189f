"""The place of the store that all workers share (``--store``). PURE."""

import re
from urllib.parse import urlsplit

KINDS = ("embedded", "memory", "off")
EXPECTED_STORE = "embedded, memory, off, the absolute path of a folder, or redis://HOST"

_TCP, _TLS, _UNIX = "redis://", "rediss://", "unix://"
SCHEMES = {
    "redis://": _TCP,
    "valkey://": _TCP,
    "rediss://": _TLS,
    "redis+tls://": _TLS,
    "valkeys://": _TLS,
    "valkey+tls://": _TLS,
    "unix://": _UNIX,
    "redis+unix://": _UNIX,
    "valkey+unix://": _UNIX,
}
"""The beginnings of the URL of a server, each with the one that the client knows."""

HIDDEN = "***"
_URL = re.compile("|".join(map(re.escape, sorted(SCHEMES, key=len, reverse=True))))
_SECRET_OPTION = re.compile(r"(password=)[^&#]*", re.IGNORECASE)


def parse_store(raw: object) -> str:
    """Return the store that a value names. Raises ValueError."""
    if isinstance(raw, str) and (raw in KINDS or _is_path(raw) or _is_valid_url(raw)):
        return raw
    raise ValueError(EXPECTED_STORE)


def is_server(store: str) -> bool:
    """Return whether a store is named by the URL of a server."""
    return store.startswith(tuple(SCHEMES))


def is_unix_socket(url: str) -> bool:
    """Return whether the URL of a server names a unix socket."""
    return server_url(url).startswith(_UNIX)


def server_url(url: str) -> str:
    """Return the URL of a server as its client knows it."""
    scheme, separator, rest = url.partition("://")
    return SCHEMES[scheme + separator] + rest


def hide_password(store: str) -> str:
    """Return the store as it may be shown: without the user and the password of a server."""
    if not is_server(store):
        return store
    scheme, separator, rest = store.partition("://")
    place, mark, options = rest.partition("?")
    _user, at, host = place.rpartition("@")
    shown = f"{HIDDEN}@{host}" if at else place
    return scheme + separator + shown + mark + _SECRET_OPTION.sub(rf"\1{HIDDEN}", options)


def hide_passwords(text: str) -> str:
    """Return a word of a command line without the passwords of servers in it."""
    start = _URL.search(text)
    return text if start is None else text[: start.start()] + hide_password(text[start.start() :])


def _is_path(text: str) -> bool:
    return text.startswith("/") and "\0" not in text


def _is_valid_url(text: str) -> bool:
    """Return whether a text is the URL of a server: with a host, or the path of a socket."""
    try:
        if not is_server(text) or not text.isprintable():
            return False
        parts = urlsplit(text)
        if is_unix_socket(text):
            return len(parts.path) > 1 and not parts.hostname
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
