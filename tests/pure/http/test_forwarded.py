"""Forwarded and X-Forwarded-*: which proxies are trusted, parsing, malformed and forged values."""

from ipaddress import ip_address

import hypothesis.strategies as st
import pytest
from hypothesis import given

from prefork.config.forwarded_trust import FAMILIES, HEADER_FACTS
from prefork.config.networks import Networks
from prefork.errors import ClientError
from prefork.http.forwarded import ForwardedInfo, TrustedProxies, is_forwarding_field, parse_node

ALL = frozenset(HEADER_FACTS)


def origin(*lines: str, believed: frozenset[str] = ALL) -> ForwardedInfo:
    """Parse header lines; the trusted proxies are 10.0.0.0/8 and ::1."""
    fields = []
    for line in lines:
        name, _, value = line.partition(": ")
        fields.append((name.lower().encode(), value.encode("latin-1")))
    proxies = TrustedProxies(Networks(["10.0.0.0/8", "::1/128"]), believed, strips=False)
    first = proxies.read_forwarded(fields)
    assert proxies.read_forwarded(fields) == first  # the second result may come from the cache
    return first


def client(*lines: str) -> str | None:
    known = origin(*lines).client
    return known[0] if known else None


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("6.6.6.6, 192.0.2.1", "192.0.2.1"),
        ("6.6.6.6, 192.0.2.1, 10.0.0.1", "192.0.2.1"),
        ("192.0.2.1,10.0.0.2 ,\t::1", "192.0.2.1"),
        ("10.0.0.1, 10.0.0.2", "10.0.0.1"),
        ("192.0.2.1, nonsense, 10.0.0.2", "10.0.0.2"),
        ("192.0.2.1, , 10.0.0.2", "10.0.0.2"),
        ("192.0.2.1, unknown", None),
        ("2001:DB8::1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("", None),
        (",", None),
    ],
)
def test_the_first_address_from_the_right_that_is_no_proxy_is_the_client(
    value: str, found: str | None
) -> None:
    assert client(f"X-Forwarded-For: {value}") == found


def test_several_fields_are_one_list() -> None:
    assert client("X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 10.0.0.1") == "192.0.2.1"
    assert client("Forwarded: for=192.0.2.1", "Forwarded: for=10.0.0.1") == "192.0.2.1"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("for=192.0.2.1", "192.0.2.1"),
        ("For = 192.0.2.1", None),
        ("FOR=192.0.2.1;Proto=https;by=10.0.0.1", "192.0.2.1"),
        ("for=6.6.6.6, for=192.0.2.1, for=10.0.0.1", "192.0.2.1"),
        ('for="192.0.2.1:80"', "192.0.2.1"),
        ("for=192.0.2.1:80", "192.0.2.1"),
        ('for="[2001:db8::1]:4711"', "2001:db8::1"),
        ('for="[2001:db8::1]"', "2001:db8::1"),
        ("for=_hidden, for=10.0.0.1", "10.0.0.1"),
        ("for=192.0.2.1, for=unknown", None),
        ('for="_x:_y"', None),
        (r'for="192\.0.2.1"', "192.0.2.1"),
        ('for=6.6.6.6;x="a, for=7.7.7.7", for=192.0.2.1', "192.0.2.1"),
        ('for=192.0.2.1;x="a, for=7.7.7.7"', "192.0.2.1"),
        ('for=192.0.2.1;x="\\", for=7.7.7.7"', "192.0.2.1"),
        ("for=192.0.2.1;for=192.0.2.2", None),
        ("for=192.0.2.1;", None),
        ("for=6.6.6.6, , for=10.0.0.1,", "6.6.6.6"),
        ("garbage, for=10.0.0.1", "10.0.0.1"),
        ("proto=https", None),
        # A quote that a client left open does not swallow what the proxy appended.
        ('for="6.6.6.6, for=192.0.2.1', "192.0.2.1"),
        ('for=6.6.6.6;x=", for="[2001:db8::1]"', "2001:db8::1"),
        ('x="\\, for=192.0.2.1', "192.0.2.1"),
    ],
)
def test_forwarded_is_read_like_x_forwarded_for(value: str, found: str | None) -> None:
    assert client(f"Forwarded: {value}") == found


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("192.0.2.1", ("192.0.2.1", 0)),
        ("192.0.2.1:4711", ("192.0.2.1", 4711)),
        ("192.0.2.1:99999", ("192.0.2.1", 0)),
        ("192.0.2.1:_x", ("192.0.2.1", 0)),
        ("[2001:db8::1]:4711", ("2001:db8::1", 4711)),
        ("[2001:db8::1]4711", None),
        ("[2001:db8::1", None),
        ("[192.0.2.1]", None),
        ("fe80::1%eth0", None),
        ("192.0.2.01", None),
        ("١٩٢.0.2.1", None),
        ("unix:", None),
        ("localhost", None),
    ],
)
def test_an_address_is_read_strictly(text: str, place: object) -> None:
    assert parse_node(text) == place


def test_the_scheme_is_the_one_that_the_client_used() -> None:
    assert origin("X-Forwarded-Proto: HTTPS").scheme == "https"
    assert origin("X-Forwarded-Proto: wss").scheme == "https"
    assert origin("X-Forwarded-Proto: gopher").scheme is None
    assert origin("X-Forwarded-Proto: https, http").scheme == "http"
    chain = "X-Forwarded-For: 192.0.2.1, 10.0.0.1"
    assert origin(chain, "X-Forwarded-Proto: https, http").scheme == "https"
    assert origin(chain, "X-Forwarded-Proto: http").scheme == "http"
    assert origin("Forwarded: for=192.0.2.1;proto=https, for=10.0.0.1;proto=http").scheme == "https"
    assert origin("Forwarded: for=_hidden;proto=https").scheme == "https"


@pytest.mark.parametrize(
    ("lines", "host", "server"),
    [
        (["X-Forwarded-Host: a.example"], "a.example", ("a.example", 80)),
        (["X-Forwarded-Host: a.example:81"], "a.example:81", ("a.example", 81)),
        (["X-Forwarded-Host: [::2]:81"], "[::2]:81", ("::2", 81)),
        (
            ["X-Forwarded-Host: a.example", "X-Forwarded-Proto: https"],
            "a.example",
            ("a.example", 443),
        ),
        (
            ["X-Forwarded-Host: a.example", "X-Forwarded-Port: 81"],
            "a.example:81",
            ("a.example", 81),
        ),
        (["Host: b.example", "X-Forwarded-Port: 81"], "b.example:81", ("b.example", 81)),
        (["Host: b.example"], None, None),
        (['Forwarded: host="a.example:81"'], "a.example:81", ("a.example", 81)),
        (["X-Forwarded-Host: a/b"], None, None),
        (["X-Forwarded-Host: a b"], None, None),
        (["X-Forwarded-Host: a@b"], None, None),
    ],
)
def test_the_host_is_what_the_client_asked_for(
    lines: list[str], host: str | None, server: tuple[str, int] | None
) -> None:
    found = origin(*lines)
    assert (found.host, found.server) == (host, server)


@pytest.mark.parametrize(
    ("value", "prefix"),
    [
        ("/shop", "/shop"),
        ("/shop/", "/shop"),
        ("/a/b.c", "/a/b.c"),
        ("/", None),
        ("shop", None),
        ("//evil.example", None),
        ("/a//b", None),
        ("/a/../b", None),
        ("/..", None),
        ("/a/.", None),
        ("/a?b", None),
        ("/a%2f", None),
        ("/ä", None),
    ],
)
def test_a_prefix_is_a_plain_path(value: str, prefix: str | None) -> None:
    assert origin(f"X-Forwarded-Prefix: {value}").prefix == prefix


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        (["X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.2"], "client"),
        (["X-Forwarded-Proto: http", "Forwarded: proto=https"], "scheme"),
        (["X-Forwarded-Host: a", "Forwarded: host=b"], "host"),
    ],
)
def test_contradicting_fields_are_refused(lines: list[str], what: str) -> None:
    with pytest.raises(ClientError, match=f"do not agree on the {what}") as caught:
        origin(*lines)
    assert caught.value.status == 400
    # With only one family believed there is no contradiction.
    assert origin(*lines, believed=frozenset(FAMILIES["forwarded"])) != ForwardedInfo()
    assert origin(*lines, believed=frozenset(FAMILIES["x-forwarded"])) != ForwardedInfo()


def test_fields_that_agree_are_combined() -> None:
    found = origin(
        "X-Forwarded-For: 192.0.2.1",
        "X-Forwarded-Host: A.example",
        "Forwarded: for=192.0.2.1;proto=https;host=a.example",
    )
    assert (found.client, found.scheme, found.host) == (("192.0.2.1", 0), "https", "a.example")


def test_only_believed_fields_take_effect() -> None:
    lines = [
        "X-Forwarded-For: 192.0.2.1",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: a",
        "X-Forwarded-Port: 81",
        "X-Forwarded-Prefix: /p",
        "Forwarded: for=192.0.2.1;proto=https;host=a",
    ]
    assert origin(*lines, believed=frozenset()) == ForwardedInfo()
    assert origin(*lines, believed=frozenset({"forwarded-for"})) == ForwardedInfo(
        client=("192.0.2.1", 0)
    )
    assert origin(*lines, believed=frozenset({"x-forwarded-prefix"})) == ForwardedInfo(prefix="/p")


def test_the_cache_is_bounded() -> None:
    proxies = TrustedProxies(Networks([]), ALL, strips=False)
    for number in range(3000):
        value = b"192.0.%d.%d" % divmod(number, 256)
        found = proxies.read_forwarded([(b"x-forwarded-for", value)])
        assert found.client == (value.decode(), 0)
    proxies.read_forwarded([(b"x-forwarded-for", b"x" * 1000)])
    assert len(proxies._cache) <= 1024


def test_names_of_forwarding_fields_are_recognized() -> None:
    assert is_forwarding_field(b"forwarded")
    assert is_forwarding_field(b"x-forwarded-ssl")
    assert not is_forwarding_field(b"x_forwarded_for")


PIECES = st.one_of(
    st.sampled_from(
        ["for=", "proto=https", "host=a", ";", ",", '"', "\\", " ", "[", "]", "unknown", "_x", "="]
    ),
    st.ip_addresses().map(str),
    st.ip_addresses(network="10.0.0.0/8").map(str),
    st.text(st.characters(codec="latin-1"), max_size=3),
)
VALUES = st.lists(PIECES, max_size=12).map("".join)


@given(forwarded=VALUES, listed=VALUES, host=VALUES, prefix=VALUES)
def test_only_addresses_that_were_sent_are_found(
    forwarded: str, listed: str, host: str, prefix: str
) -> None:
    lines = [
        f"Forwarded: {forwarded}",
        f"X-Forwarded-For: {listed}",
        f"X-Forwarded-Host: {host}",
        f"X-Forwarded-Prefix: {prefix}",
    ]
    try:
        found = origin(*lines)
    except ClientError:
        return  # they contradict each other
    if found.client is not None:
        assert str(ip_address(found.client[0])) == found.client[0]
        assert found.client[0] in _addresses(forwarded) | _addresses(listed)
    assert found.scheme in (None, "http", "https")
    assert found.host is None or (found.host.isascii() and " " not in found.host)
    if found.prefix is not None:
        assert found.prefix in prefix
        assert found.prefix.startswith("/")
        assert not found.prefix.startswith("//")


def _addresses(text: str) -> set[str]:
    """Return every address that can be found anywhere in a text, in its canonical form."""
    plain = text.replace("\\", "")
    found = set()
    for start in range(len(plain)):
        for end in range(start + 2, min(start + 46, len(plain)) + 1):
            if plain[start] not in '[ ,;="' and (known := parse_node(plain[start:end])):
                found.add(known[0])
    return found


@given(st.lists(st.ip_addresses(network="10.0.0.0/8").map(str), max_size=3), st.ip_addresses())
def test_values_that_a_client_sends_have_no_effect_on_those_of_the_proxies(
    proxies: list[str], real: object
) -> None:
    """Values that the client sent have no effect on the values that the proxies appended."""
    for lie in ("6.6.6.6", '"', 'for="', "\\", "for=6.6.6.6;x=", "[", "10.0.0.9, 6.6.6.6"):
        chain = ", ".join([lie, str(real), *proxies])
        stated = client(f"X-Forwarded-For: {chain}")
        if str(real) in ("::1",) or str(real).startswith("10."):
            continue
        node = parse_node(str(real))
        assert node is not None
        assert stated == node[0]
        nodes = [f'for="[{n}]"' if ":" in n else f"for={n}" for n in (str(real), *proxies)]
        assert client("Forwarded: " + ", ".join([lie, *nodes])) == node[0]
