"""`scripts/bench store`: the latency of one call of the store, beside other stores.

    stores.py    the stores that are compared, and the server and the Python of each
    clients.py   what a process calls to get, set and increment in each store
    driver.py    the process that forks the measuring processes of one store
    stash_app.py the app of gunicorn, whose stash is measured
    servers.py   starts Redis, memcached and gunicorn, and the drivers
    rounds.py    the order of the measurements
    results.py   medians, tables, JSON
    peers.txt    the clients that are installed into .venv-bench
    __main__.py  the command

Design
------
- **The latency of a call is the result, not calls per second.** A request waits for its calls one
  after another. With more processes than cores the 99.9th percentile is mostly the scheduler: a
  process that lost its core in the middle of a call waits for it as in an app.
- **All stores run at the same time, and one is measured at a time.** Each round measures the same
  cell (operation, number of processes) in all of them before the next cell, so that a noisy minute
  of the machine affects all alike.
- **No store syncs its writes,** so the disk is not what is compared. Redis saves nothing.
"""
