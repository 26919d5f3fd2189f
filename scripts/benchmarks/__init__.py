"""prefork beside its peers: CPU, throughput, latency and memory under many loads, one core each.

    peers.py       the servers that are compared, and the command that starts each
    apps/          the applications that they serve
    loads.py       the requests that they get
    server.py      starts one server, waits until it is ready, stops it
    generator.py   the load generator, on raw epoll
    client.py      the process in which the generator runs
    connect.py     opens a connection, with TLS or WebSocket where a load needs them
    answer.py      parses one answer completely
    usage.py       CPU time and memory of a process tree
    rounds.py      the order of the measurements
    results.py     measurements, medians, JSON
    machine.py     the cores that are used, and the versions of what is measured
    table.py       Markdown tables
    picture.py     the SVG chart
    report.py      the files of a run, and the tables in README.md
    options.py     command-line options that several of these commands share
    __main__.py    the command `scripts/bench`
    fair/          `scripts/bench fair`: how connections are spread over workers
    manage/        `scripts/bench manage`: the verbs of a process manager, beside PM2
    versions/      `scripts/bench versions`: two checkouts of prefork

Design
------
- **CPU per answer is the result, not requests per second.** CPU time of the server's process tree
  per answer stays true when the generator is the limit, or when a neighbour of the virtual machine
  is noisy. The notes below each table name the servers whose core was not full.
- **No load lets a cache win alone.** Loads named `varied` send no request twice, so that a cache of
  request heads cannot look better than it is for browsers.
- **A connection without any answer is reported below the table.** Its wait has no end, so it is in
  no percentile.
"""
