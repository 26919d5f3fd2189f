"""The accept policy: which worker accepts the next connection, over a scoreboard in memory."""

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
    """The length of a queue in which a single connection waits."""
    return 1


def workers(
    count: int,
    slack: int = 0,
    limit: int | None = None,
    kind: type[AcceptPolicy] = AcceptPolicy,
    board: Scoreboard | None = None,
) -> list[tuple[AcceptPolicy, Row]]:
    """Make ``count`` workers that are ready, awake and idle."""
    board = board or Scoreboard()
    made = []
    for number in range(count):
        row = board.acquire_row(number + 1)
        row.floats[BEAT] = monotonic()
        policy = kind(row, Load(row.loads, row.number), slack, limit, GUARD)
        policy.load.mark_available()
        made.append((policy, row))
    return made


def test_a_worker_without_siblings_is_unrestricted() -> None:
    board = Scoreboard()
    (a, _), (b, row) = workers(2, board=board)
    b.load.mark_unavailable()
    a.refresh(0.0)
    assert not a.is_unrestricted, "the sibling may be about to be ready"
    board.release_row(row)
    a.refresh(0.0)
    assert a.is_unrestricted
    board = Scoreboard()
    (limited, _), (_, row) = workers(2, limit=3, board=board)
    board.release_row(row)
    limited.refresh(0.0)
    assert not limited.is_unrestricted
    (unrestricted, _), _ = workers(2, kind=UnrestrictedAcceptPolicy)
    unrestricted.refresh(0.0)
    assert unrestricted.is_unrestricted


def test_the_worker_with_less_load_comes_first() -> None:
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


def test_a_worker_accepts_what_waits_beyond_what_its_siblings_will_take() -> None:
    (busy, _), _, (also, _) = workers(3)
    busy.load.add(+2 * REQUEST)
    also.load.add(+REQUEST)
    # Two for the idle worker and one for the other: then all have two.
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


def test_a_hidden_or_silent_sibling_does_not_count() -> None:
    (busy, _), (idle, row) = workers(2)
    busy.load.add(+REQUEST)
    assert not busy.may_accept(False, True, one)
    row.floats[BEAT] -= STALE_AFTER + 1
    assert busy.may_accept(False, True, one)
    row.floats[BEAT] = monotonic()
    idle.load.mark_unavailable()
    assert busy.may_accept(False, False, one)
    idle.load.add(+CONNECTION)  # its siblings do not see that
    assert busy.may_accept(False, False, one)
    idle.load.mark_available()
    assert not busy.may_accept(False, False, one)


def test_an_idle_sibling_counts_until_its_next_heartbeat_is_overdue() -> None:
    (busy, _), (_, row) = workers(2)
    busy.load.add(+REQUEST)
    row.floats[BEAT] -= 6.0
    row.floats[DUE] = row.floats[BEAT] + 8.0
    assert not busy.may_accept(False, True, one), "its heartbeat is rare, and it was woken as well"
    row.floats[DUE] -= 2.0 + STALE_AFTER
    assert busy.may_accept(False, True, one)


def test_an_idle_sibling_that_let_a_connection_wait_does_not_count_until_its_next_heartbeat() -> (
    None
):
    (busy, _), (_, row) = workers(2)
    busy.load.add(+REQUEST)
    row.floats[DUE] = row.floats[BEAT] + 8.0
    assert not busy.may_accept(False, True, one)
    assert busy.may_accept_overdue()
    assert busy.may_accept(False, True, one)
    row.floats[BEAT] += 0.1
    assert not busy.may_accept(False, True, one)


def test_a_sibling_that_let_a_connection_wait_does_not_count_until_its_next_heartbeat() -> None:
    (busy, _), (_, row) = workers(2)
    busy.load.add(+REQUEST)
    assert busy.may_accept_overdue()
    assert busy.may_accept(False, True, one)
    row.floats[BEAT] += 0.1
    assert not busy.may_accept(False, True, one)


def test_the_unrestricted_policy_checks_only_its_limit() -> None:
    (busy, _), _ = workers(2, limit=2, kind=UnrestrictedAcceptPolicy)
    busy.load.add(+REQUEST)
    assert busy.may_accept(False, False, one)
    busy.record_accept()
    busy.load.add(+REQUEST)
    assert not busy.may_accept(False, False, one)


Word = st.builds(lambda r, c: r * REQUEST + c * CONNECTION, st.integers(0, 5), st.integers(0, 5))


def test_a_worker_between_two_requests_is_not_idle() -> None:
    (a, _), (b, _) = workers(2)
    a.load.add(+3 * CONNECTION)
    b.load.add(REQUEST + 2 * CONNECTION)
    assert a.may_accept(False, False, one)
    assert not a.may_accept(True, False, one)
    assert a.may_accept(True, False, lambda: 2)
    b.load.add(+2 * CONNECTION)
    assert a.may_accept(True, False, one)


def test_a_fully_occupied_worker_does_not_gather_a_queue_of_its_own() -> None:
    board = Scoreboard()
    rows = [board.acquire_row(1), board.acquire_row(2)]
    made = [AcceptPolicy(row, Load(row.loads, row.number), 0, None, GUARD, 1) for row in rows]
    for policy in made:
        policy.load.mark_available()
    made[0].load.add(+REQUEST)
    made[0].refresh(LONG_CALL / 2)
    assert made[0].may_accept(False, False, lambda: 100)
    made[0].refresh(LONG_CALL)
    assert not made[0].may_accept(False, False, lambda: 100)
    made[1].load.add(+REQUEST)
    assert made[0].may_accept(False, True, lambda: 100), "all are occupied: one has to accept it"


def test_an_overloaded_async_worker_does_not_gather_a_queue_of_its_own() -> None:
    (a, _), _ = workers(2)
    a.load.add(+REQUEST)
    a.refresh(LONG_CALL)
    assert a.may_accept(False, False, lambda: 100)
    a.refresh(LONG_CALL, True)
    assert not a.may_accept(False, False, lambda: 100)


def test_a_worker_with_requests_in_flight_leaves_a_tie_to_its_siblings_for_a_moment() -> None:
    (a, _), (b, _) = workers(2)
    for policy in (a, b):
        policy.load.add(REQUEST + CONNECTION)
    b.record_accept()
    assert not a.may_accept(False, False, one)
    assert a.may_accept(False, True, one)
    assert a.may_accept(False, False, lambda: 2)


@given(st.lists(Word, min_size=1, max_size=8), st.integers(1, 20))
def test_all_waiting_connections_are_accepted_and_spread_evenly(
    words: list[int], waiting: int
) -> None:
    """This holds in whatever order the workers are woken, as long as each is woken again. A tie is
    resolved once a connection has waited."""
    made = workers(len(words))
    for (policy, _), word in zip(made, words, strict=True):
        policy.load.add(word)
    before = [policy.load.requests_in_flight for policy, _ in made]
    left = waiting

    def count_waiting() -> int:
        return left

    has_waited = False
    while left:
        before_round = left
        for policy, _ in made:
            if left and policy.may_accept(False, has_waited, count_waiting):
                policy.load.add(REQUEST + CONNECTION)
                policy.record_accept()
                left -= 1
        assert left < before_round or not has_waited, "one worker always accepts one"
        has_waited = left == before_round
    after = [policy.load.requests_in_flight for policy, _ in made]
    most = max(level for level, old in zip(after, before, strict=True) if level > old)
    assert all(most <= level + 1 for level in after), (
        "each one went to a worker with the least load"
    )


def test_the_queues_are_not_counted_when_it_does_not_matter() -> None:
    ((policy, _),) = workers(1)

    def forbidden() -> int:
        raise AssertionError("a system call for nothing")

    asked: Callable[[], int] = forbidden
    assert policy.may_accept(False, False, asked)


def test_an_outdated_worker_leaves_connections_to_a_current_one() -> None:
    board = Scoreboard()
    (old, row), (sibling, other), (heir, new) = workers(3, board=board)
    assert not old.defers_to_heirs(), "no roll goes on"
    board.set_row_fields(row, outdated=1)
    board.set_row_fields(other, outdated=1)
    assert old.defers_to_heirs()
    assert sibling.defers_to_heirs()
    assert not heir.defers_to_heirs()
    heir.load.mark_unavailable()
    assert not old.defers_to_heirs(), "the heir does not accept yet, or is full"
    heir.load.mark_available()
    new.floats[BEAT] = monotonic() - 2 * STALE_AFTER
    assert not old.defers_to_heirs(), "the heir has missed its heartbeat"
    new.floats[DUE] = monotonic() + STALE_AFTER
    assert old.defers_to_heirs(), "the heir is idle, and its heartbeat is rare"
    new.floats[DUE] = monotonic() - 2 * STALE_AFTER
    assert not old.defers_to_heirs()
