"""The verbs of other managers and commands: PM2, supervisorctl, and what developers type. PURE.

None of these words is ever served as a module: an app of such a name is ``WORD:CALLABLE``. A word
that means a verb of prefork is taken for it; for the others the message says what to type.
"""

from dataclasses import dataclass

PM2, SUPERVISORCTL = "PM2", "supervisorctl"


@dataclass(frozen=True, slots=True)
class ForeignVerb:
    """A word that another command understands as a verb.

    word       as it is typed
    peers      the commands that know it
    verb       the verb of prefork that it is taken for; empty: none
    advice     what to type instead, or what differs
    """

    word: str
    peers: tuple[str, ...]
    verb: str = ""
    advice: str = ""


_FILE_SERVER = (
    "for static files use the proxy in front, or WhiteNoise in the app; prefork MODULE:CALLABLE "
    "serves an app, and prefork start MODULE:CALLABLE does so in the background"
)
_SERVICE = (
    "it belongs to a service of PM2's makers; prefork report APP, prefork monit and --status "
)
_SERVICE += "show what runs"
_MODULES = "prefork has no modules to install: log rotation, metrics and so on are options"
_SETTINGS = "settings are in prefork.toml (prefork init), and prefork --print-config shows them"
_DEPLOY = "let your deployment bring the code, then prefork reload APP"
_OUTPUT = "prefork logs APP -f shows its output; its stdin is /dev/null"
_SHELL = "there is no shell of prefork: prefork VERB APP"
_APPLY = "prefork start FILE.toml starts what is new, reloads what changed, and with --prune "
_APPLY += "deletes what left the file"
_PROFILE = "--slow-log says at which line slow requests are; py-spy and node --inspect profile"
_SERVE = "prefork MODULE:CALLABLE serves an app, prefork --watch MODULE:CALLABLE while you develop"

FOREIGN_VERBS = {
    each.word: each
    for each in (
        # Taken.
        ForeignVerb("status", (PM2, SUPERVISORCTL), "list", "with names it is show"),
        ForeignVerb("ps", (PM2,), "list"),
        ForeignVerb("l", (PM2,), "list"),
        ForeignVerb("describe", (PM2,), "show"),
        ForeignVerb("desc", (PM2,), "show"),
        ForeignVerb("info", (PM2,), "show"),
        ForeignVerb("del", (PM2,), "delete"),
        ForeignVerb("dump", (PM2,), "save"),
        ForeignVerb("reloadLogs", (PM2,), "reopen", "for the apps that are named"),
        ForeignVerb("tail", (SUPERVISORCTL,), "logs"),
        ForeignVerb("dash", (PM2,), "monit"),
        ForeignVerb("dashboard", (PM2,), "monit"),
        ForeignVerb("imonit", (PM2,), "monit"),
        ForeignVerb("startOrRestart", (PM2,), "start"),
        ForeignVerb("startOrReload", (PM2,), "start"),
        ForeignVerb("startOrGracefulReload", (PM2,), "start"),
        # Explained.
        ForeignVerb(
            "kill",
            (PM2,),
            advice="prefork stop APP --quick does not wait for requests, --force kills a master "
            "that hangs, prefork stop all stops all apps, and prefork signal APP KILL is for the "
            "workers",
        ),
        ForeignVerb("shutdown", (SUPERVISORCTL,), advice="prefork stop all stops all apps"),
        ForeignVerb(
            "update",
            (PM2, SUPERVISORCTL),
            advice="pip installs a new prefork, and prefork restart all brings it to the apps; "
            "for changed settings, " + _APPLY,
        ),
        ForeignVerb("updatePM2", (PM2,), advice="pip installs a new prefork; prefork restart all"),
        ForeignVerb("deepUpdate", (PM2,), advice="pip installs a new prefork; prefork restart all"),
        ForeignVerb(
            "reread", (SUPERVISORCTL,), advice="prefork start FILE.toml --dry-run; " + _APPLY
        ),
        ForeignVerb("add", (SUPERVISORCTL,), advice=_APPLY),
        ForeignVerb("avail", (SUPERVISORCTL,), advice="prefork start FILE.toml --dry-run"),
        ForeignVerb("remove", (SUPERVISORCTL,), advice="prefork delete APP"),
        ForeignVerb("clear", (SUPERVISORCTL,), advice="prefork flush APP empties its logs"),
        ForeignVerb("maintail", (SUPERVISORCTL,), advice="prefork logs APP shows its master, too"),
        ForeignVerb("fg", (SUPERVISORCTL,), advice=_OUTPUT),
        ForeignVerb("open", (PM2, SUPERVISORCTL), advice="--status ADDRESS serves a page"),
        ForeignVerb("exit", (SUPERVISORCTL,), advice=_SHELL),
        ForeignVerb("quit", (SUPERVISORCTL,), advice=_SHELL),
        ForeignVerb("pid", (PM2, SUPERVISORCTL), advice="prefork list --json, or --pid-file"),
        ForeignVerb("id", (PM2,), advice="apps go by their names: prefork list"),
        ForeignVerb("jlist", (PM2,), advice="prefork list --json"),
        ForeignVerb("prettylist", (PM2,), advice="prefork list --json"),
        ForeignVerb("slist", (PM2,), advice="prefork list --json"),
        ForeignVerb("sysinfos", (PM2,), advice="prefork report"),
        ForeignVerb("inspect", (PM2,), advice="prefork show APP"),
        ForeignVerb("sendSignal", (PM2,), advice="prefork signal APP SIGNAL: first the app"),
        ForeignVerb("trigger", (PM2,), advice="prefork signal APP SIGNAL"),
        ForeignVerb("send", (PM2,), advice=_OUTPUT),
        ForeignVerb("attach", (PM2,), advice=_OUTPUT),
        ForeignVerb("cleardump", (PM2,), advice="prefork delete APP && prefork save"),
        ForeignVerb(
            "logrotate", (PM2,), advice="logs rotate by --log-rotate-size; prefork rotate APP"
        ),
        ForeignVerb("create", (PM2,), advice="prefork init writes a prefork.toml"),
        ForeignVerb("ecosystem", (PM2,), advice="prefork init writes a prefork.toml"),
        ForeignVerb("serve", (PM2,), advice=_FILE_SERVER),
        ForeignVerb("expose", (PM2,), advice=_FILE_SERVER),
        *(
            ForeignVerb(word, (PM2,), advice=_SETTINGS)
            for word in ("set", "multiset", "get", "conf", "config", "unset")
        ),
        *(
            ForeignVerb(word, (PM2,), advice=_MODULES)
            for word in (
                *("install", "module:install", "module:update", "module:generate", "uninstall"),
                *("module:uninstall", "package", "publish", "module:publish", "autoinstall"),
                *("install-otel", "uninstall-otel"),
            )
        ),
        *(
            ForeignVerb(word, (PM2,), advice=_SERVICE)
            for word in (
                *("link", "unlink", "monitor", "unmonitor", "plus", "register", "login", "logout"),
            )
        ),
        *(
            ForeignVerb(word, (PM2,), advice=_DEPLOY)
            for word in ("deploy", "pull", "forward", "backward")
        ),
        ForeignVerb("profile:mem", (PM2,), advice=_PROFILE),
        ForeignVerb("profile:cpu", (PM2,), advice=_PROFILE),
        ForeignVerb("examples", (PM2,), advice="prefork help coming-from-pm2"),
        # Commands that are typed before an app.
        ForeignVerb("run", ("fastapi", "flask"), advice=_SERVE),
        ForeignVerb("dev", ("fastapi",), advice=_SERVE),
        ForeignVerb("runserver", ("Django",), advice="prefork --watch PROJECT.wsgi"),
        *(
            ForeignVerb(word, (word,), advice=f"leave the word out: prefork … instead of {word} …")
            for word in ("gunicorn", "uvicorn", "hypercorn", "granian", "pm2")
        ),
    )
}
