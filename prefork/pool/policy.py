"""The numbers that the pool decides by, and the plan that they are part of. Times are seconds."""

from dataclasses import dataclass, replace

MOST_WORKERS = 1024


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator wants; a reload may bring a new one.

    ``workers``: slots to fill at first, but never fewer than ``least`` or more than ``most``.
    ``surge``: extra live workers while some are being replaced.
    ``boot_timeout``: from fork to ready. ``kill_timeout``: from the stop signal to SIGKILL.
    ``hang_grace``: for a worker that hangs to tell its stacks, and again when they are taken by
    force. ``min_uptime``: a worker that dies younger
    counts as unstable and its slot waits. ``max_restarts``: failures in a row of one slot after
    which the pool gives up, if no worker serves (None: never). ``max_lifetime``: a worker older
    than this is replaced (None: never), plus up to ``lifetime_jitter``. ``stop_exit_codes``: a
    worker that exits with one of these is not replaced. ``reload_timeout``: a whole roll (None:
    as long as its steps may take).
    """

    workers: int = 1
    least: int = 1
    most: int = MOST_WORKERS
    surge: int = 1
    boot_timeout: float = 60.0
    kill_timeout: float = 30.0
    quick_timeout: float = 1.0
    hang_grace: float = 0.4
    min_uptime: float = 1.0
    max_restarts: int | None = None
    max_lifetime: float | None = None
    lifetime_jitter: float = 0.0
    stop_exit_codes: frozenset[int] = frozenset()
    reload_timeout: float | None = None

    @property
    def first(self) -> int:
        """How many slots there are at first."""
        return self.clip(self.workers)

    def clip(self, target: int) -> int:
        """The nearest number of slots that is allowed."""
        return min(max(target, self.least), self.most)

    def roll_time(self, slots: int) -> float:
        """The longest that a roll over ``slots`` may take, in seconds."""
        if self.reload_timeout is not None:
            return self.reload_timeout
        steps = -(-max(slots, 1) // self.surge)
        return steps * (self.boot_timeout + self.kill_timeout + 4 * self.hang_grace) + 5.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is desired: this many slots, all at this generation, under this policy."""

    generation: int
    target: int
    policy: Policy

    def scaled(self, by: int) -> "Plan":
        """With so many slots more or less, within bounds."""
        return replace(self, target=self.policy.clip(self.target + by))
