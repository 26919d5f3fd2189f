"""TLS without a connection: certificates, host names, distinguished names."""

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from cryptography import x509
from hypothesis import given, settings

from prefork.tls.certificate import parse_first_certificate
from prefork.tls.certificate_matching import HostnameMap
from prefork.tls.distinguished_name import format_distinguished_name
from tests.certificates import self_signed

LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
HOSTS = st.lists(LABELS, min_size=1, max_size=4).map(".".join)
TIMES = st.datetimes(datetime(1950, 1, 2), datetime(2400, 1, 1), timezones=st.just(UTC))


@settings(max_examples=30)
@given(st.lists(HOSTS, min_size=1, max_size=80), TIMES, st.timedeltas(timedelta(seconds=1)))
def test_names_and_dates_of_any_certificate_are_read(
    hosts: list[str], begin: datetime, length: timedelta
) -> None:
    begin = begin.replace(microsecond=0)
    end = begin + timedelta(seconds=int(length.total_seconds()) % 10**9 + 1)
    read = parse_first_certificate(
        self_signed("not.this", [x509.DNSName(host) for host in hosts], begin, end, others=1)
    )
    assert read.names == tuple(hosts)
    assert (read.not_before, read.not_after) == (begin, end)


def test_only_dns_names_count_and_in_lower_case() -> None:
    names = [
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.DNSName("WWW.Example.ORG"),
        x509.RFC822Name("ann@example.org"),
        x509.DNSName("*.example.org"),
    ]
    assert parse_first_certificate(self_signed(names=names)).names == (
        "www.example.org",
        "*.example.org",
    )


def test_a_certificate_without_names_is_for_its_common_name() -> None:
    assert parse_first_certificate(self_signed("Old.Example")).names == ("old.example",)
    assert parse_first_certificate(self_signed()).names == ()


def test_the_first_certificate_of_a_file_counts() -> None:
    first, second = self_signed("first"), self_signed("second")
    read = parse_first_certificate(f"a comment\n{first}\n{second}")
    assert read.names == ("first",)
    assert ssl.PEM_cert_to_DER_cert(read.pem) == ssl.PEM_cert_to_DER_cert(first)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "holds no certificate in PEM"),
        ("-----BEGIN CERTIFICATE-----\n", "holds no certificate in PEM"),
        (self_signed().replace("CERTIFICATE", "PRIVATE KEY"), "holds no certificate in PEM"),
        (
            "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n",
            "its first certificate is garbled",
        ),
    ],
)
def test_an_invalid_certificate_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_first_certificate(text)


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_a_garbled_certificate_is_read_or_refused(at: int, change: int) -> None:
    der = bytearray(ssl.PEM_cert_to_DER_cert(self_signed("x", [x509.DNSName("a.b")])))
    der[at % len(der)] ^= change
    try:
        parse_first_certificate(ssl.DER_cert_to_PEM_cert(bytes(der)))
    except ValueError:
        pass


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (None, "default"),
        ("", "default"),
        ("elsewhere.test", "default"),
        ("default.test", "default"),
        ("a.test", "a"),
        ("A.Test", "a"),
        ("a.test.", "a"),
        ("b.w.test", "wild"),
        ("exact.w.test", "exact"),
        ("w.test", "default"),
        ("two.labels.w.test", "default"),
        ("*.w.test", "wild"),
        ("test", "default"),
    ],
)
def test_the_host_name_selects_the_value(asked: Any, found: str) -> None:
    things = HostnameMap(
        [
            (("default.test",), "default"),
            (("a.test", "*.w.test"), "a and wild"),
            (("exact.w.test", "a.test"), "exact"),
        ]
    )
    expected = {"a": "a and wild", "wild": "a and wild"}.get(found, found)
    assert things.select(asked) == expected


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ((), ""),
        (
            (
                (("countryName", "DE"),),
                (("organizationName", "Example"),),
                (("commonName", "Ann"),),
            ),
            "CN=Ann,O=Example,C=DE",
        ),
        (((("commonName", "Ann"), ("userId", "7")),), "CN=Ann+UID=7"),
        (((("emailAddress", "ann@example.org"),),), "emailAddress=ann@example.org"),
        (((("commonName", 'a,b+c"d\\e<f>g;h=i'),),), 'CN=a\\,b\\+c\\"d\\\\e\\<f\\>g\\;h=i'),
        (((("commonName", "#1 "),),), "CN=\\#1\\ "),
        (((("commonName", " "),),), "CN=\\ "),
        (((("commonName", "a#b c"),),), "CN=a#b c"),
        (((("commonName", "é\n\0"),),), "CN=é\\0A\\00"),
        (((("commonName", ""),),), "CN="),
    ],
)
def test_a_distinguished_name_is_formatted(name: Any, text: str) -> None:
    assert format_distinguished_name(name) == text


def test_the_certificate_parser_agrees_with_openssl(tmp_path: Path) -> None:
    text = self_signed("x", [x509.DNSName("a.b"), x509.DNSName("*.c.d")])
    (tmp_path / "c.pem").write_text(text)
    theirs = ssl._ssl._test_decode_cert(str(tmp_path / "c.pem"))  # type: ignore[attr-defined]
    read = parse_first_certificate(text)
    assert tuple(value for _, value in theirs["subjectAltName"]) == read.names
    assert ssl.cert_time_to_seconds(theirs["notAfter"]) == read.not_after.timestamp()
