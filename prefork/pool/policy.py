"""The limits that the pool decides by (``Policy``), and the desired state (``Plan``).

All times are in seconds.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

MAX_WORKERS = 1024
"""The largest number of workers of one master."""

MAX_FAILURES = 3
"""Failures of one slot in a row after which it counts as failing."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The limits that the operator set; a reload may bring a new one.

    ``workers``: slots at the start, clamped to ``min_workers`` and ``max_workers``.
    ``surge``: processes beyond the number of slots that may live while workers are replaced.
    ``boot_timeout``: from the fork until the worker is ready.
    ``kill_timeout``: from the stop signal to SIGKILL; ``quick_timeout`` in a quick stop.
    ``hang_grace``: the time that a hung worker has to log its stacks; it passes a second time after
    the stacks were dumped by force.
    ``min_uptime``: a worker that dies younger counts as unstable, and its slot waits.
    ``min_ready``: a worker that has served for less fulfils no command and no roll.
    ``max_restarts``: failures in a row of one slot after which the pool gives up, if no worker
    serves; None: it never gives up.
    ``max_lifetime``: a worker older than this, plus up to ``lifetime_jitter``, is replaced; None:
    it is never too old.
    ``stop_exit_codes``: a worker that exits with one of these is not replaced.
    ``reload_timeout``: the longest that a roll may take; None: as long as its steps may take.
    ``elects_leader``: one of the workers leads; False: they could not be told (programs).
    ``reports_requests``: a worker can tell its requests and where they are; False: programs.
    ``stop_delay``: how long the workers go on serving after a stop was requested.
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
    min_ready: float = 0.0
    max_restarts: int | None = None
    max_lifetime: float | None = None
    lifetime_jitter: float = 0.0
    stop_exit_codes: frozenset[int] = frozenset()
    reload_timeout: float | None = None
    elects_leader: bool = True
    reports_requests: bool = True
    stop_delay: float = 0.0

    @property
    def initial_workers(self) -> int:
        """The number of slots at the start."""
        return self.clamp(self.workers)

    @property
    def failure_limit(self) -> int:
        """Failures of one slot in a row after which it is failing: a command that waits for it
        fails, and so does a roll. A lower ``max_restarts`` lowers it."""
        most = self.max_restarts
        return MAX_FAILURES if most is None else min(MAX_FAILURES, most + 1)

    def clamp(self, target: int) -> int:
        """Return the allowed number of slots that is nearest to ``target``."""
        return min(max(target, self.min_workers), self.max_workers)

    def roll_timeout(self, slots: int) -> float:
        """Return the longest time that a roll over ``slots`` may take."""
        if self.reload_timeout is not None:
            return self.reload_timeout
        steps = -(-max(slots, 1) // self.surge)
        longest_step = self.boot_timeout + self.kill_timeout + 4 * self.hang_grace
        return steps * longest_step + self.min_uptime + 5.0


@dataclass(frozen=True, slots=True)
class ManualTarget:
    """The number of workers that the operator set by ``scale``, TTIN or TTOU.

    ``workers``: that number. ``settings``: the number of workers in the settings at that time. Both
    names are keys of the state file in the app's folder.

    Design
    ------
    - **The number belongs to the app.** It outlives the master, and holds until the settings change
      theirs, as it does in a reload: then the operator's later word is in the settings.
    - **The number of the autoscaler is not kept:** the load decides anew.
    - **``start FILE`` begins with the number of the file,** because it makes true what the file
      says.
    """

    workers: int
    settings: int

    @staticmethod
    def parse(stored: object) -> "ManualTarget | None":
        """Read it from a state file; None if ``stored`` is not two positive numbers."""
        if not isinstance(stored, Mapping):
            return None
        match stored.get("workers"), stored.get("settings"):
            case int(workers), int(settings) if min(workers, settings) > 0:
                return ManualTarget(workers, settings)
        return None


@dataclass(frozen=True, slots=True)
class Plan:
    """The desired state: ``target`` slots, all at ``generation``, under ``policy``.

    ``is_manual``: the operator set the number of slots, not the settings or the autoscaler.
    """

    generation: int
    target: int
    policy: Policy
    is_manual: bool = False

    @staticmethod
    def initial(policy: Policy, kept: ManualTarget | None) -> "Plan":
        """Return the plan of a new master.

        ``kept``: the number that the operator set while the previous master ran, if any.
        """
        if kept is None or kept.settings != policy.workers:
            return Plan(1, policy.initial_workers, policy)
        return Plan(1, policy.clamp(kept.workers), policy, is_manual=True)

    @property
    def manual_target(self) -> dict[str, int] | None:
        """The fields of ``ManualTarget`` for the state file; None if the operator set no number."""
        return asdict(ManualTarget(self.target, self.policy.workers)) if self.is_manual else None

    def scaled(self, by: int, is_manual: bool) -> "Plan":
        """Return this plan with ``by`` slots more (or fewer, if negative), within the limits."""
        return replace(self, target=self.policy.clamp(self.target + by), is_manual=is_manual)
