"""When to change each option, and what else has to fit: the prose of the settings page. PURE.

Design
------
- **The prose stands beside the declarations, not in them:** only ``prefork help`` and
  ``scripts/docs`` need it, and options.py is read as a table. A test compares the names of both, so
  that an option without its paragraph does not pass. Rejected: prose in the page itself, between
  generated lines, because no command could show the paragraph of one option.
"""

from collections.abc import Mapping

SERVE: Mapping[str, str] = {
    "app": "The callable may be left out where the module has `app` or `application` or `main`. "
    "A reload may name another app. `--chdir` and `--pythonpath` say where Python looks for the "
    "module.",
    "command": "The program finds the sockets of `--bind` by LISTEN_FDS; without `--bind` it is "
    "only supervised. An app and a command exclude each other.",
    "node_shim": "Switch it off for a server that listens on descriptor 3 itself, or that must not "
    "get a NODE_OPTIONS from outside. It has no effect without `--bind`.",
    "instance_var": "Change it where the program expects another name, as PM2's `instance_var` "
    "allows.",
    "interface": "Set it where the signature misleads, such as a callable that takes `*args`. The "
    "log says at the start which interface was found.",
    "factory": "Needed only where the command line cannot say it: `myapp:make_app()` calls the "
    "factory as well, and may pass arguments.",
    "threads": "Raise it for a WSGI app that waits much, for databases or other servers. An app "
    "that computes gains nothing. It has no effect on ASGI. Idle connections move to workers with "
    "more time only at 0.",
    "threads_queue": "Lower it to refuse early what would wait longer than its client does. "
    "Requests that wait longer than `--timeout` get a 503 as well.",
    "ready": "Set it where accepting connections is not the same as being ready, such as a server "
    "that fills a cache first. `--boot-timeout` bounds the wait. Reloads go on to the next worker "
    "when the new one is ready.",
}
BIND: Mapping[str, str] = {
    "bind": "Behind a proxy on the same machine a unix socket is the fastest and needs no port. A "
    "reload binds new addresses and closes those that are gone. With `--tls-cert` TCP addresses "
    "speak TLS, unless `http://` stands before them. Under systemd's socket activation leave it at "
    "its default: the sockets of systemd are used.",
    "backlog": "Raise it where bursts of connections are larger. The kernel cuts it to "
    "net.core.somaxconn; the log says so.",
    "proxy_protocol": "For HAProxy with `send-proxy-v2`, a network load balancer of AWS, or the "
    "`stream` module of nginx. A proxy that sends `X-Forwarded-For` needs `--forwarded-allow` "
    "instead. `--proxy-allow` says who may connect.",
    "proxy_allow": "Name the addresses of your proxies. It has an effect only with "
    "`--proxy-protocol`.",
    "handshake_timeout": "Lower it against clients that connect and say nothing; raise it for "
    "clients behind slow links.",
}
TLS: Mapping[str, str] = {
    "tls_cert": "The file has the certificate first and then its chain. `--tls-key` is the key of "
    "all that name none.",
    "tls_key": "The master reads it, so it need not be readable by `--user`, unless `--tls-watch` "
    "is set.",
    "tls_password": "Prefer a file that only root may read. A variable that is named here is "
    "removed from the environment of apps.",
    "tls_minimum": "Raise it where all clients know TLS 1.3.",
    "tls_ciphers": "Change it only where a rule demands certain ciphers.",
    "tls_client": "For clients that prove who they are by a certificate. It needs `--tls-ca`. With "
    "`optional` the app decides about those without one.",
    "tls_ca": "Needed by `--tls-client`.",
    "tls_watch": "For certificates that another program renews, such as certbot. Without it a "
    "reload takes the new files. The workers read the files themselves, so `--user` must be "
    "allowed to.",
}
WORKERS: Mapping[str, str] = {
    "workers": "One for each core is right for most apps (`-w 0`; the affinity and the CPU quota "
    "of the cgroup count). More help an app that blocks; see `--threads` and `--max-workers`, "
    "too. `prefork scale`, TTIN and TTOU change the number while it runs, and a reload keeps "
    "theirs unless this setting has changed.",
    "min_workers": "The floor of autoscaling, also for `prefork scale`. It has an effect only with "
    "`--max-workers`.",
    "max_workers": "Turns autoscaling on. Set it to what memory allows: a worker that waits for a "
    "database takes no core. See `prefork help autoscaling`.",
    "scale_down_after": "Raise it where workers are slow to start and the load comes back.",
    "surge": "Raise it to reload faster; each one needs the memory of a worker while the reload "
    "lasts. Workers that are recycled are replaced one at a time in any case.",
    "accept": "`any` is the order of the kernel, as in other servers, and takes a little less CPU. "
    "Programs in other languages always have it.",
    "accept_slack": "Raise it where very short requests matter more than an even spread. It has no "
    "effect with `--accept any`.",
    "accept_limit": "Lower it where a worker must not take on more than it can do at once; "
    "connections then wait in the kernel's queue. `--limit-concurrency` refuses requests instead.",
    "accept_guard": "The longest that a connection waits for a worker that the kernel woke, but "
    "that hangs. It has no effect with `--accept any`.",
    "rebalance": "For short requests behind a proxy that keeps its connections open, above all "
    "with `--max-workers`: new workers then get some of the old connections.",
    "max_requests": "A remedy for apps that leak. `--max-memory` is the better one where memory is "
    "what leaks. Always set the jitter, too.",
    "max_requests_jitter": "Keeps workers that began together from being replaced together; a "
    "tenth of `--max-requests` is usual.",
    "max_lifetime": "For apps that grow stale or leak slowly. `--cron` replaces all workers at a "
    "time of day instead.",
    "max_lifetime_jitter": "Keeps workers that began together from being replaced together.",
    "max_memory": "Set it well above what a fresh worker uses; where it is lower, workers are "
    "replaced again and again, ever more slowly. See `--max-memory-measure`.",
    "max_memory_jitter": "Keeps workers that grow alike from being replaced together.",
    "max_memory_measure": "`rss` is cheaper to read and counts shared pages in each worker. A "
    "kernel without PSS falls back to it.",
}
PLANNED: Mapping[str, str] = {
    "cron": "For a fresh start every night. Settings and generation stay; for new code use "
    "`prefork reload`. Six fields begin with seconds; @daily and the like are understood.",
    "watch": "For development. It also makes `--kill-timeout` and `--stream-timeout` short. "
    "`pip install 'prefork[watch]'` adds the library by which the kernel reports changes; without "
    "it the watcher looks at all files several times a second.",
    "watch_path": "Name folders that Python does not import from, such as templates. The named "
    "ones replace the default. Every file in them counts, unlike with uvicorn's `--reload-dir`, "
    "which means *.py alone unless `--reload-include` adds others.",
    "watch_ignore": "Name what the app writes itself, else each write reloads it.",
    "watch_delay": "Raise it where a deploy copies files for longer than this.",
}
LIFE: Mapping[str, str] = {
    "hooks": "For what an app does once in each worker, such as opening connections, and for "
    "metrics of requests. What a hook raises at the start fails the start, or the reload.",
    "boot_timeout": "Raise it for apps that load models or fill caches at their start. The "
    "timeouts of a service manager have to be longer, such as TimeoutStartSec.",
    "timeout": "Raise it for requests that take long without a sign of life. In a WSGI app the "
    "worker is killed and replaced, also while it drains; in an ASGI app only the call is "
    "cancelled, and a stream that sends makes progress.",
    "request_timeout": "Set it, or switch it off, where requests to an ASGI app wait for long, as "
    "in long polling or slow reports: `--timeout` still replaces a worker whose event loop stands "
    "still. It has no effect on WSGI apps. `-k uvicorn.workers.UvicornWorker` and "
    "`--timeout-worker-healthcheck` switch it off, because there nothing limits a request.",
    "kill_timeout": "Raise it to the longest request that must not be cut by a reload or a stop, "
    "and for an ASGI app by 7s more: of 30s, requests have 23; then the app gets http.disconnect, "
    "2s later its calls are cancelled, so that their `finally` blocks run and clients get a 500, "
    "and the shutdown of the lifespan has the last 5. Shorter ones are divided alike: of 8s, "
    "requests have 5. The requests that it cuts are in the log and in `prefork why`. "
    "The stop timeout of the service manager or container has to be longer: TimeoutStopSec, "
    "terminationGracePeriodSeconds, or 10s of Docker.",
    "stream_timeout": "Raise it for streams whose clients cannot connect again, and raise "
    "`--kill-timeout` with it.",
    "stop_delay": "For Kubernetes and load balancers that learn by a health check that the app "
    "ends: set it a little above the time that takes. `terminationGracePeriodSeconds` has to be "
    "longer than it and `--kill-timeout` together.",
    "stop_signal": "For programs that end gracefully at INT only. Apps do not see the difference.",
    "linger": "Raise it behind a proxy that sends late on connections that were idle for a moment. "
    "Connections that were idle for longer are closed at once.",
    "reload_timeout": "Set it where a deploy must succeed or be rolled back within a fixed time.",
    "min_uptime": "A worker that ends earlier counts as failed, and its slot waits longer after "
    "each failure. A program without `--bind` is ready at this age.",
    "max_restarts": "Set it where a service manager or a container should start the whole service "
    "anew, instead of a master that goes on trying.",
    "stop_exit_codes": "For programs that end when their work is done. Without workers left the "
    "master ends as well.",
}
HTTP: Mapping[str, str] = {
    "keepalive": "Longer than the idle timeout of a proxy in front, else the proxy may send on a "
    "connection that is being closed.",
    "header_timeout": "Lower it against slow clients that hold connections; a proxy in front does "
    "that already.",
    "body_timeout": "Raise it for clients on links that stall. See `--body-rate` for those that "
    "are slow all the time.",
    "send_timeout": "Raise it for clients that read with long pauses.",
    "body_rate": "Set it on the open internet. Leave it off where slow uploads are legitimate.",
    "limit_line": "Raise it for apps with very long query strings; a proxy in front has a limit of "
    "its own.",
    "limit_headers": "Raise it for proxies that add many fields.",
    "limit_header_size": "Raise it for large cookies or tokens. It also bounds what `--limit-line` "
    "and `--limit-headers` leave open.",
    "limit_body": "Set it on the open internet. It counts what the client sends, also for streams "
    "of an ASGI app.",
    "limit_requests_per_connection": "Makes clients connect again, so that they spread over new "
    "workers; `--rebalance` does it only where it helps.",
    "limit_connections": "Leave it off: the limit of descriptors (`ulimit -n`) is respected in any "
    "case.",
    "limit_concurrency": "Set it to what an ASGI app can do at once, to refuse early instead of "
    "slowing all down. uvicorn counts open connections and WebSockets as well: "
    "`--limit-connections` is for these.",
    "underscores": "Some servers make `X_User` and `X-User` one variable, so a client could forge "
    "a field that a proxy sets. Allow it only where an app needs such names.",
    "server_header": "The default tells nothing about the server.",
    "body_memory": "Raise it for apps with many uploads at once, to keep them off the disk.",
    "body_spool": "Raise it for large uploads to a WSGI app. `--limit-body` bounds a single one.",
    "spool_dir": "Name a folder on a real disk where /tmp is in memory.",
    "spool_min_free": "Raise it where the folder shares its file system with a database or logs.",
}
PROXY: Mapping[str, str] = {
    "forwarded_allow": "Name the addresses of your proxies, never `*` on an address that clients "
    "reach: they could claim any address and scheme.",
    "forwarded_headers": "Host, port and prefix count only when they are named: a proxy that does "
    "not set them passes on what its client sent.",
    "forwarded_strip": "Set it where the app trusts these fields by itself.",
    "root_path": "For an app below a path, behind a proxy that takes the path off.",
    "request_id_header": "Set it to follow a request through proxy, app and access log "
    "(`%(request_id)s`).",
    "request_id_return": "Set it where users report problems by the id.",
}
WEBSOCKET: Mapping[str, str] = {
    "websocket": "Switch it off for an app that answers the request itself, such as a proxy. An "
    "app that accepts no WebSocket needs nothing: the client gets a 403.",
    "ws_ping_interval": "Lower it where a proxy closes idle connections earlier.",
    "ws_ping_timeout": "Lower it to notice lost clients sooner.",
    "ws_close_timeout": "Raise it for apps that take long to end after a disconnect.",
    "ws_max_size": "Lower it to what your messages need. A message is in memory as a whole.",
    "ws_max_queue": "Lower it where messages are large.",
    "ws_compression": "Off saves memory and CPU where messages are small or compressed already.",
}
PROCESS: Mapping[str, str] = {
    "name": "Two apps of one home cannot have the same name.",
    "namespace": "`prefork reload shop` then reloads all apps of the namespace.",
    "chdir": "In a file a relative path starts at the file's folder.",
    "pythonpath": "For code outside of the working directory. `--watch` watches it as well.",
    "env": "Also a table of the file: `[env]`. Values are masked in all output; secrets are safer "
    "in a file that the app reads.",
    "env_file": "For a `.env` that development and production share. It may hold `PREFORK_*` "
    "variables, too. A line that is no KEY=VALUE refuses the start, or the reload.",
    "user": "For a master that root starts, to bind ports below 1024 and to read keys. Workers and "
    "programs are then this user, without any capability.",
    "group": "Set it where the workers need another group than that of `--user`.",
    "no_new_privs": "Set it unless the app needs sudo, su or a setgid sendmail.",
    "umask": 'Written in octal, and in a file as text: `umask = "027"`.',
    "daemon": "Not under systemd or in a container, which expect the foreground. `prefork start` "
    "does more: the app is then in the list.",
    "pid_file": "For scripts that send signals. A second master with the same file does not start.",
    "proctitle": "Change it where monitoring looks for other titles.",
    "control_group": "For operators who watch apps of another user. They see what the app logs.",
}
LOGS: Mapping[str, str] = {
    "log_level": "`debug` also says why clients could not shake hands.",
    "log_file": "Under systemd and in containers leave it at stderr. USR1 opens it again. `prefork "
    "start` writes the file `log` in the folder of the app where this names stdout or stderr, so "
    "`prefork logs` has it.",
    "log_config": "For apps that configure no logging themselves. A mistake in it refuses the "
    "start, or the reload. An INI file for `fileConfig` works as well.",
    "slow_log": "Set it to find out what slow requests wait for. It adds a fine heartbeat to each "
    "worker; without it requests pay nothing.",
    "access_log": "A line that finds no room is dropped and counted; requests never wait for it.",
    "access_log_format": "`prefork help logging` has the directives. A text that begins with `{` "
    "is JSON.",
    "access_log_skip": "A text that begins with a slash is a path, a number such as 204 or 2xx a "
    "status, any other text a part of the User-Agent; `/healthz,2xx` keeps failures in the log.",
    "log_dir": "`prefork start` sets it to the folder of the app. A process of its own writes and "
    "rotates the files.",
    "log_split": "`slot` where each worker's output is read apart.",
    "log_format": "`json` for programs that read the log, in a container for example. It makes "
    "errors of the start and the access log JSON as well; `prefork help logging` has the keys.",
    "log_rotate_size": "`off` where logrotate renames the files.",
    "log_rotate_age": "Set it to keep, say, a file for each day: `1d`.",
    "log_keep": "`--log-total` bounds the space instead of the number.",
    "log_total": "Set it where the disk is small. The oldest rotated files are removed first.",
}
STATUS: Mapping[str, str] = {
    "status": "Leave it on a loopback address, or set `--status-token`. See `prefork help status`.",
    "status_token": "It is no setting itself, so it is in no list of processes.",
    "min_ready": "Raise it where one worker cannot take the load of the service alone.",
}

STORE: Mapping[str, str] = {
    "store": "It is opened at its first use. See `prefork help store`.",
    "store_size": "The file grows as it is used. A reload may change the limit.",
    "store_required": "Set it where a request without the store is of no use, so that a load "
    "balancer sends it elsewhere. With one server for all machines none is ready while that server "
    "is away.",
}

DETAILS: Mapping[str, str] = {
    **SERVE, **BIND, **TLS, **WORKERS, **PLANNED, **LIFE, **HTTP, **PROXY, **WEBSOCKET, **PROCESS,
    **LOGS, **STATUS, **STORE,
}  # fmt: skip
"""The sentences about each option, by its name."""
