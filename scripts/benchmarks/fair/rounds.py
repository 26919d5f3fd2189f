"""Measures one server after another: all workloads, each with its number of workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from ..client import ClientError as GeneratorError
from ..client import Job, measure
from ..machine import Cores
from ..options import print_progress
from ..peers import APPS, PROJECT_BIN
from ..server import RunningCommand, ServerError, find_free_port
from .clients import ClientError
from .results import AcceptRate, Run, ServerFigures
from .servers import ServerCommand, run_server, wait_until_idle
from .workloads import (
    MIXED_LOADS,
    MixedLoad,
    ideal_mixed,
    measure_burst,
    measure_mixed,
    measure_sequential,
)

WORKERS = 4
ACCEPT_OPTIONS = ("--accept fair", "--accept any")
TURNS = 6


@dataclass(frozen=True)
class RunSize:
    """The size of a run: sequential connections, bursts, and the mixed loads with their seconds."""

    connections: int = 200
    bursts: int = 20
    seconds: float = 12.0
    loads: tuple[MixedLoad, ...] = MIXED_LOADS

    def estimate_seconds(self, servers: int) -> float:
        """Return about how many seconds a run over so many servers takes."""
        mixed = sum(self.seconds + load.scale + 6 for load in self.loads)
        return servers * (5 + self.bursts * 1.6 + mixed)


QUICK = RunSize(connections=20, bursts=1, seconds=1.0, loads=MIXED_LOADS[:1])


def run_all(servers: list[ServerCommand], size: RunSize, cores: Cores) -> Iterator[Run]:
    """Measure all servers; yield the results so far after each one.

    A failure of a server is kept in its results.
    """
    found = Run(ideal={load.workers: ideal_mixed(load) for load in size.loads})
    for server in servers:
        found.servers[server.name] = figures = ServerFigures()
        _measure_connections(server, size, figures)
        for load in size.loads:
            _measure_mixed_load(server, load, size.seconds, figures)
        yield found
    if any(server.is_prefork for server in servers):
        _measure_accept_rates(size.seconds, cores, found)
        yield found


def _measure_connections(server: ServerCommand, size: RunSize, figures: ServerFigures) -> None:
    """Measure sequential connections, then bursts."""

    def measure_server(port: int) -> None:
        figures.sequential = measure_sequential(port, WORKERS, size.connections)
        print_progress(f"{server.name:<20} one after another  {figures.sequential}")
        for _ in range(size.bursts):
            time.sleep(0.05)  # until all workers are idle again
            figures.bursts.append(measure_burst(port))
        print_progress(
            f"{server.name:<20} bursts  {[round(one.seconds, 2) for one in figures.bursts]}"
        )

    _with_server(server, WORKERS, "connections", figures, measure_server)


def _measure_mixed_load(
    server: ServerCommand, load: MixedLoad, seconds: float, figures: ServerFigures
) -> None:
    """Measure one mixed load."""

    def measure_server(port: int) -> None:
        figures.mixed[load.workers] = one = measure_mixed(port, load, seconds)
        print_progress(
            f"{server.name:<20} {load.workers} workers{one.rate:8.0f}/s, p50{one.p50:6.0f} ms,"
            f" p99{one.p99:6.0f} ms, shares {one.least:.2f}-{one.most:.2f}"
        )

    _with_server(server, load.workers, f"{load.workers} workers", figures, measure_server)


def _with_server(
    server: ServerCommand,
    workers: int,
    title: str,
    figures: ServerFigures,
    measure_server: Callable[[int], None],
) -> None:
    """Call `measure_server` with the port of the running server; keep a failure under `title`."""
    try:
        with run_server(server, workers) as port:
            measure_server(port)
    except ServerError as error:
        figures.failures[title] = str(error)
        print_progress(f"{server.name:<20} failed: {error}")


def _measure_accept_rates(seconds: float, cores: Cores, run: Run) -> None:
    """Measure accepted connections per second with each accept option, by turns.

    Turns spread a noisy minute of the machine over both options.
    """
    try:
        with ExitStack() as servers:
            jobs = {
                option: servers.enter_context(_run_accepting_server(option, cores, seconds / TURNS))
                for option in ACCEPT_OPTIONS
            }
            done = {option: [measure(job)] for option, job in jobs.items()}
            for _ in range(TURNS - 1):
                for option, job in jobs.items():
                    done[option].append(measure(job))
    except (ServerError, GeneratorError, ClientError) as error:
        print_progress(f"connections per second: failed: {error}")
        return
    for option, measurements in done.items():
        run.accepting[option] = one = AcceptRate(
            median(each.rate for each in measurements), median(each.cpu_us for each in measurements)
        )
        print_progress(f"{option}: {one.rate:,.0f} connections/s, {one.cpu_us:.1f} µs")


@contextmanager
def _run_accepting_server(option: str, cores: Cores, seconds: float) -> Iterator[Job]:
    """Run prefork with an accept option, and yield a job that opens a connection per request."""
    port = find_free_port()
    arguments = f"-m prefork -w {WORKERS} -b 127.0.0.1:{port} --log-level warning {option}"
    command = [str(PROJECT_BIN / "python"), *arguments.split(), "wsgi_apps:hello"]
    with RunningCommand(lambda _folder: command, Path(APPS)) as running:
        wait_until_idle(running, time.monotonic() + 10)
        yield Job("hello-connect", port, running.pid, cores.generator, 32, 0.3, seconds)
