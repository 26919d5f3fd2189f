"""The table of the verbs: ``prefork start``, ``list``, ``reload`` and all others.

Every verb that changes something waits until its goal is reached, prints the steps on the way, and
exits 0 only then. Several apps are served one after another; the first failure decides the exit
code, and the others still get their turn.
"""

import argparse
import os
import signal
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from prefork.cli.lazy_import import LazyModule
from prefork.cli.registry.client import Client
from prefork.cli.view.sort_order import SORT_KEYS
from prefork.config.parser import Parser
from prefork.errors import UsageError

if TYPE_CHECKING:
    from prefork.cli.verbs import (
        change,
        completion,
        inspect,
        logs,
        restart,
        save,
        start_command,
        start_file,
        systemd_unit,
    )
else:
    # Serving imports this table, and no verb needs the modules of the others.
    change, completion, start_file = (
        LazyModule("verbs.change"),
        LazyModule("verbs.completion"),
        LazyModule("verbs.start_file"),
    )
    logs, inspect, save = (
        LazyModule("verbs.logs"),
        LazyModule("verbs.inspect"),
        LazyModule("verbs.save"),
    )
    restart, start_command, systemd_unit = (
        LazyModule("verbs.restart"),
        LazyModule("verbs.start_command"),
        LazyModule("verbs.systemd_unit"),
    )

Options = argparse.Namespace
AddArguments = Callable[[argparse.ArgumentParser], None]

VERBS_OF_OTHER_MANAGERS = {
    "describe": "prefork show APP shows everything about an app",
    "kill": "prefork stop APP --quick does not wait for requests, --force kills a master that "
    "hangs, and prefork signal APP KILL is for the workers",
    "ps": "prefork list shows all apps",
    "serve": "prefork MODULE:CALLABLE serves an app, and prefork start MODULE:CALLABLE does so in "
    "the background",
    "status": "prefork list shows all apps, and prefork show APP one of them",
    "update": "pip installs a new prefork, and prefork restart all brings it to the apps",
}
"""Verbs that users of other managers know, each with the verb of prefork to use instead.

They are never taken for an app: the module that Python finds under such a name would be imported
and served.
"""


def is_verb(arguments: Sequence[str]) -> bool:
    """Return whether the command line begins with a verb; if not, it names an app to serve.

    Raises UsageError for a word that is neither and near to a verb, or a verb of another manager.
    """
    if not arguments:
        return False
    word = arguments[0]
    if word in VERBS_OF_OTHER_MANAGERS:
        raise UsageError(
            f"there is no verb {word}: {VERBS_OF_OTHER_MANAGERS[word]}. An app of this "
            f"name is {word}:CALLABLE"
        )
    if word not in VERBS and word.isalpha() and not _is_module(word):
        import difflib  # noqa: PLC0415 - only this error needs it

        near = difflib.get_close_matches(word, VERBS, n=1)
        if near:
            raise UsageError(
                f"there is no verb {word}; did you mean {near[0]}? An app is MODULE:CALLABLE"
            )
    return word in VERBS


def _is_module(word: str) -> bool:
    """Return whether the word could be an app: the name of the callable may be left out."""
    import importlib.util  # noqa: PLC0415

    here = os.path.exists(f"{word}.py") or os.path.isdir(word)
    return here or importlib.util.find_spec(word) is not None


def run_verb(arguments: Sequence[str]) -> int:
    """Carry out the verb of the command line and return the exit code. Raises PreforkError.

    When the reader of stdout has gone, the exit code is 128 + SIGPIPE.
    """
    try:
        return _run_parsed(arguments)
    except BrokenPipeError:
        # The reader of the pipe has ended, as in `prefork list | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 128 + signal.SIGPIPE


def _run_parsed(arguments: Sequence[str]) -> int:
    if arguments[0] == "start":
        return start_command.start(list(arguments[1:]))
    options = build_parser(arguments[0]).parse_args(list(arguments))
    run: Callable[[Client, Options], int] = options.run
    return run(Client(), options)


def build_parser(only: str = "") -> argparse.ArgumentParser:
    """Return the parser of all verbs, or of the verb ``only``."""
    parser = Parser(prog="prefork", description="Manage the apps of this user.")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for name in [only] if only else VERBS:
        run, text, all_arguments = VERBS[name]
        verb = verbs.add_parser(name, help=text, description=text[:1].upper() + text[1:] + ".")
        verb.set_defaults(run=run)
        for add_arguments in all_arguments:
            add_arguments(verb)
    return parser


def help_words_as_flags(arguments: Sequence[str]) -> Sequence[str]:
    """Return the command line with ``help``, ``help VERB`` and ``version`` written as flags.

    All other command lines stay as they are. Raises UsageError for an unknown verb after ``help``.
    """
    match list(arguments):
        case ["help"]:
            return ["--help"]
        case ["help", verb] if verb in VERBS:
            return [verb, "--help"]
        case ["help", verb, *_]:
            # It imports all options.
            from prefork.config.sources import suggest_nearest  # noqa: PLC0415

            raise UsageError(f"there is no verb {verb}{suggest_nearest(verb, VERBS)}")
        case ["version"]:
            return ["--version"]
    return arguments


def verbs_help() -> str:
    """Return the list of the verbs, for the help of the whole command."""
    lines = [f"  {name:<12} {text}" for name, (_, text, _) in VERBS.items()]
    return "\n".join(["manage apps in the background (see prefork VERB --help):", *lines, "", ""])


# Arguments.


def _add_targets(number: str) -> AddArguments:
    def add(verb: argparse.ArgumentParser) -> None:
        text = "names, namespaces, all, or /regular expressions/"
        verb.add_argument("targets", nargs=number, metavar="APP", help=text)

    return add


def _add_timeout(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--timeout", type=_seconds, metavar="SECONDS", help="stop waiting after this time"
    )


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds")
    return seconds


def _add_wait(verb: argparse.ArgumentParser) -> None:
    _add_timeout(verb)
    verb.add_argument("--no-wait", action="store_true", help="do not wait for the outcome")


def _add_stop_mode(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--quick", action="store_true", help="do not wait for requests in flight")
    verb.add_argument("--force", action="store_true", help="kill the master and its workers")


def _add_stop_first(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--stop-first", action="store_true", help="stop and start even where a reload is enough"
    )


def _add_list(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--sort",
        choices=SORT_KEYS,
        default="name",
        metavar="KEY",
        help="sort by one of " + ", ".join(SORT_KEYS),
    )
    verb.add_argument(
        "--watch",
        type=_seconds,
        nargs="?",
        const=2.0,
        metavar="SECONDS",
        help="repeat until q or Ctrl-C; default: every 2 seconds",
    )


def _add_json(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--json", action="store_true", help="print everything as JSON")


def _add_workers(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("target", metavar="APP")
    verb.add_argument("workers", metavar="N", help="a number, or +N or -N")


def _add_signal(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("target", metavar="APP")
    verb.add_argument("signal", metavar="SIGNAL", help="TERM, SIGTERM or 15")
    verb.add_argument("--slot", type=int, metavar="N", help="only to this worker slot")


def _add_app(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("target", metavar="APP")


def _add_dry_run(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--dry-run", action="store_true", help="print what would be done")


def _add_reveal(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--reveal", action="store_true", help="print the values, too")


def _add_state(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--state", action="store_true", help="print all that the master knows and holds, as JSON"
    )


def _add_file_or_target(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("target", metavar="FILE.toml|MODULE:CALLABLE")
    start_file.add_file_options(verb)


def _add_unit(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--user", action="store_true", help="for this user's own systemd")
    verb.add_argument("--dry-run", action="store_true", help="print what would be done")


def _add_shell(verb: argparse.ArgumentParser) -> None:
    from prefork.cli.verbs.completion import SHELLS  # noqa: PLC0415 - it imports all options

    verb.add_argument("shell", choices=SHELLS)


def _print_completion(_client: Client, options: Options) -> int:
    print(completion.completion_script(options.shell, build_parser()), end="")
    return 0


def _simple(verb: str, done: str) -> Callable[[Client, Options], int]:
    def run(client: Client, options: Options) -> int:
        return change.simple_verb(verb, done)(client, options)

    return run


class CommandVerb(NamedTuple):
    """One verb of the command line.

    ``run`` gets a client and the parsed arguments, and returns the exit code; ``add_arguments``
    declare the arguments of the verb.
    """

    run: Callable[..., int]
    help_text: str
    add_arguments: tuple[AddArguments, ...] = ()


VERBS: dict[str, CommandVerb] = {
    "start": CommandVerb(
        start_command.start,
        "start apps in the background: a target, a file with several, or a name",
        (),
    ),
    "stop": CommandVerb(
        change.stop_apps, "stop apps gracefully", (_add_targets("+"), _add_stop_mode, _add_wait)
    ),
    "restart": CommandVerb(
        restart.restart,
        "reload, or stop and start where a changed setting needs a new master",
        (_add_targets("+"), _add_stop_mode, _add_stop_first, _add_wait),
    ),
    "reload": CommandVerb(
        change.reload_apps,
        "replace workers by ones with new code and settings, losing no request",
        (_add_targets("+"), _add_dry_run, _add_wait),
    ),
    "scale": CommandVerb(
        change.scale_app, "change the number of workers", (_add_workers, _add_wait)
    ),
    "signal": CommandVerb(
        change.signal_workers, "send a signal to workers", (_add_signal, _add_timeout)
    ),
    "delete": CommandVerb(
        change.delete_apps,
        "stop apps and remove them from the list",
        (_add_targets("+"), _add_stop_mode, _add_timeout),
    ),
    "list": CommandVerb(inspect.list_apps, "list all apps", (_add_json, _add_list)),
    "ls": CommandVerb(inspect.list_apps, "list all apps", (_add_json, _add_list)),
    "show": CommandVerb(inspect.show, "show everything about apps", (_add_targets("+"), _add_json)),
    "env": CommandVerb(
        inspect.env, "list the environment variables of an app's workers", (_add_app, _add_reveal)
    ),
    "why": CommandVerb(
        inspect.why,
        "show the last deaths of workers, with their causes",
        (_add_targets("+"), _add_json),
    ),
    "logs": CommandVerb(
        inspect.logs,
        "show the logs of workers and masters, merged by time",
        (_add_targets("*"), logs.add_log_options),
    ),
    "monit": CommandVerb(
        inspect.monit, "show all apps live, with keys to reload, scale and stop", ()
    ),
    "events": CommandVerb(inspect.events, "print events as lines of JSON", (_add_app,)),
    "ping": CommandVerb(
        inspect.ping, "check whether masters answer", (_add_targets("*"), _add_timeout)
    ),
    "reopen": CommandVerb(
        _simple("reopen", "reopened its logs"),
        "open log files again, after a rotation",
        (_add_targets("+"), _add_timeout),
    ),
    "rotate": CommandVerb(
        _simple("rotate", "rotated its logs"),
        "rotate the logs of the workers' output",
        (_add_targets("+"), _add_timeout),
    ),
    "flush": CommandVerb(
        _simple("flush", "emptied its logs"),
        "empty logs, including rotated ones",
        (_add_targets("+"), _add_timeout),
    ),
    "reset": CommandVerb(
        _simple("reset", "reset"),
        "clear deaths and restart counts",
        (_add_targets("+"), _add_timeout),
    ),
    "init": CommandVerb(systemd_unit.init, "write a sample prefork.toml", ()),
    "check": CommandVerb(
        start_file.check,
        "check a file or a target without serving it",
        (_add_file_or_target,),
    ),
    "save": CommandVerb(save.save, "save which apps run, for resurrect", ()),
    "resurrect": CommandVerb(save.resurrect, "start the saved apps that do not run", (_add_wait,)),
    "startup": CommandVerb(
        systemd_unit.startup,
        "write a systemd unit that resurrects the saved apps at boot",
        (_add_unit,),
    ),
    "unstartup": CommandVerb(
        systemd_unit.unstartup, "remove the systemd unit of startup", (_add_unit,)
    ),
    "report": CommandVerb(
        inspect.report,
        "print versions, machine and apps for a bug report, without secrets",
        (_add_targets("*"), _add_state),
    ),
    "completion": CommandVerb(
        _print_completion, "print the completion script of a shell", (_add_shell,)
    ),
}
