"""The status server: responses while all else is blocked, its life cycle, access control."""

import json
import os
import re
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.live.harness import PATIENCE, Server, command, serving, shared_folder, wait_for
from tests.live.status_server import (
    APP,
    STATUS,
    TOKEN,
    fetch,
    fetch_json,
    readiness,
    status_port,
    status_server_process,
    wait_readiness,
    watched,
    with_token,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "web.py").write_text(APP)
    (tmp_path / "token").write_text(TOKEN + "\n")
    return tmp_path


# Responses while workers and master are blocked.


def test_it_responds_while_every_worker_is_blocked_and_the_master_is_stopped(folder: Path) -> None:
    with watched(folder, workers=2) as server, ThreadPoolExecutor() as threads:
        blocked = [threads.submit(server.get, "/blocks") for _ in range(2)]
        try:
            server.wait_log("^blocked", 2)
            os.kill(server.pid, signal.SIGSTOP)
            assert fetch(server, "/livez")[:2] == (200, b"alive\n")
            assert readiness(server) == (200, "ready: 2 of 2 workers")
            families = text_string_to_metric_families(fetch(server, "/metrics")[1].decode())
            samples = [sample for family in families for sample in family.samples]
            ready = {"app": "web", "state": "ready"}
            assert [s.value for s in samples if s.labels == ready] == [2]
            assert len(fetch_json(server, "/status.json")["workers"]) == 2
            assert b"<!doctype html>" in fetch(server, "/")[1]
            status, body, _ = fetch(server, "/deaths.json")
            assert (status, b"it may hang" in body) == (504, True)
        finally:
            os.kill(server.pid, signal.SIGCONT)
            (folder / "gate").touch()
        assert [answer.result()[1] for answer in blocked] == [b"hello"] * 2
        assert fetch_json(server, "/deaths.json") == {"deaths": []}


def test_metrics_and_samples_show_the_work_of_the_workers(folder: Path) -> None:
    with watched(folder) as server:
        fetch_json(server, "/status.json")  # Starts the samples.
        for _ in range(3):
            assert server.get() == (200, b"hello")

        def metrics() -> dict[str, float]:
            families = text_string_to_metric_families(fetch(server, "/metrics")[1].decode())
            every = [sample for family in families for sample in family.samples]
            return {s.name: s.value for s in every if s.labels.get("class") in (None, "2xx")}

        wait_for(lambda: metrics()["prefork_requests_total"] == 3, "three requests")
        found = metrics()
        assert found["prefork_answered_total"] == 3
        assert found["prefork_request_duration_seconds_count"] == 3
        assert found["prefork_memory_bytes"] > 1e6

        def answered() -> float:
            return sum(sample["rate"] for sample in fetch_json(server, "/status.json")["history"])

        wait_for(lambda: answered() > 0, "a sample of them")
        status = fetch_json(server, "/status.json")
        assert (status["app"], status["state"], status["ready"]) == ("web", "running", 1)
        assert status["workers"][0]["requests"] == 3
        last = status["history"][-1]["at"]
        later = fetch_json(server, f"/status.json?since={last}")["history"]
        assert all(sample["at"] > last for sample in later)


# Ready or not.


def test_not_ready_while_booting_draining_stopping_or_with_too_few_workers(folder: Path) -> None:
    (folder / "slow").touch()
    words = ["-b", "127.0.0.1:0", "-w", "1", *STATUS, "--min-ready", "2", "web:app"]
    server = Server(*words, cwd=folder)
    try:
        assert readiness(server) == (503, "starting")
        assert fetch(server, "/livez")[0] == 200
        (folder / "gate").touch()
        wait_readiness(server, 503, "1 of at least 2 workers ready")
        server.send(signal.SIGTTIN)
        wait_readiness(server, 200, "ready: 2 of 2 workers")
        server.send(signal.SIGWINCH)
        wait_readiness(server, 503, "draining")
        server.send(signal.SIGHUP)
        wait_readiness(server, 200, "ready: 2 of 2 workers")
        (folder / "gate").unlink()
        with ThreadPoolExecutor() as threads:
            blocked = threads.submit(server.get, "/blocks")
            server.wait_log("^blocked")
            server.send(signal.SIGTERM)
            wait_readiness(server, 503, "stopping")
            (folder / "gate").touch()
            assert blocked.result() == (200, b"hello")
        assert server.wait_exit() == 0
        assert server.is_gone()
    finally:
        server.destroy()


# The life cycle of the process.


def test_a_killed_status_server_is_replaced_on_the_same_socket(folder: Path) -> None:
    with watched(folder) as server:
        for count in (1, 2):
            old = status_server_process(server)
            old.kill()
            server.wait_log(r"the status server died \(SIGKILL\); a new one is started", count)
            assert fetch(server, "/livez")[0] == 200
            assert status_server_process(server).pid != old.pid
        assert server.stop() == 0
        assert server.is_gone()


def test_it_ends_with_a_killed_master_and_frees_the_port(folder: Path) -> None:
    with watched(folder) as server:
        port, process = status_port(server), status_server_process(server)
        os.kill(server.pid, signal.SIGKILL)
        wait_for(lambda: not process.is_running(), "its end")
        with socket.socket() as free:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind(("127.0.0.1", port))
            free.listen()


def test_signals_to_the_masters_process_group_do_not_end_it(folder: Path) -> None:
    with watched(folder) as server:
        process = status_server_process(server)
        for signum in (signal.SIGHUP, signal.SIGUSR1, signal.SIGTTIN):
            server.send_group(signum)
        server.wait_log("reloaded to gen 2")
        assert fetch(server, "/livez")[0] == 200
        assert status_server_process(server).pid == process.pid


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_it_runs_as_the_workers_do_and_still_sees_log_and_deaths() -> None:
    with shared_folder() as folder:
        (folder / "web.py").write_text(APP)
        options = ("-u", "nobody", "--log-dir", "logs")
        with watched(folder, *options) as server:
            # The status server shows its title before it changes its user.
            uid = the_user("nobody")
            wait_for(lambda: status_server_process(server).uids().real == uid, "the workers' user")
            server.get("/says")
            wait_for(lambda: texts(server)[-1:] == ["<b>bold</b> words"], "a line of the log")
            with pytest.raises(OSError):  # noqa: PT011 - the type varies
                server.get("/dies")
            wait_for(lambda: fetch_json(server, "/deaths.json")["deaths"], "a death")


def the_user(name: str) -> int:
    import pwd

    return pwd.getpwnam(name).pw_uid


def texts(server: Server, **headers: str) -> list[str]:
    return [record["text"] for record in fetch_json(server, "/log.json", **headers)["records"]]


# Access control.


def test_without_a_token_nothing_can_be_changed_and_the_log_is_open(folder: Path) -> None:
    with watched(folder, "--log-dir", "logs") as server:
        for path in ("/reload", "/scale"):
            assert fetch(server, path, "POST", "{}", **with_token())[0] == 404
        server.get("/says")
        wait_for(lambda: "<b>bold</b> words" in texts(server), "a line of the log")
        assert fetch_json(server, "/status.json")["token"] == "none"


def test_the_log_contains_logs_of_single_slots(folder: Path) -> None:
    with watched(folder, "--log-dir", "logs", "--log-split", "slot") as server:
        server.get("/says")
        wait_for(lambda: "<b>bold</b> words" in texts(server), "a line of the slot's log")


def test_with_the_token_it_reloads_and_scales_and_without_it_does_not(folder: Path) -> None:
    with watched(folder, "--status-token", "file:token", "--log-dir", "logs") as server:
        for wrong in ({}, with_token("open-sesam"), {"Authorization": f"Basic {TOKEN}"}):
            for path in ("/reload", "/scale"):
                assert fetch(server, path, "POST", '{"workers": 2}', **wrong)[0] == 401
            assert fetch_json(server, "/status.json", **wrong)["token"] == "asked"
            assert fetch_json(server, "/log.json", **wrong) == {
                "records": [],
                "missing": "unlock it with the token",
            }
        assert server.count("reloading|scaling") == 0

        status, body, _ = fetch(server, "/scale", "POST", '{"workers": "+1"}', **with_token())
        assert (status, json.loads(body)["result"]["workers"]) == (200, 2)
        status, body, _ = fetch(server, "/reload", "POST", **with_token())
        assert (status, json.loads(body)["result"]["generation"]) == (200, 2)
        status, body, _ = fetch(server, "/scale", "POST", '{"workers": "-9"}', **with_token())
        assert (status, b"would leave -7 workers" in body) == (409, True)
        for nonsense in ("", "[", "[1]", '{"worker": 1}', "9" * 5000):
            status, _, _ = fetch(server, "/scale", "POST", nonsense, **with_token())
            assert status == (413 if len(nonsense) > 4096 else 400)
        assert fetch_json(server, "/status.json", **with_token())["token"] == "known"
        assert "records" in fetch_json(server, "/log.json", **with_token())


def test_a_failed_reload_returns_the_reason_to_a_request_with_the_token(folder: Path) -> None:
    with watched(folder, "--status-token", "file:token") as server:
        (folder / "broken").touch()
        status, body, _ = fetch(server, "/reload", "POST", **with_token())
        assert (status, b"the secret is 42" in body) == (409, True)
        wait_for(lambda: fetch_json(server, "/status.json")["state"] == "frozen", "reload failed")
        assert readiness(server)[0] == 200


def test_the_apps_text_about_a_death_needs_the_token_if_there_is_one(folder: Path) -> None:
    (folder / "web.py").write_text(APP + "\nif os.path.exists('gate'): raise SystemExit('42')\n")
    with watched(folder, "--status-token", "file:token") as server:
        (folder / "gate").touch()
        with pytest.raises(OSError):  # noqa: PT011 - the type varies
            server.get("/dies")

        def boot_failures(**headers: str) -> list[Any]:
            deaths = fetch_json(server, "/deaths.json", **headers)["deaths"]
            return [death for death in deaths if death["cause"] == "boot failure"]

        wait_for(boot_failures, "a boot failure")
        assert {death["reason"] for death in boot_failures()} == {""}
        assert "42" in boot_failures(**with_token())[0]["reason"]


def test_another_website_can_neither_read_nor_change_anything(folder: Path) -> None:
    with watched(folder, "--status-token", "file:token") as server:
        port = status_port(server)
        for strange in ({"Host": f"evil.example:{port}"}, {"Origin": "http://evil.example"}):
            for path in ("/", "/status.json", "/deaths.json", "/log.json"):
                assert fetch(server, path, **strange)[0] == 403
            assert fetch(server, "/reload", "POST", **strange, **with_token())[0] == 403
            assert fetch(server, "/readyz", **strange)[0] == 200
            assert fetch(server, "/metrics", **strange)[0] == 200
        own = {"Origin": f"http://127.0.0.1:{port}", "Host": f"127.0.0.1:{port}"}
        assert fetch(server, "/", **own)[0] == 200
        fields = fetch(server, "/")[2]
        assert fields["Content-Security-Policy"].startswith("default-src 'none';")
        assert "unsafe" not in fields["Content-Security-Policy"]
        assert fields["Access-Control-Allow-Origin"] is None
        assert server.count("reloading") == 0


def test_methods_and_paths(folder: Path) -> None:
    with watched(folder, "--status-token", "file:token") as server:
        for path in ("/", "/livez", "/metrics", "/status.json", "/page.js"):
            status, body, fields = fetch(server, path, "HEAD")
            assert (status, body, int(fields["Content-Length"]) > 0) == (200, b"", True)
            status, _, fields = fetch(server, path, "POST")
            assert (status, fields["Allow"]) == (405, "GET, HEAD")
        for path in ("/reload", "/scale"):
            status, _, fields = fetch(server, path, **with_token())
            assert (status, fields["Allow"]) == (405, "POST")
        for path in ("/nowhere", "/page.html", "/site.py", "/../server.py", "//livez"):
            assert fetch(server, path)[0] == 404
        assert fetch(server, "/status.json?since=soon")[0] == 400
        assert fetch(server, "/livez?probe=1")[0] == 200


def test_a_log_that_is_readable_without_a_token_is_warned_about(folder: Path) -> None:
    words = ["--status", "0.0.0.0:0", "-b", "127.0.0.1:0"]
    for more, warnings in (([], 1), (["--status-token", "file:token"], 0)):
        with serving(folder, "web:app", *words, *more) as server:
            assert (
                server.count("WARNING status: every client that reaches 0.0.0.0 can read")
                == warnings
            )


# Settings.


def test_a_reload_changes_the_token_and_min_ready(folder: Path) -> None:
    (folder / "prefork.toml").touch()
    with watched(folder, "--status-token", "file:token", "-c", "prefork.toml") as server:
        (folder / "token").write_text("another")
        (folder / "prefork.toml").write_text("min-ready = 3\n")
        server.send(signal.SIGHUP)
        wait_readiness(server, 503, "1 of at least 3 workers ready")
        assert fetch(server, "/reload", "POST", **with_token())[0] == 401
        assert fetch(server, "/scale", "POST", '{"workers": 1}', **with_token("another"))[0] == 200
        (folder / "token").write_text("")
        server.send(signal.SIGHUP)
        server.wait_log("reload failed.* status-token: file:.*token holds no token")
        assert server.count("the status server died") == 0


def test_on_a_unix_socket(folder: Path) -> None:
    place = folder / "status.sock"
    options = ("--status", f"unix:{place},mode=600")
    with serving(folder, "web:app", *options) as server:
        assert place.stat().st_mode & 0o777 == 0o600
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(str(place))
            client.sendall(b"GET /readyz HTTP/1.1\r\nHost: any\r\nConnection: close\r\n\r\n")
            answer = b""
            while data := client.recv(65536):
                answer += data
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert server.stop() == 0
    assert not place.exists()


def test_without_a_registry_the_response_says_what_is_missing(folder: Path) -> None:
    with watched(folder, env={"PREFORK_HOME": "/proc/nowhere"}) as server:
        answer = fetch_json(server, "/deaths.json")
        assert answer["deaths"] == []
        assert "the home folder cannot be used" in answer["missing"]
        assert "set --log-dir" in fetch_json(server, "/log.json")["missing"]
        assert readiness(server)[0] == 200


@pytest.mark.parametrize(
    ("code", "complaint", "options"),
    [
        (111, "cannot listen on 127.0.0.1:{taken}: the port is in use", ["127.0.0.1:{taken}"]),
        (100, "TLS is not supported there", ["https://127.0.0.1:0"]),
        (100, "--status = 'nonsense:' is wrong: expected a port", ["nonsense:"]),
        (100, "no variable NOT_THERE", ["127.0.0.1:0", "--status-token", "env:NOT_THERE"]),
        (100, "cannot read .*nowhere", ["127.0.0.1:0", "--status-token", "file:nowhere"]),
        (100, "the token itself|file:PATH or env:NAME", ["127.0.0.1:0", "--status-token", TOKEN]),
    ],
)
def test_errors_name_the_cause(folder: Path, code: int, complaint: str, options: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        words = [word.replace("{taken}", port) for word in options]
        place = f"unix:{folder}/app.sock"
        done = command("-b", place, "--status", *words, "web:app", cwd=folder)
    assert done.returncode == code, done.stderr
    assert re.search(complaint.replace("{taken}", port), done.stderr)
    assert TOKEN not in done.stderr
    assert not (folder / "app.sock").exists()


def test_many_silent_connections_do_not_keep_others_out(folder: Path) -> None:
    """Connections beyond the maximum are served when others have ended."""
    with watched(folder) as server:
        silent = [socket.create_connection(("127.0.0.1", status_port(server))) for _ in range(200)]
        try:
            with ThreadPoolExecutor() as threads:
                waiting = threads.submit(fetch, server, "/livez")
                for each in silent[:100]:
                    each.close()
                assert waiting.result()[0] == 200
        finally:
            for each in silent:
                each.close()
        assert not server.count("never retrieved|Traceback")


@pytest.mark.parametrize("sent", [b"", b"GET /livez HTTP/1.1\r\nHost: a\r\nX-Half: ", b"POST / HT"])
def test_half_sent_requests_do_not_keep_others_out(folder: Path, sent: bytes) -> None:
    """With 400 of them open, the oldest ones are closed for new connections."""
    with watched(folder) as server:
        idle = HTTPConnection("127.0.0.1", status_port(server), timeout=PATIENCE)
        idle.request("GET", "/livez")
        assert idle.getresponse().read()
        silent = []
        try:
            for _ in range(400):
                silent.append(socket.create_connection(("127.0.0.1", status_port(server))))
                silent[-1].sendall(sent)
            for path in ("/livez", "/readyz", "/metrics", "/status.json"):
                assert fetch(server, path)[0] == 200
            silent[0].settimeout(PATIENCE)
            with suppress(ConnectionResetError):
                assert silent[0].recv(1) == b""
            # A connection that is idle between two requests is not closed first.
            idle.request("GET", "/livez")
            assert idle.getresponse().status == 200
        finally:
            for each in silent:
                each.close()
            idle.close()


def test_clients_that_read_nothing_do_not_keep_others_out(folder: Path) -> None:
    with watched(folder) as server:
        page = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        silent = []
        try:
            for _ in range(200):
                client = socket.socket()
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                client.connect(("127.0.0.1", status_port(server)))
                client.sendall(page * 50)
                silent.append(client)
            assert fetch(server, "/livez")[0] == 200
        finally:
            for each in silent:
                each.close()
