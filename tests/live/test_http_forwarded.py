"""Behind a proxy: the client that the app sees, from trusted and untrusted senders."""

import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.live.harness import APPS, PATIENCE, Server, serving, wait_for
from tests.live.raw_client import Answer, RawConnection, ask, get, post, tcp, unix
from tests.live.web_apps import lazy_servers

KINDS = {
    "wsgi": ("behind:wsgi",),
    "threads": ("behind:wsgi", "--threads", "2"),
    "asgi": ("behind:asgi",),
}

FORMAT = "%(h)s %(peer)s %(scheme)s %(request_id)s %(U)s %(s)s"
Start = Callable[[str], Server]
Account = dict[str, Any]


def account_of(answer: Answer) -> Account:
    assert answer.status == 200, answer
    account: Account = json.loads(answer.body)
    return account


def servers(tmp_path_factory: Any, *arguments: str) -> Iterator[Start]:
    def start(kind: str) -> AbstractContextManager[Server]:
        folder = tmp_path_factory.mktemp(kind)
        app, *more = KINDS[kind]
        log = ("--access-log", str(folder / "access.log"), "--access-log-format", FORMAT)
        bind = ("-b", f"unix:{folder / 'socket'}")
        words = ("--pythonpath", str(APPS), *more, *log, *bind, *arguments)
        return serving(folder, app, *words)

    with lazy_servers(start) as made:
        yield made


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: Any) -> Iterator[Start]:
    """A server that trusts loopback, as by default, and all fields."""
    all_fields = ("--forwarded-headers", "x-forwarded", "--forwarded-headers", "forwarded")
    ids = ("--request-id-header", "X-Request-ID", "--request-id-return")
    yield from servers(tmp_path_factory, *all_fields, *ids)


@pytest.fixture(scope="module")
def by_default(tmp_path_factory: Any) -> Iterator[Start]:
    """A server without any option about proxies."""
    yield from servers(tmp_path_factory)


@pytest.fixture(scope="module")
def distrusting(tmp_path_factory: Any) -> Iterator[Start]:
    """A server that trusts 127.0.0.2 only and has a root path of its own."""
    allow = ("--forwarded-allow", "192.0.2.0/24,127.0.0.2", "--root-path", "/shop/")
    ids = ("--request-id-header", "X-Request-ID")
    yield from servers(tmp_path_factory, *allow, *ids, "--forwarded-strip")


kinds = pytest.mark.parametrize("kind", KINDS)


def wait_for_access_log(server: Server, pattern: str) -> str:
    path = server.cwd / "access.log"
    found = wait_for(
        lambda: re.search(rf"^.*{pattern}.*\n", path.read_text(), re.MULTILINE), pattern
    )
    return found[0].rstrip("\n")


@kinds
def test_the_app_and_the_log_see_the_client_behind_the_proxy(trusting: Start, kind: str) -> None:
    server = trusting(kind)
    fields = (
        "X-Forwarded-For: 6.6.6.6, 192.0.2.7, 127.0.0.1",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: shop.example",
        "X-Forwarded-Port: 8443",
        "X-Forwarded-Prefix: /shop/",
    )
    account = account_of(ask(server, get("/an%20article", *fields)))
    assert account["client"] == "192.0.2.7"
    assert account["port"] == ""
    assert account["scheme"] == "https"
    assert account["server"] == "shop.example 8443"
    assert account["fields"]["host"] == "shop.example:8443"
    assert account["fields"]["x-forwarded-for"] == "6.6.6.6, 192.0.2.7, 127.0.0.1"
    assert (account["root"], account["path"]) == ("/shop", "/shop/an article")
    assert wait_for_access_log(server, "article").startswith("192.0.2.7 127.0.0.1 https ")


@kinds
def test_forwarded_has_the_same_effect(trusting: Start, kind: str) -> None:
    field = (
        "Forwarded: for=6.6.6.6;host=evil.example, "
        'for="[2001:DB8::7]:4711";proto=https;host="shop.example:8443", for=127.0.0.1;proto=http'
    )
    account = account_of(ask(trusting(kind), get("/", field)))
    assert (account["client"], account["port"]) == ("2001:db8::7", "4711")
    assert account["scheme"] == "https"
    assert account["server"] == "shop.example 8443"
    assert account["fields"]["host"] == "shop.example:8443"


@kinds
def test_a_kept_connection_carries_many_clients(trusting: Start, kind: str) -> None:
    """Also when the heads come from the cache, with a head without such a field between them."""
    server = trusting(kind)
    with tcp(server) as wire:
        for _ in range(4):
            for client in ("192.0.2.1", "192.0.2.2"):
                request = get("/", f"X-Forwarded-For: {client}", "X-Forwarded-Proto: https")
                account = account_of(wire.send(request).answer())
                assert (account["client"], account["scheme"]) == (client, "https")
            account = account_of(wire.send(get("/")).answer())
            assert (account["client"], account["scheme"]) == ("127.0.0.1", "http")


@kinds
def test_forwarding_fields_of_a_request_with_a_body_take_effect(trusting: Start, kind: str) -> None:
    request = post("/", b"x" * 1000, "X-Forwarded-For: 192.0.2.9")
    assert account_of(ask(trusting(kind), request))["client"] == "192.0.2.9"


def test_forwarding_fields_and_the_id_of_a_websocket_take_effect(trusting: Start) -> None:
    server = trusting("asgi")
    request = get(
        "/socket",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        "X-Forwarded-For: 192.0.2.8",
        "X-Forwarded-Proto: https",
        "X-Request-ID: a-socket",
    )
    answer = ask(server, request)
    account = json.loads(answer.body)
    assert (answer.status, account["client"], account["scheme"]) == (403, "192.0.2.8", "wss")
    assert account["id"] == account["fields"]["x-request-id"] == answer.get("x-request-id")
    assert (
        wait_for_access_log(server, "/socket") == "192.0.2.8 127.0.0.1 https a-socket /socket 403"
    )


def test_a_unix_socket_is_trusted_by_default(trusting: Start) -> None:
    server = trusting("wsgi")
    with unix(server.cwd / "socket") as wire:
        account = account_of(wire.send(get("/unix", "X-Forwarded-For: 192.0.2.3")).answer())
    assert account["client"] == "192.0.2.3"
    assert wait_for_access_log(server, "/unix").startswith("192.0.2.3 - http ")


@pytest.mark.parametrize(
    "fields",
    [
        ("X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.2"),
        ("X-Forwarded-Proto: http", "Forwarded: proto=https"),
        ("X-Forwarded-Host: a.example", "Forwarded: host=b.example"),
    ],
    ids=["client", "scheme", "host"],
)
def test_contradictions_are_refused(trusting: Start, fields: tuple[str, str]) -> None:
    assert ask(trusting("wsgi"), get("/", *fields)).status == 400


def test_malformed_values_have_no_effect(trusting: Start) -> None:
    fields = (
        "X-Forwarded-For: 192.0.2.1, unknown",
        "X-Forwarded-Proto: gopher",
        "X-Forwarded-Host: a b",
        "X-Forwarded-Prefix: //evil.example",
    )
    account = account_of(ask(trusting("wsgi"), get("/", *fields)))
    assert (account["client"], account["scheme"], account["root"]) == ("127.0.0.1", "http", "")
    assert account["fields"]["host"] == "test"


@kinds
def test_only_what_common_proxies_overwrite_counts_by_default(by_default: Start, kind: str) -> None:
    """nginx as most people set it up passes on Host, port and prefix as the client sent them."""
    fields = (
        "X-Forwarded-For: 192.0.2.1",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: evil.example",
        "X-Forwarded-Port: 6666",
        "X-Forwarded-Prefix: /evil",
    )
    account = account_of(ask(by_default(kind), get("/admin", *fields)))
    assert (account["client"], account["scheme"]) == ("192.0.2.1", "https")
    assert (account["root"], account["path"]) == ("", "/admin")
    assert account["fields"]["host"] == "test"


@kinds
def test_names_with_underscores_are_no_forwarding_fields(trusting: Start, kind: str) -> None:
    account = account_of(ask(trusting(kind), get("/", "X_Forwarded_For: 192.0.2.1")))
    assert account["client"] == "127.0.0.1"
    assert "x-forwarded-for" not in account["fields"]


@kinds
def test_fields_of_an_untrusted_client_have_no_effect_and_can_be_stripped(
    distrusting: Start, kind: str
) -> None:
    server = distrusting(kind)
    fields = (
        "X-Forwarded-For: 192.0.2.1",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Prefix: /evil",
        "Forwarded: for=192.0.2.2",
        "X-Request-ID: forged",
        "X-Other: kept",
    )
    with tcp(server) as wire:
        for _ in range(3):
            account = account_of(wire.send(get("/untrusted", *fields)).answer())
            assert (account["client"], account["scheme"]) == ("127.0.0.1", "http")
            assert (account["root"], account["path"]) == ("/shop", "/shop/untrusted")
            assert account["fields"]["x-other"] == "kept"
            assert not any("forwarded" in name for name in account["fields"])
            assert account["id"] != "forged"
            assert account["fields"]["x-request-id"] == account["id"]
    assert wait_for_access_log(server, "/untrusted").startswith("127.0.0.1 127.0.0.1 http ")


@kinds
def test_the_same_bytes_take_effect_from_a_trusted_proxy_only(
    distrusting: Start, kind: str
) -> None:
    request = get("/same", "X-Forwarded-For: 192.0.2.77, 192.0.2.1", "X-Forwarded-Proto: https")
    with tcp(distrusting(kind)) as stranger, connect_from(distrusting(kind), "127.0.0.2") as proxy:
        for _ in range(3):
            for _ in range(3):
                account = account_of(stranger.send(request).answer())
                assert (account["client"], account["scheme"]) == ("127.0.0.1", "http")
                assert "x-forwarded-for" not in account["fields"]
            for _ in range(3):
                account = account_of(proxy.send(request).answer())
                assert (account["client"], account["scheme"]) == ("192.0.2.77", "https")
                assert "x-forwarded-for" in account["fields"]


def connect_from(server: Server, address: str) -> RawConnection:
    """Connect from the given loopback address."""
    sock = socket.create_connection(("127.0.0.1", server.port), PATIENCE, (address, 0))
    return RawConnection(sock)


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_fields_of_untrusted_clients_reach_the_app_unchanged(kind: str, tmp_path: Path) -> None:
    allow = ("--forwarded-allow", "127.0.0.2", "--pythonpath", str(APPS))
    with serving(tmp_path, KINDS[kind][0], *allow) as server:
        request = get("/", "X-Forwarded-For: 192.0.2.1")
        for peer, client in (("127.0.0.1", "127.0.0.1"), ("127.0.0.2", "192.0.2.1")) * 3:
            with connect_from(server, peer) as wire:
                account = account_of(wire.send(request).answer())
            assert account["client"] == client
            assert account["fields"]["x-forwarded-for"] == "192.0.2.1"
            assert account["id"] is None


@kinds
def test_an_id_is_taken_from_a_trusted_proxy(trusting: Start, kind: str) -> None:
    server = trusting(kind)
    answer = ask(server, get("/taken", "X-Request-ID: from-the-proxy/1"))
    account = account_of(answer)
    assert account["id"] == account["fields"]["x-request-id"] == "from-the-proxy/1"
    assert answer.get("x-request-id") == "from-the-proxy/1"
    assert " from-the-proxy/1 /taken" in wait_for_access_log(server, "/taken")


@kinds
def test_requests_without_a_valid_id_get_unique_ones(trusting: Start, kind: str) -> None:
    made = set()
    with tcp(trusting(kind)) as wire:
        for field in ("X-None: 1", "X-Request-ID: " + "x" * 129, "X-Request-ID: a b", "X-None: 1"):
            answer = wire.send(get("/", field)).answer()
            account = account_of(answer)
            assert re.fullmatch("[0-9a-f]{16}-[0-9a-f]+", account["id"])
            assert account["fields"]["x-request-id"] == account["id"] == answer.get("x-request-id")
            made.add(account["id"])
    assert len(made) == 4


@kinds
def test_an_app_may_answer_with_an_id_of_its_own(trusting: Start, kind: str) -> None:
    answer = ask(trusting(kind), get("/own-id"))
    assert answer.get("x-request-id") == "the app's own"


def test_trust_depends_on_the_address_of_the_proxy_protocol(tmp_path: Path) -> None:
    """A relay of TCP cannot vouch for the HTTP inside."""
    words = ("--proxy-protocol", "--pythonpath", str(APPS))
    with serving(tmp_path, KINDS["wsgi"][0], *words) as server:
        for peer, client in (("198.51.100.1", "198.51.100.1"), ("127.0.0.9", "192.0.2.1")):
            with tcp(server) as wire:
                wire.send(f"PROXY TCP4 {peer} 127.0.0.1 4711 80\r\n".encode())
                answer = wire.send(get("/", "X-Forwarded-For: 192.0.2.1")).answer()
                assert account_of(answer)["client"] == client
