"""Workers and the master are killed, stopped and blocked, and apps crash; the service goes on."""

import random
import re
import signal
import socket
import time
from pathlib import Path

import psutil
import pytest

from tests.live.app_sources import ASYNC_HOLD, HOLD, write_version
from tests.live.client_load import Failure, Report, client_load
from tests.live.harness import Server, command_line, serving, wait_for
from tests.live.held_requests import Gate, is_closed, read_response, send_request


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


def dead(process: psutil.Process) -> bool:
    """Return whether the process ended with all its threads: each holds its connections."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1
    except psutil.NoSuchProcess:
        return True


# Killed workers.

NO_HANDOFF = "--limit-requests-per-connection=1000000"
"""A worker that counts requests hands no connection off. Where other programs need the cores, calls
take long, and a connection would be lost with a worker that its client has not seen."""


class Killing:
    """One killed worker, and the monotonic times around its death, as in the clients."""

    def __init__(self, victim: psutil.Process) -> None:
        self.pid = victim.pid
        self.began = time.monotonic()
        victim.kill()
        wait_for(lambda: dead(victim), "the kernel has ended it")
        self.ended = time.monotonic()

    def explains(self, failure: Failure) -> bool:
        """Return whether the failed request may have been in flight on this worker when it died."""
        overlaps = failure.began <= self.ended and failure.ended >= self.began
        return overlaps and failure.pid in (0, self.pid)


def explained(report: Report, killings: list[Killing]) -> None:
    """Assert that every failure is a request in flight on a worker that was killed."""
    print(report)
    for failure in report.failures:
        assert any(killing.explains(failure) for killing in killings), failure


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_killed_workers_lose_only_their_own_requests(tmp_path: Path, interface: str) -> None:
    write_version(tmp_path, 1, interface)
    with (
        serving(tmp_path, "app:app", NO_HANDOFF, workers=4) as server,
        client_load(server.port, 12, 12) as clients,
    ):
        clients.run_phase("quiet", 300)
        killings = []
        for count in range(1, 7):
            clients.begin_phase(f"killing {count}")
            killings.append(Killing(random.choice(server.workers())))
            server.wait_log(r"gone: killed by a signal \(SIGKILL\); a new one ", count)
            server.wait_all_ready(4, 1)
            clients.wait_served(50)
        clients.run_phase("after", 300)
        report = clients.stop()
        explained(report, killings)
        # Each client has one request in flight at most.
        assert len(report.failures) <= 6 * 24
        assert report.phase("after").requests
        assert server.stop() == 0


def test_all_workers_killed_at_once_are_replaced_and_no_client_is_refused(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    with serving(tmp_path, "app:app", workers=3) as server:
        for worker in server.workers():
            worker.suspend()
        # The request waits in the queue of the socket, which the master holds open.
        waiting = send_request(server.port)
        for worker in server.workers():
            worker.kill()
        assert read_response(waiting)[0] == 200
        server.wait_all_ready(3, 1)
        server.wait_log(r"gone: killed by a signal \(SIGKILL\)", 3)


def test_a_worker_that_was_asked_to_leave_drains_and_is_replaced(
    tmp_path: Path, gate: Gate
) -> None:
    write_version(tmp_path, 1, code=HOLD)
    with serving(tmp_path, "app:app") as server:
        (worker,) = server.workers()
        held = send_request(server.port, "/hold")
        gate.wait_entered()
        worker.terminate()
        server.wait_log(rf"pid {worker.pid}, gen 1\) drains: asked to leave by a signal")
        server.wait_log("ready in", 2)
        assert server.get()[0] == 200
        gate.open()
        assert read_response(held) == (200, b"held")
        server.wait_log(rf"pid {worker.pid}, gen 1\) gone: asked to leave by a signal$")
        server.wait_all_ready(1, 1)


SLOW_START = """
import asyncio
http = app
async def app(scope, receive, send):
    if scope["type"] != "lifespan":
        return await http(scope, receive, send)
    await receive()
    await asyncio.to_thread(lambda: open("gate").read())
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
"""


def test_a_worker_that_is_asked_to_leave_while_its_app_starts_up_has_not_failed(
    tmp_path: Path, gate: Gate
) -> None:
    write_version(tmp_path, 1, "asgi")
    with serving(tmp_path, "app:app") as server:
        with (tmp_path / "app.py").open("a") as source:
            source.write(SLOW_START)
        server.send(signal.SIGTTIN)
        gate.wait_entered()
        next(w for w in server.workers() if "worker 1" in command_line(w)).terminate()
        gate.open()
        server.wait_log("worker 1 .* gone: asked to leave by a signal$")
        gate.wait_entered()
        gate.open()
        server.wait_all_ready(2, 1)
        assert not server.count("ERROR")


# The master dies.


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_orphaned_workers_finish_their_requests_and_free_the_port(
    tmp_path: Path, gate: Gate, interface: str
) -> None:
    write_version(tmp_path, 1, interface, HOLD if interface == "wsgi" else ASYNC_HOLD)
    with serving(tmp_path, "app:app", workers=2) as server:
        port, workers = server.port, server.workers()
        idle = send_request(port)
        assert read_response(idle, close=False)[0] == 200
        held = send_request(port, "/hold")
        gate.wait_entered()
        psutil.Process(server.pid).kill()
        wait_for(lambda: any(map(dead, workers)), "the worker without a request leaves")
        gate.open()
        assert read_response(held) == (200, b"held")
        psutil.wait_procs(workers, timeout=10)
        assert not any(worker.is_running() for worker in workers)
        assert is_closed(idle)
        idle.close()
    successor = Server("-b", f"127.0.0.1:{port}", "app:app", cwd=tmp_path)
    try:
        assert successor.ready().get()[0] == 200
    finally:
        successor.destroy()


def test_orphaned_workers_answer_the_clients_in_the_queue(tmp_path: Path, gate: Gate) -> None:
    """The kernel resets the queue of a listening socket when its last copy is closed."""
    write_version(tmp_path, 1, code=HOLD)
    with serving(tmp_path, "app:app") as server:
        held = send_request(server.port, "/hold")
        gate.wait_entered()
        waiting = [send_request(server.port) for _ in range(5)]
        psutil.Process(server.pid).kill()
        gate.open()
        assert read_response(held) == (200, b"held")
        for connection in waiting:
            assert read_response(connection)[0] == 200


def test_an_orphan_that_cannot_finish_is_ended_by_the_kill_timeout(
    tmp_path: Path, gate: Gate
) -> None:
    write_version(tmp_path, 1, code=HOLD)
    with serving(tmp_path, "app:app", "--kill-timeout", "500ms", "--timeout", "off") as server:
        workers = server.workers()
        held = send_request(server.port, "/hold")
        gate.wait_entered()
        psutil.Process(server.pid).kill()
        psutil.wait_procs(workers, timeout=10)
        assert not any(worker.is_running() for worker in workers)
        held.close()


def test_an_orphan_that_still_boots_does_not_begin_to_serve(tmp_path: Path, gate: Gate) -> None:
    write_version(tmp_path, 1, code='open("gate").read()')
    server = Server("-b", "127.0.0.1:0", "app:app", cwd=tmp_path)
    try:
        gate.wait_entered()
        workers = server.workers()
        psutil.Process(server.pid).kill()
        psutil.wait_procs(workers, timeout=10)
        assert not any(worker.is_running() for worker in workers)
    finally:
        server.destroy()


@pytest.mark.parametrize("asks", ["asks", "does not ask"])
def test_an_orphaned_main_leaves(tmp_path: Path, asks: str) -> None:
    loop = "prefork.stopping().wait()" if asks == "asks" else "while True: listener.accept()"
    (tmp_path / "app.py").write_text(f"import prefork\ndef app(listener):\n    {loop}\n")
    with serving(tmp_path, "app:app", workers=2) as server:
        workers = server.workers()
        psutil.Process(server.pid).kill()
        psutil.wait_procs(workers, timeout=10)
        assert not any(worker.is_running() for worker in workers)


# Stopped by a signal, and blocked.


def test_a_stopped_worker_is_noticed_killed_and_replaced(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    with serving(tmp_path, "app:app", "--timeout", "1s", workers=2) as server:
        victim = server.workers()[0]
        victim.suspend()
        server.wait_log(rf"pid {victim.pid}, gen 1\) passed its deadline")
        server.wait_log(rf"pid {victim.pid}, gen 1\) gone: hang")
        assert server.get()[0] == 200
        server.wait_all_ready(2, 1)


def stopped_for(process: psutil.Process, seconds: float) -> None:
    """Stop a process for so many seconds, because the test is about that time."""
    process.suspend()
    until = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() > until, "time passes")
    process.resume()


def test_a_master_that_was_stopped_takes_no_worker_for_hung(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    with serving(tmp_path, "app:app", "--timeout", "1s", workers=2) as server:
        before = server.workers()
        stopped_for(psutil.Process(server.pid), 3.5)
        server.send(signal.SIGTTIN)
        server.wait_all_ready(3, 1)
        assert all(worker.is_running() for worker in before)
        assert server.count("gone") == 0


@pytest.mark.parametrize("seconds", [1.5, 3.5])
def test_a_master_that_was_stopped_reads_ready_messages_before_deadlines(
    tmp_path: Path, gate: Gate, seconds: float
) -> None:
    """The message is in the pipe in time; the master reads it late."""
    write_version(tmp_path, 1)
    with serving(tmp_path, "app:app", "--boot-timeout", "1s") as server:
        write_version(tmp_path, 2, code='open("gate").read()')
        server.send(signal.SIGHUP)
        gate.wait_entered()
        master = psutil.Process(server.pid)
        master.suspend()
        gate.open()
        wait_for(lambda: any("ready gen 2" in title for title in server.titles()), "ready")
        stopped_for(master, seconds)
        server.wait_log("reloaded to gen 2")
        assert server.count("not ready in time") == 0


def test_a_busy_worker_is_not_taken_for_a_blocked_one(tmp_path: Path) -> None:
    """Each call takes half of the timeout, and all together several times as long."""
    write_version(
        tmp_path, 1, code="import time\ndef works():\n    time.sleep(0.3)\n    return b'x'"
    )
    with serving(tmp_path, "app:app", "--timeout", "700ms") as server:
        asked = [send_request(server.port, "/works") for _ in range(8)]
        for connection in asked:
            assert read_response(connection)[0] == 200
        assert server.count("deadline") == 0


# Workers that do not leave.

STUBBORN = """
import signal
def resist():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return b"never"
"""


@pytest.mark.parametrize("why", ["reload", "stop"])
@pytest.mark.parametrize("how", ["ignores the signal", "is blocked"])
def test_a_worker_that_does_not_leave_is_killed_after_the_kill_timeout(
    tmp_path: Path, gate: Gate, why: str, how: str
) -> None:
    write_version(tmp_path, 1, code=STUBBORN + HOLD)
    with serving(tmp_path, "app:app", "--kill-timeout", "500ms") as server:
        (victim,) = server.workers()
        if how == "is blocked":
            held = send_request(server.port, "/hold")
            gate.wait_entered()
        else:
            held = send_request(server.port, "/resist")
            assert read_response(held) == (200, b"never")
        server.send(signal.SIGHUP if why == "reload" else signal.SIGTERM)
        killed = "killed, it did not leave within the kill timeout"
        server.wait_log(rf"pid {victim.pid}, gen 1\) gone: {why}; {killed}")
        held.close()
        if why == "reload":
            server.wait_all_ready(1, 2)
            assert server.get()[0] == 200
        else:
            assert server.wait_exit() == 0
            assert server.is_gone()


def test_a_main_that_asks_and_never_leaves_is_killed(tmp_path: Path) -> None:
    source = "import prefork, threading\ndef app(listener):\n    prefork.stopping()\n"
    (tmp_path / "app.py").write_text(source + "    while True:\n        threading.Event().wait()\n")
    with serving(tmp_path, "app:app", "--kill-timeout", "500ms", "--timeout", "off") as server:
        server.send(signal.SIGHUP)
        server.wait_log("gone: reload; killed, it did not leave within the kill timeout")
        server.wait_all_ready(1, 2)
        assert server.stop() == 0


# Crash loops.


def delays(server: Server, slot: int) -> list[float]:
    """Return the delays in the log before this slot is filled again."""
    pattern = rf"worker {slot} .*; a new one (?:in ([\d.]+)s|now)"
    found = [re.search(pattern, line) for line in server.lines]
    return [float(match[1] or 0) for match in found if match is not None]


def test_an_app_that_exits_at_requests_backs_off_and_others_serve_on(tmp_path: Path) -> None:
    code = (
        "import prefork\n"
        "def exits():\n"
        "    if prefork.worker().slot == 1:\n"
        "        os._exit(9)\n"
        "    return b'survived'"
    )
    write_version(tmp_path, 1, code=code)
    with serving(tmp_path, "app:app", workers=2) as server:

        def crashed_often() -> bool:
            try:
                assert read_response(send_request(server.port, "/exits")) == (200, b"survived")
            except (ConnectionError, EOFError):
                pass
            return len(delays(server, 1)) >= 5

        wait_for(crashed_often, "five crashes")
        server.wait_log(r"worker 1 .* gone: exited by itself \(exit code 9\); a new one in ", 2)
        waits = delays(server, 1)
        # The first may be answered at once; from then on each delay is longer than the last.
        assert waits[1:] == sorted(waits[1:])
        assert waits[-1] > 2 * max(waits[1], 0.1)
        assert delays(server, 0) == []
        server.wait_all_ready(2, 1)


def test_broken_code_makes_one_slot_back_off_while_others_serve_on(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    with (
        serving(tmp_path, "app:app", NO_HANDOFF, workers=2) as server,
        client_load(server.port, 4, 4) as clients,
    ):
        write_version(tmp_path, 2, code="os._exit(3)")
        victim = next(w for w in server.workers() if "worker 1" in command_line(w))
        killing = Killing(victim)
        server.wait_log(r"worker 1 .* gone: boot failure \(exit code 3\); a new one in ", 4)
        waits = delays(server, 1)[1:]
        assert waits == sorted(waits)
        assert waits[-1] > waits[0]
        write_version(tmp_path, 2, code="1 / 0")
        server.wait_log(r"boot failure \(exit code 102\); a new one in .*importing app failed")
        server.wait_log("ZeroDivisionError")
        # When the code is right again, no signal is needed.
        write_version(tmp_path, 3)
        server.wait_all_ready(2, 1)
        clients.wait_served(50)
        explained(clients.stop(), [killing])


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("os._exit(0)", r"boot failure \(exit code 0\)"),
        ("os._exit(3)", r"boot failure \(exit code 3\)"),
        ("os.kill(os.getpid(), 11)", r"boot failure \(SIGSEGV\)"),
        ("raise SystemExit(0)", r"SystemExit: 0"),
        ("raise KeyboardInterrupt", r"KeyboardInterrupt"),
    ],
)
def test_an_app_that_ends_while_the_server_starts_ends_the_server(
    tmp_path: Path, code: str, said: str
) -> None:
    write_version(tmp_path, 1, code=code)
    server = Server("-b", "127.0.0.1:0", "-w", "3", "app:app", cwd=tmp_path)
    try:
        assert server.wait_exit() == 102
        assert re.search(said, server.log)
        assert server.count("giving up: worker \\d: ") == 1
        assert server.is_gone()
    finally:
        server.destroy()


def test_the_master_gives_up_after_max_restarts_when_no_worker_serves(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    with serving(tmp_path, "app:app", "--max-restarts", "2") as server:
        write_version(tmp_path, 2, code="os._exit(3)")
        server.workers()[0].kill()
        assert server.wait_exit() == 102
        server.wait_log("giving up: worker 0: boot failure")
        assert server.count("a new one") == 3
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port), timeout=5)


def test_a_worker_that_exits_as_agreed_is_not_replaced(tmp_path: Path) -> None:
    write_version(tmp_path, 1, code="def exits():\n    os._exit(7)")
    with serving(tmp_path, "app:app", "--stop-exit-codes", "7", workers=2) as server:
        with pytest.raises((ConnectionError, EOFError)):
            read_response(send_request(server.port, "/exits"))
        wait_for(lambda: len(server.workers()) == 1, "the other one is left")
        assert server.get()[0] == 200
        with pytest.raises((ConnectionError, EOFError)):
            read_response(send_request(server.port, "/exits"))
        assert server.wait_exit() == 0


# Recycling.


def test_workers_are_replaced_after_max_requests_without_a_failure(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    flags = ("--max-requests", "100", "--max-requests-jitter", "50")
    with (
        serving(tmp_path, "app:app", *flags, workers=3) as server,
        client_load(server.port, 8, 8) as clients,
    ):
        server.wait_log("drains: recycle", 8, patience=40)
        report = clients.stop()
        print(report)
        assert not report.failures, report
        server.wait_all_ready(3, 1)
        assert server.stop() == 0


def test_workers_are_replaced_after_max_lifetime_without_a_failure(tmp_path: Path) -> None:
    write_version(tmp_path, 1, "asgi")
    flags = ("--max-lifetime", "500ms", "--max-lifetime-jitter", "500ms")
    with (
        serving(tmp_path, "app:app", *flags, workers=3) as server,
        client_load(server.port, 8, 8) as clients,
    ):
        server.wait_log("drains: recycle", 6, patience=40)
        report = clients.stop()
        print(report)
        assert not report.failures, report
        assert server.stop() == 0
