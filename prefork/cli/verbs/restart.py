"""``prefork restart``: a reload that also takes what a reload cannot, and says what that was.

Where a reload is enough it is one. Otherwise the master ends and another begins, on the same
sockets: who connects in between waits, and nobody is refused. Whatever can be known before is
looked at before: wrong settings stop nothing.
"""

import argparse
from collections.abc import Sequence

from prefork.cli.registry.client import Client, NotRunningError
from prefork.cli.verbs.change import roll, stop
from prefork.cli.verbs.launch import StartFailedError, WaitOptions, start_again
from prefork.cli.view.progress import for_each_app
from prefork.errors import MachineError, UsageError
from prefork.unix.control import peer_pid
from prefork.unix.home import RegistryEntry
from prefork.unix.listener_handover import fetch_listeners
from prefork.unix.listeners import Listener
from prefork.version import __version__

Words = argparse.Namespace


def restart(client: Client, words: Words) -> int:
    """``prefork restart``"""

    def one(entry: RegistryEntry) -> int:
        try:
            return _restart(client, client.latest(entry), words)
        except StartFailedError as error:
            return error.exit_code  # its own words are printed already

    return for_each_app(client, words.targets, one)


def _restart(client: Client, entry: RegistryEntry, words: Words) -> int:
    try:
        if entry.is_running():
            return _again(client, entry, words)
    except NotRunningError:
        pass  # it ended at this moment
    print(f"{entry.name}: does not run")
    _begin(client, entry, words)
    return 0


def _again(client: Client, entry: RegistryEntry, words: Words) -> int:
    """One that runs. Raises PreforkError."""
    entry.require_manageable()
    if not entry.state.get("managed"):
        raise UsageError("it runs in the foreground: restart it where it was started")
    if words.force or words.quick or words.stop_first:
        _anew(client, entry, words)
    elif (why := _needs(client, entry, words)) is not None:
        print(f"{entry.name}: stops and starts: {why}")
        _anew(client, entry, words)
    else:
        print(f"{entry.name}: nothing needs a restart; --stop-first stops and starts")
        roll(client, entry, words)
    return 0


def _needs(client: Client, entry: RegistryEntry, words: Words) -> str | None:
    """What only a new master can take; None: nothing. Raises PreforkError for wrong settings."""
    plan = client.ask(entry, "plan", words.timeout)
    options = [change["key"] for change in plan["changes"] if change["restart"]]
    if options:
        return f"{', '.join(options)} changed"
    app = client.describe(entry)
    if app.get("version") != __version__:
        return f"prefork {app.get('version')} is {__version__} now"
    if app.get("answers") and not app["listening"]:
        # Two of them at a time may not be: perhaps it has a port of its own.
        return "a program without --bind cannot be rolled"
    return None


def _anew(client: Client, entry: RegistryEntry, words: Words) -> None:
    """Whoever connects between the two masters waits in the queue of a socket that we hold."""
    kept = []
    if not words.force:
        kept = _listeners(client, entry)
    try:
        stop(client, entry, argparse.Namespace(**{**vars(words), "no_wait": False}))
        _begin(client, entry, words, kept)
    finally:
        for listener in kept:
            listener.socket.close()


def _listeners(client: Client, entry: RegistryEntry) -> list[Listener]:
    """Copies of those of its master. Raises NotRunningError, MachineError."""
    with client.reach(entry, 5.0) as connection:
        try:
            return fetch_listeners(connection)
        except MachineError:
            if entry.wait_for_end(1.0, peer_pid(connection)):
                raise NotRunningError(entry) from None  # it ended at this moment
            raise


def _begin(
    client: Client, entry: RegistryEntry, words: Words, kept: Sequence[Listener] = ()
) -> None:
    waiting = WaitOptions(not words.no_wait, words.timeout)
    start_again(client, RegistryEntry(entry.path), waiting, kept)
