"""The PROXY protocol: every form of the specification is accepted, in any pieces; nothing else."""

import ipaddress
import socket
import struct
from dataclasses import dataclass

import hypothesis.strategies as st
import pytest
from hypothesis import example, given

from prefork.http.peer import Addresses
from prefork.http.proxy_protocol import (
    MAX_HEADER_SIZE,
    MAX_V1_SIZE,
    MAX_V2_SIZE,
    ProxyHeader,
    ProxyProtocolError,
    parse_proxy_header,
)

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
BEHIND = b"GET / HTTP/1.1\r\n\r\n"


@dataclass(frozen=True)
class Case:
    """A header as bytes, and its addresses."""

    data: bytes
    addresses: Addresses | None


def v1(line: str) -> bytes:
    return f"PROXY {line}\r\n".encode()


def v2(command: int, family: int, body: bytes = b"", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return SIGNATURE + struct.pack("!BBH", command, family, size) + body


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


PORTS = st.integers(0, 65535)
TLVS = st.lists(st.builds(tlv, st.integers(0, 255), st.binary(max_size=40)), max_size=3).map(
    b"".join
)


@st.composite
def lines(draw: st.DrawFn) -> Case:
    version = draw(st.sampled_from((4, 6)))
    client, server = (str(draw(st.ip_addresses(v=version))) for _ in range(2))
    ports = draw(PORTS), draw(PORTS)
    line = v1(f"TCP{version} {client} {server} {ports[0]} {ports[1]}")
    return Case(line, Addresses((client, ports[0]), (server, ports[1])))


@st.composite
def binaries(draw: st.DrawFn) -> Case:
    version = draw(st.sampled_from((4, 6)))
    client, server = (draw(st.ip_addresses(v=version)) for _ in range(2))
    ports = draw(PORTS), draw(PORTS)
    body = client.packed + server.packed + struct.pack("!HH", *ports) + draw(TLVS)
    family = (0x10 if version == 4 else 0x20) | draw(st.sampled_from((1, 2)))
    told = Addresses(
        *(
            (socket.inet_ntop(socket.AF_INET if version == 4 else socket.AF_INET6, a.packed), port)
            for a, port in zip((client, server), ports, strict=True)
        )
    )
    return Case(v2(0x21, family, body), told)


def without_addresses() -> st.SearchStrategy[Case]:
    rest = st.binary(max_size=60)
    text = st.text(st.characters(codec="ascii", exclude_characters="\r\n"), max_size=80)
    return st.one_of(
        text.map(lambda words: Case(v1(f"UNKNOWN {words}"), None)),
        st.just(Case(v1("UNKNOWN"), None)),
        st.builds(lambda r, f: Case(v2(0x20, f, r), None), rest, st.sampled_from((0, 0x11, 0x31))),
        rest.map(lambda r: Case(v2(0x21, 0x00, r), None)),
        TLVS.map(lambda r: Case(v2(0x21, 0x31, bytes(216) + r), Addresses(None, None))),
    )


def cases() -> st.SearchStrategy[Case]:
    return lines() | binaries() | without_addresses()


@given(cases(), st.binary(max_size=40))
def test_a_header_has_addresses_and_a_size(case: Case, rest: bytes) -> None:
    assert parse_proxy_header(case.data) == ProxyHeader(len(case.data), case.addresses)
    assert parse_proxy_header(case.data + BEHIND + rest) == ProxyHeader(
        len(case.data), case.addresses
    )
    assert len(case.data) <= MAX_HEADER_SIZE


@given(cases())
def test_a_truncated_header_is_incomplete(case: Case) -> None:
    for end in range(len(case.data)):
        assert parse_proxy_header(case.data[:end]) is None


@given(
    st.binary()
    | st.binary().map(lambda rest: b"PROXY " + rest)
    | st.binary().map(lambda rest: SIGNATURE + rest)
)
@example(b"")
@example(SIGNATURE)
@example(b"PROXY UNKNOWN")
def test_garbage_is_refused_and_the_beginning_of_a_header_is_not(data: bytes) -> None:
    try:
        header = parse_proxy_header(data)
    except ProxyProtocolError:
        # Then more bytes do not make it valid.
        with pytest.raises(ProxyProtocolError):
            parse_proxy_header(data + BEHIND)
        return
    if header is None:
        assert len(data) < MAX_HEADER_SIZE
    else:
        assert parse_proxy_header(data[: header.size]) == header


@given(cases(), st.data())
def test_a_changed_byte_makes_another_header_or_an_error(case: Case, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(case.data) - 1))
    changed = bytearray(case.data)
    changed[at] ^= data.draw(st.integers(1, 255))
    try:
        header = parse_proxy_header(bytes(changed))
    except ProxyProtocolError:
        return
    assert header is None or header.size <= len(changed)


@pytest.mark.parametrize(
    "line",
    [
        "",
        " ",
        "TCP4",
        "TCP4 1.1.1.1 2.2.2.2 1",
        "TCP4 1.1.1.1 2.2.2.2 1 2 3",
        "TCP4 1.1.1.1 2.2.2.2 1 2 ",
        "TCP4  1.1.1.1 2.2.2.2 1 2",
        "TCP4\t1.1.1.1 2.2.2.2 1 2",
        "TCP4 1.1.1.1 2.2.2.2 1 65536",
        "TCP4 1.1.1.1 2.2.2.2 01 2",
        "TCP4 1.1.1.1 2.2.2.2 +1 2",
        "TCP4 1.1.1.1 2.2.2.2 1 ٢",
        "TCP4 1.1.1.01 2.2.2.2 1 2",
        "TCP4 1.1.1 2.2.2.2 1 2",
        "TCP4 ::1 ::1 1 2",
        "TCP6 1.1.1.1 2.2.2.2 1 2",
        "TCP6 ::1%eth0 ::1 1 2",
        "TCP6 [::1] ::1 1 2",
        "TCP6 1.1.1.1 ::1 1 2",
        "TCP5 1.1.1.1 2.2.2.2 1 2",
        "tcp4 1.1.1.1 2.2.2.2 1 2",
        "UDP4 1.1.1.1 2.2.2.2 1 2",
        "UNKNOWNS",
        "TCP4 1.1.1.1 2.2.2.2 1 2\n",
    ],
)
def test_a_line_that_is_not_as_specified_is_refused(line: str) -> None:
    with pytest.raises(ProxyProtocolError):
        parse_proxy_header(v1(line))


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\n", b"proxy ", b"PROXY\r\n", b"\x16\x03\x01"])
def test_other_beginnings_are_refused_at_once(start: bytes) -> None:
    with pytest.raises(ProxyProtocolError, match="does not begin with"):
        parse_proxy_header(start)


def test_a_line_ends_within_107_bytes() -> None:
    longest = v1("UNKNOWN " + "x" * 91)
    assert len(longest) == MAX_V1_SIZE
    assert parse_proxy_header(longest) == ProxyHeader(MAX_V1_SIZE, None)
    with pytest.raises(ProxyProtocolError, match="does not end"):
        parse_proxy_header(v1("UNKNOWN " + "x" * 92))


ADDRESSES_V4 = bytes([1, 1, 1, 1, 2, 2, 2, 2, 0, 1, 0, 2])


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (v2(0x11, 0x11, ADDRESSES_V4), "version and command 0x11"),
        (v2(0x22, 0x11, ADDRESSES_V4), "version and command 0x22"),
        (v2(0x21, 0x41, ADDRESSES_V4), "family and transport 0x41"),
        (v2(0x21, 0x13, ADDRESSES_V4), "family and transport 0x13"),
        (v2(0x21, 0x01, ADDRESSES_V4), "family and transport 0x01"),
        (v2(0x21, 0x11, ADDRESSES_V4[:-1]), "11 bytes for its addresses"),
        (v2(0x21, 0x21, ADDRESSES_V4), "12 bytes for its addresses"),
        (v2(0x21, 0x31, bytes(215)), "215 bytes for its addresses"),
        (v2(0x21, 0x11, ADDRESSES_V4 + b"\x04"), "cut off"),
        (v2(0x21, 0x11, ADDRESSES_V4 + b"\x04\0\x02x"), "cut off"),
        (v2(0x20, 0x00, length=65535), "65551 bytes"),
    ],
)
def test_a_binary_header_that_is_not_as_specified_is_refused(data: bytes, complaint: str) -> None:
    with pytest.raises(ProxyProtocolError, match=complaint):
        parse_proxy_header(data)


def test_a_binary_header_is_no_longer_than_4096_bytes() -> None:
    longest = v2(0x20, 0x00, bytes(MAX_V2_SIZE - 16))
    assert parse_proxy_header(longest) == ProxyHeader(MAX_V2_SIZE, None)
    with pytest.raises(ProxyProtocolError):
        parse_proxy_header(v2(0x20, 0x00, length=MAX_V2_SIZE - 15))


def test_an_address_has_its_canonical_form() -> None:
    header = parse_proxy_header(v1("TCP6 2001:DB8:0:0::1 ::1 1 2"))
    assert header == ProxyHeader(36, Addresses(("2001:db8::1", 1), ("::1", 2)))
    assert ipaddress.ip_address("2001:db8::1")
