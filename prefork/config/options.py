"""Every option, declared once. PURE.

A field of Config is one option: its type, default, kind of value, group, help text, and whether a
reload may change it. The flag is the field's name with dashes, the variable ``PREFORK_`` plus the
name in capitals, the TOML key the flag's name. Flags, ``--help``, the sample file and the README's
table are all generated from here.
"""

from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any

from prefork.config import value_types
from prefork.config.addresses import EXPECTED, Address, TcpAddress
from prefork.config.certificate_options import CertificateFiles, PasswordSource
from prefork.config.forwarded_trust import parse_header_facts
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
    """Declare an option. ``restart``: a reload cannot change it, the master must start anew."""
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
LIFE = "Life and death of a worker"
HTTP = "HTTP timeouts and limits"
BEHIND = "Behind a proxy"
WEBS = "WebSocket"
PROC = "The process"
LOGS = "Logs"
STATUS = "Status server"


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of one generation. Times are seconds, sizes are bytes."""

    app: str = option(value_types.TEXT, "", SERVE, "MODULE:CALLABLE; also MODULE:FACTORY()")
    command: tuple[str, ...] = option(
        value_types.COMMAND,
        (),
        SERVE,
        "a program in any language and its arguments; on the command line it is all after --",
    )
    interface: str = option(
        value_types.choice("auto", "wsgi", "asgi", "socket"),
        "auto",
        SERVE,
        "how to call the app; auto looks at the callable and says what it chose",
    )
    factory: bool = option(value_types.FLAG, False, SERVE, "the callable returns the app")
    threads: int = option(
        value_types.COUNT,
        0,
        SERVE,
        "threads for WSGI calls; 0 calls the app in the event loop's own thread",
    )
    threads_queue: int | None = option(
        value_types.OPTIONAL_COUNT,
        1000,
        SERVE,
        "requests that may wait for one of the threads, beyond it 503; off: no limit",
    )
    ready: ReadyCondition = option(  # noqa: RUF009 - it is frozen
        value_types.READY_CONDITION,
        ReadyCondition(),
        SERVE,
        "manual: main(listener) is ready when it calls prefork.ready(); for programs notify: when "
        "they say READY=1, TIME: when they have lived so long, connect:PORT: when they listen "
        "there; auto: READY=1, at the latest --min-uptime",
    )

    bind: tuple[Address, ...] = option(
        value_types.ADDRESSES,
        (TcpAddress("127.0.0.1", 8000),),
        BIND,
        "address to listen on, repeatable: " + EXPECTED,
        short="-b",
    )
    backlog: int = option(
        value_types.AT_LEAST_ONE, 2048, BIND, "connections that may wait in the kernel's queue"
    )
    proxy_protocol: bool = option(
        value_types.FLAG,
        False,
        BIND,
        "each connection begins with a PROXY header, version 1 or 2, that says who the client is",
    )
    proxy_allow: tuple[str, ...] = option(
        value_types.NETWORKS,
        ("127.0.0.0/8", "::1/128", "unix"),
        BIND,
        "who may connect and say so, repeatable: a network, an address, unix or *",
    )
    handshake_timeout: float = option(
        value_types.POSITIVE_DURATION,
        10.0,
        BIND,
        "for a PROXY header to arrive, and again for a TLS handshake",
    )

    tls_cert: tuple[CertificateFiles, ...] = option(
        value_types.CERTIFICATES,
        (),
        TLS,
        "certificate chain in PEM, repeatable: path[,key=path]; clients get the one with the name "
        "that they ask for (SNI), else the first",
    )
    tls_key: str = option(
        value_types.PATH,
        "",
        TLS,
        "private key of certificates that name none; default: it is in the certificate's file",
    )
    tls_password: PasswordSource | None = option(  # noqa: RUF009 - None is no mutable default
        value_types.PASSWORD,
        None,
        TLS,
        "where the password of encrypted keys is: file:PATH or env:NAME",
    )
    tls_minimum: str = option(
        value_types.choice("1.2", "1.3"), "1.2", TLS, "oldest version of TLS that is spoken"
    )
    tls_ciphers: str = option(
        value_types.TEXT,
        "",
        TLS,
        "OpenSSL's cipher list for TLS 1.2; default: Python's; TLS 1.3 has its own",
    )
    tls_client: str = option(
        value_types.choice("none", "optional", "required"),
        "none",
        TLS,
        "whether clients show a certificate that tls-ca has signed",
    )
    tls_ca: str = option(
        value_types.PATH,
        "",
        TLS,
        "the certificates, in PEM, that client certificates are checked by",
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
        "worker processes; 0 or max: one per usable core, -1: one less",
        short="-w",
    )
    min_workers: int = option(
        value_types.AT_LEAST_ONE, 1, WORK, "with max-workers: fewer there never are"
    )
    max_workers: int | None = option(
        value_types.OPTIONAL_COUNT,
        None,
        WORK,
        "scale by the load, up to so many workers; workers is then how many there are at first; "
        "off: no scaling",
    )
    scale_down_after: float = option(
        value_types.POSITIVE_DURATION,
        30.0,
        WORK,
        "how long there must be too little to do before one of them leaves",
    )
    surge: int = option(
        value_types.AT_LEAST_ONE, 1, WORK, "extra workers that may live while others are replaced"
    )
    accept: str = option(
        value_types.choice("fair", "any"),
        "fair",
        WORK,
        "fair: the worker with the least to do takes a new connection, and those without time "
        "share theirs; any: whoever wakes first",
    )
    accept_slack: int = option(
        value_types.COUNT,
        0,
        WORK,
        "requests that a worker may have in flight more than the least loaded and still accept",
    )
    accept_limit: int | None = option(
        value_types.OPTIONAL_COUNT,
        None,
        WORK,
        "requests in flight from which on a worker accepts no new connection",
    )
    accept_guard: float = option(
        value_types.POSITIVE_DURATION,
        0.02,
        WORK,
        "what has waited for so long is accepted by any worker below its limit",
    )
    rebalance: bool = option(
        value_types.FLAG,
        False,
        WORK,
        "a busy worker with many more connections than its siblings closes some after an answer",
    )
    max_requests: int | None = option(
        value_types.OPTIONAL_COUNT, None, WORK, "replace a worker after so many requests"
    )
    max_requests_jitter: int = option(
        value_types.COUNT, 0, WORK, "up to so many requests more, different for each worker"
    )
    max_lifetime: float | None = option(
        value_types.OPTIONAL_DURATION, None, WORK, "replace a worker at this age"
    )
    max_lifetime_jitter: float = option(
        value_types.DURATION, 0.0, WORK, "up to so much more, different for each worker"
    )
    max_memory: int | None = option(
        value_types.OPTIONAL_SIZE,
        None,
        WORK,
        "replace a worker that has more memory, together with the processes that it began",
    )
    max_memory_jitter: int = option(
        value_types.SIZE, 0, WORK, "up to so much more, different for each worker"
    )
    max_memory_measure: str = option(
        value_types.choice("pss", "rss"),
        "pss",
        WORK,
        "what is shared counts in part (pss), or in full for each who has it (rss)",
    )

    cron: tuple[str, ...] = option(
        value_types.CRON,
        (),
        PLANNED,
        "replace all workers, one after another, at such times, repeatable: minute hour day month "
        "weekday, by the local clock, as in 0 4 * * *",
    )
    watch: bool = option(
        value_types.FLAG, False, PLANNED, "reload when files change; needs prefork[watch]"
    )
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
        "names below it that do not count, repeatable: *.csv, uploads, or with a slash a path from "
        "there on; .git, caches, environments, logs and databases never do",
    )
    watch_delay: float = option(
        value_types.POSITIVE_DURATION,
        0.2,
        PLANNED,
        "how long nothing more may change before the reload; it waits for a minute at most",
    )

    boot_timeout: float = option(
        value_types.POSITIVE_DURATION,
        60.0,
        LIFE,
        "from fork to ready; a worker that needs longer has failed",
    )
    timeout: float | None = option(
        value_types.OPTIONAL_DURATION,
        30.0,
        LIFE,
        "a request, or an event loop, silent for so long is a hang",
    )
    kill_timeout: float = option(
        value_types.POSITIVE_DURATION,
        30.0,
        LIFE,
        "from the stop signal to SIGKILL, on reload, recycle, scale and stop; with --watch: 2s",
    )
    stream_timeout: float = option(
        value_types.DURATION,
        10.0,
        LIFE,
        "while draining, how long an ASGI response of unknown length may go on before its app gets "
        "http.disconnect; within the kill timeout in any case; with --watch: 2s",
    )
    stop_signal: str = option(
        value_types.SIGNAL, "SIGTERM", LIFE, "the signal that asks a worker to drain and leave"
    )
    linger: float = option(
        value_types.DURATION,
        1.0,
        LIFE,
        "while draining, how long an idle connection may still send one more request",
    )
    reload_timeout: float | None = option(
        value_types.OPTIONAL_DURATION,
        None,
        LIFE,
        "a whole reload; off: as long as its steps may take",
    )
    min_uptime: float = option(
        value_types.DURATION, 1.0, LIFE, "a worker that dies younger is unstable and its slot waits"
    )
    max_restarts: int | None = option(
        value_types.COUNT_OR_OFF,
        None,
        LIFE,
        "failures in a row, beyond which the master gives up if no worker serves; 0: at the first; "
        "off: never",
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
        "how long an idle connection stays open; 0s: one request each",
    )
    header_timeout: float = option(
        value_types.POSITIVE_DURATION, 10.0, HTTP, "for a request's head to arrive"
    )
    body_timeout: float = option(
        value_types.POSITIVE_DURATION, 30.0, HTTP, "between two pieces of a request's body"
    )
    send_timeout: float = option(
        value_types.POSITIVE_DURATION, 60.0, HTTP, "for a client to take some of its response"
    )
    body_rate: int | None = option(
        value_types.OPTIONAL_SIZE,
        None,
        HTTP,
        "least bytes a second of a request's body, on average and from the sixth second on (408)",
    )
    limit_line: int = option(value_types.SIZE, 8192, HTTP, "longest request target (414)")
    limit_headers: int = option(value_types.AT_LEAST_ONE, 100, HTTP, "most header fields (431)")
    limit_header_size: int = option(value_types.SIZE, 32768, HTTP, "largest request head (431)")
    limit_body: int | None = option(
        value_types.OPTIONAL_SIZE, None, HTTP, "largest request body (413); off: no limit"
    )
    limit_requests_per_connection: int | None = option(
        value_types.OPTIONAL_COUNT,
        None,
        HTTP,
        "most requests on one connection, which is then closed",
    )
    limit_connections: int | None = option(
        value_types.OPTIONAL_COUNT,
        None,
        HTTP,
        "most connections of a worker; more wait in the queue; off: what its descriptors allow",
    )
    limit_concurrency: int | None = option(
        value_types.OPTIONAL_COUNT, None, HTTP, "most requests at work in a worker; more get a 503"
    )
    underscores: str = option(
        value_types.choice("drop", "refuse", "allow"),
        "drop",
        HTTP,
        "header names with an underscore, which apps take for names with a dash",
    )
    server_header: str = option(
        value_types.FIELD_VALUE, "", HTTP, "the Server field of responses, unless the app sets one"
    )
    body_memory: int = option(
        value_types.SIZE,
        12 * 1024 * 1024,
        HTTP,
        "memory of a worker for bodies that wait to be whole for WSGI; the rest waits on disk",
    )
    body_spool: int | None = option(
        value_types.OPTIONAL_SIZE,
        1024**3,
        HTTP,
        "bytes of such bodies on disk, all of a worker's together: a larger body gets 413, and new "
        "ones get 503 from three quarters on; off: no limit",
    )
    spool_dir: str = option(
        value_types.PATH,
        "",
        HTTP,
        "folder of such bodies, whose files have no names; default: TMPDIR, /tmp",
    )
    spool_min_free: int = option(
        value_types.SIZE,
        256 * 1024 * 1024,
        HTTP,
        "bytes that such bodies leave free on their file system, a tenth of it at most (503)",
    )

    forwarded_allow: tuple[str, ...] = option(
        value_types.NETWORKS_OR_OFF,
        ("127.0.0.0/8", "::1/128", "unix"),
        BEHIND,
        "proxies whose Forwarded and X-Forwarded-* headers have effect, repeatable: a network, an "
        "address, unix, * for everybody, or off",
    )
    forwarded_headers: tuple[str, ...] = option(
        value_types.FORWARDED,
        parse_header_facts(("for", "proto")),
        BEHIND,
        "which of their facts count, repeatable: for, proto, host, port, prefix, or the names of "
        "headers (x-forwarded-for, …, forwarded); name only what your proxy overwrites",
    )
    forwarded_strip: bool = option(
        value_types.FLAG,
        False,
        BEHIND,
        "hide these headers from the app when anybody else sent them",
    )
    root_path: str = option(
        value_types.ROOT_PATH,
        "",
        BEHIND,
        "front of the path that a proxy takes away: SCRIPT_NAME and root_path; a proxy that is "
        "allowed may say it with X-Forwarded-Prefix if forwarded-headers names prefix",
    )
    request_id_header: str = option(
        value_types.FIELD_NAME,
        "",
        BEHIND,
        "header with the id of a request, such as X-Request-ID: taken from a proxy that is "
        "allowed, else made, and given to the app; default: none",
    )
    request_id_return: bool = option(
        value_types.FLAG, False, BEHIND, "send that header with the response as well"
    )
    ws_ping_interval: float | None = option(
        value_types.OPTIONAL_DURATION, 20.0, WEBS, "from one ping to the next; off: none"
    )
    ws_ping_timeout: float | None = option(
        value_types.OPTIONAL_DURATION,
        20.0,
        WEBS,
        "after a ping without a sign of life the connection is closed (1011); off: never",
    )
    ws_close_timeout: float = option(
        value_types.POSITIVE_DURATION,
        5.0,
        WEBS,
        "for the client, and an app that drains, to take part in closing",
    )
    ws_max_size: int | None = option(
        value_types.OPTIONAL_SIZE, 16 * 1024**2, WEBS, "largest message (1009); off: no limit"
    )
    ws_max_queue: int = option(
        value_types.AT_LEAST_ONE,
        32,
        WEBS,
        "messages that may wait for the app before reading stops; 64 KiB of them stop it as well",
    )
    ws_compression: str = option(
        value_types.choice("on", "off"),
        "on",
        WEBS,
        "compress messages if the client can (RFC 7692)",
    )

    name: str = option(
        value_types.TEXT,
        "",
        PROC,
        "name in titles and logs; default: the module's name",
        short="-n",
        restart=True,
    )
    namespace: str = option(
        value_types.TEXT,
        "",
        PROC,
        "a name that several apps share, so that verbs can mean all of them",
        restart=True,
    )
    chdir: str = option(
        value_types.PATH, "", PROC, "working directory of the workers, also first on sys.path"
    )
    pythonpath: tuple[str, ...] = option(
        value_types.PATHS, (), PROC, "directory to add to sys.path, repeatable"
    )
    env: dict[str, str] = option(  # noqa: RUF009 - the default is made anew each time
        value_types.ENVIRONMENT, {}, PROC, "variable for the workers, repeatable", short="-e"
    )
    user: str = option(value_types.TEXT, "", PROC, "user that the workers run as", short="-u")
    group: str = option(value_types.TEXT, "", PROC, "group that the workers run as", short="-g")
    no_new_privs: bool = option(
        value_types.FLAG,
        False,
        PROC,
        "workers, and what they start, gain no rights by setuid, setgid or file capabilities; then "
        "sudo, su and a setgid sendmail do not work for the app",
    )
    umask: int | None = option(value_types.OCTAL, None, PROC, "file mode mask", restart=True)
    daemon: bool = option(
        value_types.FLAG,
        False,
        PROC,
        "go to the background; returns when the app is ready, or fails with its traceback",
        short="-D",
        restart=True,
    )
    pid_file: str = option(
        value_types.PATH,
        "",
        PROC,
        "file for the master's pid, locked while it lives",
        short="-p",
        restart=True,
    )
    proctitle: str = option(
        value_types.TEXT,
        "prefork",
        PROC,
        "first word of the process titles; off: leave them alone",
        restart=True,
    )

    control_group: str = option(
        value_types.TEXT,
        "",
        PROC,
        "group whose members may look at the app (list, show, logs, events …), but change nothing "
        "and see no variables; default: only its user",
        restart=True,
    )

    log_level: str = option(
        value_types.choice("debug", "info", "warning", "error"),
        "info",
        LOGS,
        "least that is logged",
    )
    log_file: str = option(
        value_types.PATH,
        "",
        LOGS,
        "file for the log, or - for stdout; default: stderr",
        restart=True,
    )
    slow_log: float | None = option(
        value_types.OPTIONAL_DURATION,
        None,
        LOGS,
        "log requests that take longer, with the place where they are meanwhile, and what blocks "
        "the event loop for longer; nothing is killed",
    )
    access_log: str = option(
        value_types.PATH, "", LOGS, "file for the access log, or - for stdout; default: none"
    )
    access_log_format: str = option(
        value_types.ACCESS_FORMAT,
        "common",
        LOGS,
        "common, combined, json, or a format of one's own with the directives of the README",
    )
    log_dir: str = option(
        value_types.PATH,
        "",
        LOGS,
        "folder for what the workers print, as NAME.out; default: they print where the master does",
        restart=True,
    )
    log_split: str = option(
        value_types.choice("app", "slot"),
        "app",
        LOGS,
        "app: all workers of an app print into NAME.out; slot: each slot has NAME.out-0, …",
        restart=True,
    )
    log_format: str = option(
        value_types.choice("text", "json"), "text", LOGS, "how records are written to log-dir"
    )
    log_rotate_size: int | None = option(
        value_types.OPTIONAL_SIZE, 10 * 1024 * 1024, LOGS, "rotate NAME.out before it gets larger"
    )
    log_rotate_age: float | None = option(
        value_types.OPTIONAL_DURATION, None, LOGS, "rotate NAME.out when its first line is so old"
    )
    log_keep: int = option(value_types.COUNT, 10, LOGS, "rotated files to keep, compressed")
    log_total: int | None = option(
        value_types.OPTIONAL_SIZE, None, LOGS, "bytes of all files together; the oldest go first"
    )

    status: Address | None = option(  # noqa: RUF009 - None is no mutable default
        value_types.OPTIONAL_ADDRESS,
        None,
        STATUS,
        "address of the status server: /livez, /readyz, /metrics, and the page / to watch the app",
        restart=True,
    )
    status_token: PasswordSource | None = option(  # noqa: RUF009 - None is no mutable default
        value_types.PASSWORD,
        None,
        STATUS,
        "where the token is that reloads and scales on that page, and reads the log there: "
        "file:PATH or env:NAME; default: nobody does the first, everybody the second",
    )
    min_ready: int = option(
        value_types.AT_LEAST_ONE, 1, STATUS, "workers that must be ready for /readyz to say so"
    )


@dataclass(frozen=True, slots=True)
class Option:
    """One declared option, read off its field."""

    name: str
    default: Any
    value_type: ValueType
    group: str
    text: str
    short: str
    restart: bool

    @property
    def key(self) -> str:
        """The TOML key, and the flag without its dashes."""
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
        """The default as a person would write it."""
        return self.value_type.format(self.default)


POSITIONAL = ("app", "command")
"""Options without a flag."""


def _read(declared: "Field[Any]") -> Option:
    factory = declared.default_factory
    default = declared.default if factory is MISSING else factory()
    return Option(name=declared.name, default=default, **declared.metadata)


OPTIONS: dict[str, Option] = {declared.name: _read(declared) for declared in fields(Config)}


def by_group() -> Iterator[tuple[str, list[Option]]]:
    """Groups in the order of declaration, each with its options."""
    for group in dict.fromkeys(option.group for option in OPTIONS.values()):
        yield group, [option for option in OPTIONS.values() if option.group == group]
