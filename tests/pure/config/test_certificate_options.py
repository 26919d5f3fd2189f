"""Settings of TLS and of the PROXY protocol: schemes, networks, files."""

import ipaddress

import hypothesis.strategies as st
import pytest
from hypothesis import given

from prefork.config import value_types
from prefork.config.addresses import (
    InheritedSocket,
    TcpAddress,
    UnixAddress,
    is_same_socket,
    scheme_of,
)
from prefork.config.certificate_options import CertificateFiles, PasswordSource
from prefork.config.networks import Networks, parse_network
from tests.pure.config.values import addresses, networks


@pytest.mark.parametrize(
    ("address", "is_unix", "without", "with_certificates"),
    [
        (TcpAddress("::1", 1), False, "http", "https"),
        (TcpAddress("::1", 1, "http"), False, "http", "http"),
        (TcpAddress("::1", 1, "https"), False, "https", "https"),
        (UnixAddress("/a"), True, "http", "http"),
        (InheritedSocket(3), False, "http", "https"),
        (InheritedSocket(3), True, "http", "http"),
        (InheritedSocket(3, "https"), True, "https", "https"),
        (InheritedSocket(3, "http"), False, "http", "http"),
    ],
)
def test_tcp_uses_tls_with_certificates_or_by_its_scheme(
    address: object, is_unix: bool, without: str, with_certificates: str
) -> None:
    assert scheme_of(address, False, is_unix) == without  # type: ignore[arg-type]
    assert scheme_of(address, True, is_unix) == with_certificates  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (TcpAddress("a", 1), TcpAddress("a", 1, "https")),
        (UnixAddress("/a"), UnixAddress("/a", 0o600, "www")),
        (InheritedSocket(3, "http"), InheritedSocket(3, "https")),
    ],
)
def test_scheme_mode_and_owner_do_not_make_another_socket(one: object, other: object) -> None:
    assert is_same_socket(one, other)  # type: ignore[arg-type]


@given(addresses(), addresses())
def test_equal_addresses_are_the_same_socket(one: object, other: object) -> None:
    assert is_same_socket(one, one)  # type: ignore[arg-type]
    if type(one) is not type(other):
        assert not is_same_socket(one, other)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("192.0.2.1", "192.0.2.1/32"),
        ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
        ("FD00::/8", "fd00::/8"),
        ("::1", "::1/128"),
        ("unix", "unix"),
        ("*", "*"),
    ],
)
def test_a_network_has_one_canonical_form(text: str, network: str) -> None:
    assert parse_network(text) == network


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a network such as"),
        ("localhost", "a network such as"),
        ("10.0.0.0/33", "a network such as"),
        ("10.0.0.1/8", "10.0.0.0/8, for 10.0.0.1/8 lies inside of it"),
        ("UNIX", "a network such as"),
    ],
)
def test_an_invalid_network_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_network(text)


@pytest.mark.parametrize(
    ("words", "inside", "outside"),
    [
        (("10.0.0.0/8",), "10.255.0.1", "11.0.0.1"),
        (("10.0.0.0/8",), "::ffff:10.0.0.1", "::ffff:11.0.0.1"),
        (("fe80::/10",), "fe80::1%eth0", "fd00::1"),
        (("unix", "::1/128"), None, "127.0.0.1"),
        (("127.0.0.0/8",), "127.0.0.1", None),
        (("*",), None, "no address at all is asked for"),
    ],
)
def test_an_address_is_in_a_network_or_not(
    words: tuple[str, ...], inside: str | None, outside: str
) -> None:
    assert inside in Networks(words)
    assert (outside in Networks(words)) == (words == ("*",))


@given(networks().filter(lambda word: "/" in word), st.integers(0, 2**16))
def test_every_address_of_a_network_is_in_it(word: str, at: int) -> None:
    network = ipaddress.ip_network(word)
    address = network[at % network.num_addresses]
    if getattr(address, "ipv4_mapped", None) is None:
        assert str(address) in Networks([word])


def test_an_empty_set_of_networks_contains_no_peer() -> None:
    assert "127.0.0.1" not in Networks(())
    assert None not in Networks(())


@pytest.mark.parametrize(
    ("text", "files"),
    [
        ("a.pem", CertificateFiles("a.pem")),
        ("a b.pem,key=/k=1.pem", CertificateFiles("a b.pem", "/k=1.pem")),
        ("C:a.pem", CertificateFiles("C:a.pem")),
    ],
)
def test_a_certificate_may_name_its_key(text: str, files: object) -> None:
    assert value_types.CERTIFICATES.parse([text]) == (files,)
    assert value_types.CERTIFICATES.format((files,)) == [text]


@pytest.mark.parametrize("text", ["", ",key=k", "a,key=", "a,k", "a,mode=600", "a,key=b,key=c"])
def test_an_invalid_certificate_option_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"a path, as in site.pem or site.pem,key=site.key"):
        value_types.CERTIFICATES.parse([text])


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("file:/run/word", PasswordSource("/run/word")),
        ("env:TLS_WORD", PasswordSource(variable="TLS_WORD")),
        ("", None),
    ],
)
def test_a_password_is_read_from_a_file_or_a_variable(
    text: str, source: PasswordSource | None
) -> None:
    assert value_types.PASSWORD.parse(text) == source
    assert value_types.PASSWORD.format(source) == text


@pytest.mark.parametrize("text", ["secret", "file:", "env:", "env:1A", "env:A B", "pass:secret"])
def test_an_invalid_password_source_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="the password itself is no setting"):
        value_types.PASSWORD.parse(text)


def test_a_choice_may_be_a_number_in_toml() -> None:
    assert value_types.choice("1.2", "1.3").parse(1.3) == "1.3"
