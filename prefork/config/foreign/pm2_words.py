"""The flags of PM2, and the keys of its ecosystem files. PURE."""

from prefork.config.foreign.foreign_word import PeerName, PeerWords, fixed, items, milliseconds

_pm2 = PeerWords(PeerName.PM2)
_same, _take, _ignore, _other, _absent = _pm2.same, _pm2.take, _pm2.ignore, _pm2.other, _pm2.absent

# The script.
_same(
    "script exec",
    "start FILE",
    "or a command after `--`; with arguments: `prefork start server.js -- ARGUMENTS`",
)
_same("args", "-- PROGRAM ARGUMENTS")
_other(
    "exec_interpreter interpreter --interpreter",
    "-- INTERPRETER FILE",
    "`start` takes it with a script; without it the name of the file decides: node, python, sh, …",
)
_other(
    "node_args interpreter_args interpreterArgs --node-args",
    "-- node ARGUMENTS FILE",
    "`start` takes it with a script",
)
_other("--interpreter-args", "-- INTERPRETER ARGUMENTS FILE", "`start` takes it with a script")
_ignore("execute_command -x --execute-command", "each program runs by itself", takes=0)
_absent(
    "exec_mode",
    "cluster is `bind` with `workers`: the workers share the socket; fork is a program without "
    "`bind`. In a file, a node script with instances is cluster, too; the port is PORT of its env",
)
_take("cwd --cwd", "--chdir")
_same("name -n --name", "--name")
_absent("name_prefix", "write the whole --name, or use --namespace")
_absent("append_env_to_name", "write the whole --name")
_same("namespace --namespace", "--namespace")
_absent("force -f --force", "to run a target twice, give it another --name", takes=0)
_other("port", "--bind", "a Node server with --bind finds the port in PORT")
_absent("install_url", "install modules of PM2 nowhere: they are not needed")

# Environment.
_same("env", "[apps.NAME.env]", "on the command line of an app `--env KEY=VALUE`")
_other(
    "env_* --env",
    "--env NAME",
    "with a file: the variables of its table env_NAME, the options of stage_NAME; `--stage NAME` "
    "when serving with -c",
)
_same("-a --update-env", "--update-env", "of `start` and `restart`", takes=0)
_absent(
    "filter_env --filter-env",
    "not to be had: start the app by `env -u NAME prefork start …`; it keeps that environment",
)
_same("instance_var", "--instance-var")
_absent("increment_var", "PREFORK_SLOT and --instance-var number the workers: 0, 1, …")

# Workers.
_take(
    "instances -i --instances", "--workers", "0 or max is one per usable core", values=r"max|-?\d+"
)
_take("--parallel", "--surge")
_take(
    "max_memory_restart --max-memory-restart",
    "--max-memory",
    "the worker is replaced when its heir is ready, so no request is lost",
)
_take("cron_restart cron --cron-restart", "--cron", "workers are replaced one after another")
_same("--cron", "--cron")
_other("-c", "--cron", "-c names the settings file here")

# Starting and stopping.
_take("wait_ready --wait-ready", "--ready manual", takes=0, convert=fixed(ready="manual"))
_take(
    "listen_timeout --listen-timeout",
    "--boot-timeout",
    "in milliseconds without a unit",
    convert=milliseconds("boot_timeout"),
)
_other(
    "kill_timeout -k --kill-timeout",
    "--kill-timeout",
    "1600ms or 3s: a number without a unit counts seconds here, and milliseconds in PM2",
    values=r"\d+(ms|s)?",
)
_ignore("kill_retry_time", "the kernel reports the end of a process (pidfd)")
_absent(
    "shutdown_with_message --shutdown-with-message",
    "a program gets --stop-signal and no message; the preload drains a Node server at that signal",
    takes=0,
)
_absent(
    "treekill --no-treekill",
    "not to be had: the whole process group gets the stop signal, and nothing outlives a worker",
    takes=0,
)
_other(
    "autorestart --no-autorestart",
    "--max-restarts 0 --stop-exit-codes 0",
    "ends with the first failure, or when the program is done",
    takes=0,
)
_same("stop_exit_codes --stop-exit-codes", "--stop-exit-codes", "repeat it for several codes")
_absent("autostart --no-autostart", "`start FILE --only NAMES` starts some apps of a file", takes=0)
_same("min_uptime --min-uptime", "--min-uptime", "ms in an ecosystem file, with a unit here")
_same(
    "max_restarts --max-restarts",
    "--max-restarts",
    "failures in a row; off by default: the program is tried again, later and later",
)
_BACK_OFF = "failing workers are started again later and later, up to half a minute"
_ignore("restart_delay --restart-delay", _BACK_OFF)
_ignore("exp_backoff_restart_delay --exp-backoff-restart-delay", _BACK_OFF)

# Watching.
_same("watch --watch", "--watch", "paths by --watch-path", takes=0)
_take(
    "ignore_watch --ignore-watch",
    "--watch-ignore",
    "names, no regular expressions",
    convert=items("watch_ignore"),
)
_same("watch_delay --watch-delay", "--watch-delay")
_absent("watch_options", "inotify needs no options of chokidar")
_other("--ext", "--watch-ignore PATTERN", "names what does not count, as in *.log")

# Logs.
_FILES = "a folder: the output of all workers goes to NAME.out there; `logs --err` has stderr alone"
_other("out_file out output out_log -o --output", "--log-dir", _FILES)
_other("error_file error err err_file err_log -e --error", "--log-dir", _FILES)
_other("log_file log -l --log", "--log-dir", _FILES)
_ignore(
    "merge_logs combine_logs --merge-logs",
    "it is so: --log-split slot writes a file for each slot",
    takes=0,
)
_take("log_type --log-type", "--log-format", "json")
_ignore("time --time", "each record has its time", takes=0)
_absent(
    "log_date_format --log-date-format", "times are ISO 8601, so that `logs --since` finds them"
)
_absent(
    "disable_logs --disable-logs",
    "--log-rotate-size and --log-keep bound the logs; `sh -c 'exec PROGRAM >/dev/null'` has none",
    takes=0,
)

# The process.
_take("pid_file pid -p --pid", "--pid-file", "with the pid of the master")
_take("uid user --uid", "--user", "the master has to be root")
_take("gid --gid", "--group", "the master has to be root")
_absent("username", "the user that starts the app owns it; --user is that of the workers")
_other(
    "--no-daemon",
    "prefork [OPTIONS] APP",
    "without `start` it stays in the foreground; a file: `start FILE --attach`",
    takes=0,
)
_absent("windowsHide", "for Windows only")
_other(
    "source_map_support --source-map-support",
    "--env NODE_OPTIONS=--enable-source-maps",
    takes=0,
)
_ignore(
    "disable_source_map_support --disable-source-map-support",
    "NODE_OPTIONS=--enable-source-maps is not set by itself",
    takes=0,
)

# PM2's own services.
_VIZION = "prefork does not look into the repository"
_ignore("vizion --no-vizion", _VIZION, takes=0)
_absent("post_update", _VIZION)
_PMX = "no monitoring service is involved; `prefork list`, `monit` and --status have the figures"
_ignore("pmx --no-pmx", _PMX, takes=0)
_ignore("automation --no-automation", _PMX, takes=0)
_ignore("disable_trace --disable-trace", _PMX, takes=0)
_absent("trace --trace", _PMX, takes=0)
_absent("v8 --v8", _PMX, takes=0)
_absent("event_loop_inspector --event-loop-inspector", _PMX, takes=0)
_absent("deep_monitoring --deep-monitoring", _PMX, takes=0)
_absent("io", _PMX)

# Of single verbs.
_same("--only", "--only NAMES", "of `start FILE`")
_same("--attach", "--attach", "of `start`", takes=0)
_other("-s --silent", ">/dev/null", "errors go to stderr", takes=0)
_other(
    "-m --mini-list", "prefork list", "a pipe gets plain columns, and --json everything", takes=0
)
_same("--sort", "--sort KEY", "of `list`")
_other("--no-color", "NO_COLOR=1", "a variable that most programs know", takes=0)
_other("write -w --write", "prefork init", "-w is --workers here", takes=0)
_absent("--hp", "`startup` takes the home of the user, or PREFORK_HOME")
_absent("--service-name", "the unit of `startup` has one name")
_absent("--wait-ip", "the unit of `startup` waits for the network", takes=0)
_other(
    "-u --user", "prefork startup --user", "run as that user; -u is the user of the workers here"
)
_same("-V -v --version", "--version", takes=0)
_DOCKER = "write a Dockerfile: `prefork help deployment`"
for _flag in ("--container", "--dist", "--fresh", "--daemon", "--dockerdaemon"):
    _absent(_flag, _DOCKER, takes=0, verb="start")
for _flag in ("--image-name", "--node-version"):
    _absent(_flag, _DOCKER, verb="start")
_other(
    "--watch", "prefork restart", "with or without --watch in the settings", takes=0, verb="stop"
)
_other(
    "--watch", "prefork restart", "with or without --watch in the settings", takes=0, verb="restart"
)
_same("--json", "--json", takes=0, verb="logs")
_same("--err", "--err", takes=0, verb="logs")
_same("--out", "--out", takes=0, verb="logs")
_same("--lines", "--lines N", verb="logs")
_ignore("--nostream", "logs ends by itself; -f follows", takes=0, verb="logs")
_ignore("--raw", "a pipe gets the very bytes of the log", takes=0, verb="logs")
_ignore("--format", "times and names are in each line", takes=0, verb="logs")
_ignore("--timestamp", "times are in each line", takes=0, verb="logs")
_other("--highlight", "--grep PATTERN", verb="logs")
_ignore("--force", "an empty list is saved, too", takes=0, verb="save")

WORDS = tuple(_pm2.words)
