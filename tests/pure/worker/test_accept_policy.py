"""Who takes the next connection: the gate, over a scoreboard in memory."""

from collections.abc import Callable
from time import monotonic

from hypothesis import given
from hypothesis import strategies as st

from prefork.http.load import CONNECTION, REQUEST, Load
from prefork.unix.scoreboard import BEAT, DUE, Row, Scoreboard
from prefork.worker.accept.accept_policy import (
    LONG_CALL,
    STALE_AFTER,
    TURN_EXPIRES_AFTER,
    AcceptPolicy,
    UnrestrictedAcceptPolicy,
)

GUARD = 0.02


def one() -> int:
    """A single connection waits."""
    return 1


def workers(
    count: int,
    slack: int = 0,
    limit: int | None = None,
    kind: type[AcceptPolicy] = AcceptPolicy,
    board: Scoreboard | None = None,
) -> list[tuple[AcceptPolicy, Row]]:
    """So many that are ready, awake and idle."""
    board = board or Scoreboard()
    made = []
    for number in range(count):
        row = board.acquire_row(number + 1)
        row.floats[BEAT] = monotonic()
        gate = kind(row, Load(row.loads, row.number), slack, limit, GUARD)
        gate.load.mark_available()
        made.append((gate, row))
    return made


def test_who_is_alone_is_free_to_accept() -> None:
    board = Scoreboard()
    (a, _), (b, row) = workers(2, board=board)
    b.load.mark_unavailable()
    a.refresh(0.0)
    assert not a.is_unrestricted, "the other one may be about to be ready"
    board.release_row(row)
    a.refresh(0.0)
    assert a.is_unrestricted
    board = Scoreboard()
    (limited, _), (_, row) = workers(2, limit=3, board=board)
    board.release_row(row)
    limited.refresh(0.0)
    assert not limited.is_unrestricted
    (anybody, _), _ = workers(2, kind=UnrestrictedAcceptPolicy)
    anybody.refresh(0.0)
    assert anybody.is_unrestricted


def test_who_has_less_to_do_comes_first() -> None:
    (busy, _), (idle, _) = workers(2)
    busy.load.add(+REQUEST)
    idle.load.add(+5 * CONNECTION)
    assert idle.may_accept(False, False, one)
    assert not busy.may_accept(False, False, one)


def test_with_as_many_requests_connections_decide_and_then_turns() -> None:
    (a, _), (b, _) = workers(2)
    a.load.add(+CONNECTION)
    assert (a.may_accept(False, False, one), b.may_accept(False, False, one)) == (False, True)
    b.load.add(+CONNECTION)
    a.record_accept()
    assert (a.may_accept(False, False, one), b.may_accept(False, False, one)) == (False, True)
    b.record_accept()
    b.load.add(+1)  # a moment later
    assert (a.may_accept(False, False, one), b.may_accept(False, False, one)) == (True, False)


def test_a_turn_that_is_long_ago_is_forgotten() -> None:
    (a, _), _ = workers(2)
    a.record_accept()
    a.refresh(0.0)
    assert not a.may_accept(False, False, one)
    a._accepted_at -= TURN_EXPIRES_AFTER
    a.refresh(0.0)
    assert a.may_accept(False, False, one)


def test_what_waits_beyond_what_the_others_will_take_is_ours() -> None:
    (busy, _), _, (also, _) = workers(3)
    busy.load.add(+2 * REQUEST)
    also.load.add(+REQUEST)
    # Two for the idle one, one for the other: then all have two.
    assert not busy.may_accept(False, False, lambda: 3)
    assert busy.may_accept(False, False, lambda: 4)


def test_slack_and_limit() -> None:
    (a, _), (b, _) = workers(2, slack=1, limit=3)
    a.load.add(+REQUEST)
    assert a.may_accept(False, False, one)
    a.load.add(+REQUEST)
    assert not a.may_accept(False, False, one)
    b.load.add(+3 * REQUEST)
    assert a.may_accept(False, False, one)
    assert not b.may_accept(False, False, lambda: 100)
    assert not b.may_accept(False, True, lambda: 100)


def test_who_is_hidden_or_silent_is_not_waited_for() -> None:
    (busy, _), (idle, row) = workers(2)
    busy.load.add(+REQUEST)
    assert not busy.may_accept(False, True, one)
    row.floats[BEAT] -= STALE_AFTER + 1
    assert busy.may_accept(False, True, one)
    row.floats[BEAT] = monotonic()
    idle.load.mark_unavailable()
    assert busy.may_accept(False, False, one)
    idle.load.add(+CONNECTION)  # nobody sees that
    assert busy.may_accept(False, False, one)
    idle.load.mark_available()
    assert not busy.may_accept(False, False, one)


def test_who_is_idle_counts_until_its_own_next_beat_is_overdue() -> None:
    (busy, _), (_, row) = workers(2)
    busy.load.add(+REQUEST)
    row.floats[BEAT] -= 6.0
    row.floats[DUE] = row.floats[BEAT] + 8.0
    assert not busy.may_accept(False, True, one), "it beats rarely, and was woken as well"
    row.floats[DUE] -= 2.0 + STALE_AFTER
    assert busy.may_accept(False, True, one)


def test_who_is_idle_and_let_a_connection_wait_does_not_count_until_it_beats() -> None:
    (busy, _), (_, row) = workers(2)
    busy.load.add(+REQUEST)
    row.floats[DUE] = row.floats[BEAT] + 8.0
    assert not busy.may_accept(False, True, one)
    assert busy.may_accept_overdue()
    assert busy.may_accept(False, True, one)
    row.floats[BEAT] += 0.1
    assert not busy.may_accept(False, True, one)


def test_who_let_a_connection_wait_does_not_count_until_it_beats() -> None:
    (busy, _), (_, row) = workers(2)
    busy.load.add(+REQUEST)
    assert busy.may_accept_overdue()
    assert busy.may_accept(False, True, one)
    row.floats[BEAT] += 0.1
    assert not busy.may_accept(False, True, one)


def test_the_open_gate_looks_only_at_its_limit() -> None:
    (busy, _), _ = workers(2, limit=2, kind=UnrestrictedAcceptPolicy)
    busy.load.add(+REQUEST)
    assert busy.may_accept(False, False, one)
    busy.record_accept()
    busy.load.add(+REQUEST)
    assert not busy.may_accept(False, False, one)


Word = st.builds(lambda r, c: r * REQUEST + c * CONNECTION, st.integers(0, 5), st.integers(0, 5))


def test_who_is_between_two_requests_is_not_idle() -> None:
    (a, _), (b, _) = workers(2)
    a.load.add(+3 * CONNECTION)
    b.load.add(REQUEST + 2 * CONNECTION)
    assert a.may_accept(False, False, one)
    assert not a.may_accept(True, False, one)
    assert a.may_accept(True, False, lambda: 2)
    b.load.add(+2 * CONNECTION)
    assert a.may_accept(True, False, one)


def test_who_has_its_hands_full_does_not_gather_a_queue_of_its_own() -> None:
    board = Scoreboard()
    rows = [board.acquire_row(1), board.acquire_row(2)]
    made = [AcceptPolicy(row, Load(row.loads, row.number), 0, None, GUARD, 1) for row in rows]
    for gate in made:
        gate.load.mark_available()
    made[0].load.add(+REQUEST)
    made[0].refresh(LONG_CALL / 2)
    assert made[0].may_accept(False, False, lambda: 100)
    made[0].refresh(LONG_CALL)
    assert not made[0].may_accept(False, False, lambda: 100)
    made[1].load.add(+REQUEST)
    assert made[0].may_accept(False, True, lambda: 100), "all have: one of them has to"


def test_nor_does_an_async_worker_whose_calls_leave_no_time() -> None:
    (a, _), _ = workers(2)
    a.load.add(+REQUEST)
    a.refresh(LONG_CALL)
    assert a.may_accept(False, False, lambda: 100)
    a.refresh(LONG_CALL, True)
    assert not a.may_accept(False, False, lambda: 100)


def test_who_has_work_to_do_leaves_a_tie_to_the_others_for_a_moment() -> None:
    (a, _), (b, _) = workers(2)
    for gate in (a, b):
        gate.load.add(REQUEST + CONNECTION)
    b.record_accept()
    assert not a.may_accept(False, False, one)
    assert a.may_accept(False, True, one)
    assert a.may_accept(False, False, lambda: 2)


@given(st.lists(Word, min_size=1, max_size=8), st.integers(1, 20))
def test_all_that_wait_are_taken_and_shared_evenly(words: list[int], waiting: int) -> None:
    """However the workers are woken, as long as each is woken again; a tie waits for doubts."""
    made = workers(len(words))
    for (gate, _), word in zip(made, words, strict=True):
        gate.load.add(word)
    before = [gate.load.requests_in_flight for gate, _ in made]
    left = waiting

    def how_many() -> int:
        return left

    doubts = False
    while left:
        taken = left
        for gate, _ in made:
            if left and gate.may_accept(False, doubts, how_many):
                gate.load.add(REQUEST + CONNECTION)
                gate.record_accept()
                left -= 1
        assert left < taken or not doubts, "somebody always takes one"
        doubts = left == taken
    after = [gate.load.requests_in_flight for gate, _ in made]
    most = max(level for level, old in zip(after, before, strict=True) if level > old)
    assert all(most <= level + 1 for level in after), "nobody took what one with less could have"


def test_nobody_is_asked_how_many_wait_when_it_does_not_matter() -> None:
    ((gate, _),) = workers(1)

    def forbidden() -> int:
        raise AssertionError("a system call for nothing")

    asked: Callable[[], int] = forbidden
    assert gate.may_accept(False, False, asked)


def test_a_worker_that_is_to_be_replaced_leaves_connections_to_one_that_is_not() -> None:
    board = Scoreboard()
    (old, row), (sibling, other), (heir, new) = workers(3, board=board)
    assert not old.defers_to_heirs(), "no roll goes on"
    board.set_row_fields(row, outdated=1)
    board.set_row_fields(other, outdated=1)
    assert old.defers_to_heirs()
    assert sibling.defers_to_heirs()
    assert not heir.defers_to_heirs()
    heir.load.mark_unavailable()
    assert not old.defers_to_heirs(), "it takes none yet, or is full"
    heir.load.mark_available()
    new.floats[BEAT] = monotonic() - 2 * STALE_AFTER
    assert not old.defers_to_heirs(), "it does not get to it"
    new.floats[DUE] = monotonic() + STALE_AFTER
    assert old.defers_to_heirs(), "it is idle, and beats rarely"
    new.floats[DUE] = monotonic() - 2 * STALE_AFTER
    assert not old.defers_to_heirs()
