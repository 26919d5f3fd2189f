"""The manager's verbs: ``prefork start``, ``list``, ``reload`` …, from the words to the exit code.

Every verb that changes something waits until its goal is reached, tells the steps on the way, and
exits 0 only then. Several targets are served one after another; the first failure decides the exit
code, and the others still get their turn.
"""

import argparse
import difflib
import importlib.util
import os
import signal
from collections.abc import Callable, Sequence
from typing import Any

from prefork.cli import changing, completion, ecosystem, looking, saving, startup
from prefork.cli.client import Client
from prefork.cli.logs import add_words as add_logs_words
from prefork.cli.logs import show_logs
from prefork.cli.progress import each
from prefork.cli.restarting import restart
from prefork.cli.sorting import SORTS
from prefork.cli.start import StartFailedError, Waiting, start_again, start_new
from prefork.config.flags import Parser
from prefork.errors import UsageError
from prefork.unix.home import Entry

Words = argparse.Namespace


def is_verb(arguments: Sequence[str]) -> bool:
    """Whether the command line is the manager's, and no app to serve.

    Raises UsageError for what is neither, and near to a verb.
    """
    if not arguments:
        return False
    word = arguments[0]
    if word not in VERBS and word.isalpha() and not _is_module(word):
        near = difflib.get_close_matches(word, VERBS, n=1)
        if near:
            raise UsageError(
                f"there is no verb {word}; did you mean {near[0]}? An app is MODULE:CALLABLE"
            )
    return word in VERBS


def _is_module(word: str) -> bool:
    """Whether it could be an app: the callable may be left out."""
    here = os.path.exists(f"{word}.py") or os.path.isdir(word)
    return here or importlib.util.find_spec(word) is not None


def run_verb(arguments: Sequence[str]) -> int:
    """Do what the words say; the exit code. Raises PreforkError."""
    try:
        return _run(arguments)
    except BrokenPipeError:
        # Who read our words has enough of them, as in prefork list | head.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 128 + signal.SIGPIPE


def _run(arguments: Sequence[str]) -> int:
    if arguments[0] == "start":
        try:
            return _start(list(arguments[1:]))
        except StartFailedError as error:
            return error.exit_code  # its own words are printed already
    words = parser().parse_args(list(arguments))
    run: Callable[[Client, Words], int] = words.run
    return run(Client(), words)


def parser() -> argparse.ArgumentParser:
    """Of all verbs."""
    made = Parser(prog="prefork", description="Manage the apps of this user.")
    verbs = made.add_subparsers(metavar="VERB", required=True)
    for name, (run, text, add) in VERBS.items():
        verb = verbs.add_parser(name, help=text, description=text[:1].upper() + text[1:] + ".")
        verb.set_defaults(run=run)
        for one in add:
            one(verb)
    return made


def managing() -> str:
    """The verbs, for the help of the whole command."""
    lines = [f"  {name:<12} {text}" for name, (_, text, _) in VERBS.items()]
    return "\n".join(["manage apps in the background (see prefork VERB --help):", *lines, "", ""])


START_USAGE = """\
usage: prefork start [OPTIONS] MODULE:CALLABLE      an app; OPTIONS are those of serving
       prefork start NAME ...                       apps of the list again
       prefork start FILE.toml [--only A,B] [--env NAME] [--dry-run] [--prune]
--attach: follow the logs until Ctrl-C, the app goes on; --no-wait: do not wait for the outcome
See prefork --help for the options of serving.
"""


def _start(arguments: list[str]) -> int:
    """``start FILE.toml`` makes true what the file says; ``start TARGET`` makes an app and takes
    every option of serving; ``start NAME`` starts one of the list again."""
    client = Client()
    if arguments in (["-h"], ["--help"]):
        print(START_USAGE, end="")
        return 0
    if not arguments:
        raise UsageError("start what? See prefork start --help")
    own, rest = arguments, []
    if "--" in arguments:  # what follows belongs to a program
        at = arguments.index("--")
        own, rest = arguments[:at], arguments[at:]
    attach, waiting = "--attach" in own, Waiting("--no-wait" not in own)
    code = 0
    if any(ecosystem.is_file(word) for word in _targets_of(own)):
        code, apps = ecosystem.start_file(client, arguments)
    else:
        own = [word for word in own if word not in ("--attach", "--no-wait")]
        if not rest and _all_names(client, own):
            apps = client.find(*own)
            code = each(client, own, lambda entry: _again(client, entry, waiting))
        else:
            apps = [start_new(client, own + rest, waiting)]
    if attach and code == 0 and apps:
        follow = parser().parse_args(["logs", "-f"])
        show_logs([Entry(app.path) for app in apps], follow)
    return code


def _targets_of(words: list[str]) -> list[str]:
    """The words that are neither an option nor follow one: -c FILE.toml is an option's value."""
    return [
        word
        for before, word in zip(["", *words], words, strict=False)
        if not word.startswith("-") and (not before.startswith("-") or before in SWITCHES)
    ]


SWITCHES = ("--attach", "--no-wait", "--dry-run", "--prune")


def _all_names(client: Client, words: list[str]) -> bool:
    if not words or any(word.startswith("-") or ":" in word for word in words):
        return False
    known = {entry.name for entry in client.find("all")}
    known |= {str(entry.state.get("namespace") or "") for entry in client.find("all")}
    return len(words) > 1 or words[0] in known or words[0] == "all" or words[0].startswith("/")


def _again(client: Client, entry: Entry, waiting: Waiting) -> int:
    try:
        start_again(client, entry, waiting)
    except StartFailedError as error:
        return error.exit_code
    return 0


# Arguments.


def _targets(number: str, text: str = "names, namespaces, all, or /regular expressions/") -> Any:
    return lambda verb: verb.add_argument("targets", nargs=number, metavar="APP", help=text)


def _timeout(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--timeout", type=_seconds, metavar="SECONDS", help="give up waiting after so long"
    )


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds")
    return seconds


def _waits(verb: argparse.ArgumentParser) -> None:
    _timeout(verb)
    verb.add_argument("--no-wait", action="store_true", help="do not wait for the outcome")


def _quick(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--quick", action="store_true", help="do not wait for requests in flight")
    verb.add_argument("--force", action="store_true", help="kill the master and its workers")


def _stop_first(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--stop-first", action="store_true", help="stop and start also where a reload is enough"
    )


def _list(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--sort", choices=SORTS, default="name", metavar="KEY", help="one of " + ", ".join(SORTS)
    )
    verb.add_argument(
        "--watch",
        type=_seconds,
        nargs="?",
        const=2.0,
        metavar="SECONDS",
        help="again and again until q or Ctrl-C; default: every 2 seconds",
    )


def _json(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--json", action="store_true", help="everything, for programs")


def _workers(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("target", metavar="APP")
    verb.add_argument("workers", metavar="N", help="a number, or +N or -N")


def _signal(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("target", metavar="APP")
    verb.add_argument("signal", metavar="SIGNAL", help="TERM, SIGTERM or 15")
    verb.add_argument("--slot", type=int, metavar="N", help="only to this worker slot")


def _one(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("target", metavar="APP")


def _dry(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--dry-run", action="store_true", help="say what would be done")


def _reveal(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--reveal", action="store_true", help="with the values")


def _file_or_target(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("target", metavar="FILE.toml|MODULE:CALLABLE")
    ecosystem.add_file_options(verb)


def _unit(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--user", action="store_true", help="for this user's own systemd")
    verb.add_argument("--dry-run", action="store_true", help="print what would be done")


def _shell(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("shell", choices=completion.SHELLS)


def _complete(_client: Client, words: Words) -> int:
    print(completion.script(words.shell, parser()), end="")
    return 0


VERBS: dict[str, tuple[Callable[..., int], str, tuple[Any, ...]]] = {
    "start": (_start, "start apps in the background: a target, a file with several, or a name", ()),
    "stop": (changing.stop_apps, "stop apps gracefully", (_targets("+"), _quick, _waits)),
    "restart": (restart, "reload, or stop and start where a reload cannot take what changed",
                (_targets("+"), _quick, _stop_first, _waits)),
    "reload": (changing.reload, "roll apps to new code and settings, losing nothing",
               (_targets("+"), _dry, _waits)),
    "scale": (changing.scale, "change the number of workers", (_workers, _waits)),
    "signal": (changing.signal, "send workers a signal", (_signal, _timeout)),
    "delete": (changing.delete_apps, "stop apps and take them off the list",
               (_targets("+"), _quick, _timeout)),
    "list": (looking.list_apps, "all apps", (_json, _list)),
    "ls": (looking.list_apps, "all apps", (_json, _list)),
    "show": (looking.show, "everything about apps", (_targets("+"), _json)),
    "env": (looking.env, "the variables of an app's workers", (_one, _reveal)),
    "why": (looking.why, "the last deaths of workers, with their causes", (_targets("+"), _json)),
    "logs": (looking.logs, "what workers and masters say, merged by time",
             (_targets("*"), add_logs_words)),
    "monit": (looking.monit, "all apps, live, with keys to reload, scale and stop", ()),
    "events": (looking.events, "what happens, as JSON lines", (_one,)),
    "ping": (looking.ping, "whether masters answer", (_targets("*"), _timeout)),
    "reopen": (changing.plain("reopen", "reopened its logs"), "open logs anew, after a rotation",
               (_targets("+"), _timeout)),
    "rotate": (changing.plain("rotate", "rotated its logs"), "put what workers printed away",
               (_targets("+"), _timeout)),
    "flush": (changing.plain("flush", "emptied its logs"), "empty logs, the rotated ones, too",
              (_targets("+"), _timeout)),
    "reset": (changing.plain("reset", "reset"), "forget deaths and restart counts",
              (_targets("+"), _timeout)),
    "init": (startup.init, "write a prefork.toml to begin with", ()),
    "check": (ecosystem.check, "whether a file or a target is right, without serving",
              (_file_or_target,)),
    "save": (saving.save, "keep which apps run, for resurrect", ()),
    "resurrect": (saving.resurrect, "start the apps that were saved and do not run", (_waits,)),
    "startup": (startup.startup, "have systemd resurrect the saved apps at boot", (_unit,)),
    "unstartup": (startup.unstartup, "undo startup", (_unit,)),
    "report": (looking.report, "versions, machine and apps for a bug report, without secrets", ()),
    "completion": (_complete, "the completion script of a shell", (_shell,)),
}  # fmt: skip
