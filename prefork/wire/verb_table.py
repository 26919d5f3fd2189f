"""The declarations of all verbs: of the command line, and of the control protocol. PURE.

``verb.py`` explains the parts of a declaration. The order is that of the help. Code that means one
verb imports its declaration, as in ``client.ask(app, PING)``.
"""

from prefork.wire.verb import Argument, Completes, PageAccess, Role, Verb


def seconds(text: str) -> float:
    """Parse a number of seconds. Raises ValueError."""
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number < 1e9:
        raise ValueError(f"{text} is not a number of seconds")
    return number


def count(text: str) -> int:
    """Parse a number that is not negative. Raises ValueError."""
    try:
        number = int(text)
    except ValueError:
        number = -1
    if number < 0:
        raise ValueError(f"{text} is not a number of 0 or more")
    return number


# Arguments.

APP = Argument("targets", metavar="APP", count=1, completes=(Completes.APPS,))
SOME_APPS = Argument(
    "targets",
    "names, namespaces, all, or /regular expressions/",
    metavar="APP",
    count="+",
    completes=(Completes.APPS,),
)
ANY_APPS = Argument("targets", SOME_APPS.text, (), "APP", "*", completes=(Completes.APPS,))

MASTER_PID = Argument(
    "master_pid", "the app whose master is this process", ("--master-pid",), "PID", parse=int
)

TIMEOUT = Argument(
    "timeout", "stop waiting after this time", ("--timeout",), "SECONDS", parse=seconds
)
NO_WAIT = Argument("no_wait", "do not wait for the outcome", ("--no-wait",), is_sent=True)
QUICK = Argument("quick", "do not wait for requests in flight", ("--quick",), is_sent=True)
FORCE = Argument("force", "kill the master and its workers", ("--force",))
STOP_FIRST = Argument(
    "stop_first",
    "stop and start even where a reload is enough, without a check first",
    ("--stop-first",),
)
UPDATE_ENV = Argument("update_env", "take the environment of this shell", ("--update-env",))
JSON = Argument("json", "print everything as JSON", ("--json",))
DRY_RUN = Argument("dry_run", "print what would be done", ("--dry-run",))
WORKERS = Argument("workers", "a number, or +N or -N", metavar="N", is_sent=True)
SIGNAL_NAME = Argument(
    "signal",
    "TERM, SIGTERM or 15",
    metavar="SIGNAL",
    completes=(Completes.SIGNALS,),
    is_sent=True,
)
SLOT = Argument("slot", "only to this worker slot", ("--slot",), "N", parse=count, is_sent=True)
SORT = Argument(
    "sort",
    "sort by one of",
    ("--sort",),
    "KEY",
    default="name",
    choices="prefork.cli.view.sort_order:SORT_KEYS",
)
WATCH = Argument(
    "watch",
    "repeat until q or Ctrl-C; default: every 2 seconds",
    ("--watch",),
    "SECONDS",
    "?",
    parse=seconds,
    bare=2.0,
)
WHOLE_STATE = Argument("state", "print all that the master knows and holds, as JSON", ("--state",))
REVEAL = Argument("reveal", "print the values, too", ("--reveal",))
USER = Argument("user", "for this user's own systemd", ("--user",))
SHELL = Argument("shell", choices="prefork.cli.verbs.completion:SHELLS")

WITH_FILE = "with a file"
ONLY = Argument(
    "only",
    "only these apps of the file, as in a,b",
    ("--only",),
    "NAMES",
    default="",
    group=WITH_FILE,
)
ENV_TABLES = Argument(
    "env", "use the tables env_NAME and stage_NAME", ("--env",), "NAME", group=WITH_FILE
)
START_ARGUMENTS = (
    Argument("targets", metavar="TARGET", count="+", completes=(Completes.APPS, Completes.FILES)),
    Argument("attach", "follow the logs until Ctrl-C, then the app keeps running", ("--attach",)),
    NO_WAIT,
    UPDATE_ENV,
    ONLY,
    ENV_TABLES,
    Argument("dry_run", DRY_RUN.text, DRY_RUN.flags, group=WITH_FILE),
    Argument("prune", "stop and delete apps that left the file", ("--prune",), group=WITH_FILE),
    Argument("timeout", "for each app", TIMEOUT.flags, "SECONDS", parse=seconds, group=WITH_FILE),
)
DEFAULT_LOG_LINES = 15
"""Records that ``logs`` shows of each app without ``--lines``."""

LOG_ARGUMENTS = (
    Argument(
        "lines",
        f"the last N records of each app ({DEFAULT_LOG_LINES})",
        ("-n", "--lines"),
        "N",
        parse=count,
    ),
    Argument("follow", "print new records until Ctrl-C", ("-f", "--follow")),
    Argument("out", "only the workers' stdout", ("--out",)),
    Argument("err", "only the workers' stderr", ("--err",)),
    Argument("slot", "only from this worker slot", ("--slot",), "N", parse=count),
    Argument("grep", "only records that match a regular expression", ("--grep",), "PATTERN"),
    Argument("since", "only the records of this last time, as in 10m", ("--since",), "TIME"),
    Argument("json", "JSON objects, for programs", ("--json",)),
)


# Verbs.

START = Verb(
    ("start",),
    "start apps in the background: a target, a file with several, or a name",
    "It serves an app with any option of serving; starts, reloads or leaves the apps of a "
    "file until they are as the file says; or starts apps of the list again, as they were "
    "started before, with the environment that they had then; `--update-env` takes that of "
    "your shell. `--attach` follows the logs until Ctrl-C.",
    START_ARGUMENTS,
    usage=(
        "prefork start [OPTIONS] MODULE:CALLABLE      an app; OPTIONS are those of serving,",
        "                                             see prefork --help",
        "prefork start [OPTIONS] NAME ...             apps of the list again",
        "prefork start [OPTIONS] FILE.toml            the apps of a file",
        "prefork start [OPTIONS] SCRIPT [-- ARGUMENTS] a program, as in start server.js",
        "prefork start ecosystem.config.js            the apps of a file of PM2, or a Procfile",
    ),
    takes_serving_options=True,
    run="prefork.cli.verbs.start_command:start",
)

STOP = Verb(
    ("stop",),
    "stop apps gracefully",
    "The verb ends when all workers have left. `--quick` cuts requests in flight, `--force` is "
    "for a master that hangs.",
    (SOME_APPS, QUICK, FORCE, TIMEOUT, NO_WAIT),
    action="prefork.master.verb_actions:stop",
    run="prefork.cli.verbs.change:stop_apps",
)

RESTART = Verb(
    ("restart",),
    "reload, or stop and start where a changed setting needs a new master",
    "The verb prints which options need a new master. It checks first that settings and app can "
    "be loaded; otherwise it ends with the reason, and the present master serves on. The next "
    "master gets the same sockets: clients that connect meanwhile wait, and none is refused. It "
    "keeps the environment that the app was started with; `--update-env` takes that of your "
    "shell, which needs a new master.",
    (SOME_APPS, QUICK, FORCE, STOP_FIRST, UPDATE_ENV, TIMEOUT, NO_WAIT),
    run="prefork.cli.verbs.restart:restart",
)

RELOAD = Verb(
    ("reload",),
    "replace workers by ones with new code and settings, losing no request",
    "The verb ends when every worker runs the new code, or with the reason why not. "
    "`--dry-run` prints the settings that would change, old -> new, and how the reload would "
    "go, and fails where they would be refused; it does not load the app. "
    "`--master-pid $MAINPID` is for ExecReload= of a systemd unit.",
    (ANY_APPS, MASTER_PID, DRY_RUN, TIMEOUT, NO_WAIT),
    usage=(
        "prefork reload [OPTIONS] APP [APP ...]",
        "prefork reload [OPTIONS] --master-pid PID",
    ),
    page=PageAccess.WITH_TOKEN,
    action="prefork.master.verb_actions:reload",
    run="prefork.cli.verbs.change:reload_apps",
    printer="prefork.cli.view.answers:print_reload",
)

SCALE = Verb(
    ("scale",),
    "change the number of workers",
    "`N` is a number as in `4`, or a difference as in `+2` and `-1`. The verb ends when these "
    "workers serve and the surplus ones have left.",
    (APP, WORKERS, TIMEOUT, NO_WAIT),
    page=PageAccess.WITH_TOKEN,
    action="prefork.master.verb_actions:scale",
    printer="prefork.cli.view.answers:print_scale",
)

SIGNAL = Verb(
    ("signal",),
    "send a signal to workers",
    "All workers of the app get it, or those of one slot. A program gets it alone, without its "
    "group.",
    (APP, SIGNAL_NAME, SLOT, TIMEOUT),
    action="prefork.master.verb_actions:send_signal",
    run="prefork.cli.verbs.change:signal_workers",
    printer="prefork.cli.view.answers:print_signal",
)

DELETE = Verb(
    ("delete",),
    "stop apps and remove them from the list",
    "What the store of an app holds goes, too: sessions, locks and secrets. Only a store in a "
    "folder of your choice and one on a server stay. `stop` keeps each.",
    (SOME_APPS, QUICK, FORCE, TIMEOUT),
    run="prefork.cli.verbs.change:delete_apps",
)

LIST = Verb(
    ("list", "ls"),
    "list all apps",
    "The table has state, workers, requests a second, requests in flight, p50 and p99, CPU, "
    "memory (PSS), uptime and restarts. `--sort p99` sorts by a column. `--watch` draws the "
    "table again until q or Ctrl-C; without a terminal it prints the table again and again.",
    (JSON, SORT, WATCH),
    run="prefork.cli.verbs.inspect:list_apps",
)

SHOW = Verb(
    ("show",),
    "show everything about apps",
    "It prints what `list` does, and also each worker, the oldest request, answers by class, "
    "bytes sent, and the wait in the queue.",
    (SOME_APPS, JSON),
    role=Role.GROUP,
    action="prefork.master.verb_actions:show",
    run="prefork.cli.verbs.inspect:show",
)

ENV = Verb(
    ("env",),
    "list the environment variables of an app's workers",
    "The values are masked unless `--reveal` is given.",
    (APP, REVEAL),
    action="prefork.master.verb_actions:env",
    printer="prefork.cli.view.answers:print_variables",
    timeout=5.0,
)

WHY = Verb(
    ("why",),
    "show the last deaths of workers, with their causes",
    "It prints the last deaths that were not planned, newest first, those that are alike once with "
    "their number, each with its cause and the worker's own reason, and the last workers that were "
    "recycled. It knows them also after the master has ended or did not start.",
    (SOME_APPS, JSON),
    role=Role.GROUP,
    page=PageAccess.ALWAYS,
    action="prefork.master.verb_actions:why",
    run="prefork.cli.verbs.inspect:why",
    printer="prefork.cli.view.answers:print_why",
    timeout=5.0,
)

LOGS = Verb(
    ("logs",),
    "show the logs of workers and masters, merged by time",
    arguments=(ANY_APPS, *LOG_ARGUMENTS),
    run="prefork.cli.verbs.inspect:logs",
)

MONIT = Verb(
    ("monit",),
    "show all apps live, with keys to reload, scale and stop",
    "It shows the workers of the selected app and its log, too.",
    run="prefork.cli.verbs.inspect:monit",
)

EVENTS = Verb(
    ("events",),
    "print events as lines of JSON",
    "It prints all events of the app as they happen, until its master ends.",
    (APP,),
    role=Role.GROUP,
    action="prefork.master.verb_actions:follow_events",
    run="prefork.cli.verbs.inspect:events",
)

STORE = Verb(
    ("store",),
    "show what is in the store that the workers of an app share, and change it",
    "Without an operation it prints the namespaces, with the numbers of their keys. "
    "`keys [PREFIX]` lists the keys of one namespace, `get KEY` prints a value, `set KEY VALUE` "
    "and `delete KEY` change one, `stats` has the figures, and `clear` removes all entries but "
    "keeps the secrets. As root it becomes the owner of the store before it opens it.",
    (
        Argument("app", metavar="APP", completes=(Completes.APPS,)),
        Argument("operation", count="?", choices="prefork.cli.verbs.store_verb:OPERATIONS"),
        Argument("words", "a key, and a value", metavar="WORD", count="*"),
        Argument(
            "namespace",
            "of the keys; default: that of prefork.store()",
            ("--namespace",),
            "NAME",
        ),
        Argument("ttl", "remove it after this time, such as 90s or 12h", ("--ttl",), "TIME"),
        JSON,
    ),
    run="prefork.cli.verbs.store_verb:run_store",
)

PING = Verb(
    ("ping",),
    "check whether masters answer",
    arguments=(ANY_APPS, TIMEOUT),
    role=Role.GROUP,
    action="prefork.master.verb_actions:ping",
    printer="prefork.cli.view.answers:print_ping",
    timeout=5.0,
)

REOPEN = Verb(
    ("reopen",),
    "open log files again, after a rotation",
    "It is for logrotate and other programs that rename the files.",
    (SOME_APPS, TIMEOUT),
    action="prefork.master.verb_actions:reopen",
    done="reopened its logs",
)

ROTATE = Verb(
    ("rotate",),
    "rotate the logs of the workers' output",
    arguments=(SOME_APPS, TIMEOUT),
    action="prefork.master.verb_actions:rotate",
    done="rotated its logs",
)

FLUSH = Verb(
    ("flush",),
    "empty logs, including rotated ones",
    arguments=(SOME_APPS, TIMEOUT),
    action="prefork.master.verb_actions:flush",
    done="emptied its logs",
)

RESET = Verb(
    ("reset",),
    "clear deaths and restart counts",
    arguments=(SOME_APPS, TIMEOUT),
    action="prefork.master.verb_actions:reset",
    done="reset",
)

INIT = Verb(
    ("init",),
    "write a sample prefork.toml",
    run="prefork.cli.verbs.systemd_unit:init",
)

CHECK = Verb(
    ("check",),
    "check a file or a target without serving it",
    "It loads each app in a process of its own.",
    (
        Argument("target", metavar="FILE.toml|MODULE:CALLABLE", completes=(Completes.FILES,)),
        ONLY,
        ENV_TABLES,
    ),
    run="prefork.cli.verbs.start_file:check",
)

CONVERT = Verb(
    ("convert",),
    "print the prefork.toml that a file of another manager makes",
    "It reads PM2's ecosystem.config.js, .cjs, .mjs, .json and .yaml, a Procfile, "
    "supervisord.conf with the files that it includes, gunicorn.conf.py and hypercorn.toml, and "
    "says in comments what is not carried over. `prefork start` takes the first three as they are.",
    (Argument("file", metavar="FILE", completes=(Completes.FILES,)),),
    run="prefork.cli.verbs.foreign_file:convert",
)

SAVE = Verb(
    ("save",),
    "save which apps run, for resurrect",
    "The list is `saved.toml` in the home, which only you can read, with the numbers of "
    "workers that `scale` set and the environment of each app.",
    run="prefork.cli.verbs.save:save",
)

RESURRECT = Verb(
    ("resurrect",),
    "start the saved apps that do not run",
    arguments=(TIMEOUT, NO_WAIT),
    run="prefork.cli.verbs.save:resurrect",
)

STARTUP = Verb(
    ("startup",),
    "write a systemd unit that resurrects the saved apps at boot",
    "Without root and without `--user` it prints what it would do.",
    (USER, DRY_RUN),
    run="prefork.cli.verbs.systemd_unit:startup",
)

UNSTARTUP = Verb(
    ("unstartup",),
    "remove the systemd unit of startup",
    arguments=(USER, DRY_RUN),
    run="prefork.cli.verbs.systemd_unit:unstartup",
)

REPORT = Verb(
    ("report",),
    "print versions, machine and apps for a bug report, without secrets",
    arguments=(ANY_APPS, WHOLE_STATE),
    run="prefork.cli.verbs.inspect:report",
)

COMPLETION = Verb(
    ("completion",),
    "print the completion script of a shell",
    '`eval "$(prefork completion bash)"` belongs into the settings of the shell.',
    (SHELL,),
    run="prefork.cli.verbs.completion:print_completion",
)

HELP = Verb(
    ("help",),
    "show the manual: a topic, an option or a verb",
    "Without a word it lists the topics.",
    (Argument("words", metavar="WORD", count="*", completes=(Completes.TOPICS,)),),
    usage=("prefork help [TOPIC | OPTION | VERB]",),
    takes_serving_options=True,
    run="prefork.cli.manual.help_verb:show_help",
)

# The requests of other verbs, and of programs.


WAIT = Verb(
    ("wait",),
    "wait until every slot serves and no worker is leaving",
    role=Role.GROUP,
    action="prefork.master.verb_actions:wait",
)

PLAN = Verb(
    ("plan",),
    "tell what a reload would change now, and how many workers it would replace",
    action="prefork.master.verb_actions:plan",
)

STATE = Verb(
    ("state",),
    "tell all that the master knows and holds, to look into a problem",
    since=2,
    action="prefork.master.verb_actions:state",
)

HAND_OVER = Verb(
    ("hand_over",),
    "copy the listening sockets to the client, for the master after this one",
    action="prefork.master.verb_actions:hand_over",
)

VERBS: dict[str, Verb] = {
    each.name: each for each in list(globals().values()) if isinstance(each, Verb)
}
"""All verbs of this module by name, in their order."""


def commands() -> dict[str, Verb]:
    """Return the verbs of the command line, by each word that means them."""
    return {word: verb for verb in VERBS.values() if verb.is_command for word in verb.words}


def requests_of_page(has_token: bool) -> dict[str, Verb]:
    """Return the verbs that the status server may ask for, by name. ``has_token``: it has a token
    that its visitors need."""
    allowed = {PageAccess.ALWAYS, PageAccess.WITH_TOKEN} if has_token else {PageAccess.ALWAYS}
    return {name: verb for name, verb in requests().items() if verb.page in allowed}


def requests() -> dict[str, Verb]:
    """Return the verbs that masters know, by name."""
    return {name: verb for name, verb in VERBS.items() if verb.is_request}
