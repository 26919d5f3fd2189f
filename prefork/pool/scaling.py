"""How many workers there should be, decided from one reading a second. PURE.

Up quickly: by 1, 2, 4, as long as the evidence lasts. Down slowly: by one, after a calm time, and
only while the rest could carry the load with half of its time to spare. Between BUSY and CALM
nothing changes. Where a step down proves to be a mistake, the next one takes twice the calm.

What speaks against more is a veto, and has a name: memory, a CPU that is full and that the workers
want, a reload, workers that die. A worker that sleeps in a database call is busy, but wants no
CPU; so an app that blocks may have many more workers than there are cores.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

from prefork.plural import pluralize

BUSY_SHARE = 0.8
"""Above this share of their time workers are too busy: in a queue with one server, requests then
wait four times as long as they take, and it rises steeply."""

CALM_SHARE = 0.5
"""Up to this share those who would stay may be busy. Far enough from BUSY that one worker less or
more never leads straight back, whatever the number of workers."""

LOADED_SHARE = 0.65
"""Below this share late loops and waiting clients are no evidence: while there is time to spare
they come of long calls, which would be as long with more workers."""

LATE_AFTER = 0.1
"""Seconds that an event loop, or a client in the queue, may wait, before that is evidence."""

VERY_LATE_AFTER = 0.5
"""Seconds after which no second look is needed."""

SLEEPING_SHARE = 0.6
"""A worker that sleeps for more of its busy time than this gets its bit of a CPU that others fill,
so up to half of the cores count as free for such workers."""

SHORT_QUEUE = 8
"""Up to so many connections may stand in a queue for a moment; one look is not enough then."""

REQUIRED_EVIDENCE = 2
"""So much evidence moves something: two ticks, or one if it is strong."""

MAX_STEP = 4
"""Workers in one step up, or half of those there are."""

STEP_DOUBLING_WINDOW = 5.0
"""Seconds after a step up in which the next one may be twice as large."""

MEMORY_RESERVE = 0.1
"""The share of the memory that is left free for what is there to grow."""

BACKOFF_FACTOR = 2.0
MAX_BACKOFF = 16.0
"""The calm time grows by this after a mistake, up to so many times what the operator set."""

OCCUPIED_FACTOR = 4.0
"""For so many calm times a worker that has requests in flight is not asked to leave: they may take
longer than the kill timeout. Some always have, such as those with WebSockets."""

BACKOFF_DECAY_AFTER = 10.0
"""After so many of its calm times without a mistake it shrinks again."""


class Veto(StrEnum):
    """Why there are not more workers although there is evidence, or no change at all."""

    RELOAD = "a reload is under way"
    FAILING = "workers keep failing"
    CPU = "the CPU is busy"
    MEMORY = "memory is short"
    MAX_WORKERS = "max-workers is reached"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the operator allows. ``calm``: seconds before a worker less."""

    min_workers: int
    max_workers: int
    scale_down_after: float = 30.0

    def clamp(self, target: int) -> int:
        """The nearest that is allowed."""
        return min(max(target, self.min_workers), self.max_workers)


@dataclass(frozen=True, slots=True)
class Reading:
    """What is known at one tick. Shares are of the time since the last one, for the mean worker.

    ``queue``: connections that wait to be accepted. ``wait``: seconds that those who were accepted
    had waited. ``busy``: the share in which a worker could not begin another request (None:
    nobody knows). ``lag``: seconds by which the event loops are late. ``running``, ``starving``:
    the shares on a core, and ready to run with no core free. ``cpu``: the share in use, by
    whomever, of the ``cores`` that we may use. ``free``, ``total``: memory (0: not known);
    ``each``: what one worker takes. ``rolling``: a reload is under way. ``failing``: a slot waits
    because its workers die. ``occupied``: who would be the next to leave has requests in flight.
    ``working``: its app does work that it has marked.
    """

    target: int
    ready: int
    booting: int = 0
    queue: int = 0
    wait: float = 0.0
    busy: float | None = None
    lag: float = 0.0
    running: float = 0.0
    starving: float = 0.0
    cpu: float = 0.0
    cores: int = 1
    free: int = 0
    total: int = 0
    each: int = 0
    rolling: bool = False
    failing: bool = False
    occupied: bool = False
    working: bool = False

    @property
    def load(self) -> float:
        """The busy share; at least what is seen of it from outside."""
        return max(self.busy or 0.0, self.running + self.starving)

    @property
    def cpu_demand(self) -> float:
        """The share of a core that a worker wants while it is busy."""
        wants = self.running + self.starving
        return min(1.0, wants / self.busy) if self.busy else wants


@dataclass(frozen=True, slots=True)
class Decision:
    """``reason``: the evidence for a change, or for the one that ``veto`` forbids."""

    target: int
    reason: str = ""
    veto: Veto | None = None


@dataclass(frozen=True, slots=True)
class _Evidence:
    reason: str
    weight: int


def _evidence(reading: Reading) -> _Evidence | None:
    """What speaks for more workers. Those that boot will take their share, but show it later."""
    coming = reading.ready + reading.booting
    if reading.queue > coming:
        waits = pluralize(reading.queue, "connection waits", "connections wait")
        return _Evidence(
            waits, REQUIRED_EVIDENCE if reading.queue > max(SHORT_QUEUE, 2 * coming) else 1
        )
    laden = reading.busy is None or reading.load >= LOADED_SHARE
    late = max(reading.lag, reading.wait) if laden else 0.0
    if late >= (VERY_LATE_AFTER if reading.booting else LATE_AFTER):
        return _Evidence(
            f"requests wait {late:.1f} s", REQUIRED_EVIDENCE if late >= VERY_LATE_AFTER else 1
        )
    if reading.load * reading.ready / coming >= BUSY_SHARE:
        return _Evidence(f"workers are busy {reading.load:.0%} of the time", 1)
    return None


def _is_calm(reading: Reading) -> bool:
    """Whether one worker less would do."""
    rest = reading.ready - 1
    if reading.booting or rest < 1 or reading.queue * 4 > reading.ready:
        return False
    return reading.wait < LATE_AFTER and reading.load * reading.ready / rest <= CALM_SHARE


def _calm_reason(reading: Reading) -> str:
    if reading.busy is None:
        return "nobody waits"
    return f"workers are busy {reading.load:.0%} of the time"


def _limit_step(reading: Reading, new: int, bounds: Bounds, step: int) -> tuple[int, Veto | None]:
    """How many of ``step`` may come, and what speaks against more. So many are ``new``: what they
    will use of the CPU is not in the reading."""
    if reading.failing:
        return 0, Veto.FAILING
    limits = [
        (_room_in_cpu(reading, new), Veto.CPU),
        (_room_in_memory(reading), Veto.MEMORY),
        (bounds.max_workers - reading.target, Veto.MAX_WORKERS),
    ]
    fewest, veto = min(limits, key=lambda limit: limit[0])
    return (step, None) if fewest >= step else (max(0, math.floor(fewest)), veto)


def _room_in_cpu(reading: Reading, new: int) -> float:
    """Workers that the idle cores can feed."""
    appetite = reading.cpu_demand
    if not appetite:
        return math.inf
    idle = (1 - reading.cpu) * reading.cores
    if appetite < 1 - SLEEPING_SHARE:
        idle = max(idle, reading.cores / 2 - reading.ready * reading.running)
    return idle / appetite - new + 0.5


def _room_in_memory(reading: Reading) -> float:
    """Workers that fit, above the reserve. Those that boot have not taken all of theirs."""
    if not reading.total or not reading.each:
        return math.inf
    spare = reading.free - MEMORY_RESERVE * reading.total
    return spare / reading.each - reading.booting


class Scaler:
    """Remembers what was seen and done; ``decide`` once a tick."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.calm_seconds = bounds.scale_down_after
        """How long it has to be calm now before there is a worker less."""
        self._target = 0
        self._ready_before = 0
        self._evidence = 0
        self._step = 1
        self._calm_since: float | None = None
        self._up_at = -math.inf
        self._down_at = -math.inf
        self._mistake_at = -math.inf

    def set_bounds(self, bounds: Bounds) -> None:
        """What the operator allows from now on."""
        if bounds.scale_down_after != self.bounds.scale_down_after:
            self.calm_seconds = bounds.scale_down_after
        self.bounds = bounds

    def decide(self, reading: Reading, now: float) -> Decision:
        """The number of workers from now on."""
        new = reading.booting + max(0, reading.ready - self._ready_before)
        self._ready_before = reading.ready
        if reading.target != self._target:
            # Somebody else changed it: that holds until there is new evidence.
            self._restart_at(reading.target)
        if reading.rolling:
            self._restart_at(reading.target)
            return Decision(reading.target, veto=Veto.RELOAD)
        clipped = self.bounds.clamp(reading.target)
        if clipped != reading.target:
            self._restart_at(clipped)
            return Decision(clipped, "min-workers" if clipped > reading.target else "max-workers")
        if not reading.ready:
            return Decision(reading.target)
        self._decay_backoff(now)
        evidence = _evidence(reading)
        if evidence is not None:
            return self._scale_up(reading, new, evidence, now)
        if not reading.booting:
            self._evidence = 0
        return self._scale_down(reading, now)

    def _restart_at(self, target: int) -> None:
        self._target, self._evidence, self._step, self._calm_since = target, 0, 1, None

    def _scale_up(self, reading: Reading, new: int, evidence: _Evidence, now: float) -> Decision:
        self._calm_since = None
        self._evidence += evidence.weight
        if self._evidence < REQUIRED_EVIDENCE:
            return Decision(reading.target)
        if now - self._up_at > STEP_DOUBLING_WINDOW:
            self._step = 1
        step = min(self._step, max(MAX_STEP, reading.target // 2))
        step, veto = _limit_step(reading, new, self.bounds, step)
        if not step:
            return Decision(reading.target, evidence.reason, veto)
        if now - self._down_at < 2 * self.calm_seconds:
            self._back_off(now)
        self._step, self._up_at, self._down_at = self._step * 2, now, -math.inf
        self._target = reading.target + step
        return Decision(self._target, evidence.reason, veto)

    def _scale_down(self, reading: Reading, now: float) -> Decision:
        patience = self.calm_seconds * (OCCUPIED_FACTOR if reading.occupied else 1.0)
        if not _is_calm(reading) or reading.working:
            self._calm_since = None
        elif self._calm_since is None:
            self._calm_since = now
        elif now - self._calm_since >= patience and reading.target > self.bounds.min_workers:
            self._calm_since = self._down_at = now
            self._target = reading.target - 1
            return Decision(self._target, _calm_reason(reading))
        return Decision(reading.target)

    def _back_off(self, now: float) -> None:
        """The last step down came too early."""
        self.calm_seconds = min(
            self.calm_seconds * BACKOFF_FACTOR, self.bounds.scale_down_after * MAX_BACKOFF
        )
        self._mistake_at = now

    def _decay_backoff(self, now: float) -> None:
        if (
            self.calm_seconds > self.bounds.scale_down_after
            and now - self._mistake_at > BACKOFF_DECAY_AFTER * self.calm_seconds
        ):
            self.calm_seconds, self._mistake_at = (
                max(self.calm_seconds / BACKOFF_FACTOR, self.bounds.scale_down_after),
                now,
            )
