"""The keys of a uwsgi.ini, and their names here. PURE.

Design
------
- **A uwsgi.ini is explained, not converted.** Its keys run code at build time, expand ``%n`` and
  ``$(x)``, and half of them are about what its C core does. A conversion would be a guess; a
  command line has a handful of words.
"""

from collections.abc import Mapping

_KEYS = {
    "module": "MODULE:CALLABLE",
    "wsgi": "MODULE:CALLABLE",
    "wsgi-file": "MODULE:CALLABLE",
    "callable": "MODULE:CALLABLE",
    "processes": "--workers",
    "workers": "--workers",
    "cheaper": "--min-workers and --max-workers",
    "threads": "--threads",
    "enable-threads": "not needed",
    "master": "not needed",
    "single-interpreter": "not needed",
    "need-app": "not needed",
    "lazy-apps": "not needed: each worker imports the app itself",
    "vacuum": "not needed",
    "die-on-term": "not needed",
    "thunder-lock": "not needed: --accept fair",
    "http": "--bind",
    "http-socket": "--bind",
    "socket": "--bind, and proxy_pass of nginx in place of uwsgi_pass",
    "chmod-socket": "--bind unix:PATH,mode=660",
    "listen": "--backlog",
    "chdir": "--chdir",
    "pythonpath": "--pythonpath",
    "virtualenv": "the prefork that is installed in it",
    "home": "the prefork that is installed in it",
    "venv": "the prefork that is installed in it",
    "uid": "--user",
    "gid": "--group",
    "umask": "--umask",
    "env": "--env",
    "harakiri": "--timeout",
    "max-requests": "--max-requests",
    "max-worker-lifetime": "--max-lifetime",
    "reload-on-rss": "--max-memory, with --max-memory-measure rss",
    "worker-reload-mercy": "--kill-timeout",
    "reload-mercy": "--kill-timeout",
    "buffer-size": "--limit-header-size",
    "limit-post": "--limit-body",
    "py-autoreload": "--watch",
    "touch-reload": "prefork reload APP, or --watch",
    "daemonize": "prefork start",
    "logto": "--log-file",
    "disable-logging": "not needed: --access-log is off by default",
    "pidfile": "--pid-file",
    "stats": "--status",
    "static-map": "the proxy serves files",
    "cron": "cron(8), or prefork.on_leader in the app",
    "mule": "an app of its own: prefork start -- COMMAND",
    "attach-daemon": "an app of its own: prefork start -- COMMAND",
}
"""The meaning of a key here."""


def explain_uwsgi(values: Mapping[str, str], source: str) -> str:
    """Return what to type in the place of a uwsgi.ini with these values."""
    parts = [f"{key} is {ours}" for key, ours in _KEYS.items() if key in values]
    others = [key for key in values if key not in _KEYS]
    known = f": {'; '.join(parts)}" if parts else ""
    rest = f"; without a counterpart in this list: {', '.join(others[:20])}" if others else ""
    return f"{source}: settings of uWSGI are not converted{known}{rest}"
