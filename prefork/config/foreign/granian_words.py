"""The flags of granian. PURE."""

from prefork.config.foreign.foreign_word import (
    PeerName,
    PeerWords,
    chosen,
    fixed,
    mebibytes,
    milliseconds,
)

_granian = PeerWords(PeerName.GRANIAN)
_same, _take, _ignore = _granian.same, _granian.take, _granian.ignore
_other, _absent = _granian.other, _granian.absent

# The app.
_same(
    "--interface",
    "--interface",
    "asgi and wsgi, which auto tells apart",
)
_absent(
    "--interface",
    "rsgi and asginl are interfaces of granian alone; serve the ASGI or WSGI app",
    values="rsgi|asginl",
    example="rsgi, asginl",
)
_same("--factory --no-factory", "--factory", takes=0)
_take("--working-dir", "--chdir")
_take("--env-files", "--env-file")
_take("--url-path-prefix", "--root-path")

# Sockets.
_take("--host", "--bind HOST:PORT", convert=lambda value: {"host": value})
_take("--port", "--bind HOST:PORT", convert=lambda value: {"port": value})
_take("--uds", "--bind unix:PATH", convert=lambda value: {"uds": value})
_take(
    "--uds-permissions",
    "--bind unix:PATH,mode=660",
    convert=lambda value: {"uds_mode": value.removeprefix("0o")},
)
_same("--backlog", "--backlog")

# Workers.
_same("--workers", "--workers", "0 or max is one per usable core")
_other(
    "--blocking-threads", "--threads", "for WSGI apps; 0 calls the app in the event loop's thread"
)
_absent("--blocking-threads-idle-timeout", "not needed: the threads of --threads stay")
_RUNTIME = "one event loop in each worker"
_ignore("--runtime-threads", _RUNTIME)
_ignore("--runtime-blocking-threads", _RUNTIME)
_ignore("--runtime-mode", _RUNTIME)
_ignore("--loop", "the event loop is uvloop")
_ignore("--task-impl", "tasks are asyncio's")
_take("--backpressure", "--accept-limit")
_ignore(
    "--respawn-failed-workers",
    "a worker that dies is always replaced, with a back-off",
    takes=0,
)
_absent(
    "--no-respawn-failed-workers", "--max-restarts 0 ends the master at the first failure", takes=0
)
_absent("--respawn-interval", "not needed: --surge says how many workers are replaced at a time")
_take("--workers-lifetime", "--max-lifetime")
_take(
    "--workers-max-rss",
    "--max-memory",
    "in MiB; --max-memory-measure rss counts as granian does",
    convert=mebibytes("max_memory"),
)
_ignore("--rss-sample-interval", "memory is read once a second")
_ignore("--rss-samples", "memory is read once a second")
_take("--workers-kill-timeout", "--kill-timeout")

# HTTP.
_ignore("--http", "HTTP/1.1 is served", values="auto|1", example="auto, 1")
_HTTP2 = "HTTP/1.1 and WebSocket only: a proxy in front speaks HTTP/2 with the clients"
_absent("--http", _HTTP2, values="2", example="2")
for _flag in (
    "--http2-adaptive-window --no-http2-adaptive-window",
    "--http2-initial-connection-window-size",
    "--http2-initial-stream-window-size",
    "--http2-keep-alive-interval",
    "--http2-keep-alive-timeout",
    "--http2-max-concurrent-streams",
    "--http2-max-frame-size",
    "--http2-max-headers-size",
    "--http2-max-send-buffer-size",
):
    _absent(_flag, _HTTP2, takes=0 if "--no-" in _flag else 1)
_other("--http1-buffer-size", "--limit-header-size", "the maximum size of a request head")
_take(
    "--http1-header-read-timeout",
    "--header-timeout",
    "in milliseconds without a unit",
    convert=milliseconds("header_timeout"),
)
_ignore("--http1-keep-alive", "connections stay open for --keepalive", takes=0)
_take("--no-http1-keep-alive", "--keepalive 0s", takes=0, convert=fixed(keepalive="0s"))
_ignore(
    "--http1-pipeline-flush --no-http1-pipeline-flush",
    "responses to pipelined requests are written together where they are ready",
    takes=0,
)
_ignore("--ws", "WebSocket is served where the app accepts one", takes=0)
_take("--no-ws", "--websocket off", takes=0, convert=fixed(websocket="off"))
_STATIC = "serve files by the proxy in front, or in the app by WhiteNoise or StaticFiles"
for _flag in (
    "--static-path-route",
    "--static-path-mount",
    "--static-path-dir-to-file",
    "--static-path-expires",
):
    _absent(_flag, _STATIC)

# TLS.
_take("--ssl-certificate", "--tls-cert")
_take("--ssl-keyfile", "--tls-key")
_other(
    "--ssl-keyfile-password",
    "--tls-password file:PATH",
    "or env:NAME; a password on a command line is for all to see (ps)",
)
_take(
    "--ssl-protocol-min",
    "--tls-minimum",
    "tls1.2 is 1.2, tls1.3 is 1.3",
    convert=chosen("tls_minimum", **{"tls1.2": "1.2", "tls1.3": "1.3"}),
)
_take("--ssl-ca", "--tls-ca", "with --tls-client required")
_absent("--ssl-crl", "not to be had: issue certificates for clients that live for a short time")
_take("--ssl-client-verify", "--tls-client required", takes=0, convert=fixed(tls_client="required"))
_take("--no-ssl-client-verify", "--tls-client none", takes=0, convert=fixed(tls_client="none"))

# Reloading while you develop.
_take("--reload", "--watch", takes=0)
_take("--no-reload", "--no-watch", takes=0, convert=fixed(watch="false"))
_take("--reload-paths", "--watch-path")
_take("--reload-ignore-dirs", "--watch-ignore")
_other(
    "--reload-ignore-patterns",
    "--watch-ignore PATTERN",
    "names such as *.csv, no regular expressions",
)
_other("--reload-ignore-paths", "--watch-ignore PATH", "a path below a watched folder")
_ignore("--reload-tick", "inotify reports changes at once; --watch-delay gathers them")
_ignore(
    "--reload-ignore-worker-failure --no-reload-ignore-worker-failure",
    "the old workers serve on when new code fails",
    takes=0,
)

# Logs, metrics and the process.
_ignore("--log", "the log goes to stderr", takes=0)
_other("--no-log", "--log-level error", takes=0)
_same("--log-level", "--log-level", "critical is taken for error, notset for debug")
_same("--log-config", "--log-config")
_take(
    "--access-log",
    "--access-log -",
    "without a value the flag is taken for this",
    takes=0,
    convert=fixed(access_log="-"),
)
_take("--no-access-log", "--access-log ''", takes=0, convert=fixed(access_log=""))
_other("--access-log-fmt", "--access-log-format", "with other directives, such as %(h)s")
_other("--metrics", "--status 127.0.0.1:9090", "/metrics, and a page that shows the app", takes=0)
_ignore("--no-metrics", "without --status there are none", takes=0)
_other("--metrics-address", "--status ADDRESS:PORT")
_other("--metrics-port", "--status ADDRESS:PORT")
_ignore("--metrics-scrape-interval", "metrics are read when they are asked for")
_take("--process-name", "--name", "in process titles, logs and verbs")
_same("--pid-file", "--pid-file")
_same("--version", "--version", takes=0)

WORDS = tuple(_granian.words)
