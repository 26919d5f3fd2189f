"""The flags of hypercorn, and the keys of its settings files. PURE."""

from prefork.config.foreign.foreign_word import PeerName, PeerWords, chosen, whole_drain

_hypercorn = PeerWords(PeerName.HYPERCORN)
_same, _take, _ignore = _hypercorn.same, _hypercorn.take, _hypercorn.ignore
_other, _absent = _hypercorn.other, _hypercorn.absent

_same("-c --config", "--config FILE.toml", "a TOML file with the names of prefork; no Python file")
_other("application_path", "app", 'in the file: `app = "myapp:app"`')
_same("root_path --root-path", "--root-path")
_ignore("debug --debug", "tracebacks of the app are always in the log", takes=0)

# Sockets.
_same("bind -b --bind", "--bind")
_other("insecure_bind --insecure-bind", "--bind http://HOST:PORT", "beside a bind with TLS")
_absent("quic_bind --quic-bind", "HTTP/1.1 and WebSocket only: a proxy in front speaks HTTP/3")
_same("backlog --backlog", "--backlog")
_other("umask -m --umask", "--bind unix:PATH,mode=660", "--umask is that of the whole process")
_other("user -u --user", "--bind unix:PATH,owner=USER", "--user is that of the workers")
_other("group -g --group", "--bind unix:PATH,owner=USER:GROUP", "--group is that of the workers")

# Workers.
_same("workers -w --workers", "--workers", "0 or max is one per usable core")
_ignore(
    "worker_class -k --worker-class",
    "the event loop is uvloop, a loop of asyncio",
    values="asyncio|uvloop",
    example="asyncio, uvloop",
)
_absent(
    "worker_class -k --worker-class",
    "the event loop is uvloop, a loop of asyncio, in which an app for trio does not run",
    values="trio",
    example="trio",
)
_same("max_requests --max-requests", "--max-requests")
_same("max_requests_jitter --max-requests-jitter", "--max-requests-jitter")
_take(
    "graceful_timeout --graceful-timeout",
    "--kill-timeout",
    "requests have this long, then a call of an ASGI app is cancelled and its lifespan ends, for "
    "which the kill timeout is longer; --stream-timeout ends endless responses before",
    convert=whole_drain,
    is_noted=True,
)
_other("shutdown_timeout", "--kill-timeout", "which also bounds the shutdown of the lifespan")
_other("startup_timeout", "--boot-timeout")
_take("use_reloader --reload", "--watch", takes=0)
_absent("daemon -D --daemon", "-D is --daemon here: it runs prefork in the background", takes=0)
_take("pid_path -p --pid", "--pid-file")

# Timeouts and limits.
_take("keep_alive_timeout --keep-alive", "--keepalive", "the default is 75s, as nginx has it")
_other("keep_alive_max_requests", "--limit-requests-per-connection")
_other(
    "read_timeout --read-timeout",
    "--body-timeout",
    "--header-timeout for the head of a request, --keepalive between requests",
)
_other("ssl_handshake_timeout", "--handshake-timeout")
_other("wsgi_max_body_size", "--limit-body")
_other("h11_max_incomplete_size", "--limit-header-size")
_absent("h11_pass_raw_headers", "ASGI wants names of fields in lower case")
_other(
    "max_app_queue_size", "--ws-max-queue", "for WebSockets; bodies of requests have flow control"
)
_other("websocket_max_message_size", "--ws-max-size")
_take("websocket_ping_interval --websocket-ping-interval", "--ws-ping-interval")
_HTTP2 = "HTTP/1.1 and WebSocket only: a proxy in front speaks HTTP/2 with the clients"
for _key in (
    "alpn_protocols",
    "h2_max_concurrent_streams",
    "h2_max_header_list_size",
    "h2_max_inbound_frame_size",
):
    _absent(_key, _HTTP2)

# Responses.
_absent("alt_svc_headers", "set the field in the app or in the proxy")
_absent("include_date_header", "responses always have a Date field")
_other("include_server_header", "--server-header TEXT", "without it responses have no Server field")
_absent("server_names --server-name", "let the proxy, or a middleware, refuse other hosts")

# TLS.
_take("certfile --certfile", "--tls-cert")
_take("keyfile --keyfile", "--tls-key")
_other(
    "keyfile_password --keyfile-password",
    "--tls-password file:PATH",
    "or env:NAME; a password on a command line is for all to see (ps)",
)
_take("ca_certs --ca-certs", "--tls-ca", "with --tls-client")
_take("ciphers --ciphers", "--tls-ciphers")
_VERIFY = "CERT_NONE is none, CERT_OPTIONAL optional, CERT_REQUIRED required"
_verify = chosen(
    "tls_client",
    _0="none",
    _1="optional",
    _2="required",
    cert_none="none",
    cert_optional="optional",
    cert_required="required",
)
_take("cert_reqs --cert-reqs", "--tls-client", "0 is none, 1 optional, 2 required", convert=_verify)
_take("verify_mode --verify-mode", "--tls-client", _VERIFY, convert=_verify)
_absent(
    "verify_flags", "not to be had: certificates of clients are verified with OpenSSL's defaults"
)

# Logs and metrics.
_take("accesslog --access-logfile", "--access-log")
_same("--access-log", "--access-log")
_take("access_log_format --access-logformat", "--access-log-format", "with nearly all directives")
_take(
    "errorlog --error-logfile --error-log --log-file",
    "--log-file",
    "`--log-file -` is stdout here; stderr is the default",
    convert=chosen("log_file", **{"-": ""}),
)
_same("loglevel --log-level", "--log-level", "critical is taken for error")
_same("logconfig --log-config", "--log-config")
_absent("logconfig_dict", "configure `logging` in the app, which owns it")
_absent("logger_class", "not to be had: the log of prefork is no Python logger of the app")
_STATSD = "--status ADDRESS serves metrics for Prometheus at /metrics"
_absent("statsd_host --statsd-host", _STATSD)
_absent("statsd_prefix --statsd-prefix", _STATSD)
_absent("dogstatsd_tags", _STATSD)

WORDS = tuple(_hypercorn.words)
