"""`scripts/bench`: CPU time, throughput, latency and memory of prefork and of other servers.

Each server runs one worker on one core, the load generator runs on another core.

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
    targets.py     the ratios that prefork is to reach, and whether it does
    picture.py     the SVG chart
    report.py      the files of a run, and the tables of the manual
    options.py     command-line options that several of these commands share
    __main__.py    the command `scripts/bench`
    fair/          `scripts/bench fair`: how connections are spread over workers
    manage/        `scripts/bench manage`: the verbs of a process manager, beside PM2
    store/         `scripts/bench store`: one call of the store, beside Redis and others
    versions/      `scripts/bench versions`: two checkouts of prefork

Design
------
- **CPU per answer is the result, not requests per second.** CPU time of the server's process tree
  per answer stays true when the generator is the limit, or when a neighbour of the virtual machine
  is noisy. The notes below each table name the servers whose core was not full.
- **A cache of request heads gets no unfair advantage.** Loads named `varied` send no request twice,
  so that such a cache cannot look better than it is.
- **A connection without any answer is reported below the table.** Its wait has no end, so it is in
  no percentile.

Where the time of a WSGI request goes
-------------------------------------
Measured on 2026-11-26 with perf, and with versions in which one part was left out: Python 3.11, a
virtual machine with two cores, the generator on one and the worker on the other.

- *hello, 8.1 µs:* kernel 5.3 (of which `write` 4.4, which includes the whole way over loopback into
  the client's socket), uvloop and libc 0.5, Python 2.1. The Python part: composing and sending the
  response 0.5, accounting at the end of the request 0.26 and at its beginning 0.16, the environ
  0.2, the objects of exchange and call 0.26, `start_response` 0.11, the lookup in the head cache
  0.12, the app itself 0.06.
- *JSON of 1 KB, 30 µs:* the app 15.5, prefork's Python code 3.1, kernel and uvloop 11. Of the last,
  4 to 5 are the interrupt that wakes the client's core, once for each answer: the client sleeps
  because an answer takes 30 µs. With a client that polls without sleeping the total is 26.1 (and
  granian 28.5 instead of 28.7: its threads answer in bursts, and a burst wakes the client once).
  Rejected: to hold answers back until the end of the loop's iteration. It would save the same
  wakeups, but an app that blocks would also block answers that are ready, which PEP 3333 forbids.
- *upload of 10 MB, 1.5 ms with four clients:* kernel 1.15 (copying 0.4; acknowledgements, and the
  sending that they permit, which the kernel does in the worker's time, 0.5), copying for the app's
  reads 0.19, all Python code 0.15. With `--body-memory 64M` the four clients need not wait for each
  other: a fifth more uploads a second for the same CPU time.
- *What is left:* since then a plain request is read, answered and counted in the compiled part,
  which saves 2 µs of each hello and JSON request. Of a varied WSGI request on 2026-11-29 71 % is
  kernel, 19 % libpython with the app. Of an ASGI request 32 % is libpython: a task of Python 3.11
  costs 0.6 µs, half of it the set of all tasks; eager tasks of 3.12 are not in that set. A reader
  in C for the buffer pool would save 0.03 ms of the upload.
  `__slots__` for Exchange and the WSGI call gain 2 % in a benchmark inside one process, and
  nothing in a served request.
"""
