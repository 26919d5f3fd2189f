"""The numbers that the pool decides by, and the plan that they are part of. Times are seconds."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

MAX_WORKERS = 1024


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
    min_workers: int = 1
    max_workers: int = MAX_WORKERS
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
    def initial_workers(self) -> int:
        """How many slots there are at first."""
        return self.clamp(self.workers)

    def clamp(self, target: int) -> int:
        """The nearest number of slots that is allowed."""
        return min(max(target, self.min_workers), self.max_workers)

    def roll_timeout(self, slots: int) -> float:
        """The longest that a roll over ``slots`` may take, in seconds."""
        if self.reload_timeout is not None:
            return self.reload_timeout
        steps = -(-max(slots, 1) // self.surge)
        return steps * (self.boot_timeout + self.kill_timeout + 4 * self.hang_grace) + 5.0


@dataclass(frozen=True, slots=True)
class ManualTarget:
    """A number of slots that the operator set: ``workers``, while the settings said ``settings``.

    It outlives the master, but not a change of the settings: the operator changed them later.
    """

    workers: int
    settings: int

    @staticmethod
    def parse(stored: object) -> "ManualTarget | None":
        """What a file holds of it; None for anything else than two numbers of workers."""
        if not isinstance(stored, Mapping):
            return None
        match stored.get("workers"), stored.get("settings"):
            case int(workers), int(settings) if min(workers, settings) > 0:
                return ManualTarget(workers, settings)
        return None


@dataclass(frozen=True, slots=True)
class Plan:
    """The desired state: this many slots, all at this generation, under this policy. ``by_hand``:
    the operator set the number of slots, not the settings or the autoscaler."""

    generation: int
    target: int
    policy: Policy
    is_manual: bool = False

    @staticmethod
    def initial(policy: Policy, kept: ManualTarget | None) -> "Plan":
        """The plan of a new master. ``kept``: the number that the operator set at the last one."""
        if kept is None or kept.settings != policy.workers:
            return Plan(1, policy.initial_workers, policy)
        return Plan(1, policy.clamp(kept.workers), policy, is_manual=True)

    @property
    def manual_target(self) -> dict[str, int] | None:
        """The number that the operator set, as ``HandSet.read`` wants it; None: it is the settings'
        or the autoscaler's."""
        return asdict(ManualTarget(self.target, self.policy.workers)) if self.is_manual else None

    def scaled(self, by: int, is_manual: bool) -> "Plan":
        """With so many slots more or less, within bounds."""
        return replace(self, target=self.policy.clamp(self.target + by), is_manual=is_manual)
