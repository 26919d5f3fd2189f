"""The callbacks of a leader: called in its term, told of its end, and waited for."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator

import pytest

from prefork.worker import leadership as leadership_module
from prefork.worker.busy import BusyWork
from prefork.worker.leadership import LeaderCallbacks, Leadership

PATIENCE = 60.0
"""Seconds."""


class Term:
    """The callbacks of a process, and what they report."""

    def __init__(self) -> None:
        self.busy = BusyWork()
        self.callbacks = LeaderCallbacks(self.busy)
        self.callbacks.is_named = lambda: True
        self.callbacks.on_resigned = self._resign
        self.resigned = threading.Event()
        self.resignations = 0
        self.begun = threading.Event()

    def _resign(self) -> None:
        self.resignations += 1
        self.resigned.set()

    def wait_until_lost(self, leadership: Leadership) -> None:
        self.begun.set()
        leadership.lost.wait()


@pytest.fixture
def term() -> Iterator[Term]:
    made = Term()
    yield made
    made.callbacks.lose()
    made.busy.wait()


def await_event(event: threading.Event) -> None:
    assert event.wait(PATIENCE)


def test_a_process_that_was_not_named_does_not_lead(term: Term) -> None:
    called = threading.Event()
    term.callbacks.add(called.set)
    assert not term.callbacks.leads()
    term.callbacks.lose()
    assert not term.resigned.is_set()
    assert not called.is_set()


def test_a_leader_leads_while_the_master_names_it(term: Term) -> None:
    term.callbacks.name(7)
    assert term.callbacks.leads()
    term.callbacks.is_named = lambda: False
    assert not term.callbacks.leads()


def test_a_leader_without_callbacks_resigns_at_once(term: Term) -> None:
    term.callbacks.name(7)
    term.callbacks.lose()
    term.callbacks.lose()
    assert not term.callbacks.leads()
    assert (term.resignations, term.busy.count) == (1, 0)


def test_a_process_that_stops_when_it_is_named_resigns_at_once(term: Term) -> None:
    called = threading.Event()
    term.callbacks.add(called.set)
    term.callbacks.lose()
    term.callbacks.name(7)
    assert not term.callbacks.leads()
    assert term.resignations == 1
    assert not called.is_set()


def test_a_leader_resigns_when_its_last_callback_has_ended(term: Term) -> None:
    goes_on = threading.Event()
    term.callbacks.add(term.wait_until_lost)
    term.callbacks.add(lambda _leadership: goes_on.wait(PATIENCE))
    term.callbacks.name(7)
    await_event(term.begun)
    term.callbacks.lose()
    assert not term.callbacks.leads()
    assert term.busy.count == 1, "the worker waits for the callbacks"
    assert not term.resigned.is_set()
    goes_on.set()
    term.busy.wait()
    assert term.resignations == 1


def test_a_callback_gets_the_token_if_it_takes_an_argument(term: Term) -> None:
    tokens: list[int] = []
    plain, late = threading.Event(), threading.Event()
    term.callbacks.add(lambda leadership: tokens.append(leadership.token))
    term.callbacks.add(plain.set)
    term.callbacks.name(7)
    await_event(plain)

    def add_token(*arguments: Leadership) -> None:
        tokens.append(arguments[0].token)
        late.set()

    term.callbacks.add(add_token)  # in the middle of the term
    await_event(late)
    term.callbacks.lose()
    term.callbacks.add(lambda _leadership: tokens.append(0))  # after it
    term.busy.wait()
    assert tokens == [7, 7]


@pytest.mark.parametrize("kind", ["function", "coroutine"])
def test_a_callback_that_raises_is_logged_and_called_again(
    term: Term, kind: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leadership_module, "FIRST_RETRY", 0.01)
    calls: list[int] = []
    third = threading.Event()

    def fail_twice() -> None:
        calls.append(1)
        if len(calls) < 3:
            raise ValueError("no database")
        third.set()

    async def fail_in_loop() -> None:
        fail_twice()

    with caplog.at_level(logging.INFO):
        term.callbacks.add(fail_twice if kind == "function" else fail_in_loop)
        term.callbacks.name(7)
        await_event(third)
    failures = [record for record in caplog.records if record.exc_info]
    assert len(failures) == 2
    assert "is called again in 0.02 s" in failures[1].getMessage()
    assert "ValueError: no database" in caplog.text
    assert term.callbacks.leads()


@pytest.mark.parametrize("kind", ["function", "coroutine"])
def test_a_callback_that_raises_is_not_called_after_the_term(term: Term, kind: str) -> None:
    calls: list[int] = []
    begun = threading.Event()

    def fail() -> None:
        calls.append(1)
        begun.set()
        raise ValueError("no database")

    async def fail_in_loop() -> None:
        fail()

    term.callbacks.add(fail if kind == "function" else fail_in_loop)
    term.callbacks.name(7)
    await_event(begun)
    term.callbacks.lose()
    term.busy.wait()
    assert (len(calls), term.resignations) == (1, 1)


def test_a_callback_that_exits_ends_its_thread_only(term: Term) -> None:
    term.callbacks.add(lambda _leadership: exec("raise SystemExit(3)"))
    term.callbacks.name(7)
    assert term.callbacks.leads()
    term.callbacks.lose()
    term.busy.wait()
    assert term.resignations == 1


def run_in_loop(term: Term, callback: Callable[[Leadership], object], begun: asyncio.Event) -> None:
    """Run a term in an event loop, and lose it when the callback has begun."""

    async def live() -> None:
        loop = term.callbacks.loop = asyncio.get_running_loop()
        term.callbacks.add(callback)
        await loop.run_in_executor(None, term.callbacks.name, 7)
        await asyncio.wait_for(begun.wait(), PATIENCE)
        await loop.run_in_executor(None, term.callbacks.lose)
        ended = loop.create_future()
        term.busy.call_when_idle(lambda: loop.call_soon_threadsafe(ended.set_result, None))
        await asyncio.wait_for(ended, PATIENCE)

    asyncio.run(live())


def test_a_coroutine_is_cancelled_at_the_end_of_the_term(term: Term) -> None:
    begun, seen = asyncio.Event(), list[str]()

    async def work(_leadership: Leadership) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # it may take its time
            seen.append("cancelled")
            raise

    run_in_loop(term, work, begun)
    assert (seen, term.resignations) == (["cancelled"], 1)


def test_a_coroutine_that_looks_at_the_loss_ends_by_itself(term: Term) -> None:
    begun, seen = asyncio.Event(), list[str]()

    async def work(leadership: Leadership) -> None:
        begun.set()
        await leadership.lost
        await asyncio.sleep(0.01)
        seen.append("done")

    run_in_loop(term, work, begun)
    assert (seen, term.resignations) == (["done"], 1)


def test_a_closed_loop_and_a_refused_thread_are_logged(
    term: Term, caplog: pytest.LogCaptureFixture
) -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    term.callbacks.loop = loop

    async def work() -> None:
        raise AssertionError("no loop runs")

    term.callbacks.add(work)
    term.callbacks.name(7)
    assert "cannot call" in caplog.text
    term.callbacks.lose()
    assert term.resignations == 1


@pytest.mark.parametrize("wrong", [3, None, "app:work"])
def test_what_cannot_be_called_is_refused(term: Term, wrong: object) -> None:
    with pytest.raises(TypeError, match="takes a callback"):
        term.callbacks.add(wrong)  # type: ignore[arg-type]


class GrantedLease:
    """A lease that the test grants and takes away."""

    def __init__(self) -> None:
        self.asked = 0
        self.ended = threading.Event()
        self.is_stopped = False
        self.held = False
        self.on_granted: Callable[[int], None] = lambda _token: None
        self.on_lost: Callable[[], None] = lambda: None

    def start(self, on_granted: Callable[[int], None], on_lost: Callable[[], None]) -> None:
        self.asked += 1
        self.on_granted, self.on_lost = on_granted, on_lost

    def is_held(self) -> bool:
        return self.held

    def end_term(self) -> None:
        self.ended.set()

    def stop(self) -> None:
        self.is_stopped = True

    def grant(self, token: int) -> None:
        self.held = True
        self.on_granted(token)

    def take_away(self) -> None:
        self.held = False
        self.on_lost()


@pytest.fixture
def lease(term: Term) -> GrantedLease:
    made = GrantedLease()
    term.callbacks.lease = made
    return made


def test_a_lease_is_asked_for_when_the_app_asks_who_leads_and_the_master_names_it(
    term: Term, lease: GrantedLease
) -> None:
    term.callbacks.name(7)
    assert lease.asked == 0
    assert not term.callbacks.leads()
    assert not term.callbacks.leads()
    term.callbacks.name(7)
    assert lease.asked == 1
    lease.grant(70)
    assert (term.callbacks.leads(), term.callbacks.token) == (True, 70)
    lease.held = False
    assert not term.callbacks.leads()


def test_a_term_whose_lease_was_lost_is_followed_by_another_when_its_callbacks_have_ended(
    term: Term, lease: GrantedLease
) -> None:
    goes_on, tokens = threading.Event(), list[int]()
    flags: list[object] = []

    def work(leadership: Leadership) -> None:
        tokens.append(leadership.token)
        flags.append(leadership.lost)
        term.begun.set()
        leadership.lost.wait()
        goes_on.wait(PATIENCE)

    term.callbacks.add(work)
    term.callbacks.name(7)
    lease.grant(70)
    await_event(term.begun)
    lease.take_away()
    assert not lease.ended.is_set(), "the callback runs on"
    assert not term.callbacks.leads()
    goes_on.set()
    await_event(lease.ended)
    assert term.resignations == 0
    term.begun.clear()
    lease.grant(80)
    await_event(term.begun)
    assert tokens == [70, 80]
    assert flags[0]
    assert not flags[1]
    term.callbacks.lose()
    term.busy.wait()
    assert (term.resignations, lease.is_stopped) == (1, True)


def test_a_term_without_callbacks_is_over_at_the_loss(term: Term, lease: GrantedLease) -> None:
    term.callbacks.leads()
    term.callbacks.name(7)
    lease.grant(70)
    lease.take_away()
    assert lease.ended.is_set()
    term.callbacks.lose()
    lease.grant(80)  # on its way when the worker was stopped
    assert not term.callbacks.leads()
    assert (term.resignations, lease.is_stopped) == (1, True)


def test_a_candidate_that_never_led_resigns_when_it_stops(term: Term, lease: GrantedLease) -> None:
    term.callbacks.name(7)
    term.callbacks.lose()
    assert (term.resignations, lease.asked) == (1, 0)


def test_a_thread_that_cannot_be_started_is_logged_and_tried_again(
    term: Term, lease: GrantedLease, caplog: pytest.LogCaptureFixture
) -> None:
    start = lease.start

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    lease.start = refuse  # type: ignore[method-assign]
    term.callbacks.leads()
    term.callbacks.name(7)
    assert "cannot ask for the lease" in caplog.text
    lease.start = start  # type: ignore[method-assign]
    term.callbacks.name(7)
    assert lease.asked == 1
