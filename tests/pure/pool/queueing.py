"""A simulated service for the scaler: workers, a queue, cores, and a load over time.

It is a fluid model in steps of a tenth of a second. A request takes ``cpu`` seconds of a core and
sleeps for ``sleep`` seconds; a worker does one request at a time. When the workers need more cores
than there are, they share them, and a part of their busy time is a wait for a core.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random

from prefork.pool.scaling import Bounds, Decision, Reading, Scaler

STEP = 0.1
TICK = 10
"""Steps from one reading to the next."""

Load = Callable[[float], float]
"""Returns the requests per second at a simulated time."""


@dataclass(frozen=True, slots=True)
class App:
    """The costs of an app: CPU and sleep of a request, boot time in seconds, memory in bytes."""

    cpu: float = 0.001
    sleep: float = 0.1
    boot: float = 1.0
    size: int = 50 * 2**20


@dataclass(slots=True)
class Service:
    """A service under load. ``others``: cores that other processes use. ``hidden``: the busy share
    is not measured.
    """

    app: App
    load: Load
    scaler: Scaler
    cores: int = 2
    others: float = 0.0
    memory: int = 0
    hidden: bool = False
    seed: int = 1
    now: float = 0.0
    target: int = 1
    ready: int = 1
    backlog: float = 0.0
    arrived: float = 0.0
    served: float = 0.0
    boots: list[float] = field(default_factory=list)
    changes: list[tuple[float, int]] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    longest_wait: float = 0.0
    """The longest wait in seconds, if the queue is served in turn."""

    def run(self, seconds: float) -> "Service":
        """Simulate so many seconds, with a decision in each."""
        random = Random(self.seed)
        for _ in range(round(seconds / STEP / TICK)):
            shares = [self._step(random) for _ in range(TICK)]
            busy, running, starving, used = (sum(each) / TICK for each in zip(*shares, strict=True))
            self._tick(busy, running, starving, used)
        return self

    def _step(self, random: Random) -> tuple[float, float, float, float]:
        self.now += STEP
        due = [at for at in self.boots if at <= self.now]
        self.boots = self.boots[len(due) :]
        self.ready += len(due)
        mean = self.load(self.now) * STEP
        come = max(0.0, random.gauss(mean, mean**0.5))
        self.arrived += come
        self.backlog += come
        # With enough cores a request takes as long as it takes alone; else the cores are shared.
        cores = max(0.1, self.cores - self.others)
        takes = max(self.app.cpu + self.app.sleep, self.ready * self.app.cpu / cores)
        most = self.ready * STEP / takes
        done = min(self.backlog, most)
        self.backlog -= done
        self.served += done
        self.longest_wait = max(self.longest_wait, self.backlog / most * STEP)
        each = done / self.ready / STEP
        starving = each * max(0.0, takes - self.app.cpu - self.app.sleep)
        used = done * self.app.cpu / STEP + min(self.others, self.cores)
        return each * takes, each * self.app.cpu, starving, min(1.0, used / self.cores)

    def _tick(self, busy: float, running: float, starving: float, used: float) -> None:
        reading = Reading(
            target=self.target,
            ready=self.ready,
            booting=len(self.boots),
            queue=int(self.backlog),
            busy=None if self.hidden else busy,
            running=running,
            starving=starving,
            cpu=used,
            cores=self.cores,
            total=self.memory,
            free=self.memory - self.app.size * (self.ready + len(self.boots)),
            each=self.app.size,
        )
        decision = self.scaler.decide(reading, self.now)
        self.readings.append(reading)
        self.decisions.append(decision)
        if decision.target != self.target:
            self.changes.append((self.now, decision.target))
            self._move(decision.target)

    def _move(self, target: int) -> None:
        more = target - self.target
        self.target = target
        if more > 0:
            self.boots += [self.now + self.app.boot] * more
        else:
            assert not self.boots
            self.ready += more  # it finishes its requests at no cost for the others

    def ready_after(self, moment: float, workers: int) -> float:
        """Return the seconds from ``moment`` until so many workers served."""
        at = next(n for n, r in enumerate(self.readings, 1) if n > moment and r.ready >= workers)
        return at - moment

    def steps(self) -> list[int]:
        """Return the changes of the target in their order."""
        targets = [1, *(target for _, target in self.changes)]
        return [after - before for before, after in pairwise(targets)]

    def vetoes(self) -> set[str]:
        """Return the texts of all vetoes."""
        return {str(decision.veto) for decision in self.decisions if decision.veto}


def service(load: Load, app: App | None = None, most: int = 8, **also: object) -> Service:
    """Return a service that begins with one worker and has at most ``most``."""
    return Service(app or App(), load, Scaler(Bounds(1, most)), **also)  # type: ignore[arg-type]


def steady(rate: float) -> Load:
    """Return a constant load."""
    return lambda _now: rate


def spike(low: float, high: float, begin: float, end: float) -> Load:
    """Return a load that is high from ``begin`` to ``end``."""
    return lambda now: high if begin <= now < end else low


def sawtooth(low: float, high: float, period: float) -> Load:
    """Return a load that rises slowly and drops at once, periodically."""
    return lambda now: low + (high - low) * (now % period) / period


def flapping(low: float, high: float, half: float) -> Load:
    """Return a load that is low and high by turns, each for ``half`` seconds."""
    return lambda now: high if now % (2 * half) >= half else low
