"""Send a verb to the masters of the named apps, and print the answers as its declaration says."""

import argparse
import time

from prefork.cli.registry.client import Client
from prefork.cli.view.answers import Answer
from prefork.cli.view.progress import for_each_app, progress_printer
from prefork.errors import MachineError
from prefork.unix.registry_entry import RegistryEntry
from prefork.wire.verb import Verb, resolve
from prefork.wire.verb_table import NO_WAIT

Options = argparse.Namespace


def ask_each(client: Client, verb: Verb, options: Options) -> int:
    """Carry out a verb on each app that the command line names. Return the exit code.

    Where the command line may name none and does so, all apps are meant.
    """

    def action(entry: RegistryEntry) -> int:
        ask_and_print(client, verb, entry, options)
        return 0

    return for_each_app(client, options.targets or ["all"], action)


def ask_and_print(client: Client, verb: Verb, entry: RegistryEntry, options: Options) -> None:
    """Send a verb to the master of an app, and print its answer. Raises PreforkError.

    An answer that cannot be printed is an error of this app only: its master may be another user's,
    and the other apps of the command line get their turn.
    """
    answer = ask_app(client, verb, entry, options)
    if verb.printer:
        try:
            resolve(verb.printer)(answer, options)
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise MachineError(
                f"{entry.name}: the answer of its master to {verb.name} is malformed: {error!r}"
            ) from error
    else:
        print(f"{entry.name}: {verb.done}")


def ask_app(client: Client, verb: Verb, entry: RegistryEntry, options: Options) -> Answer:
    """Send a verb to the master of an app and return its answer. Raises PreforkError.

    The steps on the way are printed for verbs that the user may decline to wait for: these take
    their time.
    """
    timeout = getattr(options, "timeout", None) or verb.timeout
    fields = {field.name: getattr(options, field.name) for field in verb.fields}
    steps = {"on_progress": progress_printer(entry)} if NO_WAIT in verb.fields else {}
    start = time.monotonic()
    values = client.ask(entry, verb.name, timeout, **steps, **fields)
    return Answer(entry.name, values, time.monotonic() - start)
