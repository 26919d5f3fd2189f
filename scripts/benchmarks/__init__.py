"""prefork beside its peers: CPU, throughput, latency and memory under many loads, one core each.

- What is measured: `peers` (who, and how each is started), `apps/` (what they serve),
  `loads` (what they are asked).
- Measuring: `server` (one server's life), `generator` (the load, on raw epoll) in the process of
  `client`, `connect` (a connection, with TLS or WebSocket), `answer` (one answer, parsed), `usage`
  (CPU and memory of a process tree).
- The run: `rounds` (the order of it all), `results` (figures and medians), `machine` (where, and
  with what versions), `table`, `picture` and `report` (Markdown, SVG, and the files of a run).
"""
