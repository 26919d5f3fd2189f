"""Programs that share a socket are ready when they accept, and failed starts say why."""

import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.client_load import client_load
from tests.live.harness import Server, command, wait_for
from tests.live.home import Home, temporary_home
from tests.live.programs import running_program
from tests.live.reloads import assert_nothing_lost, reload

BIND = ("-b", "127.0.0.1:0")

SERVER = """\
import os, select, signal, socket, sys, time
sock = socket.socket(fileno=3)
sock.setblocking(False)
body = b"0001 %d " % os.getpid() * 64  # as the clients of client_load expect it
{before}
print("accepts", file=sys.stderr, flush=True)
leaving = False
def leave(*_):
    global leaving
    leaving = True
signal.signal(signal.SIGTERM, leave)
while not leaving:
    if not select.select([sock], [], [], 0.05)[0]:
        continue
    try:
        connection, _ = sock.accept()
    except BlockingIOError:
        continue  # a sibling took it
    connection.setblocking(True)
    connection.recv(65536)
    fields = b"Connection: close\\r\\nContent-Length: %d\\r\\n" % len(body)
    connection.sendall(b"HTTP/1.1 200 OK\\r\\n" + fields + b"\\r\\n" + body)
    connection.close()
"""

LISTENS_ELSEWHERE = """\
import socket, sys, time
own = socket.create_server(("127.0.0.1", 0))
print("own port", own.getsockname()[1], file=sys.stderr, flush=True)
time.sleep(1000)
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with temporary_home(tmp_path) as made:
        yield made


def write_server(folder: Path, before: str = "") -> None:
    (folder / "server.py").write_text(SERVER.format(before=before))


@pytest.mark.parametrize(
    "program", [["python3", "server.py"], ["sh", "-c", "sh -c 'python3 server.py; true'; true"]]
)
def test_a_program_is_ready_when_it_accepts_and_not_when_it_has_lived(
    tmp_path: Path, program: list[str]
) -> None:
    """Also if the process that accepts is a child of wrappers."""
    write_server(tmp_path, "time.sleep(0.3)")
    with running_program(tmp_path, program, *BIND, "--min-uptime", "10ms") as server:
        lines = server.lines
        accepts = lines.index("accepts")
        assert not [line for line in lines[:accepts] if "ready in" in line]
        assert server.get()[1].startswith(b"0001 ")


def test_heirs_are_ready_when_they_accept_themselves(tmp_path: Path) -> None:
    """Two incumbents accept on the same socket meanwhile; no request is lost."""
    write_server(tmp_path)
    options = (*BIND, "--min-uptime", "10ms")
    with (
        running_program(tmp_path, ["python3", "server.py"], *options, workers=2) as server,
        client_load(server.port, keep=0, fresh=4) as clients,
    ):
        clients.run_phase("quiet", 100)
        write_server(tmp_path, "time.sleep(0.3)")
        reload(server, 2)
        clients.run_phase("reloaded", 100)
        assert server.count("^accepts$") == server.count("ready in") == 4
        assert_nothing_lost(clients.stop())


def test_a_heir_that_never_accepts_fails_the_reload_although_its_incumbent_answers(
    tmp_path: Path,
) -> None:
    write_server(tmp_path)
    with running_program(
        tmp_path, ["python3", "server.py"], *BIND, "--boot-timeout", "2s"
    ) as server:
        write_server(tmp_path, "time.sleep(1000)")
        server.send(signal.SIGHUP)
        failed = server.wait_log("reload failed, gen 1 serves on: (.*)")[1]
        assert failed.startswith(
            "worker 0: not ready within --boot-timeout 2s: the program listens nowhere, and does "
            f"not accept on the bound 127.0.0.1:{server.port}: let it accept on descriptor 3"
        )
        assert server.get()[1].startswith(b"0001 ")


def test_a_program_that_listens_elsewhere_fails_with_both_addresses(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(LISTENS_ELSEWHERE)
    options = (*BIND, "--boot-timeout", "30s", "--min-uptime", "10ms")
    with running_program(tmp_path, ["python3", "own.py"], *options, ready=False) as server:
        assert server.wait_exit() == 102
        own = server.wait_log(r"^own port (\d+)$")[1]
        said = server.wait_log("giving up: worker 0: (.*)")[1]
        assert said.startswith(
            f"the program listens on 127.0.0.1:{own}, and does not accept on the bound "
            f"127.0.0.1:{server.port}: "
        ), "it was given up before the boot timeout"


def test_all_shared_sockets_have_to_be_accepted_on(tmp_path: Path) -> None:
    write_server(tmp_path)
    options = (*BIND, "-b", f"unix:{tmp_path}/other", "--boot-timeout", "1s")
    with running_program(tmp_path, ["python3", "server.py"], *options, ready=False) as server:
        assert server.wait_exit() == 102
        said = server.wait_log("giving up: worker 0: (.*)")[1]
        assert f"does not accept on the bound unix:{tmp_path}/other" in said
        assert f":{server.port}" not in said


def test_a_taken_address_is_told_with_the_first_error_and_a_hint(tmp_path: Path) -> None:
    """A wrapper prints more lines than are kept after the error."""
    (tmp_path / "bind.py").write_text(
        "import socket, sys\nsocket.create_server(socket.socket(fileno=3).getsockname())\n"
    )
    words = "python3 bind.py; for n in $(seq 20); do echo npm error $n >&2; done; exit 1"
    done = command(*BIND, "--", "sh", "-c", words, cwd=tmp_path)
    assert done.returncode == 1
    assert "  OSError: [Errno 98] Address already in use" in done.stderr
    failed = " ".join(done.stderr.partition("giving up: ")[2].split())
    assert "(exit code 1); its last output: OSError: [Errno 98] Address already" in failed
    assert " npm error 20 hint: prefork has bound 127.0.0.1:" in failed
    assert "or leave out --bind" in failed


def test_without_bind_the_hint_names_the_other_worker(tmp_path: Path) -> None:
    words = "echo 'OSError: [Errno 98] Address already in use' >&2; exit 1"
    done = command("--", "sh", "-c", words, cwd=tmp_path)
    assert "hint: another process has the address" in done.stderr
    assert "`prefork restart`" in done.stderr


def test_without_bind_the_hint_tells_node_servers_to_share(tmp_path: Path) -> None:
    words = "echo 'Error: listen EADDRINUSE: address already in use :::3000' >&2; exit 1"
    done = command("--", "sh", "-c", words, cwd=tmp_path)
    assert "hint: only one process can listen on :::3000. With `--bind :3000`" in done.stderr


@pytest.mark.parametrize("before_death", ["", "echo READY=1 >&$NOTIFY_FD; "])
def test_commands_on_a_program_that_keeps_dying_end_with_its_reason(
    home: Home, before_death: str
) -> None:
    """It dies before it is ready, or a moment after that; ``list`` and ``why`` tell it."""
    healthy = "test -e healthy && { echo READY=1 >&$NOTIFY_FD; exec sleep 1000; }"
    home.write("job.sh", f"{healthy}\n{before_death}echo 'TypeError: no column' >&2\nexit 3\n")
    (home.folder / "healthy").touch()
    home.run_ok("start", "--name", "job", "--min-uptime", "2s", "--", "sh", "job.sh")
    (home.folder / "healthy").unlink()
    os.kill(home.app("job")["workers"][0]["pid"], signal.SIGKILL)
    wait_for(lambda: home.app("job")["state"] == "failing", "its only slot fails")
    for verb in (["scale", "job", "3"], ["reload", "job"], ["scale", "job", "2"]):
        assert "TypeError: no column" in home.run_failing(102, *verb), verb
    assert home.app("job")["state"] == "failing"
    listed = home.run_ok("list")
    assert " failing " in listed
    assert "`prefork why job`" in listed
    assert "TypeError: no column" in home.run_ok("why", "job")
    (home.folder / "healthy").touch()
    assert "reloaded" in home.run_ok("reload", "job")
    assert home.app("job")["state"] == "running"


READY_THEN_DEAD = """\
import contextlib, fcntl, os, termios, time
with contextlib.suppress(PermissionError):
    os.nice(-20)  # so that it gets a processor within PROGRAM_MIN_READY on a busy machine, too
pipe = int(os.environ["NOTIFY_FD"])
os.write(pipe, b"READY=1")
try:
    os.mkdir("first")
except FileExistsError:
    while any(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4))):
        pass
    os._exit(3)
time.sleep(1000)
"""
"""Only the first one of its processes lives on; the others die when the master has read that they
are ready."""


@pytest.mark.parametrize("verb", [["scale", "job", "2"], ["reload", "job"]])
def test_new_workers_that_die_once_they_were_ready_fail_the_command(
    home: Home, verb: list[str]
) -> None:
    """All was well before it."""
    home.write("job.py", READY_THEN_DEAD)
    program = [sys.executable, "job.py"]
    home.run_ok("start", "--name", "job", "--ready", "notify", "--", *program)
    assert "job.py" in home.run_failing(102, *verb)


def test_a_restart_of_what_cannot_start_any_more_ends_with_its_reason(home: Home) -> None:
    home.write("job.sh", "exec sleep 1000\n")
    home.run_ok("start", "--name", "job", "--min-uptime", "10ms", "--", "sh", "job.sh")
    home.write("job.sh", "echo 'TypeError: no column' >&2; exit 3\n")
    assert "TypeError: no column" in home.run_failing(102, "restart", "job")
    assert home.app("job")["state"] == "failed"
    assert "TypeError: no column" in home.run_ok("why", "job")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give up CAP_SYS_PTRACE")
def test_a_program_that_cannot_be_seen_is_ready_after_min_uptime(tmp_path: Path) -> None:
    """As in a container whose root may not look into processes of other users."""
    script = "import os, time; os.setgid(65534); os.setuid(65534); time.sleep(1000)"
    bounds = ["setpriv", "--bounding-set", "-sys_ptrace", "--inh-caps", "-sys_ptrace"]
    server = Server(
        *BIND, "--min-uptime", "300ms", "--", sys.executable, "-c", script,
        cwd=tmp_path, prefix=bounds,
    )  # fmt: skip
    try:
        server.wait_log("whether the program accepts cannot be seen in /proc")
        server.ready()
        assert server.stop() == 0
    finally:
        server.destroy()


OWN_PORT = """\
import os, socket, sys, time
sock = socket.socket()
{before}
sock.bind(("127.0.0.1", int(sys.argv[1])))
sock.listen()
os.write(int(os.environ["NOTIFY_FD"]), b"READY=1")
time.sleep(1000)
"""

NOTIFY = ("--ready", "notify")


@pytest.mark.parametrize("options", [NOTIFY, (*BIND, *NOTIFY)])
def test_a_reload_of_a_program_that_owns_its_port_proposes_a_restart(
    home: Home, options: tuple[str, ...]
) -> None:
    """Nothing is tried and nothing changes; a restart works."""
    home.write("own.py", OWN_PORT.format(before=""))
    home.run_ok("start", "--name", "own", *options, "--", sys.executable, "own.py", "0")
    said = home.run_failing(100, "reload", "own")
    assert "the program listens on 127.0.0.1:" in said
    assert "`prefork restart own`" in said
    assert "`prefork restart own`" in home.run_failing(100, "reload", "--dry-run", "own")
    app = home.app("own")
    assert (app["state"], app["generation"], app["failure"]) == ("running", 1, "")
    worker = app["workers"][0]["pid"]
    assert "own: stops and starts: " in home.run_ok("restart", "own")
    app = home.app("own")
    assert app["state"] == "running"
    assert app["workers"][0]["pid"] != worker


def test_planned_restarts_of_a_program_that_owns_its_port_propose_a_restart(
    home: Home,
) -> None:
    """It serves on, and no heir fails because the address is in use."""
    home.write("own.py", OWN_PORT.format(before=""))
    planned = ("--cron", "* * * * * *", "--watch", "--watch-delay", "10ms")
    home.run_ok("start", "--name", "own", *NOTIFY, *planned, "--", sys.executable, "own.py", "0")
    worker = home.app("own")["workers"][0]["pid"]

    def logged(text: str) -> bool:
        found = re.search(f"{text}: the program listens on .*", home.run_ok("logs", "own"))
        return found is not None and "`prefork restart own`" in found[0]

    wait_for(lambda: logged(r"not recycling for --cron \* \* \* \* \* \*"), "--cron is due")
    home.write("other.py", "")
    wait_for(lambda: logged("not reloading"), "--watch is due")
    app = home.app("own")
    assert (app["state"], app["restarts"]) == ("running", 0)
    assert [each["pid"] for each in app["workers"]] == [worker]


def test_a_program_that_shares_its_port_by_so_reuseport_is_rolled(tmp_path: Path) -> None:
    option = "sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)"
    (tmp_path / "own.py").write_text(OWN_PORT.format(before=option))
    with running_program(tmp_path, ["python3", "own.py", "0"], *NOTIFY) as server:
        reload(server, 2)
        assert server.stop() == 0


def test_a_program_without_a_port_is_rolled(tmp_path: Path) -> None:
    with running_program(tmp_path, ["sleep", "1000"], "--min-uptime", "10ms") as server:
        reload(server, 2)
        assert server.stop() == 0


def test_a_failed_first_start_is_remembered(home: Home) -> None:
    """``list``, ``why`` and ``logs`` know it, alike deaths are one, and a start may follow."""
    home.write("job.sh", "echo 'Error: no database' >&2; exit 3\n")
    words = ("start", "--name", "job", "--", "sh", "job.sh")
    assert "`prefork why job`" in home.run_failing(102, *words)
    home.run_failing(102, "start", "job")
    app = home.app("job")
    assert app["state"] == "failed"
    assert "ended before it was ready (exit code 3)" in app["status"]
    why = home.run_ok("why", "job")
    assert "2 times since" in why
    assert why.count("Error: no database") == 1
    assert "Error: no database" in home.run_ok("logs", "job")
    home.run_failing(100, "start", "--name", "early", "-b", "127.0.0.1:http", "--", "true")
    home.write("job.sh", "echo 'Error: another one' >&2; exit 3\n")
    home.run_failing(102, *words)
    why = home.run_ok("why", "job")
    assert why.index("another one") < why.index("2 times since"), "newest first"
    home.write("job.sh", "exec sleep 1000\n")
    home.run_ok("start", "job", "--no-wait")
    assert len(home.client.ask(home.client.find("job")[0], "why")["deaths"]) == 3
    home.run_ok("reset", "job")
    assert home.run_ok("why", "job") == "job: no worker has died\n"
    home.run_ok("delete", "job")
    assert [each["name"] for each in home.client.apps()] == []


def test_a_start_that_fails_without_a_worker_is_told_by_why(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = ("start", "--name", "web", "-b", f"127.0.0.1:{port}", "web:app")
        home.run_failing(111, *words)
        assert f"the master ended: did not start: cannot listen on 127.0.0.1:{port}" in (
            home.run_ok("why", "web")
        )
