"""A small simulated world for goals: states of a pool, verbs, and fates of workers."""

from collections.abc import Callable
from random import Random

from prefork.pool import MasterState, Policy, Pool, facts, orders
from prefork.pool.goals import Failed, Goal, Reached, ReloadGoal, ScaleGoal, StableGoal, StopGoal
from tests.pure.pool.goals_truth import assert_true

LONGEST = 3600.0
"""Simulated seconds within which each goal ends, also if every step takes its longest time."""


class World:
    """A pool, its simulated processes, and a client that waits for a goal.

    ``fate``: the behaviour of all processes, one of ``FATES``.
    """

    def __init__(self, fate: str = "healthy", **policy: object) -> None:
        self.fate = fate
        self.now = 100.0
        self.policy = Policy(**{"workers": 3, **policy})  # type: ignore[arg-type]
        self.pool = Pool(self.policy, Random(1))
        self.newest = 1
        self.living: dict[int, str] = {}
        """The next step of each process: boot, serve, leave or die."""
        self.spared: set[int] = set()
        """Processes that do not die young."""
        self.goal: Goal | None = None
        self.since: list[orders.Event] = []
        self.exited = False
        self.tell(facts.Tick())

    def tell(self, fact: facts.Fact) -> None:
        if self.exited:
            return
        follow: list[facts.Fact] = []
        for order in self.pool.handle(fact, self.now):
            follow += self.carry_out(order)
        for each in follow:
            self.tell(each)

    def carry_out(self, order: orders.Order) -> list[facts.Fact]:
        match order:
            case orders.Spawn(worker) if self.fate == "forks fail":
                return [facts.SpawnFailed(worker, "cannot fork")]
            case orders.Spawn(worker):
                self.living[worker] = "boot"
                return [facts.Spawned(worker, 1000 + worker)]
            case orders.Stop(worker) if worker in self.living:
                self.living[worker] = "leave"
            case orders.Kill(worker) if worker in self.living:
                self.living[worker] = "die"
            case orders.Announce(event):
                self.since.append(event)
                if self.goal is not None:
                    self.goal.observe(event)
            case orders.Exit():
                self.exited = True
        return []

    def wait_for(self, goal: Goal) -> Goal:
        self.goal, self.since = goal, []
        return goal

    def hup(self, **changes: object) -> int:
        self.newest += 1
        kept = {"workers": self.policy.workers, "min_ready": self.policy.min_ready}
        policy = Policy(**{**kept, **changes})  # type: ignore[arg-type]
        self.tell(facts.ReloadRequested(self.newest, policy))
        return self.newest

    # Steps of the world.

    def step(self, only: Callable[[int], bool] = lambda worker: True) -> bool:
        """Let every process do its next step; return whether any did one."""
        acted = False
        for worker in list(self.living):
            if worker in self.living and only(worker):
                acted |= self.act(worker, self.living[worker])
        return acted

    def act(self, worker: int, next_: str) -> bool:
        match next_, self.fate:
            case "die", fate if fate != "kernel holds":
                return self.end(worker, signal="SIGKILL")
            case "leave", fate if fate not in ("deaf", "kernel holds"):
                return self.end(worker, code=0)
            case "boot", fate if fate != "boots hang":
                return self.boot(worker)
            case "serve", "dies young" if worker not in self.spared:
                return self.end(worker, code=1)
        return False

    def boot(self, worker: int) -> bool:
        if self.fate == "boots fail":
            self.tell(facts.BootFailed(worker, "ImportError"))
            return self.end(worker, code=102)
        if self.fate == "boots are given up":
            self.tell(facts.BootFailed(worker, "nothing accepts", lives=True))
            return True
        if self.fate == "done":
            return self.end(worker, code=7)
        self.living[worker] = "serve"
        self.tell(facts.Ready(worker))
        return self.end(worker, signal="SIGSEGV") if self.fate == "crashes" else True

    def end(self, worker: int, code: int | None = None, signal: str | None = None) -> bool:
        if self.living.pop(worker, None) is not None:
            self.tell(facts.Exited(worker, code, signal))
        return True

    def verdict(self) -> Reached | Failed:
        """Step until the goal has a verdict, within LONGEST, and return the verdict."""
        assert self.goal is not None
        until = self.now + LONGEST
        for _ in range(5000):
            if (verdict := self.goal.verdict()) is not None:
                assert_true(self.pool, self.goal, verdict, self.since)
                return verdict
            acted = self.step()
            if not acted and self.goal.verdict() is None:
                due = self.pool.next_deadline()
                assert due is not None, f"nothing is to come: {self.state()}"
                assert due <= until, f"the client waits for ever: {self.state()}"
                self.now = max(self.now, due)
                self.tell(facts.Tick())
        raise AssertionError(f"no verdict: {self.state()}")

    def state(self) -> list[object]:
        return [self.pool.state, [(w.slot, w.generation, w.state) for w in self.pool.workers]]


def served(world: World) -> None:
    """Step until every slot is served by the newest generation."""
    while world.step():
        pass


# The states that the pool may be in when a verb comes.


def starting(world: World) -> None:
    pass


def half_started(world: World) -> None:
    world.step(lambda worker: worker == 1)


def reload_while_starting(world: World) -> None:
    world.hup()


def running(world: World) -> None:
    served(world)


def reloading(world: World) -> None:
    served(world)
    world.hup()
    world.step()


def reloading_again(world: World) -> None:
    reloading(world)
    world.hup(surge=2)


def frozen(world: World) -> None:
    served(world)
    world.hup()
    world.fate, kept = "boots fail", world.fate
    world.step(lambda worker: world.living[worker] == "boot")
    world.fate = kept
    assert world.pool.state is MasterState.FROZEN
    served(world)


def refused(world: World) -> None:
    served(world)
    world.tell(facts.ReloadRefused("no valid TOML"))


def drained(world: World) -> None:
    served(world)
    world.tell(facts.DrainRequested())


def drained_and_gone(world: World) -> None:
    drained(world)
    served(world)


def growing(world: World) -> None:
    served(world)
    world.tell(facts.ScaleRequested(+2))


def shrinking(world: World) -> None:
    served(world)
    world.tell(facts.ScaleRequested(-2))


def recycling(world: World) -> None:
    served(world)
    world.tell(facts.RecycleRequested("--cron"))


def crashed(world: World) -> None:
    served(world)
    for worker in list(world.living)[:2]:
        world.end(worker, signal="SIGSEGV")


def hung(world: World) -> None:
    served(world)
    world.tell(facts.Heartbeats(dict.fromkeys(world.living, world.now)))


def done(world: World) -> None:
    served(world)
    world.end(next(iter(world.living)), code=7)


def stopping(world: World) -> None:
    served(world)
    world.tell(facts.StopRequested())


STATES = [
    starting,
    half_started,
    reload_while_starting,
    running,
    reloading,
    reloading_again,
    frozen,
    refused,
    drained,
    drained_and_gone,
    growing,
    shrinking,
    recycling,
    crashed,
    hung,
    done,
    stopping,
]


# The verbs. Each begins its goal as master/control_server.py does.


def settle(world: World) -> None:
    world.wait_for(StableGoal(world.pool))


def scale(world: World, workers: int) -> None:
    by = workers - world.pool.plan.target
    world.tell(facts.ScaleRequested(by))
    world.wait_for(ScaleGoal(world.pool, workers))


def reload(world: World) -> None:
    world.wait_for(ReloadGoal(world.pool, world.newest + 1))
    world.hup()


def stop(world: World) -> None:
    world.wait_for(StopGoal(world.pool))
    world.tell(facts.StopRequested())


VERBS: dict[str, Callable[[World], None]] = {
    "wait": settle,
    "scale 1": lambda world: scale(world, 1),
    "scale 3": lambda world: scale(world, 3),
    "scale 6": lambda world: scale(world, 6),
    "reload": reload,
    "stop": stop,
}
FATES = (
    "healthy",
    "boots fail",
    "boots are given up",
    "boots hang",
    "forks fail",
    "crashes",
    "dies young",
    "done",
    "deaf",
    "kernel holds",
)
MEANWHILE: dict[str, Callable[[World], object]] = {
    "nothing": lambda world: None,
    "reload": lambda world: world.hup(),
    "reload with another number": lambda world: world.hup(workers=2),
    "refused reload": lambda world: world.tell(facts.ReloadRefused("no valid TOML")),
    "scale": lambda world: world.tell(facts.ScaleRequested(+1)),
    "autoscale": lambda world: world.tell(facts.ScaleRequested(-1, "calm")),
    "drain": lambda world: world.tell(facts.DrainRequested()),
    "cron": lambda world: world.tell(facts.RecycleRequested("--cron")),
    "stop": lambda world: world.tell(facts.StopRequested()),
    "quick stop": lambda world: world.tell(facts.StopRequested(quick=True)),
    "crash": lambda world: world.living and world.end(max(world.living), signal="SIGSEGV"),
}
