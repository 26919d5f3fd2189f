"""The order of it all: each server in turn does everything, with each number of workers."""

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
from ..options import tell
from ..peers import APPS, PROJECT
from ..server import Running, ServerError, free_port
from .clients import ClientError
from .results import Accepting, Figures, Run
from .servers import Crew, serving, settle
from .workloads import LEVELS, Level, burst, ideal, mixed, sequential

WORKERS = 4
WAYS = ("--accept fair", "--accept any")
TURNS = 6


@dataclass(frozen=True)
class Extent:
    """How much of it: connections, bursts, seconds of each mixed load, and which of those."""

    connections: int = 200
    bursts: int = 20
    seconds: float = 12.0
    levels: tuple[Level, ...] = LEVELS

    def estimate(self, crews: int) -> float:
        """About how many seconds it takes."""
        mixed = sum(self.seconds + level.scale + 6 for level in self.levels)
        return crews * (5 + self.bursts * 1.6 + mixed)


QUICK = Extent(connections=20, bursts=1, seconds=1.0, levels=LEVELS[:1])


def run(crews: list[Crew], extent: Extent, cores: Cores) -> Iterator[Run]:
    """All figures so far, after each server."""
    found = Run(ideal={level.workers: ideal(level) for level in extent.levels})
    for crew in crews:
        found.servers[crew.name] = figures = Figures()
        _few(crew, extent, figures)
        for level in extent.levels:
            _mixed(crew, level, extent.seconds, figures)
        yield found
    if any(crew.is_ours for crew in crews):
        _accepting(extent.seconds, cores, found)
        yield found


def _few(crew: Crew, extent: Extent, figures: Figures) -> None:
    """One after another, then bursts."""

    def ask(port: int) -> None:
        figures.sequential = sequential(port, WORKERS, extent.connections)
        tell(f"{crew.name:<20} one after another  {figures.sequential}")
        for _ in range(extent.bursts):
            time.sleep(0.05)  # whoever was busy is idle again
            figures.bursts.append(burst(port))
        tell(f"{crew.name:<20} bursts  {[round(one.seconds, 2) for one in figures.bursts]}")

    _guarded(crew, WORKERS, "connections", figures, ask)


def _mixed(crew: Crew, level: Level, seconds: float, figures: Figures) -> None:
    def ask(port: int) -> None:
        figures.mixed[level.workers] = done = mixed(port, level, seconds)
        tell(
            f"{crew.name:<20} {level.workers} workers{done.rate:8.0f}/s, p50{done.p50:6.0f} ms,"
            f" p99{done.p99:6.0f} ms, shares {done.least:.2f}-{done.most:.2f}"
        )

    _guarded(crew, level.workers, f"{level.workers} workers", figures, ask)


def _guarded(
    crew: Crew, workers: int, what: str, figures: Figures, ask: Callable[[int], None]
) -> None:
    try:
        with serving(crew, workers) as port:
            ask(port)
    except ServerError as error:
        figures.failures[what] = str(error)
        tell(f"{crew.name:<20} failed: {error}")


def _accepting(seconds: float, cores: Cores, run: Run) -> None:
    """Both ways by turns, so that whatever else the machine does is the same for both."""
    try:
        with ExitStack() as servers:
            jobs = {way: servers.enter_context(_ready(way, cores, seconds / TURNS)) for way in WAYS}
            done = {way: [measure(job)] for way, job in jobs.items()}
            for _ in range(TURNS - 1):
                for way, job in jobs.items():
                    done[way].append(measure(job))
    except (ServerError, GeneratorError, ClientError) as error:
        tell(f"connections per second: failed: {error}")
        return
    for way, all_of_it in done.items():
        run.accepting[way] = one = Accepting(
            median(each.rate for each in all_of_it), median(each.cpu_us for each in all_of_it)
        )
        tell(f"{way}: {one.rate:,.0f} connections/s, {one.cpu_us:.1f} µs")


@contextmanager
def _ready(way: str, cores: Cores, seconds: float) -> Iterator[Job]:
    port = free_port()
    words = f"-m prefork -w {WORKERS} -b 127.0.0.1:{port} --log-level warning {way}"
    command = [str(PROJECT / "python"), *words.split(), "wsgi_apps:hello"]
    with Running(lambda _folder: command, Path(APPS)) as running:
        settle(running, time.monotonic() + 10)
        yield Job("hello-connect", port, running.pid, cores.generator, 32, 0.3, seconds)
