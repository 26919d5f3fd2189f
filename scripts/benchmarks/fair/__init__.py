"""`scripts/bench fair`: who gets which connection, and who has to wait for whom.

- `servers`: the servers, each with several workers. `apps/`: what they serve: sleep, tell the pid.
- `clients`: the client's side, on raw epoll. `workloads`: what is asked, what the answers mean.
- `ideal`: the same load on a single queue, simulated; nothing real can be better.
- `rounds`: the order of it all. `results`, `tables`, `picture`: figures, Markdown, SVG.
"""
