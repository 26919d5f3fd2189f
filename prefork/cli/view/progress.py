"""One verb on one app or several, one after another, and the steps on the way."""

import os
import sys
import traceback
from collections.abc import Callable, Sequence

from prefork.cli.output.standard_output import print_error
from prefork.cli.registry.client import Client
from prefork.errors import AppError, PreforkError
from prefork.unix.registry_entry import RegistryEntry
from prefork.wire.control import Progress, RefusedError


def for_each_app(
    client: Client, targets: Sequence[str], action: Callable[[RegistryEntry], int]
) -> int:
    """Call ``action`` with each app that the targets mean; return the first exit code that is not
    0.

    An error is printed, and the next app gets its turn.
    """
    code = 0
    for entry in client.find(*targets):
        exit_code = carry_out(entry, action)
        code = code or exit_code
    return code


def carry_out(entry: RegistryEntry, action: Callable[[RegistryEntry], int]) -> int:
    """Call ``action`` with one app and return its exit code; an error is printed.

    So is one that was not expected: an answer that the command cannot read, for example, comes from
    the master of this app, which may be another user's, and the other apps get their turn.
    """
    try:
        return action(entry)
    except PreforkError as error:
        broken = "the app is broken: " if isinstance(error, AppError) else ""
        name = "" if _names_app(error, entry.name) else f"{entry.name}: "
        print_error(f"{name}{broken}{error}")
        return error.exit_code
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        trace = "".join(traceback.format_exception(error))
        print_error(f"{entry.name}: this is a bug in prefork, please report it\n{trace}")
        return PreforkError.exit_code


def _names_app(error: PreforkError, name: str) -> bool:
    """Return whether the message begins with the name of the app.

    A reason of the master may begin with a word that happens to be the name, as in "worker 0".
    """
    ends = (": ",) if isinstance(error, RefusedError) else (": ", " ")
    return str(error).startswith(tuple(name + end for end in ends))


def progress_printer(entry: RegistryEntry) -> Callable[[Progress], None]:
    """Return a function that prints a step on stderr, if that is a terminal.

    A script needs only the outcome.
    """
    if not os.isatty(2):
        return lambda _progress: None
    return lambda progress: print(f"  {entry.name}: {progress.text}", file=sys.stderr)
