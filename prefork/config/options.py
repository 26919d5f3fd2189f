"""Declare every option, once. PURE.

Each field of Config is one option. Its declaration has the default, the value type, the group, the
help text, and whether a reload can change it. Names follow from the field: ``kill_timeout`` is the
flag --kill-timeout, the variable PREFORK_KILL_TIMEOUT and the TOML key kill-timeout. The parser of
the command line, --help, the sample file and the manual's table are generated from here.
"""

from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any

from prefork.config import value_types
from prefork.config.access_skip import EXPECTED as EXPECTED_SKIP
from prefork.config.access_skip import SkipPattern
from prefork.config.addresses import EXPECTED, Address, TcpAddress
from prefork.config.certificate_options import CertificateFiles, PasswordSource
from prefork.config.forwarded_trust import parse_header_facts
from prefork.config.interfaces import APP_INTERFACES, list_app_interfaces
from prefork.config.ready_condition import ReadyCondition
from prefork.config.value_types import ValueType


def option(
    value_type: ValueType,
    default: Any,
    group: str,
    text: str,
    *,
    short: str = "",
    restart: bool = False,
) -> Any:
    """Declare an option, as the default of a field of Config.

    ``text`` is its help, ``short`` its short flag. ``restart`` says that a reload cannot change the
    option, because a new master is necessary.
    """
    meta = {
        "value_type": value_type,
        "group": group,
        "text": text,
        "short": short,
        "restart": restart,
    }
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=meta)
    return field(default=default, metadata=meta)


SERVE = "What to serve"
BIND = "Where to listen"
TLS = "TLS"
WORK = "Workers"
PLANNED = "Planned restarts"
LIFE = "Life cycle of a worker"
HTTP = "HTTP timeouts and limits"
BEHIND = "Behind a proxy"
WEBS = "WebSocket"
PROC = "The process"
LOGS = "Logs"
STATUS = "Status server"
STORE = "The store of all workers"


LEVELS_OF_OTHERS = {
    "critical": "error", "warn": "warning", "trace": "debug", "notset": "debug",
    "50": "error", "40": "error", "30": "warning", "20": "info", "10": "debug", "5": "debug",
}  # fmt: skip
"""Log levels that other servers and ``logging`` have, and the nearest ones here."""


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of one generation. Times are in seconds, sizes in bytes."""

    app: str = option(
        value_types.TEXT,
        "",
        SERVE,
        "the app to serve: MODULE:CALLABLE, or MODULE:FACTORY() where the call returns the app",
    )
    command: tuple[str, ...] = option(
        value_types.COMMAND,
        (),
        SERVE,
        "a program in any language and its arguments, served instead of an app; on the command "
        "line, everything after --",
    )
    node_shim: str = option(
        value_types.choice("auto", "off"),
        "auto",
        SERVE,
        "auto: a Node program with bind shares the sockets without a change, because its listen "
        "takes connections from them; off: it has to listen on the descriptors itself",
    )
    instance_var: str = option(
        value_types.VARIABLE,
        "NODE_APP_INSTANCE",
        SERVE,
        "name of the environment variable that tells a program its slot, as in PM2",
    )
    interface: str = option(
        value_types.choice("auto", *APP_INTERFACES, also={"asgi3": "asgi"}),
        "auto",
        SERVE,
        f"how the app is called: {list_app_interfaces()}; auto: decide by the signature of the "
        "callable, and log the decision",
    )
    factory: bool = option(
        value_types.FLAG,
        False,
        SERVE,
        "the callable is called without arguments and returns the app",
    )
    threads: int = option(
        value_types.COUNT,
        0,
        SERVE,
        "number of threads in each worker that call a WSGI app; 0: call it in the thread of the "
        "event loop",
    )
    threads_queue: int | None = option(
        value_types.OPTIONAL_COUNT,
        1000,
        SERVE,
        "maximum number of requests in a worker that wait for a thread; more get a 503; off: no "
        "limit",
    )
    ready: ReadyCondition = option(  # noqa: RUF009 - it is frozen
        value_types.READY_CONDITION,
        ReadyCondition(),
        SERVE,
        "when a worker counts as ready; auto: an app when it accepts connections, a program when "
        "it sends READY=1, with --bind when it accepts on the sockets, without when it has run for "
        "--min-uptime; manual: when main(listener) calls prefork.ready(), or a Node program "
        "process.send('ready'); for programs only, notify: when it sends READY=1, TIME: when it "
        "has run for this time, connect:PORT: when it listens on this address of its own",
    )

    bind: tuple[Address, ...] = option(
        value_types.ADDRESSES,
        (TcpAddress("127.0.0.1", 8000),),
        BIND,
        "address to listen on, repeatable: " + EXPECTED,
        short="-b",
    )
    backlog: int = option(
        value_types.AT_LEAST_ONE,
        2048,
        BIND,
        "maximum number of connections that wait in the kernel's queue of each address",
    )
    proxy_protocol: bool = option(
        value_types.FLAG,
        False,
        BIND,
        "each connection must begin with a PROXY protocol header, version 1 or 2, from which the "
        "address of the client is taken",
    )
    proxy_allow: tuple[str, ...] = option(
        value_types.NETWORKS,
        ("127.0.0.0/8", "::1/128", "unix"),
        BIND,
        "peers that may connect and send a PROXY header, repeatable: a network, an address, unix "
        "for unix sockets, or * for all; other connections are closed",
    )
    handshake_timeout: float = option(
        value_types.POSITIVE_DURATION,
        10.0,
        BIND,
        "maximum time for a PROXY header to arrive, and again for a TLS handshake",
    )

    tls_cert: tuple[CertificateFiles, ...] = option(
        value_types.CERTIFICATES,
        (),
        TLS,
        "certificate chain in PEM format, repeatable: path[,key=path]; a client gets the one that "
        "matches the name it asks for (SNI), else the first",
    )
    tls_key: str = option(
        value_types.PATH,
        "",
        TLS,
        "private key of the certificates that name no key; default: the key is in the "
        "certificate's file",
    )
    tls_password: PasswordSource | None = option(  # noqa: RUF009 - None is no mutable default
        value_types.PASSWORD,
        None,
        TLS,
        "where the password of encrypted private keys is read from: file:PATH or env:NAME",
    )
    tls_minimum: str = option(
        value_types.choice("1.2", "1.3"),
        "1.2",
        TLS,
        "lowest TLS version that is accepted: 1.2 or 1.3",
    )
    tls_ciphers: str = option(
        value_types.TEXT,
        "",
        TLS,
        "cipher list for TLS 1.2 in OpenSSL's format; default: Python's; TLS 1.3 has its own",
    )
    tls_client: str = option(
        value_types.choice("none", "optional", "required"),
        "none",
        TLS,
        "whether clients must present a certificate that tls-ca has signed: none, optional or "
        "required",
    )
    tls_ca: str = option(
        value_types.PATH,
        "",
        TLS,
        "certificates of the authorities, in PEM format, that client certificates are verified "
        "with",
    )
    tls_watch: bool = option(
        value_types.FLAG,
        False,
        TLS,
        "use changed certificate files for new connections, without a reload",
    )

    workers: int = option(
        value_types.WORKERS,
        1,
        WORK,
        "number of worker processes; 0 or max: one per usable core, -1: one fewer",
        short="-w",
    )
    min_workers: int = option(
        value_types.AT_LEAST_ONE, 1, WORK, "minimum number of workers when max-workers is set"
    )
    max_workers: int | None = option(
        value_types.OPTIONAL_COUNT,
        None,
        WORK,
        "maximum number of workers; the master adjusts their number to the load, from min-workers "
        "to this one, beginning with workers; off: the number stays",
    )
    scale_down_after: float = option(
        value_types.POSITIVE_DURATION,
        30.0,
        WORK,
        "time of low load after which one worker is stopped, when max-workers is set",
    )
    surge: int = option(
        value_types.AT_LEAST_ONE,
        1,
        WORK,
        "maximum number of additional processes while workers are replaced",
    )
    accept: str = option(
        value_types.choice("fair", "any"),
        "fair",
        WORK,
        "which worker accepts a new connection; fair: the least loaded one, and busy workers pass "
        "open connections on to idle ones; any: the first one that wakes up",
    )
    accept_slack: int = option(
        value_types.COUNT,
        0,
        WORK,
        "a worker accepts connections while it has at most this number of requests in flight more "
        "than the least loaded worker",
    )
    accept_limit: int | None = option(
        value_types.OPTIONAL_COUNT,
        None,
        WORK,
        "number of requests in flight from which on a worker accepts no new connection; off: no "
        "limit",
    )
    accept_guard: float = option(
        value_types.POSITIVE_DURATION,
        0.02,
        WORK,
        "time after which a waiting connection is accepted by any worker below its limits",
    )
    rebalance: bool = option(
        value_types.FLAG,
        False,
        WORK,
        "a busy worker with many more connections than the others closes some of them after a "
        "response",
    )
    max_requests: int | None = option(
        value_types.OPTIONAL_COUNT,
        None,
        WORK,
        "replace a worker after this number of requests; off: never",
    )
    max_requests_jitter: int = option(
        value_types.COUNT,
        0,
        WORK,
        "add a random number up to this one to max-requests, for each worker",
    )
    max_lifetime: float | None = option(
        value_types.OPTIONAL_DURATION, None, WORK, "replace a worker at this age; off: never"
    )
    max_lifetime_jitter: float = option(
        value_types.DURATION,
        0.0,
        WORK,
        "add a random time up to this one to max-lifetime, for each worker",
    )
    max_memory: int | None = option(
        value_types.OPTIONAL_SIZE,
        None,
        WORK,
        "replace a worker that uses more memory than this, together with its child processes; "
        "off: never",
    )
    max_memory_jitter: int = option(
        value_types.SIZE, 0, WORK, "add a random size up to this one to max-memory, for each worker"
    )
    max_memory_measure: str = option(
        value_types.choice("pss", "rss"),
        "pss",
        WORK,
        "how shared memory is counted; pss: divided among the processes that share it, rss: in "
        "full for each of them",
    )

    cron: tuple[str, ...] = option(
        value_types.CRON,
        (),
        PLANNED,
        "times at which all workers are replaced, one after another, repeatable: minute hour day "
        "month weekday in local time, as in 0 4 * * *",
    )
    # --watch is a flag and takes no paths: `--watch myapp:main` would take the app for a path.
    watch: bool = option(value_types.FLAG, False, PLANNED, "reload when files change")
    watch_path: tuple[str, ...] = option(
        value_types.PATHS,
        (),
        PLANNED,
        "file or folder to watch, repeatable; default: the working directory and --pythonpath",
    )
    watch_ignore: tuple[str, ...] = option(
        value_types.PATTERNS,
        (),
        PLANNED,
        "names of files and folders to ignore, repeatable: *.csv, uploads, or with a slash a path "
        "below a watched folder; .git, caches, virtual environments, logs and databases are "
        "always ignored",
    )
    watch_delay: float = option(
        value_types.POSITIVE_DURATION,
        0.2,
        PLANNED,
        "time without further changes after which the reload begins; it begins after a minute at "
        "most",
    )

    hooks: str = option(
        value_types.TEXT,
        "",
        LIFE,
        "module whose functions workers call: on_worker_start, on_worker_ready, on_worker_stop and "
        "on_request_end, those of them that it defines",
    )
    boot_timeout: float = option(
        value_types.POSITIVE_DURATION,
        60.0,
        LIFE,
        "maximum time from the fork of a worker until it is ready; a worker that takes longer has "
        "failed",
    )
    timeout: float | None = option(
        value_types.OPTIONAL_DURATION,
        30.0,
        LIFE,
        "time without progress after which a request or an event loop counts as hung; the worker "
        "is then killed and replaced, or the call of an ASGI app cancelled (--request-timeout); "
        "off: never",
    )
    request_timeout: float | None = option(
        value_types.OPTIONAL_DURATION,
        30.0,
        LIFE,
        "time for which the call of an ASGI app may let a request wait for the first byte, before "
        "it is cancelled and the client gets a 500; unless it is set, it is what timeout is; off: "
        "any time, and timeout watches the event loop alone",
    )
    kill_timeout: float = option(
        value_types.POSITIVE_DURATION,
        30.0,
        LIFE,
        "time from the stop signal to SIGKILL, when a worker is stopped or replaced; the calls of "
        "an ASGI app are cancelled before, and its lifespan is shut down in the last 5s, or in the "
        "last quarter; with --watch: 2s",
    )
    stream_timeout: float = option(
        value_types.DURATION,
        10.0,
        LIFE,
        "while a worker drains, time for which an ASGI response of unknown length may go on "
        "before the app receives http.disconnect; never longer than the kill timeout; with "
        "--watch: 1s",
    )
    stop_delay: float = option(
        value_types.DURATION,
        0.0,
        LIFE,
        "time for which the workers go on serving after the stop signal, with Connection: close, "
        "while /readyz says 503; then they drain; a second signal skips it, and a reload has none",
    )
    stop_signal: str = option(
        value_types.SIGNAL,
        "SIGTERM",
        LIFE,
        "signal that asks a worker to drain and exit: TERM or INT",
    )
    linger: float = option(
        value_types.DURATION,
        1.0,
        LIFE,
        "while a worker drains, time for which an idle connection may still send one more request",
    )
    reload_timeout: float | None = option(
        value_types.OPTIONAL_DURATION,
        None,
        LIFE,
        "maximum time of a whole reload; off: the sum of what its steps may take",
    )
    min_uptime: float = option(
        value_types.DURATION,
        1.0,
        LIFE,
        "a worker that exits at a lower age has failed, and its slot waits before it starts "
        "another one",
    )
    max_restarts: int | None = option(
        value_types.COUNT_OR_OFF,
        None,
        LIFE,
        "number of failures in a row after which the master exits if no worker serves; 0: at the "
        "first one; off: never",
    )
    stop_exit_codes: tuple[int, ...] = option(
        value_types.EXIT_CODES,
        (),
        LIFE,
        "a worker that exits with this code is not replaced, repeatable",
    )

    keepalive: float = option(
        value_types.DURATION,
        75.0,
        HTTP,
        "time for which an idle connection stays open; 0s: one request for each connection",
    )
    header_timeout: float = option(
        value_types.POSITIVE_DURATION,
        10.0,
        HTTP,
        "maximum time for the head of a request to arrive",
    )
    body_timeout: float = option(
        value_types.POSITIVE_DURATION,
        30.0,
        HTTP,
        "maximum time between two pieces of a request body",
    )
    send_timeout: float = option(
        value_types.POSITIVE_DURATION,
        60.0,
        HTTP,
        "maximum time in which a client reads nothing of its response",
    )
    # Off by default: a slow body costs a connection and nothing else, and some uploads are slow on
    # purpose. The average counts from the sixth second on, and not while the worker does not read.
    body_rate: int | None = option(
        value_types.OPTIONAL_SIZE,
        None,
        HTTP,
        "minimum rate of a request body in bytes per second, on average and from the sixth second "
        "on; slower ones get a 408; off: no minimum",
    )
    limit_line: int | None = option(
        value_types.OPTIONAL_SIZE,
        8192,
        HTTP,
        "maximum size of a request target; larger ones get a 414; off: that of the head",
    )
    limit_headers: int | None = option(
        value_types.OPTIONAL_COUNT,
        100,
        HTTP,
        "maximum number of header fields in a request; more get a 431; off: what fits into the "
        "head",
    )
    limit_header_size: int = option(
        value_types.POSITIVE_SIZE,
        32768,
        HTTP,
        "maximum size of a request head; larger ones get a 431",
    )
    limit_body: int | None = option(
        value_types.OPTIONAL_SIZE,
        None,
        HTTP,
        "maximum size of a request body; larger ones get a 413; off: no limit",
    )
    limit_requests_per_connection: int | None = option(
        value_types.OPTIONAL_COUNT,
        None,
        HTTP,
        "maximum number of requests on one connection, which is then closed; off: no limit",
    )
    limit_connections: int | None = option(
        value_types.OPTIONAL_COUNT,
        None,
        HTTP,
        "maximum number of connections of a worker; more wait in the kernel's queue; off: as many "
        "as its file descriptors allow",
    )
    limit_concurrency: int | None = option(
        value_types.OPTIONAL_COUNT,
        None,
        HTTP,
        "maximum number of requests that a worker handles at a time, without WebSockets; more get "
        "a 503; off: no limit",
    )
    underscores: str = option(
        value_types.choice("drop", "refuse", "allow"),
        "drop",
        HTTP,
        "what happens to a header field with an underscore in its name, which an app may take for "
        "a dash; drop: the field is removed, refuse: the request gets a 400, allow: the app gets "
        "the field",
    )
    server_header: str = option(
        value_types.FIELD_VALUE,
        "",
        HTTP,
        "value of the Server field of responses, unless the app sets one; off: none",
    )
    body_memory: int = option(
        value_types.SIZE,
        12 * 1024 * 1024,
        HTTP,
        "memory of a worker for request bodies, which are received whole before a WSGI app is "
        "called; the rest is kept on disk",
    )
    body_spool: int | None = option(
        value_types.OPTIONAL_SIZE,
        1024**3,
        HTTP,
        "maximum size of the request bodies of a worker on disk; a body that is larger gets a "
        "413, and new ones get a 503 when three quarters are in use; off: no limit",
    )
    spool_dir: str = option(
        value_types.PATH,
        "",
        HTTP,
        "folder of the request bodies on disk, whose files have no names; default: TMPDIR, or /tmp",
    )
    spool_min_free: int = option(
        value_types.SIZE,
        256 * 1024 * 1024,
        HTTP,
        "space that request bodies leave free on their file system, at most a tenth of its size; "
        "bodies that need more get a 503",
    )

    forwarded_allow: tuple[str, ...] = option(
        value_types.NETWORKS_OR_OFF,
        ("127.0.0.0/8", "::1/128", "unix"),
        BEHIND,
        "proxies whose Forwarded and X-Forwarded-* headers are used, repeatable: a network, an "
        "address, unix for unix sockets, * for all, or off",
    )
    # Host, port and prefix are not in the default: nginx, HAProxy and the load balancers of the
    # large clouds set X-Forwarded-For and -Proto, and pass on the others as the client sent them.
    forwarded_headers: tuple[str, ...] = option(
        value_types.FORWARDED,
        parse_header_facts(("for", "proto")),
        BEHIND,
        "facts that are taken from these headers, repeatable: for, proto, host, port, prefix, or "
        "the names of headers (x-forwarded-for, …, forwarded); name only what your proxy "
        "overwrites",
    )
    forwarded_strip: bool = option(
        value_types.FLAG,
        False,
        BEHIND,
        "remove these headers from the requests that did not come from such a proxy",
    )
    root_path: str = option(
        value_types.ROOT_PATH,
        "",
        BEHIND,
        "prefix of the path that a proxy removed, given to the app as SCRIPT_NAME and root_path; "
        "a proxy in forwarded-allow may set it by X-Forwarded-Prefix if forwarded-headers names "
        "prefix",
    )
    request_id_header: str = option(
        value_types.FIELD_NAME,
        "",
        BEHIND,
        "header with the id of a request, such as X-Request-ID, which the app receives: the id "
        "from a proxy in forwarded-allow, else a new one; default: no ids",
    )
    request_id_return: bool = option(
        value_types.FLAG, False, BEHIND, "send the header with the id in the response as well"
    )
    websocket: str = option(
        value_types.choice("on", "off"),
        "on",
        WEBS,
        "on: an ASGI app may accept WebSockets; off: it gets the request for one as an ordinary "
        "request",
    )
    ws_ping_interval: float | None = option(
        value_types.OPTIONAL_DURATION, 20.0, WEBS, "time between two pings; off: no pings"
    )
    ws_ping_timeout: float | None = option(
        value_types.OPTIONAL_DURATION,
        20.0,
        WEBS,
        "time after a ping in which a client must send something, else the connection is closed "
        "(1011); off: never",
    )
    ws_close_timeout: float = option(
        value_types.POSITIVE_DURATION,
        5.0,
        WEBS,
        "maximum time for a client to answer a close frame, and in a worker that drains for the "
        "app to return",
    )
    ws_max_size: int | None = option(
        value_types.OPTIONAL_SIZE,
        16 * 1024**2,
        WEBS,
        "maximum size of a message; a larger one closes the connection (1009); off: no limit",
    )
    ws_max_queue: int = option(
        value_types.AT_LEAST_ONE,
        32,
        WEBS,
        "maximum number of messages that wait for the app before the worker stops reading; it "
        "also stops at 64 KiB",
    )
    ws_compression: str = option(
        value_types.choice("on", "off"),
        "on",
        WEBS,
        "on: compress messages if the client supports it (RFC 7692); off: never",
    )

    name: str = option(
        value_types.TEXT,
        "",
        PROC,
        "name of the app in process titles, logs and verbs; default: the name of its module",
        short="-n",
        restart=True,
    )
    namespace: str = option(
        value_types.TEXT,
        "",
        PROC,
        "name of a group of apps, by which verbs address all of them",
        restart=True,
    )
    chdir: str = option(
        value_types.PATH,
        "",
        PROC,
        "working directory of the workers, and the first entry of sys.path",
    )
    pythonpath: tuple[str, ...] = option(
        value_types.SEARCH_PATHS,
        (),
        PROC,
        "folder to add to sys.path, repeatable; several may have commas between them",
    )
    env: dict[str, str] = option(  # noqa: RUF009 - the default is made anew each time
        value_types.ENVIRONMENT,
        {},
        PROC,
        "environment variable of the workers, repeatable",
        short="-e",
    )
    env_file: tuple[str, ...] = option(
        value_types.PATHS,
        (),
        PROC,
        "file of environment variables in the syntax of python-dotenv, repeatable, read again at "
        "each reload; a later file wins, and a variable that the environment has wins over both",
    )
    user: str = option(
        value_types.TEXT,
        "",
        PROC,
        "user that the workers run as; default: the user of the master",
        short="-u",
    )
    group: str = option(
        value_types.TEXT,
        "",
        PROC,
        "group that the workers run as; default: the group of that user",
        short="-g",
    )
    no_new_privs: bool = option(
        value_types.FLAG,
        False,
        PROC,
        "workers and their child processes gain no rights by setuid, setgid or file capabilities; "
        "sudo, su and a setgid sendmail then do not work for the app",
    )
    umask: int | None = option(
        value_types.OCTAL, None, PROC, "file mode creation mask; default: unchanged", restart=True
    )
    daemon: bool = option(
        value_types.FLAG,
        False,
        PROC,
        "run in the background; the command returns when the app is ready, or fails with its "
        "traceback",
        short="-D",
        restart=True,
    )
    pid_file: str = option(
        value_types.PATH,
        "",
        PROC,
        "file for the pid of the master, which is locked while the master runs",
        short="-p",
        restart=True,
    )
    proctitle: str = option(
        value_types.TEXT,
        "prefork",
        PROC,
        "first word of the process titles; off: the titles are not changed",
        restart=True,
    )

    control_group: str = option(
        value_types.TEXT,
        "",
        PROC,
        "group whose members may inspect the app (list, show, logs, events …), but not change it "
        "or see its environment variables; default: only the user of the app",
        restart=True,
    )

    log_level: str = option(
        value_types.choice("debug", "info", "warning", "error", also=LEVELS_OF_OTHERS),
        "info",
        LOGS,
        "minimum log level: debug, info, warning or error",
    )
    log_file: str = option(
        value_types.PATH,
        "",
        LOGS,
        "file for the log, or - for stdout; default: stderr",
        restart=True,
    )
    log_config: str = option(
        value_types.PATH,
        "",
        LOGS,
        "file that configures the app's logging before its import: a dictionary for "
        "logging.config.dictConfig in TOML, JSON or YAML",
    )
    slow_log: float | None = option(
        value_types.OPTIONAL_DURATION,
        None,
        LOGS,
        "log the requests that take longer than this, with the line of code they are at, and what "
        "blocks the event loop for longer than this; no request is ended; off: no such messages",
    )
    access_log: str = option(
        value_types.PATH,
        "",
        LOGS,
        "file for the access log, or - for stdout; default: no access log",
    )
    access_log_format: str = option(
        value_types.ACCESS_FORMAT,
        "common",
        LOGS,
        "format of the access log: common, combined, json, or a text with directives, "
        "which prefork help logging lists",
    )
    access_log_skip: tuple[SkipPattern, ...] = option(
        value_types.SKIP_PATTERNS,
        (),
        LOGS,
        "requests that the access log leaves out, such as health checks, repeatable: "
        + EXPECTED_SKIP,
    )
    log_dir: str = option(
        value_types.PATH,
        "",
        LOGS,
        "folder for the output of the workers, in the file NAME.out; default: the stdout and "
        "stderr of the master",
        restart=True,
    )
    log_split: str = option(
        value_types.choice("app", "slot"),
        "app",
        LOGS,
        "app: the output of all workers goes to NAME.out; slot: the output of each slot has a "
        "file of its own, NAME.out-0, …",
        restart=True,
    )
    log_format: str = option(
        value_types.choice("text", "json"),
        "text",
        LOGS,
        "format of the log and of the records in log-dir: text, or json, one object a line",
    )
    log_rotate_size: int | None = option(
        value_types.OPTIONAL_SIZE,
        10 * 1024 * 1024,
        LOGS,
        "rotate NAME.out before it exceeds this size; off: never",
    )
    log_rotate_age: float | None = option(
        value_types.OPTIONAL_DURATION,
        None,
        LOGS,
        "rotate NAME.out when its first line has this age; off: never",
    )
    log_keep: int = option(
        value_types.COUNT, 10, LOGS, "number of rotated files to keep, compressed"
    )
    log_total: int | None = option(
        value_types.OPTIONAL_SIZE,
        None,
        LOGS,
        "maximum size of all files of a log together; the oldest are removed; off: no limit",
    )

    status: Address | None = option(  # noqa: RUF009 - None is no mutable default
        value_types.OPTIONAL_ADDRESS,
        None,
        STATUS,
        "address of the status server: /livez, /readyz, /metrics, and a page at / that shows the "
        "app; off: none",
        restart=True,
    )
    status_token: PasswordSource | None = option(  # noqa: RUF009 - None is no mutable default
        value_types.PASSWORD,
        None,
        STATUS,
        "where the token is read from that the status page asks for before it reloads, scales or "
        "shows the log: file:PATH or env:NAME; default: without a token the page cannot reload or "
        "scale, and shows the log to every visitor",
    )
    min_ready: int = option(
        value_types.AT_LEAST_ONE,
        1,
        STATUS,
        "minimum number of ready workers for /readyz to answer 200",
    )

    store: str = option(
        value_types.STORE,
        "embedded",
        STORE,
        "where the store that all workers share is kept, which is opened at its first use; "
        "embedded: in the app's folder of the home, memory: until the machine stops, a folder by "
        "its absolute path, redis://HOST or valkey://HOST: on a server (needs prefork[redis]), "
        "off: nowhere",
        restart=True,
    )
    store_size: int = option(
        value_types.STORE_SIZE,
        256 * 1024 * 1024,
        STORE,
        "maximum size of the store; when it is full, entries that expired and then those that "
        "were used longest ago are removed; a value may have a sixteenth of it",
    )
    store_required: bool = option(
        value_types.FLAG,
        False,
        STORE,
        "let /readyz of the status server answer 503 while the store cannot be used",
    )


@dataclass(frozen=True, slots=True)
class Option:
    """One declared option, made from its field in Config."""

    name: str
    default: Any
    value_type: ValueType
    group: str
    text: str
    short: str
    restart: bool

    @property
    def key(self) -> str:
        """The TOML key, which is also the flag without its leading dashes."""
        return self.name.replace("_", "-")

    @property
    def flag(self) -> str:
        """The long flag."""
        return "--" + self.key

    @property
    def variable(self) -> str:
        """The environment variable."""
        return "PREFORK_" + self.name.upper()

    def show_default(self) -> Any:
        """Return the default in the form of a TOML file."""
        return self.value_type.format(self.default)


POSITIONAL = ("app", "command")
"""Options without a flag."""


def _read(declared: "Field[Any]") -> Option:
    factory = declared.default_factory
    default = declared.default if factory is MISSING else factory()
    return Option(name=declared.name, default=default, **declared.metadata)


OPTIONS: dict[str, Option] = {declared.name: _read(declared) for declared in fields(Config)}


def by_group() -> Iterator[tuple[str, list[Option]]]:
    """Yield the groups in the order of their declaration, each with its options."""
    for group in dict.fromkeys(option.group for option in OPTIONS.values()):
        yield group, [option for option in OPTIONS.values() if option.group == group]
