"""`scripts/bench fair`: how connections are spread over workers, and how long requests wait.

    servers.py     the servers, each with several workers, and the command that starts each
    apps/          the app that they serve: it sleeps and answers the pid of its worker
    clients.py     the clients, on raw epoll
    workloads.py   what the clients send, and what is computed from the answers
    ideal.py       the same workload on a single queue, simulated
    rounds.py      the order of the measurements
    results.py     the results, and their JSON
    tables.py      Markdown tables
    picture.py     the SVG chart
    __main__.py    the command

Design
------
- **The app sleeps instead of computing.** A blocked worker needs no CPU time, so 64 workers fit on
  two cores. What remains is the time that a request waits behind others in the same worker.
- **The ideal is a single queue with the same clients, simulated** (`ideal.py`). No real server can
  have shorter waits, as no request waits there while a worker is free. The simulation is pure and
  tested.
"""
