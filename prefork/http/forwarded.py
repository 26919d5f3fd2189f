"""Read the header fields that proxies add: Forwarded (RFC 7239) and X-Forwarded-*. Pure.

``TrustedProxies.read_forwarded`` takes the header fields of a request and returns a
``ForwardedInfo``: client address, scheme, host and path prefix as the trusted proxies report them.

Design
------
- **Lists are read from the right, as far as the proxies are known.** Each proxy appends to what it
  received, so only the end of a field was written by a known machine. The first address from the
  right that is no trusted proxy is the client. An element that cannot be parsed ends the walk,
  because everything to the left of it may be forged; the last address that was parsed counts.
  An open quote that a client sent cannot swallow what the proxy appended behind it.
- **Parsing is cached, trust is not.** Trust is looked up once per connection, and only for a
  request with such a field. The parsed fields are kept with the request head, which connections
  share; whether they take effect is not kept there.
- **Forwarded and X-Forwarded-* that contradict each other are a 400.** A proxy writes one family
  and passes on the other unchanged, and prefork cannot know which one it writes. Rejected: to
  ignore both. The client would then look like the proxy, which often has more rights.
- **Host, port and prefix count only when the operator names them** (``--forwarded-headers``), for
  the same reason: nginx, HAProxy and the load balancers of the large clouds set X-Forwarded-For
  and -Proto and pass on the others as the client sent them. A framework that builds paths from the
  prefix (Starlette) would then match its rules against a path that the client chose.
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
"""Characters of a Forwarded field that are parsed, counted from its end."""

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
    """The facts that trusted proxies report of a request. None: not reported, or not readable."""

    client: HostPort | None = None
    """Address and port of the client; port 0: the proxy did not report it."""
    scheme: str | None = None
    """``http`` or ``https``."""
    host: str | None = None
    """The Host field that the client sent, with its port where that is not the scheme's own."""
    server: HostPort | None = None
    """``host`` split into name and port."""
    prefix: str | None = None
    """The beginning of the path that a proxy removed, without a slash at its end."""


def is_forwarding_field(name: bytes) -> bool:
    """Return whether ``name``, in lower case, is a field that proxies write."""
    return name == b"forwarded" or name.startswith(b"x-forwarded-")


class AddressSet(Protocol):
    """A set of IP addresses; None stands for a unix socket."""

    def __contains__(self, host: str | None, /) -> bool: ...


class ForwardingHead(Protocol):
    """The part of a request's head that concerns proxies."""

    forwarded: ForwardedInfo | None

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Names in lower case, in the order sent."""

    def drop_forwarding_fields(self) -> None:
        """Hide the fields that only proxies write."""


class TrustedProxies:
    """The proxies whose fields take effect, and the fields that do.

    ``address in proxies`` tells whether a peer is trusted; None stands for a unix socket.
    """

    def __init__(self, trusted: AddressSet, trusted_fields: Container[str], strips: bool) -> None:
        """``trusted``: the addresses of the proxies. ``trusted_fields``: names of the fields that
        take effect, such as ``x-forwarded-for``; the parts of Forwarded are named
        ``forwarded-for``, ``forwarded-proto`` and ``forwarded-host``. ``strips``: hide all these
        fields from the app when an untrusted client sent them."""
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

    def interpret(self, head: ForwardingHead, is_trusted: bool) -> None:
        """Read, or drop, the fields of a head that proxies write. Raises ClientError."""
        if is_trusted:
            head.forwarded = self.read_forwarded(head.headers)
        elif self.strips:
            head.drop_forwarding_fields()

    def read_forwarded(self, fields: Fields) -> ForwardedInfo:
        """Parse the fields that proxies add among ``fields``, names in lower case.

        The result does not depend on the sender: callers check that the peer is trusted. Raises
        ClientError (400) when Forwarded and X-Forwarded-* contradict each other.
        """
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
                    # Not LRU: its order would cost every request more than a parse now and then.
                    self._cache.clear()
                self._cache[relevant] = result
        return result

    def _read(self, relevant: Fields) -> ForwardedInfo:
        """Combine both families of fields. Raises ClientError if they contradict each other."""
        values = _join_values(relevant)
        standard = self._from_forwarded(values.get(b"forwarded", ""))
        other = self._from_x_forwarded(values)
        _check_agreement(
            "client", standard.client and standard.client[0], other.client and other.client[0]
        )
        _check_agreement("scheme", standard.scheme, other.scheme)
        _check_agreement("host", standard.host, other.host)
        return ForwardedInfo(
            # Forwarded comes first because its address may have a port.
            client=standard.client or other.client,
            scheme=standard.scheme or other.scheme,
            host=standard.host or other.host,
            server=standard.server or other.server,
            prefix=other.prefix,
        )

    def _from_forwarded(self, text: str) -> ForwardedInfo:
        """Read Forwarded: its element for the client has scheme and host as well."""
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
        """Read the X-Forwarded-* fields that take effect; each is a list of its own."""
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
        """Return the client and its position: which element from the right, of how many."""
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
    """Join fields of the same name into one list (RFC 9110 section 5.3)."""
    values: dict[bytes, str] = {}
    for name, raw in fields:
        value = raw.decode("latin-1")
        values[name] = f"{values[name]},{value}" if name in values else value
    return values


def _check_agreement(what: str, one: str | None, other: str | None) -> None:
    if one is not None and other is not None and one.lower() != other.lower():
        raise ClientError(400, f"Forwarded and X-Forwarded-* do not agree on the {what}")


def _parse_elements(text: str) -> Iterator[dict[str, str]]:
    """Yield the elements of a Forwarded field from the right, up to the first malformed one.

    Quotes are matched from the right as well: a quote that a client left open must not swallow
    what the proxy appended. A part of a quoted string is never taken for an element, because its
    closing quote has no opening one.
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
                return  # a parameter must not occur twice (RFC 7239 section 4)
            yield pairs
        end = start


def _unquote(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def parse_node(text: str) -> HostPort | None:
    """Parse a node (RFC 7239 section 6): an IP address with or without a port (0: none).

    Returns None for host names, ``unknown``, obfuscated identifiers (``_hidden``) and malformed
    text. IPv4-mapped IPv6 addresses become IPv4.
    """
    host, port = text, ""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in host or (rest and not rest.startswith(":")):
            return None
        port = rest[1:]
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if not host.isascii() or "%" in host:
        return None  # a zone identifier has a meaning on the proxy's machine only
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
    """Pick the element that the client's proxy wrote, if the list is as long as the address list;
    otherwise the last element, which the nearest proxy wrote."""
    back, count = position
    return items[-back] if back and len(items) == count else items[-1]


def _split_host(
    text: str, port: str | None, scheme: str | None
) -> tuple[str | None, HostPort | None]:
    """Return a Host field and its parts; ``port`` is used when ``text`` has none itself."""
    match = _HOST.fullmatch(text)
    if match is None:
        return None, None
    name, own_port = match[1], match[2] or ""
    default_port = _PORTS.get(scheme or "http", 80)
    number = _parse_port(own_port) or _parse_port(port or "") or default_port
    full = text if own_port or number == default_port else f"{name}:{number}"
    return full, (name.strip("[]"), number)


def _validate_prefix(text: str) -> str | None:
    """Return a path prefix without its last slash; None unless it has plain segments only.

    ``//host`` and ``/../`` are refused: the first reads as a host, the second leaves the prefix.
    """
    text = text.rstrip("/") if text != "/" else ""
    return text if _PREFIX.fullmatch(text) else None
