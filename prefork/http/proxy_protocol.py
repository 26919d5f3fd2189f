"""Parse headers of the PROXY protocol, versions 1 and 2: bytes in, addresses out. Pure.

A proxy that forwards a connection sends this header before anything else, TLS included. It names
the client and the address that the client connected to (HAProxy's proxy-protocol.txt, sections 2.1
and 2.2). A header that is not exactly as specified is an error and ends the connection: if prefork
guessed, the bytes behind it could be taken for a request of another client.
"""

import re
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from prefork.errors import PreforkError
from prefork.http.peer import Addresses
from prefork.plural import pluralize

MAX_V1_SIZE = 107
"""Bytes of the longest version 1 line with its line end (section 2.1)."""

MAX_V2_SIZE = 4096
"""Bytes of the longest version 2 header that is accepted: up to 216 of addresses, then TLVs."""

MAX_HEADER_SIZE = max(MAX_V1_SIZE, MAX_V2_SIZE)

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_V1_PREFIX = b"PROXY "
_V2_FIXED_SIZE = len(_SIGNATURE) + 4
_PORT = re.compile(rb"0|[1-9][0-9]{0,4}")
_LOCAL, _PROXY = 0x20, 0x21
"""Version 2 with its two commands. LOCAL: the proxy itself connects, as for a health check. PROXY:
the proxy relays a client."""

_SIZES = {0x00: 0, 0x11: 12, 0x12: 12, 0x21: 36, 0x22: 36, 0x31: 216, 0x32: 216}
"""Bytes that the addresses take, by family (unspecified, IPv4, IPv6, unix) and transport."""


class ProxyProtocolError(PreforkError):
    """The peer sent something else than a well-formed PROXY header."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """A parsed header. ``size``: its bytes; ``addresses`` None: those of the socket are right."""

    size: int
    addresses: Addresses | None


def parse_proxy_header(data: bytes) -> ProxyHeader | None:
    """Parse the header at the beginning of ``data``.

    Returns None while the header is incomplete; all of ``data`` then belongs to it. Raises
    ProxyProtocolError.
    """
    if data.startswith(_SIGNATURE):
        return _parse_v2(data)
    if data.startswith(_V1_PREFIX):
        return _parse_v1(data)
    if _SIGNATURE.startswith(data) or _V1_PREFIX.startswith(data):
        return None
    raise ProxyProtocolError("the connection does not begin with a PROXY header")


def _parse_v1(data: bytes) -> ProxyHeader | None:
    """Parse a line of text (section 2.1)."""
    end = data.find(b"\r\n", 0, MAX_V1_SIZE)
    if end < 0:
        if len(data) >= MAX_V1_SIZE:
            raise ProxyProtocolError("the PROXY line does not end")
        return None
    family, *words = data[len(_V1_PREFIX) : end].split(b" ")
    if family == b"UNKNOWN":
        return ProxyHeader(end + 2, None)
    if family not in (b"TCP4", b"TCP6") or len(words) != 4:
        raise ProxyProtocolError("the PROXY line is none of TCP4, TCP6 and UNKNOWN")
    client, server = (_parse_host(family, word) for word in words[:2])
    client_port, server_port = (_parse_port(word) for word in words[2:])
    return ProxyHeader(end + 2, Addresses((client, client_port), (server, server_port)))


def _parse_host(family: bytes, word: bytes) -> str:
    """Return an address in its canonical form. Raises ProxyProtocolError."""
    kind = IPv4Address if family == b"TCP4" else IPv6Address
    try:
        if b"%" in word:
            raise ValueError("a zone identifier has a meaning on the proxy's machine only")
        return str(kind(word.decode("ascii")))
    except ValueError:
        raise ProxyProtocolError(f"the PROXY line has {word!r} for an address") from None


def _parse_port(word: bytes) -> int:
    if not _PORT.fullmatch(word) or int(word) > 65535:
        raise ProxyProtocolError(f"the PROXY line has {word!r} for a port")
    return int(word)


def _parse_v2(data: bytes) -> ProxyHeader | None:
    """Parse a binary header (section 2.2)."""
    if len(data) < _V2_FIXED_SIZE:
        return None
    command, family, length = struct.unpack_from("!BBH", data, len(_SIGNATURE))
    size = _V2_FIXED_SIZE + length
    if command not in (_LOCAL, _PROXY):
        raise ProxyProtocolError(f"the PROXY header has version and command {command:#04x}")
    if family not in _SIZES:
        raise ProxyProtocolError(f"the PROXY header has family and transport {family:#04x}")
    if size > MAX_V2_SIZE:
        raise ProxyProtocolError(f"the PROXY header has {pluralize(size, 'byte')}")
    if command == _PROXY and length < _SIZES[family]:
        given = pluralize(length, "byte")
        raise ProxyProtocolError(f"the PROXY header has {given} for its addresses")
    if len(data) < size:
        return None
    if command == _LOCAL or family == 0x00:
        return ProxyHeader(size, None)
    start = _V2_FIXED_SIZE + _SIZES[family]
    _check_tlvs(data[start:size])
    return ProxyHeader(size, _unpack_addresses(family >> 4, data[_V2_FIXED_SIZE:start]))


def _unpack_addresses(family: int, block: bytes) -> Addresses:
    if family == 3:
        return Addresses(None, None)
    kind, size = (socket.AF_INET, 4) if family == 1 else (socket.AF_INET6, 16)
    client, server = block[:size], block[size : 2 * size]
    client_port, server_port = struct.unpack_from("!HH", block, 2 * size)
    return Addresses(
        (socket.inet_ntop(kind, client), client_port), (socket.inet_ntop(kind, server), server_port)
    )


def _check_tlvs(tlvs: bytes) -> None:
    """Check that the TLVs (section 2.2) fill the header exactly. Their contents are not used."""
    while tlvs:
        size = 3 + int.from_bytes(tlvs[1:3]) if len(tlvs) >= 3 else 3
        if size > len(tlvs):
            raise ProxyProtocolError("a TLV of the PROXY header is cut off")
        tlvs = tlvs[size:]
