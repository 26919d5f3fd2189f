"""The flags of uvicorn, which are also the keyword arguments of ``uvicorn.run``. PURE."""

from prefork.config.foreign.foreign_word import (
    PeerName,
    PeerWords,
    chosen,
    fixed,
    nonzero,
    whole_drain,
)

_uvicorn = PeerWords(PeerName.UVICORN)
_same, _take, _ignore = _uvicorn.same, _uvicorn.take, _uvicorn.ignore
_other, _absent = _uvicorn.other, _uvicorn.absent

# The app.
_same("factory --factory", "--factory", takes=0)
_take("app_dir --app-dir", "--pythonpath", "the working directory is always there")
_same(
    "interface --interface",
    "--interface",
    "asgi3 is asgi",
)
_absent(
    "interface --interface",
    "wrap an app of ASGI 2 in `guarantee_single_callable` of asgiref.compatibility",
    values="asgi2",
    example="asgi2",
)
_same("env_file --env-file", "--env-file")
_same("root_path --root-path", "--root-path")
_ignore(
    "lifespan --lifespan",
    "lifespan is used where the app supports it",
    values="auto|on",
    example="auto, on",
)
_absent(
    "lifespan --lifespan",
    "lifespan is used where the app supports it, and cannot be turned off",
    values="off",
    example="off",
)

# Sockets.
_take("host --host", "--bind HOST:PORT", convert=lambda value: {"host": value})
_take("port --port", "--bind HOST:PORT", convert=lambda value: {"port": value})
_take("uds --uds", "--bind unix:PATH", convert=lambda value: {"uds": value})
_take("fd --fd", "--bind fd://N", convert=lambda value: {"bind": f"fd://{value}"})
_same("backlog --backlog", "--backlog")

# Reloading while you develop.
_take("reload --reload", "--watch", "all files count, not only *.py", takes=0)
_take(
    "reload_dirs --reload-dir",
    "--watch-path",
    "also a single file; the working directory is then watched only if it is named",
)
_ignore(
    "reload_includes --reload-include",
    "every file below a watched folder counts, unless --watch-ignore or the list of what is always "
    "ignored (logs, databases, caches) leaves it out",
)
_take("reload_excludes --reload-exclude", "--watch-ignore", "names, or paths below a folder")
_take(
    "reload_delay --reload-delay",
    "--watch-delay",
    "the time without further changes; 0 is 10ms",
    convert=nonzero("watch_delay", "10ms"),
)

# Workers.
_same("workers --workers", "--workers", "0 or max is one per usable core")
_take("limit_max_requests --limit-max-requests", "--max-requests")
_take("limit_max_requests_jitter --limit-max-requests-jitter", "--max-requests-jitter")
_take(
    "timeout_graceful_shutdown --timeout-graceful-shutdown",
    "--kill-timeout",
    "requests have this long, then a call of an ASGI app is cancelled and its lifespan ends, for "
    "which the kill timeout is longer; --stream-timeout ends endless responses before",
    convert=whole_drain,
    is_noted=True,
)
_take(
    "timeout_worker_healthcheck --timeout-worker-healthcheck",
    "--timeout TIME --request-timeout off",
    "a worker whose event loop stands still for this long is replaced, with its stacks in the log; "
    "requests to an ASGI app have no limit",
    convert=lambda value: {"timeout": value, "request_timeout": "off"},
    is_noted=True,
)

# Implementations.
_ignore("loop --loop", "the event loop is uvloop")
_ignore(
    "http --http",
    "the parser is chosen when prefork is built",
    values="auto|h11|httptools|[a-z_.]+:[A-Za-z_]+",
)
_absent(
    "http2 --http2",
    "HTTP/1.1 and WebSocket only: a proxy in front speaks HTTP/2 with the clients",
    takes=0,
)
_ignore(
    "ws --ws",
    "WebSocket is served by websockets, where the app accepts one",
    values="auto|websockets|websockets-sansio|wsproto|[a-z_.]+:[A-Za-z_]+",
    example="auto, websockets, wsproto",
)
_take(
    "ws --ws",
    "--websocket off",
    convert=fixed(websocket="off"),
    values="none",
    example="none",
)
_same("ws_max_size --ws-max-size", "--ws-max-size")
_same("ws_max_queue --ws-max-queue", "--ws-max-queue")
_same("ws_ping_interval --ws-ping-interval", "--ws-ping-interval")
_same("ws_ping_timeout --ws-ping-timeout", "--ws-ping-timeout")
_take(
    "ws_per_message_deflate --ws-per-message-deflate",
    "--ws-compression",
    "on or off",
    convert=chosen(
        "ws_compression",
        **dict.fromkeys(("true", "_1", "yes", "y", "t"), "on"),
        **dict.fromkeys(("false", "_0", "no", "n", "f"), "off"),
    ),
    values="(?i:true|false|1|0|on|off|yes|no|y|n|t|f)",
)
_absent(
    "h11_max_incomplete_event_size --h11-max-incomplete-event-size",
    "--limit-header-size and --limit-line bound the head of a request",
)
_ignore(
    "reset_contextvars --reset-contextvars",
    "each request has a context of its own",
    takes=0,
)

# Limits.
_same(
    "limit_concurrency --limit-concurrency",
    "--limit-concurrency",
    "counts requests, and no WebSockets; --limit-connections counts all connections",
)
_take(
    "timeout_keep_alive --timeout-keep-alive", "--keepalive", "the default is 75s, as nginx has it"
)

# Behind a proxy.
_ignore(
    "proxy_headers --proxy-headers",
    "these headers always count, from a proxy in --forwarded-allow",
    takes=0,
)
_take(
    "--no-proxy-headers",
    "--forwarded-allow off",
    takes=0,
    convert=fixed(forwarded_allow="off"),
)
_take("forwarded_allow_ips --forwarded-allow-ips", "--forwarded-allow", "unix for unix sockets")
_ignore(
    "server_header --server-header --no-server-header",
    "responses have no Server field; --server-header TEXT sends one",
    takes=0,
)
_ignore("date_header --date-header", "responses always have a Date field", takes=0)
_absent("--no-date-header", "RFC 9110 wants a Date field from a server with a clock", takes=0)
_absent("headers --header", "set fields in a middleware of the app, or in the proxy")

# TLS.
_take("ssl_certfile --ssl-certfile", "--tls-cert")
_take("ssl_keyfile --ssl-keyfile", "--tls-key")
_other(
    "ssl_keyfile_password --ssl-keyfile-password",
    "--tls-password file:PATH",
    "or env:NAME; a password on a command line is for all to see (ps)",
)
_other("ssl_version --ssl-version", "--tls-minimum 1.2", "or 1.3")
_take(
    "ssl_cert_reqs --ssl-cert-reqs",
    "--tls-client",
    "0 is none, 1 optional, 2 required",
    convert=chosen("tls_client", _0="none", _1="optional", _2="required"),
)
_take("ssl_ca_certs --ssl-ca-certs", "--tls-ca", "with --tls-client")
_take("ssl_ciphers --ssl-ciphers", "--tls-ciphers")
_absent(
    "ssl_context_factory",
    "the master makes the context, from --tls-cert, --tls-minimum, --tls-ciphers and the others",
)

# Logs.
_same("log_level --log-level", "--log-level", "critical is taken for error, trace for debug")
_same("log_config --log-config", "--log-config")
_take(
    "access_log --access-log",
    "--access-log -",
    "there is no access log by default; without a value the flag is taken for this",
    takes=0,
    convert=fixed(access_log="-"),
)
_take("--no-access-log", "--access-log ''", takes=0, convert=fixed(access_log=""))
_ignore("use_colors --use-colors --no-use-colors", "the log has no colours", takes=0)
_same("version --version", "--version", takes=0)

# Arguments of uvicorn.Config that are functions.
_absent("callback_notify", "a timer in the app, or --hooks: on_request_end is called for a request")
_absent("timeout_notify", "see callback_notify")

WORDS = tuple(_uvicorn.words)
