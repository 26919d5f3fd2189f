"""Certificate files: errors are one line, and new files take effect by a reload or --tls-watch."""

import os
import signal
import socket
import ssl
from pathlib import Path

import pytest

from tests.certificates import SECRET, Authority, Issued
from tests.live.app_sources import write_version
from tests.live.client_load import client_load
from tests.live.harness import PATIENCE, Server, command, serving, shared_folder
from tests.live.raw_client import ask, get
from tests.live.tls_client import connect_tls, has_clean_log, is_refused


@pytest.fixture
def folder(ca: Authority) -> Path:
    return ca.folder


def test_an_error_is_one_line(folder: Path) -> None:
    words = ("--tls-cert", "good.pem,key=other.key", "-b", "127.0.0.1:0", "prefork.demo:wsgi")
    run = command(*words, cwd=folder)
    assert run.returncode == 100
    complaint = f"{folder}/other.key is not the key of the certificate {folder}/good.pem"
    assert run.stderr == f"prefork: tls-key: {complaint}\n"


def test_https_needs_a_certificate(folder: Path) -> None:
    run = command("-b", "https://127.0.0.1:0", "prefork.demo:wsgi", cwd=folder)
    assert run.returncode == 100
    assert "bind: https://127.0.0.1:0 needs a certificate; set tls-cert" in run.stderr


def test_check_reads_certificates_too(folder: Path) -> None:
    words = ("--tls-cert", "good.pem,key=other.key", "prefork.demo:wsgi")
    assert "is not the key of" in command("--check", *words, cwd=folder).stderr


def test_a_password_is_not_printed(folder: Path) -> None:
    words = ("--tls-cert", "locked.both", "--tls-password", "env:WORD", "--print-config")
    run = command(*words, cwd=folder, env={"WORD": SECRET})
    assert 'tls-password = "env:WORD"' in run.stdout
    assert SECRET not in run.stdout
    told = command("--tls-password", SECRET, cwd=folder)
    assert told.returncode == 100
    assert SECRET not in told.stderr


def test_a_main_that_takes_its_connections_itself_has_no_tls(folder: Path) -> None:
    words = ("-b", "127.0.0.1:0", "--tls-cert", "good.both", "prefork.demo:main")
    run = command(*words, cwd=folder)
    assert run.returncode == 100
    assert "main(listener) accepts its connections itself" in run.stderr


def test_an_expired_certificate_is_served_with_a_warning(ca: Authority, tmp_path: Path) -> None:
    old = ca.issue("old", "site.test", days=-1)
    with serving(tmp_path, "prefork.demo:wsgi", "--tls-cert", str(old.both)) as server:
        server.wait_log("WARNING tls-cert: .*old.both is not valid any more: it expired on 20")
        context = ca.trusting(check_hostname=False, verify_mode=ssl.CERT_NONE)
        assert not is_refused(server, context)


# New files.


def presented_certificate(server: Server, ca: Authority) -> str:
    """Return the certificate that the server presents to a new client, in PEM."""
    with connect_tls(server, ca.trusting()) as wire:
        return ssl.DER_cert_to_PEM_cert(
            wire.socket.getpeercert(binary_form=True)  # type: ignore[attr-defined]
        )


def replace(target: Issued, source: Issued) -> None:
    """Replace the files one after the other by renaming new ones, as certbot does."""
    for name in ("chain", "key", "both"):
        new = getattr(target, name).with_suffix(".new")
        new.write_bytes(getattr(source, name).read_bytes())
        new.rename(getattr(target, name))


def test_a_reload_takes_new_certificates_and_refuses_wrong_ones(
    ca: Authority, tmp_path: Path
) -> None:
    site, first, second = (ca.issue(name, "site.test") for name in ("live", "first", "second"))
    replace(site, first)
    write_version(tmp_path, 1)
    with serving(tmp_path, "app:app", "--tls-cert", site.pair) as server:
        assert presented_certificate(server, ca) in first.chain.read_text()
        site.chain.write_bytes(second.chain.read_bytes())
        server.send(signal.SIGHUP)
        server.wait_log("reload failed, gen 1 serves on: tls-key: .*live.key is not the key of")
        assert presented_certificate(server, ca) in first.chain.read_text()
        site.key.write_bytes(second.key.read_bytes())
        server.send(signal.SIGHUP)
        server.wait_log("reloaded to gen 2")
        assert presented_certificate(server, ca) in second.chain.read_text()
        site.key.unlink()
        server.send(signal.SIGHUP)
        server.wait_log("reload failed, gen 2 serves on: tls-key: cannot read .*live.key: no such")
        assert presented_certificate(server, ca) in second.chain.read_text()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_survive_a_reload_unless_the_certificate_changed(
    version: ssl.TLSVersion, ca: Authority, tmp_path: Path
) -> None:
    site, other = (ca.issue(f"{name}-{version}", "site.test") for name in ("resumed", "changed"))
    write_version(tmp_path, 1)
    context = ca.trusting(maximum_version=version)
    with serving(tmp_path, "app:app", "--tls-cert", site.pair, workers=2) as server:
        session, _ = visit(server, context, None)
        for generation in range(2, 4):
            server.send(signal.SIGHUP)
            server.wait_log(f"reloaded to gen {generation} ")
            session, reused = visit(server, context, session)
            assert reused
        replace(site, other)
        server.send(signal.SIGHUP)
        server.wait_log("reloaded to gen 4 ")
        assert visit(server, context, session)[1] is False


def visit(
    server: Server, context: ssl.SSLContext, session: ssl.SSLSession | None
) -> tuple[ssl.SSLSession | None, bool | None]:
    """Send a request; return the TLS session, and whether it was resumed."""
    raw = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
    with context.wrap_socket(raw, server_hostname="site.test", session=session) as sock:
        sock.sendall(get("/"))
        assert sock.recv(1)
        return sock.session, sock.session_reused


def test_a_reload_turns_tls_on_and_off_on_the_same_port(ca: Authority, folder: Path) -> None:
    write_version(folder, 1)
    file = folder / "prefork.toml"
    secured = 'tls-cert = ["good.both"]\n'
    file.write_text('bind = ["127.0.0.1:0"]\n')
    server = Server("-c", str(file), "app:app", cwd=folder)
    try:
        server.ready()
        port = server.port
        assert ask(server, get("/")).status == 200
        binds = ["https://127.0.0.1:0", "127.0.0.1:0", "http://127.0.0.1:0", "127.0.0.1:0"]
        for generation, bind in enumerate(binds, 2):
            file.write_text(f'bind = ["{bind}"]\n{secured}')
            server.send(signal.SIGHUP)
            server.wait_log(f"reloaded to gen {generation}")
            if "http:" in bind:
                assert ask(server, get("/")).status == 200
            else:
                with connect_tls(server, ca.trusting()) as wire:
                    assert wire.send(get("/")).answer().status == 200
        assert server.port == port
    finally:
        server.destroy()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_workers_need_not_be_able_to_read_the_key(ca: Authority) -> None:
    with shared_folder() as here:
        write_version(here, 1)
        (here / "keys").mkdir()
        private = Authority(here / "keys")
        site = private.issue("site", "site.test")
        site.key.chmod(0o600)
        words = ("-u", "65534", "--tls-cert", site.pair, "--tls-watch")
        with serving(here, "app:app", *words) as server:
            server.wait_log("tls-watch: the workers' user may not read .*site.key; a change shows")
            assert not is_refused(server, private.trusting())
            replace(site, private.issue("next", "site.test"))
            site.key.chmod(0o600)
            server.wait_log("going on with the old certificate: .* cannot read .*: permission")
            assert not is_refused(server, private.trusting())


def test_watched_certificates_are_swapped_under_load_without_a_failure(
    ca: Authority, tmp_path: Path
) -> None:
    names = ("watched", "a", "b")
    site, *versions = (ca.issue(name, "site.test", "localhost") for name in names)
    write_version(tmp_path, 1)
    words = ("--tls-cert", site.pair, "--tls-watch")
    with (
        serving(tmp_path, "app:app", *words, workers=2) as server,
        client_load(server.port, keep=8, fresh=8, ca=str(ca.file)) as clients,
    ):
        before = {worker.pid for worker in server.workers()}
        for at, version in enumerate(versions, 1):
            replace(site, version)
            server.wait_log("new connections get the new certificate", 2 * at)
            clients.run_phase(f"certificate {at}", 50)
            assert presented_certificate(server, ca) in version.chain.read_text()
        # Half a pair changes nothing.
        site.chain.write_bytes(versions[0].chain.read_bytes())
        server.wait_log("going on with the old certificate: tls-key: .* is not the key of", 2)
        assert presented_certificate(server, ca) in versions[1].chain.read_text()
        clients.run_phase("half a pair", 50)
        report = clients.stop()
        assert not report.failures, str(report)
        assert {worker.pid for worker in server.workers()} == before
        assert has_clean_log(server)
