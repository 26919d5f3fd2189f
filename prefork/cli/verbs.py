"""The manager's verbs: ``prefork start``, ``list``, ``reload`` …, from the words to the exit code.

Every verb that changes something waits until its goal is reached, tells the steps on the way, and
exits 0 only then. Several targets are served one after another; the first failure decides the exit
code, and the others still get their turn.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import psutil

from prefork.cli.client import Client
from prefork.cli.logs import follow_logs
from prefork.cli.start import start_again, start_new
from prefork.config.flags import Parser
from prefork.errors import AppError, MachineError, PreforkError
from prefork.unix.home import Entry, erase
from prefork.wire.control import Progress

Words = argparse.Namespace


def is_verb(arguments: Sequence[str]) -> bool:
    """Whether the command line is the manager's, and no app to serve."""
    return bool(arguments) and arguments[0] in VERBS


def run_verb(arguments: Sequence[str]) -> int:
    """Do what the words say; the exit code. Raises PreforkError."""
    if arguments[0] == "start":
        return _start(arguments[1:])
    words = _parser().parse_args(list(arguments))
    run: Callable[[Client, Words], int] = words.run
    return run(Client(), words)


def _parser() -> argparse.ArgumentParser:
    made = Parser(prog="prefork", description="Manage the apps of this user.")
    verbs = made.add_subparsers(metavar="VERB", required=True)
    for name, (run, text, add) in VERBS.items():
        verb = verbs.add_parser(name, help=text, description=text[:1].upper() + text[1:] + ".")
        verb.set_defaults(run=run)
        for one in add:
            one(verb)
    return made


# Verbs.


def _start(arguments: Sequence[str]) -> int:
    """``start TARGET`` makes an app and takes every option of serving; ``start NAME`` starts one
    of the list again."""
    client = Client()
    if arguments in ([], ["-h"], ["--help"]):
        print("usage: prefork start [OPTIONS] MODULE:CALLABLE, or prefork start NAME ...,")
        print("       or prefork start [OPTIONS] -- PROGRAM ARGUMENTS")
        print("Options are those of serving; see prefork --help.")
        return 0
    if all(not word.startswith("-") and ":" not in word for word in arguments):
        known = {entry.name for entry in client.find("all")}
        if len(arguments) > 1 or arguments[0] in known:
            return _each(client, arguments, lambda entry: start_again(client, entry))
    return start_new(client, arguments)


def _stop(client: Client, words: Words) -> int:
    return _each(client, words.targets, lambda entry: stop(client, entry, words))


def stop(client: Client, entry: Entry, words: Words) -> int:
    """One app, until its master is gone."""
    if not entry.runs():
        print(f"{entry.name}: does not run")
        return 0
    if words.force:
        _end_by_force(entry)
    else:
        client.ask(entry, "stop", words.timeout, _teller(entry), quick=words.quick)
    if not entry.wait_until_it_ends(words.timeout):
        raise MachineError(
            f"{entry.name}: still there; `prefork stop --force {entry.name}` ends it"
        )
    print(f"{entry.name}: stopped")
    return 0


def _end_by_force(entry: Entry) -> None:
    """The master first, so that it replaces nobody; then everything below it."""
    try:
        master = psutil.Process(entry.pid)
        family = [master, *master.children(recursive=True)]
    except psutil.Error:
        return  # it ended meanwhile
    for process in family:
        try:
            process.kill()  # psutil sees to it that a pid still means the same process
        except psutil.NoSuchProcess:
            pass


def _restart(client: Client, words: Words) -> int:
    def restart(entry: Entry) -> int:
        stop(client, entry, words)
        return start_again(client, Entry(entry.path))

    return _each(client, words.targets, restart)


def _delete(client: Client, words: Words) -> int:
    def delete(entry: Entry) -> int:
        if entry.runs():
            stop(client, entry, words)
        erase(entry.path)
        print(f"{entry.name}: deleted")
        return 0

    return _each(client, words.targets, delete)


def _reload(client: Client, words: Words) -> int:
    def reload(entry: Entry) -> int:
        result = client.ask(entry, "reload", words.timeout, _teller(entry))
        print(f"{entry.name}: reloaded to gen {result['generation']} in {result['took']:.2f}s")
        return 0

    return _each(client, words.targets, reload)


def _scale(client: Client, words: Words) -> int:
    def scale(entry: Entry) -> int:
        result = client.ask(entry, "scale", words.timeout, _teller(entry), workers=words.workers)
        later = "" if result["workers"] == result["asked"] else ", as somebody asked meanwhile"
        print(f"{entry.name}: {result['workers']} workers{later}")
        return 0

    return _each(client, [words.target], scale)


def _list(client: Client, words: Words) -> int:
    apps = client.apps()
    if words.json:
        print(json.dumps(apps, indent=1))
    else:
        from prefork.cli.tables import show_list  # noqa: PLC0415 - rich takes its time

        show_list(apps)
    return 0


def _show(client: Client, words: Words) -> int:
    for entry in client.find(*words.targets):
        app = client.describe(entry)
        if words.json:
            print(json.dumps(app, indent=1))
        else:
            from prefork.cli.tables import show_app  # noqa: PLC0415 - rich takes its time

            show_app(app)
    return 0


def _why(client: Client, words: Words) -> int:
    def why(entry: Entry) -> int:
        deaths = client.ask(entry, "why", 5.0)["deaths"]
        if words.json:
            print(json.dumps(deaths, indent=1))
        else:
            from prefork.cli.tables import show_deaths  # noqa: PLC0415 - rich takes its time

            show_deaths(deaths)
        return 0

    return _each(client, words.targets, why)


def _ping(client: Client, words: Words) -> int:
    def ping(entry: Entry) -> int:
        begun = time.monotonic()
        client.ask(entry, "ping", words.timeout or 5.0)
        print(f"{entry.name}: answers in {(time.monotonic() - begun) * 1000:.1f} ms")
        return 0

    return _each(client, words.targets or ["all"], ping)


def _plain(verb: str, done: str) -> Callable[[Client, Words], int]:
    def run(client: Client, words: Words) -> int:
        def one(entry: Entry) -> int:
            client.ask(entry, verb, words.timeout)
            print(f"{entry.name}: {done}")
            return 0

        return _each(client, words.targets, one)

    return run


def _events(client: Client, words: Words) -> int:
    for entry in client.find(words.target)[:1]:
        for event in client.events(entry):
            print(json.dumps({"text": event.text, **event.details}), flush=True)
    return 0


def _monit(client: Client, _words: Words) -> int:
    from prefork.cli.monit import monitor  # noqa: PLC0415 - rich takes its time

    return monitor(client)


def _logs(client: Client, words: Words) -> int:
    return follow_logs(client.find(*(words.targets or ["all"])), words.lines, words.follow)


# Several apps, one after another.


def _each(client: Client, targets: Sequence[str], act: Callable[[Entry], int]) -> int:
    code = 0
    for entry in client.find(*targets):
        try:
            failed = act(entry)
        except PreforkError as error:
            broken = "the app is broken: " if isinstance(error, AppError) else ""
            name = "" if str(error).startswith(entry.name) else f"{entry.name}: "
            print(f"prefork: {name}{broken}{error}", file=sys.stderr)
            failed = error.exit_code
        code = code or failed
    return code


def _teller(entry: Entry) -> Callable[[Progress], None]:
    """Tells the steps, on a terminal only: a script wants the outcome."""
    if not os.isatty(2):
        return lambda _progress: None
    return lambda progress: print(f"  {entry.name}: {progress.text}", file=sys.stderr)


# Arguments.


def _targets(number: str, text: str = "names, all, or /regular expressions/") -> Any:
    return lambda verb: verb.add_argument("targets", nargs=number, metavar="APP", help=text)


def _timeout(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="give up waiting after so long"
    )


def _quick(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--quick", action="store_true", help="do not wait for requests in flight")
    verb.add_argument("--force", action="store_true", help="kill the master and its workers")


def _json(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--json", action="store_true", help="everything, for programs")


def _workers(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("target", metavar="APP")
    verb.add_argument("workers", metavar="N", help="a number, or +N or -N")


def _one(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("target", metavar="APP")


def _tail(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("-n", "--lines", type=int, default=15, help="how many lines (%(default)s)")
    verb.add_argument("-f", "--follow", action="store_true", help="go on as lines come")


VERBS: dict[str, tuple[Callable[..., int], str, tuple[Any, ...]]] = {
    "start": (_start, "start an app in the background, or one of the list again", ()),
    "stop": (_stop, "stop apps gracefully", (_targets("+"), _quick, _timeout)),
    "restart": (_restart, "stop apps and start them again", (_targets("+"), _quick, _timeout)),
    "reload": (_reload, "roll apps to new code and settings, losing nothing",
               (_targets("+"), _timeout)),
    "scale": (_scale, "change the number of workers", (_workers, _timeout)),
    "delete": (_delete, "stop apps and take them off the list", (_targets("+"), _quick, _timeout)),
    "list": (_list, "all apps", (_json,)),
    "ls": (_list, "all apps", (_json,)),
    "show": (_show, "everything about apps", (_targets("+"), _json)),
    "why": (_why, "the last deaths of workers, with their causes", (_targets("+"), _json)),
    "logs": (_logs, "the last log lines", (_targets("*"), _tail)),
    "monit": (_monit, "all apps, live, with keys to reload, scale and stop", ()),
    "events": (_events, "what happens, as JSON lines", (_one,)),
    "ping": (_ping, "whether masters answer", (_targets("*"), _timeout)),
    "reopen": (_plain("reopen", "reopened its logs"), "open logs anew, after a rotation",
               (_targets("+"), _timeout)),
    "reset": (_plain("reset", "reset"), "forget deaths and restart counts",
              (_targets("+"), _timeout)),
}  # fmt: skip
