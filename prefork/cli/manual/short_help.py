"""``prefork --help`` on one screen, and ``prefork --help-all`` with every option."""

import textwrap

from prefork.config.flags import build_parser
from prefork.config.options import OPTIONS
from prefork.wire.verb_table import VERBS, commands

SCREEN_WIDTH = 80

USAGE = """\
usage: prefork [OPTIONS] MODULE:CALLABLE       serve a WSGI, ASGI or main app
       prefork [OPTIONS] -- PROGRAM ARGUMENTS  serve a program in any language
       prefork VERB ...                        manage apps in the background
"""

DAILY_OPTIONS = {
    "bind": "where to listen: host:port or unix:/path, repeatable",
    "workers": "number of workers; 0: one for each core",
    "threads": "threads of each worker for a WSGI app",
    "env": "a variable of the workers, repeatable",
    "timeout": "time after which a request counts as hung; off: never",
    "max_requests": "replace a worker after this number of requests",
    "watch": "reload when files change",
    "access_log": "file of the access log; -: stdout",
    "status": "address for health, metrics and a page to watch",
}
"""The options of every day, each with a phrase that has room on a line. ``-c`` is the tenth."""

DAILY_VERBS = (
    *("start", "stop", "restart", "reload", "scale", "delete", "list"),
    *("show", "why", "logs", "monit", "check", "save", "startup", "help"),
)
"""The verbs of every day. The short help only names the others."""

_MORE = """\
more: prefork help               the topics of the manual
      prefork help --OPTION      an option; prefork --help-all has all of them
      prefork VERB --help        a verb
"""


def short_help() -> str:
    """Return the help of ``prefork --help``: at most 45 lines, as wide as SCREEN_WIDTH."""
    daily = [VERBS[name] for name in DAILY_VERBS]
    options = [_line(_spell(name), text, 23) for name, text in DAILY_OPTIONS.items()]
    options.insert(2, _line("-c, --config FILE", "read this TOML file first", 23))
    width = max(len(", ".join(verb.words)) for verb in daily)
    others = [word for word, verb in commands().items() if verb not in daily]
    return "\n".join(
        [
            USAGE,
            "options of every day:",
            *options,
            "",
            "verbs:",
            *(_line(", ".join(verb.words), _cut(verb.text, width), width) for verb in daily),
            *textwrap.wrap(
                " ".join(others),
                SCREEN_WIDTH,
                initial_indent="  also: ",
                subsequent_indent="        ",
            ),
            "",
            _MORE,
        ]
    )


def _spell(name: str) -> str:
    option = OPTIONS[name]
    names = f"{option.short}, {option.flag}" if option.short else f"    {option.flag}"
    return f"{names} {option.value_type.metavar}".rstrip()


def _line(name: str, text: str, width: int) -> str:
    return f"  {name:<{width}}  {text}"


def _cut(text: str, width: int) -> str:
    """Return the help of a verb, cut at a colon or a comma where a line has no room for it.

    ``width``: that of the names before it.
    """
    for mark in (": ", ", "):
        if len(_line("", text, width)) > SCREEN_WIDTH:
            text = text.partition(mark)[0]
    return text


def whole_help() -> str:
    """Return the help of ``prefork --help-all``: verbs, all options, signals and exit codes."""
    return build_parser(verbs_help()).format_help()


def verbs_help() -> str:
    """Return the list of the verbs, for the help of the whole command."""
    lines = [f"  {word:<12} {verb.text}" for word, verb in commands().items()]
    return "\n".join(["manage apps in the background (see prefork VERB --help):", *lines, "", ""])
