"""The lease of the leader: never two holders, whatever is late, lost, stopped or restarted."""

import random
from dataclasses import dataclass, field, replace

import pytest

from prefork.store.lease_state import LeaseState, LeaseTimes

TIMES = LeaseTimes()


@dataclass
class Record:
    """The entries of the server; times are its own."""

    owner: str
    token: int
    until: float


@dataclass
class Machine:
    """A candidate of one master. Its clock has an offset and a rate of its own."""

    number: int
    offset: float
    rate: float
    state: LeaseState = field(default_factory=LeaseState)
    started: int = 0
    """Counts the masters of this machine."""
    request: "Request | None" = None

    @property
    def owner(self) -> str:
        return f"{self.number}.{self.started}"

    def clock(self, now: float) -> float:
        return self.offset + now * self.rate


@dataclass
class Request:
    """A request on its way, and then its answer: a token and the time to wait."""

    owner: str
    token: int
    sent_at: float
    answer: tuple[int, float] | None = None


class Leases:
    """Three machines and a server. Its script is store/leader_lease.py, which test_leader_lease.py
    plays against a real server."""

    def __init__(self) -> None:
        self.now = 100.0
        self.server_started = 0.0
        self.record: Record | None = None
        self.saved: Record | None = None
        self.machines = [
            Machine(number, offset=1000.0 * number, rate=rate)
            for number, rate in enumerate((0.95, 1.0, 1.05))
        ]
        self.last_token = 0

    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    def step(self, number: int) -> None:
        machine = self.machines[number]
        now = machine.clock(self.now)
        machine.state.has_expired(now)
        if machine.request is None and machine.state.wait(now) == 0.0:
            machine.request = Request(machine.owner, machine.state.token, now)

    def arrive(self, number: int) -> None:
        request = self.machines[number].request
        if request is not None and request.answer is None:
            renews = request.token != 0
            request.answer = (self.renew if renews else self.acquire)(request)

    def acquire(self, request: Request) -> tuple[int, float]:
        record = self.record
        if record is None:
            self.record = Record("", 0, self.now + TIMES.lease)
            return 0, TIMES.lease
        if record.owner != request.owner and record.until > self.now:
            return 0, record.until - self.now
        if self.now - self.server_started <= TIMES.lease:
            return 0, TIMES.lease
        token = max(record.token, self.last_token) + 1  # the last one: the time of the server
        self.last_token = token
        self.record = Record(request.owner, token, self.now + TIMES.lease)
        return token, 0.0

    def renew(self, request: Request) -> tuple[int, float]:
        record = self.record
        if record is None or (record.owner, record.token) != (request.owner, request.token):
            return 0, 0.0
        record.until = self.now + TIMES.lease
        return record.token, 0.0

    def answer(self, number: int, is_lost: bool) -> None:
        machine = self.machines[number]
        request, machine.request = machine.request, None
        if request is None:
            return
        now = machine.clock(self.now)
        if request.answer is None or is_lost:
            machine.state.failed(now)
        elif request.answer[0]:
            machine.state.granted(request.answer[0], request.sent_at, now)
        else:
            machine.state.refused(now, request.answer[1])

    def ask(self, number: int, seconds: float) -> None:
        """A whole exchange, or the rest of one."""
        self.step(number)
        self.arrive(number)
        self.now += seconds
        self.answer(number, is_lost=False)

    def end_term(self, number: int) -> None:
        self.machines[number].state.end_term()

    def die(self, number: int, with_master: bool) -> None:
        """The candidate was reaped, and its master names another one; or the master died, too."""
        machine = self.machines[number]
        started = machine.started + with_master
        self.machines[number] = replace(machine, state=LeaseState(), started=started, request=None)

    def release(self, number: int) -> None:
        machine = self.machines[number]
        request = Request(machine.owner, machine.state.token, 0.0)
        machine.state = LeaseState()
        machine.request = None
        if request.token and self.renew(request)[0]:
            self.record = Record("", request.token, 0.0)

    def save(self) -> None:
        self.saved = self.record and replace(self.record)

    def restart_server(self, keeps: str) -> None:
        if keeps != "all":
            self.record = replace(self.saved) if self.saved and keeps == "saved" else None
        self.server_started = self.now
        for machine in self.machines:
            if machine.request is not None and machine.request.answer is None:
                machine.request = None
                machine.state.failed(machine.clock(self.now))

    def flush(self) -> None:
        self.record = None

    def one_leads(self) -> None:
        holders = [each for each in self.machines if each.state.is_held(each.clock(self.now))]
        assert len(holders) <= 1
        assert all(each.state.token <= self.last_token for each in holders)


EVENTS: dict[str, float] = {
    "pass_time": 6, "ask": 6, "step": 3, "arrive": 3, "answer": 3, "end_term": 2,
    "release": 0.5, "die": 0.3, "save": 0.3, "restart_server": 0.15, "flush": 0.1,
}  # fmt: skip
"""Events, and how often each happens."""


@pytest.mark.parametrize("seed", range(20))
def test_no_two_hold_the_lease_whatever_happens(seed: int) -> None:
    """Random events: hypothesis finds no sequence that is long enough, as a restart of the server
    from an old copy in the middle of a term."""
    rng = random.Random(seed)
    leases = Leases()
    terms = set()
    for name in rng.choices(list(EVENTS), list(EVENTS.values()), k=5000):
        number, seconds = rng.randrange(3), rng.uniform(0, 3)
        arguments: dict[str, tuple[object, ...]] = {
            "pass_time": (seconds,),
            "ask": (number, seconds / 2),
            "answer": (number, rng.random() < 0.2),
            "die": (number, rng.random() < 0.5),
            "restart_server": (rng.choice(["all", "saved", "nothing"]),),
            **dict.fromkeys(("save", "flush"), ()),
        }
        getattr(leases, name)(*arguments.get(name, (number,)))
        leases.one_leads()
        terms |= {each.state.token for each in leases.machines}
    assert len(terms) > 30


def holder() -> LeaseState:
    state = LeaseState()
    assert state.granted(7, 100.0, 100.5)
    return state


def test_a_holder_asks_again_when_the_server_did_not_answer_until_its_time_is_over() -> None:
    state = holder()
    assert state.wait(100.5) == pytest.approx(1.5)
    state.failed(102.5)
    assert state.wait(103.5) == 0.0
    state.failed(105.5)
    assert state.wait(105.5) is None  # a request at 106.5 could end after 108
    assert state.is_held(107.9)
    assert not state.has_expired(107.9)
    assert not state.is_held(108.0)
    assert state.has_expired(108.0)
    assert not state.has_expired(109.0)
    assert state.wait(109.0) is None
    state.end_term()
    assert state.wait(109.0) == 0.0


def test_a_grant_that_arrives_too_late_begins_no_term() -> None:
    state = LeaseState()
    assert not state.granted(7, 100.0, 108.0)
    assert (state.token, state.wait(108.0)) == (0, 0.0)


def test_a_candidate_asks_again_soon_though_the_lease_lasts_long() -> None:
    state = LeaseState()
    assert not state.refused(100.0, 9.0)
    assert state.wait(100.0) == 1.0
    assert not state.refused(101.0, 0.2)
    assert state.wait(101.0) == pytest.approx(0.2)
