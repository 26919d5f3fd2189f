"""Networks: parsing them, the addresses in them, and lists that may be off."""

import re

import pytest

from prefork.config import value_types
from prefork.config.forwarded_trust import FACTS, FAMILIES
from prefork.config.networks import Networks, parse_network


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("192.0.2.1", "192.0.2.1/32"),
        ("FD00::/8", "fd00::/8"),
        ("::1", "::1/128"),
        ("unix", "unix"),
        ("*", "*"),
    ],
)
def test_parse_network_returns_the_canonical_form(text: str, canonical: str) -> None:
    assert parse_network(text) == canonical


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.1/8", "10.0.0.0/8, for 10.0.0.1/8 lies inside of it"),
        ("localhost", "a network such as 10.0.0.0/8, an address, unix or *"),
    ],
)
def test_a_text_that_is_no_network_is_refused(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        parse_network(text)


def test_addresses_inside_and_outside() -> None:
    networks = Networks(["10.0.0.0/8", "::1/128", "unix"])
    for inside in ("10.1.2.3", "::1", "::ffff:10.1.2.3", None):
        assert inside in networks
    for outside in ("11.0.0.1", "::2", "::ffff:11.1.2.3", "fe80::1%eth0"):
        assert outside not in networks


def test_a_star_contains_every_peer_and_no_word_contains_none() -> None:
    for host in ("192.0.2.1", "2001:db8::1", None):
        assert host in Networks(["*"])
        assert host not in Networks([])
    assert None not in Networks(["0.0.0.0/0"])


@pytest.mark.parametrize("off", ["off", "none", "", ["off"], [""], []])
def test_a_list_may_be_off(off: object) -> None:
    assert value_types.NETWORKS_OR_OFF.parse(off) == ()
    assert value_types.NETWORKS_OR_OFF.format(()) == ["off"]


def test_commas_separate_items_like_spaces() -> None:
    expected = ("127.0.0.0/8", "::1/128", "unix")
    for written in ("127.0.0.0/8,::1,unix", "127.0.0.0/8 ::1 unix", ["127.0.0.0/8,::1", "unix"]):
        assert value_types.NETWORKS_OR_OFF.parse(written) == expected


def test_forwarded_facts_may_be_named_alone_or_by_family() -> None:
    parse, show = value_types.FORWARDED.parse, value_types.FORWARDED.format
    assert parse("forwarded") == ("forwarded-for", "forwarded-proto", "forwarded-host")
    assert parse("proto,for") == parse("for proto") == FACTS["for"] + FACTS["proto"]
    assert parse(["X-Forwarded-For", "x-forwarded"]) == FAMILIES["x-forwarded"]
    assert show(parse("forwarded-host proto")) == ["proto", "forwarded-host"]
    assert show(parse("off")) == ["off"]
    with pytest.raises(ValueError, match="some of for, proto, host"):
        parse("x-real-ip")


@pytest.mark.parametrize(
    ("raw", "path"),
    [("/shop", "/shop"), ("/shop/", "/shop"), ("/", ""), ("", ""), ("/a/b", "/a/b")],
)
def test_a_root_path_has_no_slash_at_its_end(raw: str, path: str) -> None:
    assert value_types.ROOT_PATH.parse(raw) == path


@pytest.mark.parametrize("raw", ["shop", "//shop", "/a b", "/a?b", "/a%20b"])
def test_an_invalid_root_path_is_refused(raw: str) -> None:
    with pytest.raises(ValueError, match="begins with one slash"):
        value_types.ROOT_PATH.parse(raw)


def test_a_header_name_has_letters_digits_and_dashes() -> None:
    assert value_types.FIELD_NAME.parse("X-Request-ID") == "X-Request-ID"
    for wrong in ("X Request", "X_Request_ID", "a:b", "x" * 65):
        with pytest.raises(ValueError, match="letters, digits and dashes"):
            value_types.FIELD_NAME.parse(wrong)
