"""Which processes accept on a socket that they share, and which processes belong to a program."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from prefork.unix import accept_check, process_sockets
from prefork.unix.accept_check import AcceptCheck, find_accepting
from prefork.unix.listen_check import SocketTables, own_listeners
from prefork.unix.process_tree import ProcessInfo, iter_processes, program_processes
from tests.live.harness import wait_for
from tests.pure.children import as_root, fork_child

CHILD = """\
import asyncio, os, select, signal, socket, sys, threading, time
def say_set():
    with open("/proc/self/comm", "w") as file: file.write("set")
def accept(sock): sock.accept()
def in_a_thread(sock):
    threading.Thread(target=sock.accept, daemon=True).start()
    time.sleep(1000)
def with_a_timeout(sock):
    sock.settimeout(1000)
    sock.accept()
def poll(sock):
    poller = select.poll()
    poller.register(os.pipe()[0], select.POLLIN)
    poller.register(sock, select.POLLIN)
    poller.poll(1000_000)
def poll_for_another(sock):
    poller = select.poll()
    poller.register(os.pipe()[0], select.POLLIN)
    poller.register(sock, 0)
    say_set()
    poller.poll(1000_000)
def select_on(sock): select.select([sock], [], [], 1000)
def select_on_another(sock):
    other = os.pipe()[0]
    say_set()
    select.select([other], [sock], [], 1000)
def high_descriptor(sock):
    os.dup2(sock.fileno(), 200)
    sock.close()
    select.select([200], [], [], 1000)
def epoll(sock):
    poller = select.epoll()
    poller.register(sock, select.EPOLLIN)
    time.sleep(1000)
def epoll_for_nothing(sock):
    poller = select.epoll()
    poller.register(sock, 0)
    say_set()
    poller.poll(1000)
def in_asyncio(sock):
    async def main():
        server = await asyncio.start_server(lambda *_: None, sock=sock)
        await server.serve_forever()
    asyncio.run(main())
def sleep(sock):
    say_set()
    time.sleep(1000)
def busy(sock):
    connection, _ = sock.accept()
    while True: pass
def in_a_child(sock):
    if os.fork() == 0: sock.accept()
    time.sleep(1000)
def closed(sock):
    sock.close()
    say_set()
    time.sleep(1000)
family = socket.AF_UNIX if sys.argv[3] == "unix" else socket.AF_INET
globals()[sys.argv[1]](socket.socket(family, socket.SOCK_STREAM, fileno=int(sys.argv[2])))
"""


@contextmanager
def child(name: str, listener: socket.socket) -> Iterator[int]:
    """Run a function of CHILD in a process with the listener; at the end its group is killed."""
    family = "unix" if listener.family == socket.AF_UNIX else "tcp"
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, name, str(listener.fileno()), family],
        pass_fds=[listener.fileno()],
        start_new_session=True,
    )
    try:
        yield process.pid
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def inode(listener: socket.socket) -> int:
    return os.fstat(listener.fileno()).st_ino


def pids_of(leader: int) -> list[int]:
    processes = {each.pid: each for each in iter_processes()}
    return [each.pid for each in program_processes(leader, processes)]


def look(pid: int, *listeners: socket.socket) -> AcceptCheck:
    wanted = {inode(each) for each in listeners}
    tables = SocketTables()
    return find_accepting(pids_of(pid), wanted, lambda: tables.connections_at(wanted))


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.parametrize("family", ["tcp", "unix"])
@pytest.mark.parametrize(
    "name",
    [
        "accept", "in_a_thread", "with_a_timeout", "poll", "select_on", "high_descriptor",
        "epoll", "in_asyncio", "in_a_child",
    ],
)  # fmt: skip
def test_a_process_that_waits_for_a_connection_is_found(
    name: str, family: str, tmp_path: Path
) -> None:
    """The process of this test has the socket as well, and accepts nothing."""
    with make_listener(family, tmp_path) as listener, child(name, listener) as pid:
        wait_for(lambda: inode(listener) in look(pid, listener).accepted, name)
        assert look(os.getpid(), listener).accepted <= look(pid, listener).accepted
        assert look(pid, listener).is_complete


@contextmanager
def make_listener(family: str, folder: Path) -> Iterator[socket.socket]:
    if family == "tcp":
        with socket.create_server(("127.0.0.1", 0)) as listener:
            yield listener
    else:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(folder / "socket"))
            listener.listen()
            yield listener


@pytest.mark.parametrize(
    "name", ["sleep", "closed", "poll_for_another", "select_on_another", "epoll_for_nothing"]
)
def test_a_process_that_only_has_the_socket_is_not_taken_for_one_that_accepts(name: str) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        child(name, listener) as pid,
        child("accept", listener) as sibling,
    ):
        wait_for(lambda: look(sibling, listener).accepted, "the sibling accepts")
        wait_for(lambda: title(pid) == "set", "it is about to wait")
        wait_for(lambda: state(pid) == "S", "it waits")
        assert look(pid, listener) == AcceptCheck(frozenset(), is_complete=True)


def title(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().rstrip()


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_a_process_that_never_waits_is_found_by_its_connections(
    family: str, tmp_path: Path
) -> None:
    with make_listener(family, tmp_path) as listener, child("busy", listener) as pid:
        wait_for(lambda: look(pid, listener).accepted, "it waits")
        with socket.socket(listener.family, socket.SOCK_STREAM) as client:
            client.connect(listener.getsockname())
            wait_for(lambda: state(pid) == "R", "it is busy")
            wait_for(lambda: look(pid, listener).accepted, "it has a connection")


def test_only_those_of_several_sockets_count_that_a_process_accepts_on() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as other,
        child("accept", one) as pid,
    ):
        wait_for(lambda: look(pid, one, other).accepted, "it accepts")
        assert look(pid, one, other).accepted == {inode(one)}


IO_URING = r"""
#include <linux/io_uring.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(void) {
    struct io_uring_params p;
    memset(&p, 0, sizeof p);
    int ring = syscall(SYS_io_uring_setup, 8, &p);
    if (ring < 0) return 77;
    char *queue = mmap(0, p.sq_off.array + 32, 3, MAP_SHARED, ring, IORING_OFF_SQ_RING);
    struct io_uring_sqe *entry = mmap(0, 8 * sizeof *entry, 3, MAP_SHARED, ring, IORING_OFF_SQES);
    memset(entry, 0, sizeof *entry);
    entry->opcode = IORING_OP_ACCEPT;
    entry->fd = 0;
    *(unsigned *)(queue + p.sq_off.tail) = 1;
    syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, 0, 0);
    return 0;
}
"""


@pytest.mark.skipif(not shutil.which("gcc"), reason="there is no C compiler")
def test_a_pending_accept_of_io_uring_is_found(tmp_path: Path) -> None:
    (tmp_path / "ring.c").write_text(IO_URING)
    done = subprocess.run(
        ["gcc", "-w", "-o", "ring", "ring.c"], cwd=tmp_path, capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("the headers of this kernel have no io_uring")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = subprocess.Popen([tmp_path / "ring"], stdin=listener.fileno())
        try:
            wait_for(
                lambda: look(process.pid, listener).accepted or process.poll() is not None,
                "it accepts",
            )
            if process.poll() == 77:
                pytest.skip("this kernel has no io_uring, or does not let us use it")
            assert look(process.pid, listener).accepted == {inode(listener)}
        finally:
            process.kill()
            process.wait()


def test_what_is_not_seen_is_not_taken_for_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Descriptors beyond the bound, threads beyond theirs, a machine with other numbers."""
    with socket.create_server(("127.0.0.1", 0)) as listener, child("accept", listener) as pid:
        wait_for(lambda: look(pid, listener).accepted, "it accepts")
        for module, name, value in [
            (process_sockets, "MAX_DESCRIPTORS", 1),
            (accept_check, "MAX_THREADS", 0),
            (accept_check, "_SYSTEM_CALLS", {}),
            (accept_check, "_LOWEST_STACK_64", 1 << 64),
        ]:
            with monkeypatch.context() as patched:
                patched.setattr(module, name, value)
                assert look(pid, listener) == AcceptCheck(frozenset(), is_complete=False), name


@as_root
def test_a_process_of_another_user_is_hidden() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, child("accept", listener) as pid:
        wait_for(lambda: look(pid, listener).accepted, "it accepts")
        hidden = AcceptCheck(frozenset(), is_complete=False)

        def look_as_another_user() -> int:
            os.setgid(65534)
            os.setuid(65534)
            return int(find_accepting([pid], {inode(listener)}, tuple) != hidden)

        observer = fork_child(look_as_another_user)
        wait_for(lambda: state(observer.pid) == "Z", "the other user has looked")
        assert observer.reap().code == 0


def test_a_process_that_has_ended_accepts_nothing() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert find_accepting([process.pid], {1}, tuple) == AcceptCheck(frozenset(), is_complete=True)


def test_own_listeners_are_told_with_their_addresses(tmp_path: Path) -> None:
    script = (
        "import socket, sys, time\n"
        "socks = [socket.create_server((host, 0), family=family) for host, family in ["
        "('127.0.0.1', socket.AF_INET), ('0.0.0.0', socket.AF_INET), ('::1', socket.AF_INET6)]]\n"
        "path = socket.socket(socket.AF_UNIX); path.bind('own'); path.listen()\n"
        "print(*['%s:%s' % (s.getsockname()[0] if ':' not in s.getsockname()[0] else "
        "'[%s]' % s.getsockname()[0], s.getsockname()[1]) for s in socks], flush=True)\n"
        "time.sleep(1000)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline().split()
            found = own_listeners([process.pid], SocketTables())
            assert sorted(str(row.address) for row in found) == sorted([*said, "unix:own"])
        finally:
            process.kill()


def test_the_processes_of_a_program_are_its_session_and_all_below_it() -> None:
    rows = [
        ProcessInfo(10, 1, 10, False),
        ProcessInfo(11, 10, 10, False),
        ProcessInfo(12, 11, 12, False),
        ProcessInfo(13, 12, 12, False),
        ProcessInfo(14, 1, 10, False),
        ProcessInfo(15, 14, 15, True),
        ProcessInfo(16, 1, 16, False),
        ProcessInfo(17, 17, 17, False),
    ]
    found = program_processes(10, {each.pid: each for each in rows})
    assert sorted(each.pid for each in found) == [10, 11, 12, 13, 14]
