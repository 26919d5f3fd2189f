"""TLS over real connections: handshakes, certificates, and the information for the app."""

import re
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Issued, Keyring
from tests.live.harness import APPS, PATIENCE, Server, serving
from tests.live.raw_client import CutOffError, get, tcp
from tests.live.tls_client import (
    connect_plain,
    connect_tls,
    has_clean_log,
    is_refused,
    read_dump,
    serving_tls,
)
from tests.live.web_apps import lazy_servers, serving_app


@pytest.fixture(scope="module")
def servers(keys: Keyring, tmp_path_factory: Any) -> Iterator[Callable[[str], Server]]:
    def start(kind: str) -> Any:
        folder = tmp_path_factory.mktemp(kind)
        return serving_tls(kind, folder, keys)

    with lazy_servers(start) as made:
        yield made
        assert has_clean_log(made("wsgi"))
        assert has_clean_log(made("asgi"))


@pytest.fixture(params=["wsgi", "asgi"])
def server(servers: Callable[[str], Server], request: pytest.FixtureRequest) -> Server:
    return servers(request.param)


@pytest.fixture
def wsgi(servers: Callable[[str], Server]) -> Server:
    return servers("wsgi")


@pytest.fixture
def asgi(servers: Callable[[str], Server]) -> Server:
    return servers("asgi")


# The information for the app.


def test_a_wsgi_environ_has_the_variables_of_mod_ssl(wsgi: Server, keys: Keyring) -> None:
    with connect_tls(wsgi, keys.ca.trusting()) as wire:
        environ = read_dump(wire)
        assert environ["wsgi.url_scheme"] == "https"
        assert environ["HTTPS"] == "on"
        assert environ["SSL_PROTOCOL"] == "TLSv1.3"
        assert environ["SSL_CIPHER"] == wire.socket.cipher()[0]  # type: ignore[attr-defined]
        assert environ["SSL_CIPHER_USEKEYSIZE"] == "256"
        assert environ["SSL_CLIENT_VERIFY"] == "NONE"
        assert environ["SSL_SERVER_CERT"] in keys.site.chain.read_text()
        assert not [key for key in environ if key.startswith("SSL_CLIENT_S")]
        assert environ["REMOTE_ADDR"] == "127.0.0.1"
        # The second request of the connection gets the same.
        assert read_dump(wire) == environ


def test_a_wsgi_environ_has_the_client_certificate(wsgi: Server, keys: Keyring) -> None:
    with connect_tls(wsgi, keys.ca.trusting(keys.ann)) as wire:
        environ = read_dump(wire)
    assert environ["SSL_CLIENT_VERIFY"] == "SUCCESS"
    assert environ["SSL_CLIENT_CERT"] in keys.ann.chain.read_text()
    assert environ["SSL_CLIENT_CERT_CHAIN_0"] == keys.ca.file.read_text()
    name = environ["SSL_CLIENT_S_DN"].encode("latin-1").decode()
    assert name == "CN=Ann\\, née Ü,O=Tests"
    assert environ["SSL_CLIENT_I_DN"] == "CN=The ca"
    assert re.fullmatch("[0-9A-F]+", environ["SSL_CLIENT_M_SERIAL"])
    assert environ["SSL_CLIENT_V_START"].endswith("GMT")
    assert environ["SSL_CLIENT_V_END"].endswith("GMT")


def test_an_asgi_scope_has_the_tls_extension(asgi: Server, keys: Keyring) -> None:
    with connect_tls(asgi, keys.ca.trusting()) as wire:
        scope = read_dump(wire)
    assert scope["scheme"] == "https"
    tls = scope["extensions"]["tls"]
    assert tls.pop("server_cert") in keys.site.chain.read_text()
    assert tls.pop("cipher_suite") in (0x1301, 0x1302, 0x1303)
    assert tls == {
        "client_cert_chain": [],
        "client_cert_name": None,
        "client_cert_error": None,
        "tls_version": 0x0304,
    }


def test_an_asgi_scope_has_the_client_certificate(asgi: Server, keys: Keyring) -> None:
    context = keys.ca.trusting(keys.ann, maximum_version=ssl.TLSVersion.TLSv1_2)
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    with connect_tls(asgi, context) as wire:
        tls = read_dump(wire)["extensions"]["tls"]
    assert "".join(tls["client_cert_chain"]) == keys.ann.chain.read_text()
    assert tls["client_cert_name"] == "CN=Ann\\, née Ü,O=Tests"
    assert (tls["tls_version"], tls["cipher_suite"]) == (0x0303, 0xC02B)


def test_a_resumed_session_has_the_client_certificate(asgi: Server, keys: Keyring) -> None:
    context = keys.ca.trusting(keys.ann)
    with connect_tls(asgi, context) as wire:
        read_dump(wire)
        session = wire.socket.session  # type: ignore[attr-defined]
    with tcp(asgi) as wire:
        wire.socket = context.wrap_socket(wire.socket, server_hostname="site.test", session=session)
        assert wire.socket.session_reused  # type: ignore[attr-defined]
        tls = read_dump(wire)["extensions"]["tls"]
    assert tls["client_cert_name"] == "CN=Ann\\, née Ü,O=Tests"
    assert tls["client_cert_chain"][0] in keys.ann.chain.read_text()


def test_another_port_of_the_same_server_may_be_without_tls(server: Server) -> None:
    with connect_plain(server) as wire:
        tls = read_dump(wire)
    assert tls.get("wsgi.url_scheme", tls.get("scheme")) == "http"
    assert not [key for key in tls if key.startswith(("SSL_", "HTTPS"))]
    assert "tls" not in tls.get("extensions", {})


# The choice of the certificate.


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("site.test", "site"),
        ("a.wild.test", "wild"),
        ("A.Wild.TEST", "wild"),
        ("wild.test", "site"),
        ("a.b.wild.test", "site"),
        ("unknown.test", "site"),
        (None, "site"),
    ],
)
def test_the_server_name_selects_the_certificate(
    asgi: Server, keys: Keyring, name: str | None, chosen: str
) -> None:
    context = keys.ca.trusting(check_hostname=False)
    with connect_tls(asgi, context, name) as wire:
        shown = wire.socket.getpeercert(binary_form=True)  # type: ignore[attr-defined]
        expected: Issued = getattr(keys, chosen)
        assert ssl.DER_cert_to_PEM_cert(shown) in expected.chain.read_text()
        # The app gets the certificate that the client saw.
        assert read_dump(wire)["extensions"]["tls"]["server_cert"] == ssl.DER_cert_to_PEM_cert(
            shown
        )


def test_a_server_name_that_is_not_ascii_ends_the_handshake_and_prints_nothing(
    asgi: Server, keys: Keyring
) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = keys.ca.trusting().wrap_bio(incoming, outgoing, server_hostname="xxxxxx.test")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    hello = outgoing.read()
    assert b"xxxxxx" in hello
    with tcp(asgi) as wire:
        wire.send(hello.replace(b"xxxxxx", b"\xff\xfe\xfd\n\r\xff"))
        with pytest.raises((CutOffError, AssertionError)):
            wire.answer()  # an alert, if anything
    asgi.wait_log("did not get in")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_certificate_of_another_authority_is_refused(
    server: Server, keys: Keyring, version: ssl.TLSVersion
) -> None:
    assert is_refused(server, keys.ca.trusting(keys.stranger, maximum_version=version))
    assert not is_refused(server, keys.ca.trusting(keys.ann, maximum_version=version))


def test_alpn_selects_http_1_1(server: Server, keys: Keyring) -> None:
    context = keys.ca.trusting()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with connect_tls(server, context) as wire:
        assert wire.socket.selected_alpn_protocol() == "http/1.1"  # type: ignore[attr-defined]


def curl(server: Server, keys: Keyring, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    port = server.port
    return subprocess.run(
        [
            *("curl", "--silent", "--cacert", str(keys.ca.file)),
            *("--connect-to", f"::127.0.0.1:{port}", *arguments),
        ],
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )


def test_curl_connects(server: Server, keys: Keyring) -> None:
    assert curl(server, keys, "https://site.test/hello").stdout == b"hello"
    assert curl(server, keys, "--tls-max", "1.2", "https://a.wild.test/hello").stdout == b"hello"
    twice = curl(server, keys, "-v", "https://site.test/hello", "https://site.test/told/again")
    assert twice.stdout == b"helloagain"
    assert b"Re-using existing connection" in twice.stderr
    both = f"{keys.ann.chain}"
    shown = curl(server, keys, "--cert", both, "--key", f"{keys.ann.key}", "https://site.test/dump")
    assert b"Ann" in shown.stdout
    old = curl(
        server, keys, "--tls-max", "1.1", "--ciphers", "ALL@SECLEVEL=0", "https://site.test/"
    )
    assert old.returncode == 35


def test_required_certificates_an_encrypted_key_and_one_version_only(
    keys: Keyring, tmp_path: Path
) -> None:
    locked = keys.ca.issue("locked", "site.test", password="Sesam öffne dich")
    word = tmp_path / "word"
    word.write_text("Sesam öffne dich\n")
    with serving_app(
        "wsgi",
        tmp_path,
        *("--tls-cert", str(locked.chain), "--tls-key", str(locked.key)),
        *("--tls-password", f"file:{word}", "--tls-minimum", "1.3"),
        *("--tls-client", "required", "--tls-ca", str(keys.ca.file)),
    ) as server:
        assert is_refused(server, keys.ca.trusting())
        assert is_refused(server, keys.ca.trusting(keys.stranger))
        old = keys.ca.trusting(keys.ann, maximum_version=ssl.TLSVersion.TLSv1_2)
        assert is_refused(server, old)
        assert not is_refused(server, keys.ca.trusting(keys.ann))


def test_only_the_named_ciphers_and_the_password_from_a_variable(
    keys: Keyring, tmp_path: Path
) -> None:
    locked = keys.ca.issue("locked2", "site.test", password="Sesam")
    with serving(
        tmp_path,
        "web_wsgi:app",
        *("--pythonpath", str(APPS), "--tls-cert", str(locked.both)),
        *("--tls-ciphers", "ECDHE-ECDSA-CHACHA20-POLY1305", "--tls-password", "env:WORD"),
        env={"WORD": "Sesam"},
    ) as server:
        context = keys.ca.trusting(maximum_version=ssl.TLSVersion.TLSv1_2)
        with connect_tls(server, context) as wire:
            assert read_dump(wire)["SSL_CIPHER"] == "ECDHE-ECDSA-CHACHA20-POLY1305"
        context.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")
        assert is_refused(server, context)


# Failed handshakes.


def test_plain_http_on_a_tls_port_is_closed(server: Server, keys: Keyring) -> None:
    with tcp(server) as wire:
        assert wire.send(get("/hello")).read_to_end() == b""
    server.wait_log("127.0.0.1 did not get in: .*http request")
    assert not is_refused(server, keys.ca.trusting())


@pytest.mark.parametrize(
    "sent", [b"", b"\x16\x03\x01\x02\x00", b"\x16\x03\x01\xff\xff" + b"x" * 999]
)
def test_a_handshake_that_does_not_arrive_in_time_is_closed(
    tmp_path: Path, keys: Keyring, sent: bytes
) -> None:
    with (
        serving_tls("wsgi", tmp_path, keys, "--handshake-timeout", "500ms") as server,
        tcp(server) as wire,
    ):
        # Nothing, or one alert (RFC 8446 section 5.1).
        rest = wire.send(sent).read_to_end()
        assert rest == b"" or (rest[:1], len(rest)) == (b"\x15", 7)
        server.wait_log("did not get in: .*(taking longer|SSL)")


def test_a_client_that_disconnects_during_the_handshake_is_not_an_error(server: Server) -> None:
    before = server.count("did not get in")
    with tcp(server) as wire:
        wire.send(b"\x16\x03\x01").shut_down_writing()
        assert wire.ends_cleanly()
    with tcp(server) as wire:
        wire.send(b"\x16\x03\x01").reset()
    server.wait_log("did not get in", before + 2)


# Alerts.

CBC = "ECDHE-ECDSA-AES256-SHA384"


@pytest.fixture(scope="module")
def strict(keys: Keyring, tmp_path_factory: Any) -> Iterator[Server]:
    """A server that requires client certificates."""
    words = (
        "--tls-cert",
        keys.site.pair,
        "--tls-client",
        "required",
        "--tls-ca",
        str(keys.ca.file),
    )
    with serving_app("wsgi", tmp_path_factory.mktemp("strict"), *words) as server:
        yield server


@pytest.mark.parametrize(
    ("version", "client", "alert"),
    [
        (ssl.TLSVersion.TLSv1_2, "no certificate", "HANDSHAKE_FAILURE"),
        (ssl.TLSVersion.TLSv1_3, "no certificate", "CERTIFICATE_REQUIRED"),
        (ssl.TLSVersion.TLSv1_2, "stranger", "UNKNOWN_CA"),
        (ssl.TLSVersion.TLSv1_3, "stranger", "UNKNOWN_CA"),
    ],
)
def test_an_alert_names_the_problem_of_a_client_certificate(
    strict: Server, keys: Keyring, version: ssl.TLSVersion, client: str, alert: str
) -> None:
    certificate = keys.stranger if client == "stranger" else None
    assert alert in alert_of(strict, keys.ca.trusting(certificate, maximum_version=version))


def test_a_client_without_a_common_version_gets_an_alert(keys: Keyring, tmp_path: Path) -> None:
    with serving_app(
        "wsgi", tmp_path, "--tls-cert", keys.site.pair, "--tls-minimum", "1.3"
    ) as server:
        old = keys.ca.trusting(maximum_version=ssl.TLSVersion.TLSv1_2)
        assert "PROTOCOL_VERSION" in alert_of(server, old)


def test_a_client_with_cbc_ciphers_only_gets_an_alert(server: Server, keys: Keyring) -> None:
    context = keys.ca.trusting(maximum_version=ssl.TLSVersion.TLSv1_2)
    context.set_ciphers(CBC)
    assert "HANDSHAKE_FAILURE" in alert_of(server, context)


def test_cbc_ciphers_can_be_enabled(keys: Keyring, tmp_path: Path) -> None:
    with serving_app(
        "wsgi", tmp_path, "--tls-cert", keys.site.pair, "--tls-ciphers", CBC
    ) as server:
        context = keys.ca.trusting(maximum_version=ssl.TLSVersion.TLSv1_2)
        context.set_ciphers(CBC)
        with connect_tls(server, context) as wire:
            assert read_dump(wire)["SSL_CIPHER"] == CBC


def alert_of(server: Server, context: ssl.SSLContext) -> str:
    """Return the alert that a client gets; in TLS 1.3 it may come after the handshake."""
    with pytest.raises(ssl.SSLError) as caught, connect_tls(server, context) as wire:
        wire.socket.recv(1)
    return str(caught.value.reason)
