"""The leader: at most one worker at any time, and one as soon as a worker can lead."""

from random import Random

from prefork.pool import Policy, Pool, facts, orders
from prefork.pool.leader_state import LeaderState
from tests.pure.pool.story import Story


def terms(story: Story) -> list[tuple[int, int]]:
    """Return worker and token of each term so far."""
    named = [order for order in story.ordered if isinstance(order, orders.NameLeader)]
    return [(order.worker, order.token) for order in named]


def serving(**policy: object) -> Story:
    """Return a story whose first workers are ready, in the order of their slots."""
    story = Story(**policy)
    story.ready(*(worker.id for worker in story.pool.workers))
    return story


def test_the_first_worker_that_is_ready_leads() -> None:
    story = Story(workers=3)
    assert terms(story) == []
    story.ready(2)
    story.ready(1, 3)
    assert terms(story) == [(2, 1)]
    assert story.pool.leader.shown_token == 1


def test_a_leader_that_is_stopped_or_killed_leads_until_it_is_reaped() -> None:
    story = serving(workers=3, hang_grace=1.0)
    deadline = story.now + 5
    story.tell(facts.Heartbeats({1: deadline, 2: deadline + 100, 3: deadline + 100}))
    story.later(8)
    assert orders.Kill(1) in story.ordered
    assert terms(story) == [(1, 1)]
    story.exit(1, signal="SIGKILL")
    assert terms(story) == [(1, 1), (2, 2)]


def test_a_leader_that_drains_leads_until_it_resigns() -> None:
    story = serving(workers=3)
    story.tell(facts.Leaving(1))
    assert terms(story) == [(1, 1)]
    story.tell(facts.Resigned(1))
    assert terms(story) == [(1, 1), (2, 2)]
    story.exit(1)
    assert terms(story) == [(1, 1), (2, 2)]


def test_a_roll_moves_the_leadership_once() -> None:
    story = serving(workers=3)
    generation = story.hup()
    for _ in range(3):
        heir = max(worker.id for worker in story.pool.workers)
        story.ready(heir)
        for worker in story.all(orders.WorkerLeaving):
            story.tell(facts.Leaving(worker.worker))
            story.tell(facts.Resigned(worker.worker))
            story.exit(worker.worker)
    assert len(terms(story)) == 2
    leader = story.pool.workers.get(story.pool.leader.worker)
    assert leader is not None
    assert leader.generation == generation


def test_the_lowest_slot_that_is_not_worn_leads_next() -> None:
    story = serving(workers=4)
    story.tell(facts.Worn(2, "1000 requests"))
    story.exit(1, signal="SIGKILL")
    assert terms(story)[1:] == [(3, 2)]


def test_a_worn_worker_leads_if_there_is_no_other() -> None:
    story = serving(workers=2)
    story.tell(facts.Worn(2, "1000 requests"))
    story.exit(1, signal="SIGKILL")
    assert terms(story)[1:] == [(2, 2)]


def test_a_worker_that_resigned_is_not_named_again() -> None:
    story = serving(workers=2)
    story.tell(facts.Resigned(1))
    story.tell(facts.Resigned(2))
    story.tell(facts.Resigned(99))
    assert terms(story) == [(1, 1), (2, 2)]
    assert story.pool.leader == LeaderState(worker=0, token=2)
    assert story.pool.leader.shown_token == 0


def test_no_worker_leads_while_the_leader_of_an_earlier_master_lives() -> None:
    story = Story(workers=2)
    story.pool = Pool(Policy(workers=2), Random(1), leader=LeaderState(0, 40, True))
    story.tell(facts.Tick())
    story.ready(1, 2)
    assert terms(story) == []
    story.tell(facts.PredecessorEnded())
    assert terms(story) == [(1, 41)]


def test_programs_do_not_lead() -> None:
    story = serving(workers=2, elects_leader=False)
    assert terms(story) == []
    story.hup(workers=2)  # to an app: the programs that still serve cannot lead either
    story.exit(1, signal="SIGKILL")
    assert terms(story) == []


def test_no_worker_is_named_while_all_stop() -> None:
    story = serving(workers=2)
    story.tell(facts.StopRequested())
    story.tell(facts.Resigned(1))
    assert terms(story) == [(1, 1)]
