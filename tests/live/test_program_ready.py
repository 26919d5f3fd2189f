"""Programs that share a socket are ready when they accept, and failed starts say why."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.client_load import client_load
from tests.live.harness import Server, command
from tests.live.home import Home, temporary_home
from tests.live.programs import running_program
from tests.live.reloads import assert_nothing_lost, reload

BIND = ("-b", "127.0.0.1:0")

SERVER = """\
import os, socket, sys, time
sock = socket.socket(fileno=3)
{before}
print("accepts", file=sys.stderr, flush=True)
while True:
    connection, _ = sock.accept()
    connection.recv(65536)
    connection.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\n0001 ")
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
        assert server.get() == (200, b"0001 ")


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
            "worker 0: not ready in time: the program listens nowhere, and does not accept on the "
            f"bound 127.0.0.1:{server.port}: let it accept on descriptor 3"
        )
        assert server.get() == (200, b"0001 ")


def test_a_program_that_listens_elsewhere_fails_with_both_addresses(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(LISTENS_ELSEWHERE)
    options = (*BIND, "--boot-timeout", "3s", "--min-uptime", "10ms")
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
    words = "echo 'Error: listen EADDRINUSE: address already in use :::3000' >&2; exit 1"
    done = command("--", "sh", "-c", words, cwd=tmp_path)
    assert "hint: another process has the address" in done.stderr
    assert "`prefork restart`" in done.stderr


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
