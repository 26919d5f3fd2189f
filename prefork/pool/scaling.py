"""The autoscaler: it decides the number of workers from one reading a second.

It adds workers quickly: 1, then 2, then 4 at a time, as long as the evidence lasts. It removes them
slowly: one after each calm time, and only while the remaining workers could carry the load with
half of their time to spare. Between ``BUSY_SHARE`` and ``CALM_SHARE`` nothing changes.

A veto names what forbids more workers: memory, a full CPU that the workers need, a reload, workers
that keep failing. A worker that sleeps in a database call is busy but needs no CPU, so an app that
blocks may have many more workers than there are cores.

Design
------
- **The thresholds are tested against a simulated service** (``tests/pure/pool/queueing.py``) with
  spikes, sawtooth loads and an app that computes: a threshold is worth what it does to them.
- **Between too busy (80 %) and calm (the remaining workers at 50 % at most) nothing changes,** for
  any number of workers.
- **A step down that had to be taken back within twice the calm time doubles the calm time,** up to
  16 times. It is halved again after ten calm times without such a mistake.
- **The scheduler tells whether a worker sleeps or computes** (schedstat: time on a core, and time
  ready to run without a core). "Busy and not on a core" would mean sleeping as well as starving,
  and more workers help in the first case and hurt in the second. Rejected: pressure stall
  information (PSI), which tells that some task waited for a core; a dozen sleepers that wake
  together do so too.
- **New workers are given to idle cores only,** each counted with the share of a core that a busy
  worker needs. So an app that computes ends at the number of cores, and one that sleeps for 90 % of
  its time at ten times that.
- **Only connections beyond one per worker count as a queue.** One connection for each worker is
  accepted in the next turn of its event loop.
- **The slot that leaves is the highest one, and the scaler waits until it is idle,** because it may
  have requests that take longer than the kill timeout. It does not wait for ever, because of
  WebSockets (``OCCUPIED_FACTOR``).
- **An operator's ``scale`` is where scaling goes on from:** the calm time begins anew, so that
  number lasts at least that long.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

from prefork.plural import pluralize

BUSY_SHARE = 0.8
"""The share of time that workers are busy from which they are too busy. In a queue with one server
requests then wait four times as long as they take, and beyond it that factor rises steeply."""

CALM_SHARE = 0.5
"""The share of time up to which the remaining workers may be busy after a step down. It is so far
from ``BUSY_SHARE`` that a step never leads straight back, whatever the number of workers."""

LOADED_SHARE = 0.65
"""The busy share below which late event loops and waiting clients are no evidence: while workers
have time to spare, long calls cause them, which would be as long with more workers."""

LATE_AFTER = 0.1
"""Seconds of lateness of an event loop, or of waiting in the queue, from which it is evidence."""

VERY_LATE_AFTER = 0.5
"""Seconds of lateness from which a single reading is enough evidence."""

SLEEPING_SHARE = 0.6
"""The share of its busy time above which a worker counts as sleeping. The scheduler gives such a
worker its short turns also on a full CPU, so half of the cores count as free for these workers."""

SHORT_QUEUE = 8
"""Connections that may wait for a moment; up to this length one reading is not enough evidence."""

REQUIRED_EVIDENCE = 2
"""The weight of evidence from which the scaler acts: two readings in a row, or a strong one."""

MAX_STEP = 4
"""The most workers in one step up; half of the present number if that is more."""

STEP_DOUBLING_WINDOW = 5.0
"""Seconds after a step up within which the next one may be twice as large."""

MEMORY_RESERVE = 0.1
"""The share of the machine's memory that stays free, so that present processes may grow."""

BACKOFF_FACTOR = 2.0
"""The factor by which the calm time grows after a step down that had to be taken back."""

MAX_BACKOFF = 16.0
"""The largest calm time, as a multiple of what the operator set."""

OCCUPIED_FACTOR = 4.0
"""Calm times for which a worker with requests in flight is not stopped, because they may take
longer than the kill timeout. Some workers always have requests in flight, such as those with
WebSockets."""

BACKOFF_DECAY_AFTER = 10.0
"""Calm times without a mistake after which the calm time is halved again."""


class Veto(StrEnum):
    """Why the scaler adds no workers in spite of evidence. The values are shown to users."""

    RELOAD = "a reload is under way"
    FAILING = "workers keep failing"
    CPU = "the CPU is busy"
    MEMORY = "memory is short"
    MAX_WORKERS = "max-workers is reached"


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits of the operator.

    ``scale_down_after``: the calm time in seconds before a step down.
    """

    min_workers: int
    max_workers: int
    scale_down_after: float = 30.0

    def clamp(self, target: int) -> int:
        """Return the allowed number of workers that is nearest to ``target``."""
        return min(max(target, self.min_workers), self.max_workers)


@dataclass(frozen=True, slots=True)
class Reading:
    """The measurements of one second. Shares are of the time since the last reading.

    ``target``: slots. ``ready``: workers that serve. ``booting``: workers that start in a slot that
    is not served.
    ``queue``: connections that wait to be accepted.
    ``wait``: seconds that a connection waited before it was accepted, on average.
    ``busy``: the share in which a worker could not begin another request, on average; None:
    unknown.
    ``lag``: seconds by which the event loops are late, on average.
    ``running``, ``starving``: the shares in which a worker ran on a core, and in which it was ready
    to run but had no core; on average.
    ``cpu``: the used share of the ``cores`` that this master may use, by any process.
    ``free``, ``total``: memory of the machine in bytes; 0: unknown. ``each``: memory of one worker.
    ``rolling``: a reload is under way. ``failing``: a slot waits because its workers fail.
    ``occupied``: the worker of the highest slot, which would leave next, has requests in flight.
    ``working``: its app does work that it marked by ``prefork.busy()``.

    The field names are keys of ``prefork show --json``.
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
        """The busy share, or the share that the scheduler shows if that is more."""
        return max(self.busy or 0.0, self.running + self.starving)

    @property
    def cpu_demand(self) -> float:
        """The share of a core that a worker needs while it is busy."""
        wants = self.running + self.starving
        return min(1.0, wants / self.busy) if self.busy else wants


@dataclass(frozen=True, slots=True)
class Decision:
    """The number of workers from now on.

    ``reason``: the evidence for a change, or for the change that ``veto`` forbids; empty: none.
    """

    target: int
    reason: str = ""
    veto: Veto | None = None


@dataclass(frozen=True, slots=True)
class _Evidence:
    """Evidence for more workers; ``weight`` counts towards ``REQUIRED_EVIDENCE``."""

    reason: str
    weight: int


def _evidence(reading: Reading) -> _Evidence | None:
    """Return the evidence for more workers; None: there is none.

    Workers that boot are counted, because they will take a share of the load.
    """
    coming = reading.ready + reading.booting
    if reading.queue > coming:
        waits = pluralize(reading.queue, "connection waits", "connections wait")
        return _Evidence(
            waits, REQUIRED_EVIDENCE if reading.queue > max(SHORT_QUEUE, 2 * coming) else 1
        )
    loaded = reading.busy is None or reading.load >= LOADED_SHARE
    late = max(reading.lag, reading.wait) if loaded else 0.0
    if late >= (VERY_LATE_AFTER if reading.booting else LATE_AFTER):
        return _Evidence(
            f"requests wait {late:.1f} s", REQUIRED_EVIDENCE if late >= VERY_LATE_AFTER else 1
        )
    if reading.load * reading.ready / coming >= BUSY_SHARE:
        return _Evidence(f"workers are busy {reading.load:.0%} of the time", 1)
    return None


def _is_calm(reading: Reading) -> bool:
    """Return whether one worker less would carry the load."""
    remaining = reading.ready - 1
    if reading.booting or remaining < 1 or reading.queue * 4 > reading.ready:
        return False
    return reading.wait < LATE_AFTER and reading.load * reading.ready / remaining <= CALM_SHARE


def _calm_reason(reading: Reading) -> str:
    """Return the reason of a step down."""
    if reading.busy is None:
        return "no connection waits"
    return f"workers are busy {reading.load:.0%} of the time"


def _limit_step(reading: Reading, new: int, bounds: Bounds, step: int) -> tuple[int, Veto | None]:
    """Return how many of ``step`` workers may be added, and the veto against the others.

    ``new``: workers whose use of the CPU is not in the reading yet.
    """
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
    """Return the number of workers for which the idle cores are enough."""
    appetite = reading.cpu_demand
    if not appetite:
        return math.inf
    idle = (1 - reading.cpu) * reading.cores
    if appetite < 1 - SLEEPING_SHARE:
        idle = max(idle, reading.cores / 2 - reading.ready * reading.running)
    return idle / appetite - new + 0.5


def _room_in_memory(reading: Reading) -> float:
    """Return the number of workers that fit into the free memory above the reserve.

    Workers that boot have not taken all of their memory yet, so each of them counts in full.
    """
    if not reading.total or not reading.each:
        return math.inf
    spare = reading.free - MEMORY_RESERVE * reading.total
    return spare / reading.each - reading.booting


class Scaler:
    """Decides once a second; remembers evidence, calm times and earlier steps.

    ``calm_seconds``: the present calm time, longer after mistakes.
    """

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.calm_seconds = bounds.scale_down_after
        self._target = 0
        self._ready_before = 0
        self._evidence = 0
        self._step = 1
        self._calm_since: float | None = None
        self._up_at = -math.inf
        self._down_at = -math.inf
        self._mistake_at = -math.inf

    def set_bounds(self, bounds: Bounds) -> None:
        """Set the limits of the operator."""
        if bounds.scale_down_after != self.bounds.scale_down_after:
            self.calm_seconds = bounds.scale_down_after
        self.bounds = bounds

    def decide(self, reading: Reading, now: float) -> Decision:
        """Return the number of workers from now on. ``now``: monotonic time of the reading."""
        new = reading.booting + max(0, reading.ready - self._ready_before)
        self._ready_before = reading.ready
        if reading.target != self._target:
            # The operator or a reload changed it: that number holds until there is new evidence.
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
        """Forget evidence and calm, because the number of workers changed from outside."""
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
        # -inf, because one step up takes back one step down only.
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
        """Lengthen the calm time, because the last step down came too early."""
        longest = self.bounds.scale_down_after * MAX_BACKOFF
        self.calm_seconds = min(self.calm_seconds * BACKOFF_FACTOR, longest)
        self._mistake_at = now

    def _decay_backoff(self, now: float) -> None:
        """Halve a lengthened calm time after a long time without a mistake."""
        shortest = self.bounds.scale_down_after
        is_over = now - self._mistake_at > BACKOFF_DECAY_AFTER * self.calm_seconds
        if self.calm_seconds > shortest and is_over:
            self.calm_seconds = max(self.calm_seconds / BACKOFF_FACTOR, shortest)
            self._mistake_at = now
