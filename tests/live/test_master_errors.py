"""Errors at the start are reported at once in one line; the exit code tells whose fault."""

import os
import re
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.app_sources import write_version
from tests.live.harness import Server, command, serving, shared_folder

USAGE, APP, MACHINE = 100, 102, 111
SOON = 8.0
"""Seconds. An error is reported within one; the rest is for a machine that is busy."""


def one_line(folder: Path, *arguments: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    """Run prefork, and return the exit code and the one line on stderr."""
    ended = command(*arguments, cwd=folder, env=env, patience=SOON)
    assert ended.stdout == ""
    lines = ended.stderr.splitlines()
    assert len(lines) == 1, ended.stderr
    assert lines[0].startswith("prefork: ")
    return ended.returncode, lines[0]


# The app.

APPS = {
    "does not exist": ("", "nosuch:app", "there is no module 'nosuch' in "),
    "has no such submodule": ("", "app.sub:app", "there is no module 'app.sub'"),
    "imports what is not there": ("import nosuch", "app", "No module named 'nosuch'"),
    "imports a name that is not there": ("from os import nosuch", "app", "ImportError: cannot"),
    "is no Python": ("def (", "app", "SyntaxError: invalid syntax"),
    "raises": ("1 / 0", "app", "ZeroDivisionError: division by zero"),
    "is misspelled": ("def application(e, s): ...", "app:aplication", "did you mean application?"),
    "has no name that we know": ("x = 1", "app", "has none of app, application, main"),
    "is no callable": ("app = 5", "app:app", "is a int, which cannot be called"),
    "is a file": ("", "app.py:app", "name a module, not a file: write app:app"),
    "fits no interface": ("def app(a, b, c, d): ...", "app", "it has 4 required arguments"),
    "is a factory": ("def make(debug=False): ...", "app:make", "call it, as in myapp:create_app()"),
    "comes from a factory that raises": ("def make(): 1 / 0", "app:make()", "ZeroDivisionError"),
    "comes from a factory with names": ("def make(x): ...", "app:make(y)", "literal arguments"),
    "fails in its lifespan": (
        "async def app(scope, receive, send):\n"
        "    await receive()\n"
        "    await send({'type': 'lifespan.startup.failed', 'message': 'no database'})",
        "app",
        "no database",
    ),
}


@pytest.mark.parametrize("case", APPS)
def test_an_app_that_cannot_serve_ends_the_start(tmp_path: Path, case: str) -> None:
    source, target, told = APPS[case]
    (tmp_path / "app.py").write_text(source + "\n")
    server = Server("-b", "127.0.0.1:0", "-w", "2", target, cwd=tmp_path)
    try:
        assert server.wait_exit(SOON) == APP
        assert server.count(r"ERROR giving up: worker \d: ") == 1
        assert told in server.log
        assert "/prefork/worker/" not in server.log, "no frames of ours"
        assert server.is_gone()
    finally:
        server.destroy()


@pytest.mark.parametrize("case", [case for case in APPS if "lifespan" not in case])
def test_check_finds_the_error_of_an_app(tmp_path: Path, case: str) -> None:
    source, target, told = APPS[case]
    (tmp_path / "app.py").write_text(source + "\n")
    ended = command("--check", target, cwd=tmp_path, patience=SOON)
    assert ended.returncode == APP
    assert ended.stderr.startswith("prefork: the app is broken: ")
    assert told in ended.stderr
    assert ended.stdout == ""


def test_check_describes_a_good_app(tmp_path: Path) -> None:
    write_version(tmp_path, 1, "asgi")
    ended = command("--check", "-w", "3", "app:app", cwd=tmp_path)
    assert ended.returncode == 0
    assert ended.stdout == "ok: app:app: asgi (async, 3 required arguments), 3 workers\n"
    assert ended.stderr == ""


def test_check_binds_no_port_and_writes_no_pid_file(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = command("--check", "-b", str(port), "-p", "x.pid", "app:app", cwd=tmp_path)
    assert ended.returncode == 0
    assert not (tmp_path / "x.pid").exists()


def test_check_refuses_wrong_settings(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    code, line = one_line(tmp_path, "--check", "-w", "many", "app:app")
    assert code == USAGE
    assert "--workers = 'many' is wrong" in line


# The settings.


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "no app: write prefork MODULE:CALLABLE"),
        (["app", "other"], "unexpected argument 'other': only one app can be served"),
        (["--workrs", "3", "app"], "no option is called --workrs; did you mean --workers?"),
        (["--workers", "many", "app"], "--workers = 'many' is wrong: expected"),
        (["--workers", "-2", "app"], "--workers = '-2' is wrong: expected"),
        (["--timeout", "soon", "app"], "--timeout = 'soon' is wrong: expected a duration"),
        (["--kill-timeout", "0", "app"], "--kill-timeout = '0' is wrong: expected a duration"),
        (["--stop-signal", "KILL", "app"], "--stop-signal = 'KILL' is wrong: expected one of"),
        (["--bind", "127.0.0.1:99999", "app"], "expected a port from 0 to 65535, not '99999'"),
        (["--bind", "::1:80", "app"], "as in [::1]:8000"),
        (["--bind", "no-such-host.invalid:80", "app"], "cannot listen on no-such-host.invalid:80"),
        (["--umask", "9", "app"], "--umask = '9' is wrong: expected octal digits"),
        (["--workers"], "expected one argument"),
        (["-c", "none.toml", "app"], "none.toml: No such file or directory"),
        (["--chdir", "nowhere", "app"], "chdir: there is no folder"),
        (["--user", "no-such-user", "app"], "no user is called 'no-such-user'"),
        (["--group", "no-such-group", "app"], "no group is called 'no-such-group'"),
        (["--bind", "fd://77", "app"], "no socket was inherited there"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_arguments_are_reported_in_one_line(
    tmp_path: Path, arguments: list[str], told: str
) -> None:
    write_version(tmp_path, 1)
    code, line = one_line(tmp_path, *arguments)
    assert code == USAGE
    assert told in line


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"PREFORK_WORKRS": "1"}, "PREFORK_WORKRS; did you mean PREFORK_WORKERS?"),
        ({"PREFORK_WORKERS": "many"}, "environment: PREFORK_WORKERS = 'many' is wrong: expected"),
    ],
)
def test_wrong_variables_are_reported_in_one_line(
    tmp_path: Path, variables: dict[str, str], told: str
) -> None:
    write_version(tmp_path, 1)
    code, line = one_line(tmp_path, "app", env=variables)
    assert code == USAGE
    assert told in line


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("workers = ", "is no valid TOML: "),
        ("worker = 3", "no option is called 'worker'; did you mean workers?"),
        ("workers = 'many'", "prefork.toml: workers = 'many' is wrong: expected"),
        ("umask = 27", 'expected octal digits in quotes, as in "027"'),
        ("[workers]\ncount = 3", "workers = {'count': 3} is wrong: expected"),
        ("bind = 8000.5", "bind = 8000.5 is wrong: expected"),
        ("\udcff = 1", "is not encoded in UTF-8"),
    ],
    ids=lambda value: value.split("\n")[0].encode("ascii", "replace").decode(),
)
def test_a_wrong_file_is_reported_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    write_version(tmp_path, 1)
    (tmp_path / "prefork.toml").write_text(text + "\n", errors="surrogateescape")
    code, line = one_line(tmp_path, "-c", "prefork.toml", "app")
    assert code == USAGE
    assert told in line


def test_print_config_names_the_source_of_each_value(tmp_path: Path) -> None:
    (tmp_path / "prefork.toml").write_text('app = "app:app"\nsurge = 2\nworkers = 2\n')
    ended = command(
        *("-c", "prefork.toml", "--print-config", "-b", "8001"),
        cwd=tmp_path,
        env={"PREFORK_WORKERS": "3"},
    )
    assert ended.returncode == 0
    lines = ended.stdout.splitlines()
    assert 'bind = ["127.0.0.1:8001"]  # command line' in lines
    assert "workers = 3  # environment" in lines
    assert f"surge = 2  # {tmp_path}/prefork.toml" in lines
    assert 'timeout = "30s"  # default' in lines


def test_variables_that_kubernetes_makes_are_ignored_with_a_warning(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    made = {"PREFORK_API_PORT": "tcp://10.0.0.1:80", "PREFORK_API_SERVICE_HOST": "10.0.0.1"}
    with serving(tmp_path, "app:app", env=made) as server:
        server.wait_log("WARNING ignoring PREFORK_API_PORT, PREFORK_API_SERVICE_HOST: Kubernetes")
        assert server.get()[0] == 200


# The machine.


def test_a_port_in_use_is_reported_with_the_process_that_uses_it(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, line = one_line(tmp_path, "-b", f"127.0.0.1:{port}", "app:app")
    assert code == MACHINE
    assert f"cannot listen on 127.0.0.1:{port}: the port is in use by pid {os.getpid()} " in line


def test_an_address_of_another_machine_is_reported(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    code, line = one_line(tmp_path, "-b", "192.0.2.1:0", "app:app")
    assert code == MACHINE
    assert "this machine has no such address" in line


def unprivileged() -> list[str]:
    """Return a prefix that runs a command as uid 65534 without capabilities, or skip."""
    if os.geteuid() == 0 and (setpriv := shutil.which("setpriv")):
        return [setpriv, "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]
    if os.geteuid() == 0:
        pytest.skip("needs setpriv")
    return []


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder with an app that uid 65534 can read; skips if it cannot run Python."""
    with shared_folder() as folder:
        if command("--version", cwd=folder, prefix=unprivileged()).returncode != 0:
            pytest.skip("the interpreter cannot be read by other users")
        write_version(folder, 1)
        yield folder


def test_a_low_port_without_the_privilege_is_reported(shared: Path) -> None:
    first = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()
    if int(first) <= 1:
        pytest.skip("no port needs a privilege here")
    ended = command("-b", "127.0.0.1:1", "app:app", cwd=shared, prefix=unprivileged())
    assert ended.returncode == MACHINE
    assert ended.stderr.count("\n") == 1
    assert "permission denied; ports below 1024 need root" in ended.stderr


def test_only_root_may_change_the_user(shared: Path) -> None:
    arguments = ("-b", "127.0.0.1:0", "-u", "daemon", "app:app")
    ended = command(*arguments, cwd=shared, prefix=unprivileged())
    assert ended.returncode == MACHINE
    assert "cannot run as daemon: only root can change user and group" in ended.stderr


@pytest.mark.parametrize("flag", ["--pid-file", "--log-file", "--access-log"])
def test_a_path_that_cannot_be_written_is_reported(tmp_path: Path, flag: str) -> None:
    write_version(tmp_path, 1)
    path = tmp_path / "nowhere" / "file"
    ended = command("-b", "127.0.0.1:0", flag, str(path), "app:app", cwd=tmp_path, patience=SOON)
    assert ended.returncode == MACHINE
    assert re.fullmatch(
        rf"prefork: cannot write the [a-z ]+ {path}: No such file or directory\n", ended.stderr
    )


def test_a_pid_file_that_another_master_holds_is_reported(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    with serving(tmp_path, "app:app", "-p", "x.pid") as server:
        assert (tmp_path / "x.pid").read_text() == f"{server.pid}\n"
        code, line = one_line(tmp_path, "-b", "127.0.0.1:0", "-p", "x.pid", "app:app")
        assert code == MACHINE
        assert f"already running: pid {server.pid} holds the pid file" in line
        assert (tmp_path / "x.pid").read_text() == f"{server.pid}\n"
        assert server.get()[0] == 200
        assert server.stop() == 0
    assert not (tmp_path / "x.pid").exists()


@pytest.mark.parametrize("content", ["1\n", "", "no number at all"])
def test_a_stale_pid_file_is_taken_over(tmp_path: Path, content: str) -> None:
    """The lock of the file ended with its owner; another process may have that pid now."""
    write_version(tmp_path, 1)
    (tmp_path / "x.pid").write_text(content)
    with serving(tmp_path, "app:app", "-p", "x.pid") as server:
        assert (tmp_path / "x.pid").read_text() == f"{server.pid}\n"


def test_the_pid_file_of_a_killed_master_is_taken_over(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    with serving(tmp_path, "app:app", "-p", "x.pid") as server:
        server.send(signal.SIGKILL)
        server.wait_exit()
        with serving(tmp_path, "app:app", "-p", "x.pid") as successor:
            assert (tmp_path / "x.pid").read_text() == f"{successor.pid}\n"


def ask_unix(path: Path) -> bytes:
    """The answer over a unix socket, until the server closes."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(SOON)
        connection.connect(str(path))
        connection.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        return b"".join(iter(lambda: connection.recv(65536), b""))


def unix_server(folder: Path) -> Server:
    return Server("-b", "unix:app.sock", "app:app", cwd=folder).ready()


def test_a_stale_unix_socket_is_replaced_and_removed_at_the_end(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    path = tmp_path / "app.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert path.is_socket()
    server = unix_server(tmp_path)
    try:
        assert ask_unix(path).startswith(b"HTTP/1.1 200 OK\r\n")
        assert server.stop() == 0
        assert not path.exists()
    finally:
        server.destroy()


def test_a_unix_socket_in_use_is_reported_and_left_alone(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    server = unix_server(tmp_path)
    try:
        code, line = one_line(tmp_path, "-b", "unix:app.sock", "app:app")
        assert code == MACHINE
        assert "cannot listen on unix:app.sock: another server is using it" in line
        assert ask_unix(tmp_path / "app.sock").startswith(b"HTTP/1.1 200 OK\r\n")
        assert server.stop() == 0
    finally:
        server.destroy()


def test_a_unix_path_that_is_no_socket_is_reported_and_left_alone(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    (tmp_path / "app.sock").write_text("precious")
    code, line = one_line(tmp_path, "-b", "unix:app.sock", "app:app")
    assert code == MACHINE
    assert "the path exists and is no socket" in line
    assert (tmp_path / "app.sock").read_text() == "precious"


def test_a_failed_start_leaves_no_socket_and_no_pid_file(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("1 / 0\n")
    arguments = ("-b", "unix:app.sock", "-p", "x.pid", "app:app")
    assert command(*arguments, cwd=tmp_path).returncode == APP
    assert sorted(path.name for path in tmp_path.iterdir() if path.name[0] != "_") == ["app.py"]


def test_a_port_in_use_leaves_no_pid_file(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, _ = one_line(tmp_path, "-b", address, "-p", "x.pid", "app:app")
    assert code == MACHINE
    assert not (tmp_path / "x.pid").exists()


def test_a_pid_file_that_is_locked_leaves_no_new_socket(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    with serving(tmp_path, "app:app", "-p", "x.pid"):
        code, _ = one_line(tmp_path, "-b", "unix:app.sock", "-p", "x.pid", "app:app")
        assert code == MACHINE
        assert not (tmp_path / "app.sock").exists()


# Errors that only a worker or only a check finds.


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
@pytest.mark.parametrize("check", [False, True], ids=["start", "check"])
def test_a_folder_that_its_user_may_not_enter_is_the_machines_fault(
    tmp_path: Path, check: bool
) -> None:
    write_version(tmp_path, 1)
    tmp_path.chmod(0o700)
    words = ("--check",) if check else ("-b", "127.0.0.1:0")
    ended = command(*words, "-u", "nobody", "app:app", cwd=tmp_path, patience=SOON)
    assert ended.returncode == MACHINE
    assert f"cannot enter {tmp_path}: Permission denied" in ended.stderr


def test_check_reports_an_app_that_ends_while_it_loads(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import os\nos._exit(0)\n")
    code, line = one_line(tmp_path, "--check", "app")
    assert code == APP
    assert "loading the app ended the process: exit code 0" in line


def test_check_waits_no_longer_than_a_start_would(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import time\ntime.sleep(1000)\n")
    ended = command("--check", "--boot-timeout", "100ms", "app", cwd=tmp_path, patience=SOON)
    assert ended.returncode == APP
    assert f'File "{tmp_path}/app.py", line 2 in <module>' in ended.stderr
    assert "did not end within --boot-timeout" in ended.stderr


def test_a_working_directory_that_was_removed_is_reported(tmp_path: Path) -> None:
    (folder := tmp_path / "gone").mkdir()
    remove = ("sh", "-c", 'rmdir "$PWD" && exec "$@"', "-")
    ended = command("app:app", cwd=folder, prefix=remove, patience=SOON)
    assert ended.returncode == MACHINE
    assert ended.stderr.startswith("prefork: cannot tell the working directory: no such file")
