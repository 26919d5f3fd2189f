"""The status server: a child process of the master that serves health, metrics and a page.

access_control.py    which requests are allowed: Host, Origin and the token
connection_slots.py  a bounded number of connections, and which one ends for a new one
history.py           one sample a second of the last ten minutes, for the charts
master_client.py     requests to the master over the channel that the master gave at the fork
metrics.py           the scoreboard in the text format of Prometheus
metrics_reference.py the table of the metrics in the manual
recent_records.py    the last records of the logs
routes.py            the paths, and the response to each request
scoreboard_view.py   the scoreboard and the memory of the workers, as the other modules need them
store_health.py      whether the store can be used, with --store-required
status_loop.py       the event loop of the process: connections, timers and the end
worker_memory.py     the memory of the workers, measured in a thread

charts.js, icon.svg, page.css, page.html and page.js are the page.

Design
------
- **Health, metrics and slots need no master.** The scoreboard is shared with
  all workers, so the status server answers while every worker is blocked and the master is busy.
  Deaths, the log, reload and scale need the master; those responses wait for it, no other does.
- **The status server runs as the workers do,** so it can open neither the control socket nor the
  logs. Over a channel from its fork it asks for one end of a socket pair. The control server of the
  master takes the other end for a client that may use the few verbs whose declaration says so
  (``PageAccess`` of wire/verb.py). The master also passes it open logs. An attacker who takes over
  the status server gets that and no more.
- **New settings start a new status server;** the old one finishes its responses. Only its samples
  are lost, and a page that is open has its own.
"""
