"""The decisions of the master about its workers, as a pure state machine.

The interface is ``orders = pool.handle(fact, now)`` and ``pool.next_deadline()``. A fact tells what
happened, an order tells the master what to do, and the time is an argument. The pool starts no
process, opens no file and reads no clock, so that a simulator can run thousands of histories.

    budget.py          how often a slot may fail, and how long it waits after a failure
    facts.py           facts: what the master reports to the pool
    goals.py           when the request of a client is fulfilled, and why it is not
    leader_state.py    the leader among the workers, and when the next one is named
    orders.py          orders to the master, and the events that the pool announces
    policy.py          the limits that the pool decides by, and the desired state
    pool.py            the states of the master, and the requests that change what is desired
    pool_state.py      the state of the pool, as one declared structure that can be dumped
    reconciler.py      the step that reconciles the actual state of workers with the desired one
    recycle_wait.py    workers whose replacement waits for work of their app
    scaling.py         the autoscaler: the number of slots from one reading a second
    table.py           the table of all live workers, and questions about slots
    worker_life.py     the facts about one worker, its deadlines, and its failures
    workers.py         one worker: its states and their deadlines
"""

from prefork.pool.policy import Policy
from prefork.pool.pool import Pool
from prefork.pool.pool_state import MasterState

__all__ = ["MasterState", "Policy", "Pool"]
