"""Who takes the next connection: the gate, over a scoreboard in memory."""

from collections.abc import Callable
from time import monotonic

from hypothesis import given
from hypothesis import strategies as st

from prefork.http.load import CONNECTION, REQUEST, Load
from prefork.unix.scoreboard import BEAT, DUE, Row, Scoreboard
from prefork.worker.accept.accept_policy import FORGOTTEN, LONG, STALE, Gate, OpenGate

GUARD = 0.02


def one() -> int:
    """A single connection waits."""
    return 1


def workers(
    count: int,
    slack: int = 0,
    limit: int | None = None,
    kind: type[Gate] = Gate,
    board: Scoreboard | None = None,
) -> list[tuple[Gate, Row]]:
    """So many that are ready, awake and idle."""
    board = board or Scoreboard()
    made = []
    for number in range(count):
        row = board.take(number + 1)
        row.floats[BEAT] = monotonic()
        gate = kind(row, Load(row.loads, row.number), slack, limit, GUARD)
        gate.load.show()
        made.append((gate, row))
    return made


def test_who_is_alone_is_free_to_accept() -> None:
    board = Scoreboard()
    (a, _), (b, row) = workers(2, board=board)
    b.load.hide()
    a.tick(0.0)
    assert not a.free, "the other one may be about to be ready"
    board.release(row)
    a.tick(0.0)
    assert a.free
    board = Scoreboard()
    (limited, _), (_, row) = workers(2, limit=3, board=board)
    board.release(row)
    limited.tick(0.0)
    assert not limited.free
    (anybody, _), _ = workers(2, kind=OpenGate)
    anybody.tick(0.0)
    assert anybody.free


def test_who_has_less_to_do_comes_first() -> None:
    (busy, _), (idle, _) = workers(2)
    busy.load.change(+REQUEST)
    idle.load.change(+5 * CONNECTION)
    assert idle.admits(False, False, one)
    assert not busy.admits(False, False, one)


def test_with_as_many_requests_connections_decide_and_then_turns() -> None:
    (a, _), (b, _) = workers(2)
    a.load.change(+CONNECTION)
    assert (a.admits(False, False, one), b.admits(False, False, one)) == (False, True)
    b.load.change(+CONNECTION)
    a.take_turn()
    assert (a.admits(False, False, one), b.admits(False, False, one)) == (False, True)
    b.take_turn()
    b.load.change(+1)  # a moment later
    assert (a.admits(False, False, one), b.admits(False, False, one)) == (True, False)


def test_a_turn_that_is_long_ago_is_forgotten() -> None:
    (a, _), _ = workers(2)
    a.take_turn()
    a.tick(0.0)
    assert not a.admits(False, False, one)
    a._last -= FORGOTTEN
    a.tick(0.0)
    assert a.admits(False, False, one)


def test_what_waits_beyond_what_the_others_will_take_is_ours() -> None:
    (busy, _), _, (also, _) = workers(3)
    busy.load.change(+2 * REQUEST)
    also.load.change(+REQUEST)
    # Two for the idle one, one for the other: then all have two.
    assert not busy.admits(False, False, lambda: 3)
    assert busy.admits(False, False, lambda: 4)


def test_slack_and_limit() -> None:
    (a, _), (b, _) = workers(2, slack=1, limit=3)
    a.load.change(+REQUEST)
    assert a.admits(False, False, one)
    a.load.change(+REQUEST)
    assert not a.admits(False, False, one)
    b.load.change(+3 * REQUEST)
    assert a.admits(False, False, one)
    assert not b.admits(False, False, lambda: 100)
    assert not b.admits(False, True, lambda: 100)


def test_who_is_hidden_or_silent_is_not_waited_for() -> None:
    (busy, _), (idle, row) = workers(2)
    busy.load.change(+REQUEST)
    assert not busy.admits(False, True, one)
    row.floats[BEAT] -= STALE + 1
    assert busy.admits(False, True, one)
    row.floats[BEAT] = monotonic()
    idle.load.hide()
    assert busy.admits(False, False, one)
    idle.load.change(+CONNECTION)  # nobody sees that
    assert busy.admits(False, False, one)
    idle.load.show()
    assert not busy.admits(False, False, one)


def test_who_is_idle_counts_until_its_own_next_beat_is_overdue() -> None:
    (busy, _), (_, row) = workers(2)
    busy.load.change(+REQUEST)
    row.floats[BEAT] -= 6.0
    row.floats[DUE] = row.floats[BEAT] + 8.0
    assert not busy.admits(False, True, one), "it beats rarely, and was woken as well"
    row.floats[DUE] -= 2.0 + STALE
    assert busy.admits(False, True, one)


def test_who_is_idle_and_let_a_connection_wait_does_not_count_until_it_beats() -> None:
    (busy, _), (_, row) = workers(2)
    busy.load.change(+REQUEST)
    row.floats[DUE] = row.floats[BEAT] + 8.0
    assert not busy.admits(False, True, one)
    assert busy.may_help_out()
    assert busy.admits(False, True, one)
    row.floats[BEAT] += 0.1
    assert not busy.admits(False, True, one)


def test_who_let_a_connection_wait_does_not_count_until_it_beats() -> None:
    (busy, _), (_, row) = workers(2)
    busy.load.change(+REQUEST)
    assert busy.may_help_out()
    assert busy.admits(False, True, one)
    row.floats[BEAT] += 0.1
    assert not busy.admits(False, True, one)


def test_the_open_gate_looks_only_at_its_limit() -> None:
    (busy, _), _ = workers(2, limit=2, kind=OpenGate)
    busy.load.change(+REQUEST)
    assert busy.admits(False, False, one)
    busy.take_turn()
    busy.load.change(+REQUEST)
    assert not busy.admits(False, False, one)


Word = st.builds(lambda r, c: r * REQUEST + c * CONNECTION, st.integers(0, 5), st.integers(0, 5))


def test_who_is_between_two_requests_is_not_idle() -> None:
    (a, _), (b, _) = workers(2)
    a.load.change(+3 * CONNECTION)
    b.load.change(REQUEST + 2 * CONNECTION)
    assert a.admits(False, False, one)
    assert not a.admits(True, False, one)
    assert a.admits(True, False, lambda: 2)
    b.load.change(+2 * CONNECTION)
    assert a.admits(True, False, one)


def test_who_has_its_hands_full_does_not_gather_a_queue_of_its_own() -> None:
    board = Scoreboard()
    rows = [board.take(1), board.take(2)]
    made = [Gate(row, Load(row.loads, row.number), 0, None, GUARD, 1) for row in rows]
    for gate in made:
        gate.load.show()
    made[0].load.change(+REQUEST)
    made[0].tick(LONG / 2)
    assert made[0].admits(False, False, lambda: 100)
    made[0].tick(LONG)
    assert not made[0].admits(False, False, lambda: 100)
    made[1].load.change(+REQUEST)
    assert made[0].admits(False, True, lambda: 100), "all have: one of them has to"


def test_nor_does_an_async_worker_whose_calls_leave_no_time() -> None:
    (a, _), _ = workers(2)
    a.load.change(+REQUEST)
    a.tick(LONG)
    assert a.admits(False, False, lambda: 100)
    a.tick(LONG, True)
    assert not a.admits(False, False, lambda: 100)


def test_who_has_work_to_do_leaves_a_tie_to_the_others_for_a_moment() -> None:
    (a, _), (b, _) = workers(2)
    for gate in (a, b):
        gate.load.change(REQUEST + CONNECTION)
    b.take_turn()
    assert not a.admits(False, False, one)
    assert a.admits(False, True, one)
    assert a.admits(False, False, lambda: 2)


@given(st.lists(Word, min_size=1, max_size=8), st.integers(1, 20))
def test_all_that_wait_are_taken_and_shared_evenly(words: list[int], waiting: int) -> None:
    """However the workers are woken, as long as each is woken again; a tie waits for doubts."""
    made = workers(len(words))
    for (gate, _), word in zip(made, words, strict=True):
        gate.load.change(word)
    before = [gate.load.requests for gate, _ in made]
    left = waiting

    def how_many() -> int:
        return left

    doubts = False
    while left:
        taken = left
        for gate, _ in made:
            if left and gate.admits(False, doubts, how_many):
                gate.load.change(REQUEST + CONNECTION)
                gate.take_turn()
                left -= 1
        assert left < taken or not doubts, "somebody always takes one"
        doubts = left == taken
    after = [gate.load.requests for gate, _ in made]
    most = max(level for level, old in zip(after, before, strict=True) if level > old)
    assert all(most <= level + 1 for level in after), "nobody took what one with less could have"


def test_nobody_is_asked_how_many_wait_when_it_does_not_matter() -> None:
    ((gate, _),) = workers(1)

    def forbidden() -> int:
        raise AssertionError("a system call for nothing")

    asked: Callable[[], int] = forbidden
    assert gate.admits(False, False, asked)


def test_a_worker_that_is_to_be_replaced_leaves_connections_to_one_that_is_not() -> None:
    board = Scoreboard()
    (old, row), (sibling, other), (heir, new) = workers(3, board=board)
    assert not old.leaves_to_heirs(), "no roll goes on"
    board.assign(row, outdated=1)
    board.assign(other, outdated=1)
    assert old.leaves_to_heirs()
    assert sibling.leaves_to_heirs()
    assert not heir.leaves_to_heirs()
    heir.load.hide()
    assert not old.leaves_to_heirs(), "it takes none yet, or is full"
    heir.load.show()
    new.floats[BEAT] = monotonic() - 2 * STALE
    assert not old.leaves_to_heirs(), "it does not get to it"
    new.floats[DUE] = monotonic() + STALE
    assert old.leaves_to_heirs(), "it is idle, and beats rarely"
    new.floats[DUE] = monotonic() - 2 * STALE
    assert not old.leaves_to_heirs()
