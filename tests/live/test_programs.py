"""Programs in any language as workers: Node, C, Python, the shell."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.live.client_load import client_load
from tests.live.harness import command, command_line, is_alive, shared_folder, wait_for
from tests.live.programs import listed, needs_node, running_program, write_node
from tests.live.reloads import assert_nothing_lost, reload

needs_cc = pytest.mark.skipif(not shutil.which("gcc"), reason="there is no C compiler")

C_SERVER = r"""
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void say(const char *what) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    const char *name = getenv("NOTIFY_SOCKET");
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    memcpy(to.sun_path, name, strlen(name));
    to.sun_path[0] = 0;
    sendto(fd, what, strlen(what), 0, (struct sockaddr *)&to,
           offsetof(struct sockaddr_un, sun_path) + strlen(name));
    close(fd);
}

int main(void) {
    char answer[256], request[4096];
    if (atoi(getenv("LISTEN_PID")) != getpid() || atoi(getenv("LISTEN_FDS")) != 1) return 3;
    int length = sprintf(answer, "HTTP/1.0 200 OK\r\n\r\n%s %s %s", getenv("LISTEN_FDNAMES"),
                         getenv("PREFORK_SLOT"), getenv("MODE"));
    say("STATUS=warm\nREADY=1");
    for (;;) {
        int fd = accept(3, 0, 0);
        if (fd < 0) { perror("accept"); return 4; }
        if (read(fd, request, sizeof request) > 0) write(fd, answer, length);
        close(fd);
    }
}
"""

NOTIFY = """\
import os, signal, socket, sys, time
def say(what):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.sendto(what.encode(), "\\0" + os.environ["NOTIFY_SOCKET"][1:])
"""


def is_there(pid: int) -> bool:
    try:
        return is_alive(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return False


def pids(file: Path, count: int = 1) -> list[int]:
    """Return the pids in a file, when there are ``count``."""

    def told() -> list[int]:
        return [int(word) for word in file.read_text().split()] if file.exists() else []

    wait_for(lambda: len(told()) >= count, f"{count} pids in {file}")
    return told()


@needs_node
def test_ten_reloads_of_a_node_app_under_load_lose_no_request(tmp_path: Path) -> None:
    """There are clients that keep their connections, and clients with a new one for each
    request."""
    write_node(tmp_path, 1)
    options = ("-b", "127.0.0.1:0", "--ready", "200ms")
    with (
        running_program(tmp_path, ["node", "server.js"], *options, workers=2) as server,
        client_load(server.port, keep=16, fresh=16) as clients,
    ):
        clients.run_phase("quiet", 500)
        for n in range(2, 12):
            write_node(tmp_path, n)
            clients.begin_phase(f"reload {n}")
            reload(server, n)
            clients.run_phase(f"reloaded {n}", 100)
            assert server.count("gone: (?!reload)") == 0
        report = clients.stop()
        assert_nothing_lost(report)
        for n in range(2, 12):
            assert list(report.phase(f"reloaded {n}").versions) == [f"{n:04d}"]
        assert server.stop() == 0


@needs_node
def test_a_bad_deploy_of_a_node_app_is_refused_with_the_error_of_node(tmp_path: Path) -> None:
    write_node(tmp_path, 1)
    options = ("-b", "127.0.0.1:0", "-n", f"node-{os.getpid()}")
    with running_program(tmp_path, ["node", "server.js"], *options) as server:
        name = f"node-{os.getpid()}"
        (tmp_path / "server.js").write_text("const x = ;\n")
        done = command("reload", name, cwd=tmp_path)
        assert done.returncode == 102
        assert "SyntaxError: Unexpected token ';'" in done.stderr
        assert "gen 1 serves on" in done.stderr
        assert server.get()[1].startswith(b"0001 ")
        write_node(tmp_path, 2)
        assert command("reload", name, cwd=tmp_path).returncode == 0
        assert server.get()[1].startswith(b"0002 ")
        assert server.stop() == 0


@needs_cc
def test_a_compiled_program_gets_a_blocking_socket_and_reports_ready(
    tmp_path: Path,
) -> None:
    (tmp_path / "server.c").write_text(C_SERVER)
    subprocess.run(["gcc", "-w", "-o", "server", "server.c"], cwd=tmp_path, check=True)
    options = ("-b", "127.0.0.1:0", "--ready", "notify", "-e", "MODE=blue")
    with running_program(tmp_path, ["./server"], *options) as server:
        for _ in range(3):
            assert server.get() == (200, f"tcp-{server.port} 0 blue".encode())
        reload(server, 2)
        assert server.get()[0] == 200
        assert server.stop() == 0


def test_a_shell_script_is_supervised_without_a_socket(tmp_path: Path) -> None:
    """As in PM2's fork mode: each program is replaced when it ends, and all get the stop signal."""
    script = tmp_path / "work.sh"
    script.write_text(
        "#!/bin/sh\n"
        "trap 'echo \"slot $PREFORK_SLOT leaves\" >&2; exit 0' TERM\n"
        'echo "${LISTEN_FDS:-no} sockets, $(ls /proc/self/fd | tr "\\n" " ")" >&2\n'
        "echo $$ >> pids\n"
        "while :; do sleep 1000 & wait; done\n"
    )
    script.chmod(0o755)
    with running_program(tmp_path, ["./work.sh"], "--min-uptime", "50ms", workers=2) as server:
        assert "work: supervising ./work.sh, 2 workers" in server.log
        # 3 is NOTIFY_FD, 4 is PREFORK_FIGURES_FD, and 5 is that of ls.
        server.wait_log(r"^no sockets, 0 1 2 3 4 5 $", 2)
        first = pids(tmp_path / "pids", 2)[0]
        os.kill(first, signal.SIGKILL)
        server.wait_log(r"gone: killed by a signal \(SIGKILL\)")
        server.ready(3)
        family = psutil.Process(server.pid).children(recursive=True)
        assert server.stop() == 0
        assert server.count("slot . leaves") == 2
        assert not [process for process in family if is_there(process.pid)]


@pytest.mark.parametrize(
    ("source", "program", "said"),
    [
        ("", ["./nothing"], "cannot run ./nothing: there is no such file in"),
        ("", ["no-such-program"], "cannot run no-such-program: there is no such program on the PA"),
        ("exit 1", ["./file"], "cannot run ./file: it is not executable; see chmod \\+x"),
    ],
)
def test_a_program_that_cannot_be_run_is_reported(
    tmp_path: Path, source: str, program: list[str], said: str
) -> None:
    (tmp_path / "file").write_text(source)
    for word in ((), ("--check",)):
        done = command(*word, "--", *program, cwd=tmp_path)
        assert done.returncode == 102
        assert said.replace("\\", "") in done.stderr
        assert "ended before it was ready" not in done.stderr


def test_options_that_fit_no_program_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\1\2\3")
    (tmp_path / "file").chmod(0o755)
    done = command("--", "./file", cwd=tmp_path)
    assert done.returncode == 102
    assert "it is no program; a script begins with a line such as #!/bin/sh" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["app:app", "--", "node"], "'app:app' and a command after --: one of them"),
        (["--"], "there is no program after --"),
        (["--ready", "manual", "--", "true"], "manual is for main(listener)"),
        (["-b", "0", "--ready", "connect:80", "--", "true"], "connect proves nothing with bind"),
        (["--ready", "notify", "app:app"], "notify, connect and a time are for programs"),
        (["--proxy-protocol", "--", "true"], "a program takes its connections itself"),
    ],
)
def test_wrong_words(tmp_path: Path, words: list[str], said: str) -> None:
    done = command(*words, cwd=tmp_path)
    assert done.returncode == 100
    assert said in done.stderr


def test_a_shell_reports_ready_on_a_descriptor(tmp_path: Path) -> None:
    """It writes to the descriptor behind the shared sockets, because it can send no datagram."""
    words = (
        "read line < gate; echo READY=1 >&$NOTIFY_FD; echo said on $NOTIFY_FD >&2; read line < gate"
    )
    os.mkfifo(tmp_path / "gate")
    options = ("--bind", "127.0.0.1:0", "--ready", "notify", "--kill-timeout", "1s")
    with running_program(tmp_path, ["sh", "-c", words], *options, ready=False) as server:
        (tmp_path / "gate").write_text("go\n")
        server.wait_log("^said on 4$")
        server.ready(1)


def test_notify_ready_status_stopping_and_watchdog(tmp_path: Path) -> None:
    """Only messages of its own processes count. A program that stops its heartbeat hangs."""
    (tmp_path / "job.py").write_text(
        f"{NOTIFY}"
        "print(os.environ['NOTIFY_SOCKET'], flush=True, file=sys.stderr)\n"
        "open('gate').read()\n"
        "say('READY=1\\nSTATUS=at work')\n"
        "if os.environ['PREFORK_GENERATION'] == '1':\n"
        "    def leave(*_):\n"
        "        say('STOPPING=1')\n"
        "        time.sleep(1000)\n"
        "    signal.signal(signal.SIGTERM, leave)\n"
        "    time.sleep(1000)\n"
        "say('WATCHDOG=1')\n"
        "time.sleep(1000)\n"
    )
    os.mkfifo(tmp_path / "gate")
    name = f"job-{os.getpid()}"
    options = ("--ready", "notify", "-n", name, "--timeout", "300ms", "--kill-timeout", "700ms")
    with running_program(tmp_path, ["python3", "job.py"], *options, ready=False) as server:
        address = server.wait_log("^(@.*)$")[1]
        stranger = f"{NOTIFY}os.environ['NOTIFY_SOCKET'] = {address!r}\nsay('READY=1')\n"
        script = f"{stranger}print('said', flush=True)\ninput()"
        pipe = subprocess.PIPE
        with subprocess.Popen(["python3", "-c", script], stdin=pipe, stdout=pipe) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == b"said\n"
            assert listed(name)["ready"] == 0, "it heard a stranger"
            other.communicate(b"\n")
        (tmp_path / "gate").write_text("")
        server.ready()
        assert [worker["says"] for worker in listed(name)["workers"]] == ["at work"]
        server.send(signal.SIGHUP)
        server.wait_log("reloading to gen 2")
        (tmp_path / "gate").write_text("")
        server.wait_log("reloaded to gen 2")
        assert server.count("gen 1\\) gone") == 0, "it said that it accepts no more"
        server.wait_log(r"gen 1\) gone: reload; killed")
        server.wait_log("passed its deadline")
        server.wait_log(r"gone: hang")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can run it as another user")
def test_a_program_runs_with_the_configured_user_and_folder() -> None:
    with shared_folder() as folder:
        (folder / "below").mkdir()
        (folder / "job.py").write_text(
            f"{NOTIFY}"
            "mask = {signal.strsignal(each) for each in signal.pthread_sigmask(0, [])}\n"
            "ignored = [s for s in signal.Signals if signal.getsignal(s) == signal.SIG_IGN]\n"
            "print(os.getuid(), os.getcwd(), os.environ['WORD'], mask, ignored, file=sys.stderr)\n"
            "say('READY=1')\n"
            "time.sleep(1000)\n"
        )
        options = ("-u", "nobody", "--chdir", "below", "-e", "WORD=blue", "--ready", "notify")
        with running_program(folder, ["python3", "../job.py"], *options) as server:
            user = pwd.getpwnam("nobody").pw_uid
            ignored = r"\[<Signals.SIGPIPE: 13>, <Signals.SIGXFSZ: 25>\]"  # by Python itself
            server.wait_log(rf"^{user} {folder}/below blue set\(\) {ignored}$")
            assert server.stop() == 0


def test_ready_when_it_listens_by_itself(tmp_path: Path) -> None:
    """An heir without the port is not taken for ready although its incumbent answers there."""
    (tmp_path / "own.py").write_text(
        "import socket, time\n"
        "time.sleep(0.3)\n"
        "sock = socket.create_server(('127.0.0.1', int(open('port').read())))\n"
        "open('port', 'w').write(str(sock.getsockname()[1]))\n"
        "time.sleep(1000)\n"
    )
    with socket_that_is_free() as port:
        (tmp_path / "port").write_text(str(port))
    settings = tmp_path / "prefork.toml"
    settings.write_text('env = { N = "1" }\n')
    options = ("-c", "prefork.toml", "--ready", f"connect:{port}")
    with running_program(tmp_path, ["python3", "own.py"], *options) as server:
        settings.write_text('env = { N = "2" }\n')  # else it is refused at once
        server.send(signal.SIGHUP)
        server.wait_log(r"reload failed, gen 1 serves on: worker 0: python3 own\.py ended before")
        assert server.count(r"worker 0 .* ready in") == 1, server.log
        assert server.stop() == 0


@contextmanager
def socket_that_is_free() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock.getsockname()[1]


def test_a_crash_loop_waits_longer_each_time_and_logs_the_reason(tmp_path: Path) -> None:
    options = ("--min-uptime", "1ms", "--max-restarts", "2")
    program = ["sh", "-c", "echo no such table >&2; sleep 0.1; exit 3"]
    with running_program(tmp_path, program, *options) as server:
        assert server.wait_exit() == 3
        assert server.count(r"gone: .* \(exit code 3\)") == 3
        assert server.count("^no such table$") == 3


def test_nothing_outlives_its_program(tmp_path: Path) -> None:
    """A process of the group, one of another group, and one that left the session; all ignore
    TERM."""
    script = (
        "trap '' TERM INT; echo $$ >> pids\n"
        "(echo $(exec sh -c 'echo $PPID') >> pids; sleep 1000) &\n"
        "setsid sh -c 'echo $$ >> pids; sleep 1000' &\n"
        "set -m\n"
        "(echo $(exec sh -c 'echo $PPID') >> pids; sleep 1000) &\n"
        "trap 'exit 0' INT\n"
        "while :; do wait; sleep 0.1; done\n"
    )
    options = ("--stop-signal", "INT", "--kill-timeout", "300ms", "--min-uptime", "10ms")
    with running_program(tmp_path, ["bash", "-c", script], *options) as server:
        family = pids(tmp_path / "pids", 4)
        assert all(map(is_there, family))
        assert server.stop() == 0
        assert not [pid for pid in family if is_there(pid)]


def guards_of(family: Sequence[psutil.Process]) -> list[int]:
    """Return those processes that are guards. A killed one may still be there without command
    line."""
    return [each.pid for each in family if "guard [" in command_line(each)]


def test_programs_of_a_killed_master_are_stopped_and_nothing_is_left(tmp_path: Path) -> None:
    """Neither a child that ignores the stop signal is left, nor the guard."""
    script = (
        "trap 'echo told > told; exit 0' TERM\n"
        "sh -c 'trap \"\" TERM; echo $$ >> pids; sleep 1000' &\n"
        "echo $$ >> pids\n"
        "while :; do sleep 0.1; done\n"
    )
    options = ("--min-uptime", "10ms", "--kill-timeout", "300ms")
    with running_program(tmp_path, ["sh", "-c", script], *options) as server:
        pids(tmp_path / "pids", 2)
        family = psutil.Process(server.pid).children(recursive=True)
        guards = guards_of(family)
        assert len(guards) == 1
        os.kill(guards[0], signal.SIGKILL)

        def another() -> bool:
            found = guards_of(psutil.Process(server.pid).children())
            return bool(found) and guards[0] not in found

        wait_for(another, "a new guard")
        server.send(signal.SIGTTIN)
        server.ready(2)
        family += psutil.Process(server.pid).children(recursive=True)
        server.send(signal.SIGKILL)
        wait_for(lambda: not [each for each in family if is_there(each.pid)], "all left")
        assert (tmp_path / "told").exists()


def test_a_command_in_a_file_and_in_the_list(tmp_path: Path) -> None:
    (tmp_path / "prefork.toml").write_text('command = ["sleep", "1000"]\nmin-uptime = "10ms"\n')
    name = f"sleep-{os.getpid()}"
    try:
        done = command("start", "-n", name, "-c", "prefork.toml", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, f"{name}: running gen 1, 1/1 ready\n")
        assert command("scale", name, "2", cwd=tmp_path).stdout == f"{name}: 2 workers\n"
    finally:
        assert command("delete", name, cwd=tmp_path).returncode == 0
    done = command("start", "-n", name, "--", "sh", "-c", "echo oh no >&2", cwd=tmp_path)
    assert done.returncode == 102
    assert "  oh no" in done.stderr
