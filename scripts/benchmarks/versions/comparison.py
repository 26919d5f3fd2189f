"""Measures two servers by turns, and computes the ratio between them from pairs of windows.

Design
------
- **Pairs of windows, not two runs.** The speed of a shared machine drifts by more than the 2 % that
  a change may cost. Both servers therefore run at the same time, on the same core, and the two
  windows of a pair follow each other within a second. The order within a pair alternates, so that
  drift favours neither server.
- **The result is the median of the ratios of the pairs.** The quartiles show how reliable it is.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from ..client import Job, measure
from ..loads import Load
from ..machine import Cores
from ..peers import Interface, Peer, prefork_peer
from ..server import Server


@dataclass
class Comparison:
    """The results under one load: for each turn the CPU microseconds per request of (old, new)."""

    load: Load
    interface: Interface
    pairs: list[tuple[float, float]] = field(default_factory=list)

    @property
    def old_us(self) -> float:
        """CPU microseconds per request of the old checkout, the median."""
        return statistics.median(old for old, _ in self.pairs)

    @property
    def new_us(self) -> float:
        """CPU microseconds per request of the new checkout, the median."""
        return statistics.median(new for _, new in self.pairs)

    @property
    def ratios(self) -> list[float]:
        """The ratio new/old of each pair, sorted; below 1 the new checkout needs less CPU time."""
        return sorted(new / old for old, new in self.pairs)

    @property
    def ratio(self) -> float:
        """The median of the ratios."""
        return statistics.median(self.ratios)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The first and the third quartile: half of the ratios lie between these two."""
        ratios = self.ratios
        return ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]


def checkout_peer(tree: Path, interface: Interface) -> Peer:
    """Return prefork as the virtual environment of the checkout `tree` runs it."""
    ours = prefork_peer(interface)
    return Peer(
        f"{ours.name} of {tree}",
        ours.interfaces,
        tree / ".venv" / "bin" / "python",
        ours.http,
        tls=ours.tls,
        access_log=ours.access_log,
        websocket=ours.websocket,
    )


def compare(
    comparison: Comparison, trees: tuple[Path, Path], turns: int, seconds: float, cores: Cores
) -> Iterator[tuple[float, float]]:
    """Add ``turns`` pairs of windows of ``seconds`` each to the comparison, and yield each pair.

    Raises ServerError or ClientError.
    """
    load = comparison.load
    with ExitStack() as stack:
        servers = []
        for tree in trees:
            peer = checkout_peer(tree, comparison.interface)
            servers.append(stack.enter_context(Server(peer, load, cores.server)))
        for server in servers:
            server.wait_until_ready()
        jobs = [
            Job(load.name, server.port, server.pid, cores.generator, load.connections, 0.1, seconds)
            for server in servers
        ]
        for job in jobs:
            measure(job)  # not counted: the first window of a server includes its warm-up
        for turn in range(turns):
            order = (0, 1) if turn % 2 == 0 else (1, 0)
            found = {which: measure(jobs[which]).cpu_us for which in order}
            comparison.pairs.append((found[0], found[1]))
            yield comparison.pairs[-1]
