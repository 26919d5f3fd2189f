"""Secrets of the master stay out of the workers' environment and out of what is printed."""

import http.client
import json
import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.certificates import SECRET as KEY_SECRET
from tests.certificates import Authority
from tests.live.harness import Server, command, serving, wait_for
from tests.live.home import temporary_home

SECRET = "hunter2-open-sesame"

APP = """\
import os
import subprocess


def app(environ, start_response):
    seen = subprocess.check_output(["env"]).decode()
    with open("/proc/self/environ") as file:
        seen += file.read()
    with open(f"/proc/{os.getppid()}/environ") as file:
        seen += file.read()
    seen += repr(dict(os.environ))
    start_response("200 OK", [])
    return [seen.encode()]
"""


def environments(server: Server) -> dict[int, bytes]:
    """Return /proc/PID/environ of the master and all its descendants."""
    found = {}
    master = psutil.Process(server.pid)
    for process in (master, *master.children(recursive=True)):
        try:
            found[process.pid] = Path(f"/proc/{process.pid}/environ").read_bytes()
        except (ProcessLookupError, FileNotFoundError):
            pass  # it ended meanwhile
    return found


def status_reload(server: Server, token: str) -> int:
    """Return the status code of a reload request to the status server with this token."""
    port = int(server.wait_log(r"status on [^ ]*?:(\d+)")[1])
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        client.request("POST", "/reload", b"{}", headers)
        answer = client.getresponse()
        answer.read()
        return answer.status
    finally:
        client.close()


@pytest.mark.parametrize("title", ["prefork", "off"])
def test_no_process_has_the_status_token_in_its_environment(tmp_path: Path, title: str) -> None:
    (tmp_path / "app.py").write_text(APP)
    words = ("--status", "127.0.0.1:0", "--status-token", "env:MY_TOKEN", "--proctitle", title)
    also = ("--log-dir", "logs", "--name", f"secret-{title}")
    with serving(tmp_path, "app:app", *words, *also, env={"MY_TOKEN": SECRET}) as server:
        assert len(environments(server)) == 4  # master, worker, log writer, status server
        assert all(SECRET.encode() not in seen for seen in environments(server).values())
        assert SECRET.encode() not in server.get()[1]
        # A reload reads it again, and it means what it meant.
        server.send(signal.SIGHUP)
        server.wait_log("reloaded to gen 2")
        assert SECRET.encode() not in server.get()[1]
        assert status_reload(server, "wrong") == 401
        assert status_reload(server, SECRET) in (200, 202)
        server.wait_log("reloaded to gen 3")
        ended = command("env", f"secret-{title}", "--reveal", cwd=tmp_path)
        assert SECRET not in ended.stdout


def test_a_token_that_a_reload_adds_is_used_and_hidden(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    settings = tmp_path / "prefork.toml"
    settings.write_text('status = "127.0.0.1:0"\n')
    environ = {"LATER": SECRET}
    with serving(tmp_path, "app:app", "-c", "prefork.toml", env=environ) as server:
        settings.write_text('status = "127.0.0.1:0"\nstatus-token = "env:LATER"\n')
        server.send(signal.SIGHUP)
        server.wait_log("reloaded to gen 2")
        assert SECRET.encode() not in server.get()[1]
        assert status_reload(server, SECRET) in (200, 202)


def test_the_password_of_a_key_is_in_no_environment_and_decrypts_a_renewed_key(
    ca: Authority, tmp_path: Path
) -> None:
    # Each generation adds the names of its variables.
    seen = "import os\nwith open('seen', 'a') as file: print(*os.environ, file=file)\n"
    (tmp_path / "app.py").write_text(seen + APP)
    site = ca.issue("secret", "site.test", password=KEY_SECRET)
    words = ("--tls-cert", site.pair, "--tls-watch", "--tls-password", "env:WORD")
    with serving(tmp_path, "app:app", *words, env={"WORD": KEY_SECRET}) as server:
        assert all(KEY_SECRET.encode() not in seen for seen in environments(server).values())
        os.utime(site.key)
        server.wait_log("new connections get the new certificate")
        server.send(signal.SIGHUP)
        server.wait_log("reloaded to gen 2")
        names = [line.split() for line in (tmp_path / "seen").read_text().splitlines()]
        assert [("PREFORK_SLOT" in line, "WORD" in line) for line in names] == [(True, False)] * 2
        assert all(KEY_SECRET.encode() not in seen for seen in environments(server).values())


def test_a_program_does_not_get_the_token_either(tmp_path: Path) -> None:
    words = ["--name", "secretprogram", "--status", "127.0.0.1:0", "--status-token", "env:MY_TOKEN"]
    program = ["--", "sh", "-c", "env > seen; exec sleep 600"]
    server = Server(*words, *program, cwd=tmp_path, env={"MY_TOKEN": SECRET})
    try:
        server.ready()
        wait_for(lambda: "PREFORK_SLOT" in (tmp_path / "seen").read_text(), "its variables")
        assert SECRET not in (tmp_path / "seen").read_text()
    finally:
        server.destroy()


@pytest.mark.parametrize(
    "words",
    [
        ("--print-config", "-e", f"KEY={SECRET}", "app:app"),
        ("--check", "-e", f"KEY={SECRET}", "app:app"),
        ("-e", f"KEY={SECRET}", "-e", SECRET, "app:app"),
        ("-e", f"KEY={SECRET}", "-e", f"{SECRET}=x", "app:app"),
    ],
    ids=["print-config", "check", "wrong", "wrong-name"],
)
def test_printed_settings_mask_the_values_of_variables(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    (tmp_path / "app.py").write_text(APP)
    ended = command(*words, cwd=tmp_path)
    assert SECRET not in ended.stdout
    assert f"KEY={SECRET}" not in ended.stderr
    if "--print-config" in words:
        assert '# env = { KEY = "***" }  # command line' in ended.stdout


def test_the_verbs_show_no_values_of_variables(tmp_path: Path) -> None:
    with temporary_home(tmp_path) as home:
        home.start("web", "-e", f"KEY={SECRET}")
        for words in (
            ("show", "web"),
            ("show", "--json", "web"),
            ("list", "--json"),
            ("reload", "--dry-run", "web"),
            ("report",),
            ("env", "web"),
            ("logs", "web"),
        ):
            done = home.run(*words)
            assert SECRET not in done.stdout + done.stderr, words
        state = home.home / "web" / "state"
        assert state.stat().st_mode & 0o077 == 0  # what starts it again is in there
        assert "KEY" in json.loads(home.run_ok("show", "--json", "web"))["settings"]["env"]
        assert f"KEY={SECRET}" in home.run_ok("env", "--reveal", "web")
