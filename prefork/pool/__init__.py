"""The mind of the master: which worker should exist, and what to do about it. PURE.

``orders = pool.handle(fact, now)`` and ``pool.next_deadline()`` are the whole interface. Facts say
what happened, orders say what to do, the clock is an argument. Nothing here starts a process,
opens a file or reads the time, so a simulator can play thousands of histories against it.

    facts.py     what the master may report
    orders.py    what the pool may ask for, and the happenings it announces
    policy.py    the numbers it decides by
    workers.py   one worker: its states and their deadlines
    table.py     all workers, and questions about slots
    budget.py    how often a slot may fail, and how long it waits
    scaling.py   how many slots there should be, from a reading a second
    pool.py      the states of the whole, and the one step that reconciles desired with actual
    goals.py     when a wish is fulfilled, and why it is not
"""

from prefork.pool.policy import Policy
from prefork.pool.pool import MasterState, Pool

__all__ = ["MasterState", "Policy", "Pool"]
