"""The settings, flags and server hooks of gunicorn. PURE."""

from prefork.config.foreign.foreign_word import (
    PeerName,
    PeerWords,
    chosen,
    fixed,
    items,
    whole_drain,
)

_gunicorn = PeerWords(PeerName.GUNICORN)
_same, _take, _ignore = _gunicorn.same, _gunicorn.take, _gunicorn.ignore
_other, _absent = _gunicorn.other, _gunicorn.absent

# The app, and the settings file.
_same(
    "config -c --config",
    "--config FILE.toml",
    "a TOML file; `prefork convert gunicorn.conf.py` prints one",
)
_other(
    "wsgi_app", "app", 'in the file: `app = "myapp:app"`; without CALLABLE it is `main`, `app` …'
)
_absent(
    "paste --paste --paster",
    "Paste files are not read: serve a factory that calls `paste.deploy.loadapp`, as "
    "`prefork MODULE:FACTORY()`",
)
_absent("raw_paste_global_conf --paste-global", "see --paste")
_same("chdir --chdir", "--chdir")
_same("pythonpath --pythonpath", "--pythonpath", "with commas between several folders")
_same("raw_env -e --env", "--env")

# Sockets.
_same("bind -b --bind", "--bind")
_same("backlog --backlog", "--backlog")
_absent(
    "reuse_port --reuse-port",
    "not needed: workers inherit one shared socket, whose queue survives reloads and crashes; "
    "closing a SO_REUSEPORT socket resets the clients in its queue",
    takes=0,
)

# Workers.
_same("workers -w --workers", "--workers", "0 or max is one per usable core")
_CLASSES = {
    "sync": r"sync|gunicorn\.workers\.sync\..*",
    "gthread": r"gthread|gunicorn\.workers\.gthread\..*",
    "green": r"gevent\w*|eventlet|gunicorn\.workers\.(ggevent|geventlet)\..*",
    "tornado": r"tornado|gunicorn\.workers\.gtornado\..*",
    "asgi": r"asgi|gunicorn\.workers\.gasgi\..*|(uvicorn|uvicorn_worker)\..*",
}
"""Regular expressions of the classes of workers."""

_ignore(
    "worker_class -k --worker-class",
    "the interface follows from the app, WSGI or ASGI, and no class is loaded",
    values=rf"(?!({'|'.join(_CLASSES.values())})$)[A-Za-z].*",
    example="a class of your own",
)
_ignore(
    "worker_class -k --worker-class",
    "the interface follows from the app, WSGI or ASGI",
    values=_CLASSES["sync"],
    example="sync",
)
_ignore(
    "worker_class -k --worker-class",
    "a pool of threads is --threads N, whatever class is named; --timeout also ends the requests "
    "in it",
    values=_CLASSES["gthread"],
    example="gthread",
)
_ignore(
    "worker_class -k --worker-class",
    "not to be had: nothing is patched, and there are no greenlets; a worker calls a WSGI app for "
    "one request at a time, or for N with --threads N, and --timeout also ends slow requests",
    values=_CLASSES["green"],
    example="gevent, eventlet",
)
_ignore(
    "worker_class -k --worker-class",
    "not to be had: WSGI and ASGI apps need no class, and a Tornado application is served by a "
    "main(listener), as in `prefork help apps`",
    values=_CLASSES["tornado"],
    example="tornado",
)
_take(
    "worker_class -k --worker-class",
    "--request-timeout off",
    "--timeout then watches the event loop of a worker, as there, and limits no request of an "
    "ASGI app",
    values=_CLASSES["asgi"],
    convert=fixed(request_timeout="off"),
    example="uvicorn.workers.UvicornWorker, asgi",
    is_noted=True,
)
_same("threads --threads", "--threads", "for WSGI apps; 0 calls the app in the event loop's thread")
_take("worker_connections --worker-connections", "--limit-connections")
_same("max_requests --max-requests", "--max-requests")
_same("max_requests_jitter --max-requests-jitter", "--max-requests-jitter")
_take(
    "timeout -t --timeout",
    "--timeout",
    "counted since the last progress of a request, in the worker that hangs; with "
    "-k uvicorn.workers.UvicornWorker it limits no request",
)
_take(
    "graceful_timeout --graceful-timeout",
    "--kill-timeout",
    "requests have this long, then a call of an ASGI app is cancelled and its lifespan ends, for "
    "which the kill timeout is longer; --stream-timeout ends endless responses before",
    convert=whole_drain,
    is_noted=True,
)
_take("keepalive --keep-alive", "--keepalive", "the default is 75s, as nginx has it")
_ignore(
    "preload_app --preload",
    "each worker imports the app itself, so a reload brings new code, and the master runs none; "
    "workers share less memory than there",
    takes=0,
)
_ignore(
    "worker_tmp_dir --worker-tmp-dir",
    "heartbeats are in shared memory and touch no file",
)
_ignore("sendfile --no-sendfile", "files are sent by the kernel where that is possible", takes=0)
_ignore("asgi_loop --asgi-loop", "the event loop is uvloop")
_ignore("asgi_lifespan --asgi-lifespan", "lifespan is used where the app supports it")
_absent(
    "asgi_disconnect_grace_period --asgi-disconnect-grace-period",
    "not needed: the app receives http.disconnect at once, and is not cancelled before --timeout",
)
_take("websocket_max_message_size --websocket-max-message-size", "--ws-max-size")
_ignore("http_parser --http-parser", "the parser is chosen when prefork is built")

# Limits and rules of requests.
_take(
    "limit_request_line --limit-request-line",
    "--limit-line",
    "0 is off, and --limit-header-size bounds the whole head",
)
_take(
    "limit_request_fields --limit-request-fields",
    "--limit-headers",
    "0 is off, and --limit-header-size bounds the whole head",
)
_ignore(
    "limit_request_field_size --limit-request-field_size",
    "no field has a limit of its own; --limit-header-size bounds all of them together",
    values="0+",
    example="0",
)
_other(
    "limit_request_field_size --limit-request-field_size",
    "--limit-header-size",
    "the size of all fields together, not of each one",
)
_RULE = "not to be had: requests that the RFCs do not allow are refused, because proxies differ "
_RULE += "in what they make of them (request smuggling)"
_absent("permit_obsolete_folding --permit-obsolete-folding", _RULE, takes=0)
_absent("strip_header_spaces --strip-header-spaces", _RULE, takes=0)
_absent(
    "permit_unconventional_http_method --permit-unconventional-http-method",
    "not to be had: methods that IANA does not list get a 501",
    takes=0,
)
_absent("permit_unconventional_http_version --permit-unconventional-http-version", _RULE, takes=0)
_absent(
    "casefold_http_method --casefold-http-method",
    "not to be had: methods are case-sensitive",
    takes=0,
)
_take(
    "header_map --header-map",
    "--underscores",
    "drop, refuse, or dangerous, which is allow here",
    convert=chosen("underscores", dangerous="allow"),
)

# Behind a proxy.
_take("forwarded_allow_ips --forwarded-allow-ips", "--forwarded-allow")
_other(
    "forwarder_headers --forwarder-headers",
    "--forwarded-headers",
    "facts such as for,proto,prefix; SCRIPT_NAME comes from X-Forwarded-Prefix or --root-path",
)
_absent(
    "secure_scheme_headers",
    "not needed: the scheme comes from X-Forwarded-Proto or Forwarded of a proxy in "
    "--forwarded-allow",
)
_same("root_path --root-path", "--root-path")
_same(
    "proxy_protocol --proxy-protocol",
    "--proxy-protocol",
    "both versions are understood, so it takes no value",
    takes=0,
)
_take("proxy_allow_ips --proxy-allow-from", "--proxy-allow", convert=items("proxy_allow"))
_absent(
    "protocol --protocol",
    "HTTP only: let nginx use proxy_pass instead of uwsgi_pass",
)
_absent("uwsgi_allow_ips --uwsgi-allow-from", "HTTP only: let nginx use proxy_pass")

# TLS.
_take("certfile --certfile", "--tls-cert")
_take("keyfile --keyfile", "--tls-key")
_take("ca_certs --ca-certs", "--tls-ca", "with --tls-client")
_take(
    "cert_reqs --cert-reqs",
    "--tls-client",
    "0 is none, 1 optional, 2 required",
    convert=chosen("tls_client", _0="none", _1="optional", _2="required"),
)
_take("ciphers --ciphers", "--tls-ciphers")
_other("ssl_version --ssl-version", "--tls-minimum 1.2", "or 1.3")
_ignore("suppress_ragged_eofs --suppress-ragged-eofs", "it is always so", takes=0)
_ignore(
    "do_handshake_on_connect --do-handshake-on-connect",
    "handshakes wait for no worker; --handshake-timeout ends slow ones",
    takes=0,
)
_absent(
    "ssl_context",
    "no code of the app runs in the master: --tls-cert, --tls-client, --tls-minimum and "
    "--tls-ciphers say what a context may have",
)
_HTTP2 = "HTTP/1.1 and WebSocket only: a proxy in front speaks HTTP/2 with the clients"
for _setting in (
    "http_protocols --http-protocols",
    "http2_cleartext --http2-cleartext",
    "http2_max_concurrent_streams --http2-max-concurrent-streams",
    "http2_initial_window_size --http2-initial-window-size",
    "http2_max_frame_size --http2-max-frame-size",
    "http2_max_header_list_size --http2-max-header-list-size",
):
    _absent(_setting, _HTTP2)

# Reloading while you develop, and checking.
_take("reload --reload", "--watch", takes=0)
_ignore("reload_engine --reload-engine", "inotify is used where there is one")
_take(
    "reload_extra_files --reload-extra-file",
    "--watch-path",
    "beside the working directory",
    convert=lambda value: {"watch_path": (".", value)},
)
_absent("spew --spew", "not to be had: --slow-log says at which line a slow request is", takes=0)
_other("check_config --check-config", "--check", takes=0)
_same("print_config --print-config", "--print-config", takes=0)

# The process.
_same("daemon -D --daemon", "--daemon", "`prefork start` also keeps the app in the list", takes=0)
_take("pidfile -p --pid", "--pid-file")
_same("user -u --user", "--user")
_same("group -g --group", "--group")
_take("umask -m --umask", "--umask", "octal digits", values=r"[0-7]+|0o[0-7]+")
_ignore("initgroups --initgroups", "workers always have the groups of --user", takes=0)
_other("tmp_upload_dir", "--spool-dir", "the folder of large request bodies")
_same("proc_name -n --name", "--name")
_other("default_proc_name", "--proctitle", "the first word of the process titles")
_ignore(
    "enable_stdio_inheritance -R --enable-stdio-inheritance",
    "the output of the app goes to the output of the master, or to --log-dir",
    takes=0,
)
_absent("control_socket --control-socket", "not needed: each app has a socket in $PREFORK_HOME")
_absent("control_socket_mode --control-socket-mode", "--control-group names a group that may look")
_absent(
    "control_socket_disable --no-control-socket",
    "not to be had: only the owner may use it",
    takes=0,
)

# Logs and metrics.
_take("accesslog --access-logfile", "--access-log")
_take("access_log_format --access-logformat", "--access-log-format", "with nearly all directives")
_take(
    "errorlog --error-logfile --log-file",
    "--log-file",
    "`--log-file -` is stdout here; stderr is the default",
    convert=chosen("log_file", **{"-": ""}),
)
_same("loglevel --log-level", "--log-level", "critical is taken for error")
_ignore("capture_output --capture-output", "what the app prints is always kept", takes=0)
_absent(
    "logger_class --logger-class",
    "not to be had: the log of prefork is no Python logger of the app",
)
_same("logconfig --log-config", "--log-config")
_other("logconfig_dict", "--log-config", "the dictionary in a file: TOML, JSON or YAML")
_other("logconfig_json --log-config-json", "--log-config", "a file whose name ends with .json")
_SYSLOG = "not to be had: systemd takes the output to the journal, logger(1) takes it from a pipe"
_absent("syslog --log-syslog", _SYSLOG, takes=0)
for _setting in (
    "syslog_addr --log-syslog-to",
    "syslog_prefix --log-syslog-prefix",
    "syslog_facility --log-syslog-facility",
):
    _absent(_setting, _SYSLOG)
_ignore(
    "disable_redirect_access_to_syslog --disable-redirect-access-to-syslog",
    "there is no syslog",
    takes=0,
)
_STATSD = "--status ADDRESS serves metrics for Prometheus at /metrics"
_absent("statsd_host --statsd-host", _STATSD)
_absent("statsd_prefix --statsd-prefix", _STATSD)
_absent("dogstatsd_tags --dogstatsd-tags", _STATSD)
_absent(
    "enable_backlog_metric --enable-backlog-metric",
    "not needed: /metrics of --status has the accept queue",
    takes=0,
)

# Dirty arbiters.
_DIRTY = (
    "not to be had: run long work as an app or a program of its own, in the same file (`after`)"
)
for _setting in (
    "dirty_apps --dirty-app",
    "dirty_workers --dirty-workers",
    "dirty_timeout --dirty-timeout",
    "dirty_threads --dirty-threads",
    "dirty_graceful_timeout --dirty-graceful-timeout",
    "on_dirty_starting",
    "dirty_post_fork",
    "dirty_worker_init",
    "dirty_worker_exit",
):
    _absent(_setting, _DIRTY)

# Server hooks.
_MASTER = "the master runs no code of the app; `prefork events APP` prints what happens, as JSON"
for _setting in ("on_starting", "on_reload", "when_ready", "pre_fork", "child_exit", "on_exit"):
    _absent(_setting, _MASTER)
_absent("nworkers_changed", _MASTER)
_absent("pre_exec", "the master is not replaced; " + _MASTER)
_absent("worker_int", "use `atexit`, or ASGI's lifespan: they run when a worker leaves")
_absent("worker_abort", "a worker that hangs logs the stacks of all threads; `prefork why APP`")
_absent("pre_request", "use a middleware of the app")
_other("post_fork", "--hooks", "on_worker_start in the module that it names")
_other("post_worker_init", "--hooks", "on_worker_ready in the module that it names")
_other("worker_exit", "--hooks", "on_worker_stop in the module that it names")
_other("post_request", "--hooks", "on_request_end in the module that it names")

WORDS = tuple(_gunicorn.words)
