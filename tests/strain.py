"""Measure one worker: what idle connections cost, and what a slowloris does to honest clients.

idle        memory and CPU of a worker for each of so many idle keep-alive connections
slowloris   p99 of 32 honest clients, quiet and beside connections that never finish their heads
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from contextlib import ExitStack
from multiprocessing.synchronize import Event
from pathlib import Path

import psutil

from tests.live.crowd import HELLO, connect_many, require_descriptors, send_one_byte_each
from tests.live.harness import Server
from tests.live.memory import private_bytes
from tests.live.web import serving_app
from tests.live.wire import tcp

HONEST = 32
TURNS = 100
"""In which all slow connections get on by a byte, evenly over a second."""
KINDS = ("wsgi", "asgi")


def main() -> int:
    """What was asked for, for both interfaces."""
    parser = argparse.ArgumentParser(
        prog="scripts/strain", formatter_class=argparse.RawTextHelpFormatter, description=__doc__
    )
    parser.add_argument("what", choices=("idle", "slowloris"))
    parser.add_argument("--connections", type=int, help="default: 10000 idle, 2000 slow ones")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each figure (%(default)s)")
    options = parser.parse_args()
    measure, most = {"idle": (measure_idle, 10_000), "slowloris": (measure_slowloris, 2_000)}[
        options.what
    ]
    count = options.connections or most
    require_descriptors(count)
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder, serving_app(kind, Path(folder)) as server:
            print(f"{kind:5}", measure(server, count, options.seconds), flush=True)
    return 0


def measure_idle(server: Server, count: int, seconds: float) -> str:
    """Each has had an answer. What is given back later is given back before the end."""
    (worker,) = server.workers()
    with connect_many(server, 200, HELLO):
        pass
    before = private_bytes(worker.pid)
    alone = _measure_cpu(worker, seconds)
    with connect_many(server, count, HELLO):
        time.sleep(6)
        with_crowd = _measure_cpu(worker, seconds)
        each = (private_bytes(worker.pid) - before) / count
    return (
        f"{count} idle connections: {each / 1024:.2f} KB each; "
        f"CPU {with_crowd:.2%}, without them {alone:.2%}"
    )


def _measure_cpu(worker: psutil.Process, seconds: float) -> float:
    before, since = sum(worker.cpu_times()[:2]), time.monotonic()
    time.sleep(seconds)
    return (sum(worker.cpu_times()[:2]) - before) / (time.monotonic() - since)


def measure_slowloris(server: Server, count: int, seconds: float) -> str:
    """The attackers are in another process; each sends a byte a second and comes back when cut."""
    quiet = _measure_p99(server, seconds)
    ready, over = multiprocessing.Event(), multiprocessing.Event()
    attack = multiprocessing.Process(target=_attack, args=(server, count, ready, over))
    attack.start()
    ready.wait()
    attacked = _measure_p99(server, seconds)
    over.set()
    attack.join()
    return (
        f"{HONEST} honest clients: p99 {quiet * 1000:.1f} ms quiet, {attacked * 1000:.1f} ms "
        f"beside {count} slow connections, {attacked / quiet:.2f} times"
    )


def _attack(server: Server, count: int, ready: Event, over: Event) -> None:
    with ExitStack() as stack:
        sockets = stack.enter_context(connect_many(server, count))
        ready.set()
        turn = 0
        while not over.wait(1 / TURNS):
            some = sockets[turn::TURNS]
            send_one_byte_each(some)
            gone = [sock for sock in sockets[turn::TURNS] if sock not in some]
            if gone:
                new = stack.enter_context(connect_many(server, len(gone)))
                sockets[turn::TURNS] = [*some, *new]
            turn = (turn + 1) % TURNS


def _measure_p99(server: Server, seconds: float) -> float:
    """Each client sends its next request when it has got its answer."""
    with ExitStack() as stack:
        wires = [stack.enter_context(tcp(server)) for _ in range(HONEST)]
        times: list[float] = []
        sent = [time.perf_counter() for wire in wires if wire.send(HELLO)]
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for index, wire in enumerate(wires):
                wire.answer()
                now = time.perf_counter()
                times.append(now - sent[index])
                sent[index] = now
                wire.send(HELLO)
    return sorted(times)[len(times) * 99 // 100]


if __name__ == "__main__":
    sys.exit(main())
