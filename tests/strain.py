"""Measures one worker with many idle connections, or under a slowloris attack.

idle        memory per idle keep-alive connection, and CPU time of the worker with and without them
slowloris   p99 of 32 ordinary clients, alone and beside connections that never finish their heads
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

from tests.live.harness import Server
from tests.live.many_connections import HELLO, connect_many, require_descriptors, send_one_byte_each
from tests.live.process_memory import private_bytes
from tests.live.raw_client import tcp
from tests.live.web_apps import serving_app

CLIENTS = 32
"""Ordinary clients beside the slow ones."""
TURNS = 100
"""Turns of a second in which the slow connections send: each turn one hundredth of them a byte."""
KINDS = ("wsgi", "asgi")


def main() -> int:
    """Measure both interfaces and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="scripts/strain", formatter_class=argparse.RawTextHelpFormatter, description=__doc__
    )
    parser.add_argument("what", choices=("idle", "slowloris"), help="the measurement, see above")
    parser.add_argument("--connections", type=int, help="10000 for idle, 2000 for slowloris")
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="time of each measurement (%(default)s)"
    )
    options = parser.parse_args()
    measurements = {"idle": (measure_idle, 10_000), "slowloris": (measure_slowloris, 2_000)}
    measure, default_count = measurements[options.what]
    count = options.connections or default_count
    require_descriptors(count)
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder, serving_app(kind, Path(folder)) as server:
            print(f"{kind:5}", measure(server, count, options.seconds), flush=True)
    return 0


def measure_idle(server: Server, count: int, seconds: float) -> str:
    """Return a line about the cost of ``count`` connections that have got one answer each.

    The pause of 6 s lets the worker free what it frees some seconds after an answer.
    """
    (worker,) = server.workers()
    with connect_many(server, 200, HELLO):
        pass
    before = private_bytes(worker.pid)
    alone = _measure_cpu(worker, seconds)
    with connect_many(server, count, HELLO):
        time.sleep(6)
        with_connections = _measure_cpu(worker, seconds)
        each = (private_bytes(worker.pid) - before) / count
    return (
        f"{count} idle connections: {each / 1024:.2f} KB each; "
        f"CPU {with_connections:.2%}, without them {alone:.2%}"
    )


def _measure_cpu(worker: psutil.Process, seconds: float) -> float:
    """Return the share of a core that the worker uses during ``seconds``."""
    before, since = sum(worker.cpu_times()[:2]), time.monotonic()
    time.sleep(seconds)
    return (sum(worker.cpu_times()[:2]) - before) / (time.monotonic() - since)


def measure_slowloris(server: Server, count: int, seconds: float) -> str:
    """Return a line about the latency of ordinary clients beside ``count`` slow connections.

    The slow connections belong to another process. Each sends a byte a second, and is opened again
    when the server has closed it.
    """
    alone = _measure_p99(server, seconds)
    ready, stop = multiprocessing.Event(), multiprocessing.Event()
    attack = multiprocessing.Process(target=_attack, args=(server, count, ready, stop))
    attack.start()
    ready.wait()
    attacked = _measure_p99(server, seconds)
    stop.set()
    attack.join()
    return (
        f"{CLIENTS} ordinary clients: p99 {alone * 1000:.1f} ms alone, {attacked * 1000:.1f} ms "
        f"beside {count} slow connections, {attacked / alone:.2f} times"
    )


def _attack(server: Server, count: int, ready: Event, stop: Event) -> None:
    """Keep ``count`` slow connections open until ``stop`` is set; set ``ready`` when they are."""
    with ExitStack() as stack:
        sockets = stack.enter_context(connect_many(server, count))
        ready.set()
        turn = 0
        while not stop.wait(1 / TURNS):
            still_open = sockets[turn::TURNS]
            send_one_byte_each(still_open)  # it removes the closed ones from the list
            closed = [sock for sock in sockets[turn::TURNS] if sock not in still_open]
            if closed:
                new = stack.enter_context(connect_many(server, len(closed)))
                sockets[turn::TURNS] = [*still_open, *new]
            turn = (turn + 1) % TURNS


def _measure_p99(server: Server, seconds: float) -> float:
    """Return the p99 of CLIENTS clients in seconds; each sends a request after each answer."""
    with ExitStack() as stack:
        clients = [stack.enter_context(tcp(server)) for _ in range(CLIENTS)]
        times: list[float] = []
        sent = [time.perf_counter() for client in clients if client.send(HELLO)]
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for index, client in enumerate(clients):
                client.answer()
                now = time.perf_counter()
                times.append(now - sent[index])
                sent[index] = now
                client.send(HELLO)
    return sorted(times)[len(times) * 99 // 100]


if __name__ == "__main__":
    sys.exit(main())
