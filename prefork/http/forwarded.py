"""What proxies say about a request: Forwarded (RFC 7239) and X-Forwarded-*. Pure: fields in, an
Origin out.

Each proxy writes behind what it was sent, so only the end of such a field is the word of somebody
we know. It is read from the right: the first address that is no proxy of ours is the client. What
cannot be read ends the walk, for everything to the left of it may be made up; the last address
that was read counts.

A proxy that writes one family of fields and passes on the other lets its clients contradict it. We
cannot know which one it writes, so a request with two answers is refused.
"""

import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Protocol

from prefork.errors import ClientError
from prefork.http.peer import HostPort

Fields = Sequence[tuple[bytes, bytes]]

MAX_PARSED_LENGTH = 8192
"""Characters at the end of a field that are looked at."""

_MAX_CACHED = 1024
_MAX_CACHED_LENGTH = 512
_PORTS = {"http": 80, "https": 443}
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}

# Colons and brackets belong in quotes, but some proxies forget them.
_PAIR = r'([!#$%&\'*+.^_`|~0-9A-Za-z-]+)=([!#$%&\'*+.^_`|~0-9A-Za-z:\[\]-]+|"(?:[^"\\]|\\.)*")'
_PAIR_PATTERN = re.compile(_PAIR)
_ELEMENT = re.compile(rf"[ \t]*{_PAIR}(?:[ \t]*;[ \t]*{_PAIR})*[ \t]*")
_HOST = re.compile(r"([A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?")
_PREFIX = re.compile(r"(/(?!\.\.?(/|$))[A-Za-z0-9._~!$&'()*+=:@-]+)+")


@dataclass(frozen=True, slots=True)
class ForwardedInfo:
    """What is known beyond the connection. None, or empty: not said, or not readable."""

    client: HostPort | None = None
    """Port 0: unknown."""
    scheme: str | None = None
    """``http`` or ``https``."""
    host: str | None = None
    """The Host that the client asked for."""
    server: HostPort | None = None
    """The same in its parts."""
    prefix: str | None = None
    """The front of the path, which a proxy took away; without a slash at its end."""


def is_forwarding_field(name: bytes) -> bool:
    """Whether a field of this name, in small letters, is one that proxies write."""
    return name == b"forwarded" or name.startswith(b"x-forwarded-")


class AddressSet(Protocol):
    """Some of all; None stands for a unix socket."""

    def __contains__(self, host: str | None, /) -> bool: ...


class TrustedProxies:
    """Whose word counts, and on what."""

    def __init__(self, trusted: AddressSet, trusted_fields: Container[str], strips: bool) -> None:
        """``believed``: ``x-forwarded-for`` and so on; ``forwarded-for``, ``-proto`` and ``-host``
        are the parts of Forwarded.
        ``strips``: apps do not see these fields when somebody else sent them."""
        self._trusted_addresses = trusted
        self._trusted_fields = trusted_fields
        self._lists = [
            (name, b"x-forwarded-" + name.encode())
            for name in ("for", "proto", "host", "port", "prefix")
            if f"x-forwarded-{name}" in trusted_fields
        ]
        self.strips = strips
        self._cache: dict[tuple[tuple[bytes, bytes], ...], ForwardedInfo] = {}

    def __contains__(self, host: str | None) -> bool:
        return host in self._trusted_addresses

    def read_forwarded(self, fields: Fields) -> ForwardedInfo:
        """What the proxies say. Raises ClientError when they contradict each other."""
        relevant = tuple(
            pair
            for pair in fields
            if pair[0][:12] == b"x-forwarded-" or pair[0] == b"forwarded" or pair[0] == b"host"
        )
        result = self._cache.get(relevant)
        if result is None:
            result = self._read(relevant)
            if sum(len(value) for _, value in relevant) <= _MAX_CACHED_LENGTH:
                if len(self._cache) >= _MAX_CACHED:
                    self._cache.clear()
                self._cache[relevant] = result
        return result

    def _read(self, relevant: Fields) -> ForwardedInfo:
        values = _join_values(relevant)
        standard = self._from_forwarded(values.get(b"forwarded", ""))
        other = self._from_x_forwarded(values)
        _check_agreement(
            "client", standard.client and standard.client[0], other.client and other.client[0]
        )
        _check_agreement("scheme", standard.scheme, other.scheme)
        _check_agreement("host", standard.host, other.host)
        return ForwardedInfo(
            # Forwarded may know the port, too.
            client=standard.client or other.client,
            scheme=standard.scheme or other.scheme,
            host=standard.host or other.host,
            server=standard.server or other.server,
            prefix=other.prefix,
        )

    def _from_forwarded(self, text: str) -> ForwardedInfo:
        if not text:
            return ForwardedInfo()
        client, pairs = None, {}
        for pairs in _parse_elements(text[-MAX_PARSED_LENGTH:]):
            node = parse_node(pairs.get("for", ""))
            client = node or client
            if node is None or node[0] not in self._trusted_addresses:
                break
        scheme = _SCHEMES.get(pairs.get("proto", "").lower())
        host, server = _split_host(pairs.get("host", ""), None, scheme)
        trusted_fields = self._trusted_fields
        return ForwardedInfo(
            client=client if "forwarded-for" in trusted_fields else None,
            scheme=scheme if "forwarded-proto" in trusted_fields else None,
            host=host if "forwarded-host" in trusted_fields else None,
            server=server if "forwarded-host" in trusted_fields else None,
        )

    def _from_x_forwarded(self, values: dict[bytes, str]) -> ForwardedInfo:
        lists = {
            name: [item.strip(" \t") for item in values[field].split(",")]
            for name, field in self._lists
            if field in values
        }
        client, position = self._find_client(lists.get("for", []))
        chosen = {name: _pick_item(items, position) for name, items in lists.items()}
        scheme = _SCHEMES.get(chosen.get("proto", "").lower())
        host_text = chosen.get("host") or (values.get(b"host", "") if chosen.get("port") else "")
        host, server = _split_host(host_text, chosen.get("port"), scheme)
        return ForwardedInfo(
            client, scheme, host, server, _validate_prefix(chosen.get("prefix", ""))
        )

    def _find_client(self, nodes: list[str]) -> tuple[HostPort | None, tuple[int, int]]:
        """The client, and where it stands: how many from the right, of how many."""
        client, back = None, 0
        for count, text in enumerate(reversed(nodes), 1):
            node = parse_node(text)
            if node is None:
                break
            client, back = node, count
            if node[0] not in self._trusted_addresses:
                break
        return client, (back, len(nodes))


def _join_values(fields: Fields) -> dict[bytes, str]:
    """Fields of one name are one list (RFC 9110 section 5.3)."""
    values: dict[bytes, str] = {}
    for name, raw in fields:
        value = raw.decode("latin-1")
        values[name] = f"{values[name]},{value}" if name in values else value
    return values


def _check_agreement(what: str, one: str | None, other: str | None) -> None:
    if one is not None and other is not None and one.lower() != other.lower():
        raise ClientError(400, f"Forwarded and X-Forwarded-* do not agree on the {what}")


def _parse_elements(text: str) -> Iterator[dict[str, str]]:
    """The elements of a Forwarded field from the right, as long as they can be read.

    From the right also where quotes are concerned: one that a client left open must not swallow
    what the proxy wrote behind it. A piece of a quoted string is never taken for an element,
    because the quote that ends it has no beginning.
    """
    end = len(text)
    while end >= 0:
        start = text.rfind(",", 0, end)
        if text[start + 1 : end].strip(" \t"):
            while not _ELEMENT.fullmatch(text, start + 1, end):
                if start < 0:
                    return
                start = text.rfind(",", 0, start)
            found = _PAIR_PATTERN.findall(text, start + 1, end)
            pairs = {name.lower(): _unquote(value) for name, value in found}
            if len(pairs) != len(found):
                return
            yield pairs
        end = start


def _unquote(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def parse_node(text: str) -> HostPort | None:
    """An address with or without a port; None for names, ``unknown``, ``_hidden`` and nonsense."""
    host, port = text, ""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in host or (rest and not rest.startswith(":")):
            return None
        port = rest[1:]
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if not host.isascii() or "%" in host:
        return None  # a zone means nothing on another machine
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        host = str(address.ipv4_mapped or address)
    return host, _parse_port(port)


def _parse_port(text: str) -> int:
    number = int(text) if re.fullmatch("[0-9]{1,5}", text, re.ASCII) else 0
    return number if number < 65536 else 0


def _pick_item(items: list[str], position: tuple[int, int]) -> str:
    """Of a list that is as long as that of the addresses, what the same proxy wrote; else what
    the nearest one wrote."""
    back, count = position
    return items[-back] if back and len(items) == count else items[-1]


def _split_host(
    text: str, port: str | None, scheme: str | None
) -> tuple[str | None, HostPort | None]:
    """A Host field and its parts; ``port`` is for a host that has none itself."""
    match = _HOST.fullmatch(text)
    if match is None:
        return None, None
    name, own_port = match[1], match[2] or ""
    default_port = _PORTS.get(scheme or "http", 80)
    number = _parse_port(own_port) or _parse_port(port or "") or default_port
    full = text if own_port or number == default_port else f"{name}:{number}"
    return full, (name.strip("[]"), number)


def _validate_prefix(text: str) -> str | None:
    """A path of plain segments; one that could be taken for a host, or climb, is none."""
    text = text.rstrip("/") if text != "/" else ""
    return text if _PREFIX.fullmatch(text) else None
