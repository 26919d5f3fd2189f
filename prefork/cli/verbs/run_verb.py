"""The verbs as words of the command line: which word is one, and carrying it out.

Every verb that changes something waits until its goal is reached, prints the steps on the way, and
exits 0 only then. Several apps are served one after another; the first failure decides the exit
code, and the others still get their turn.
"""

import os
import signal
from collections.abc import Sequence

from prefork.cli.output.standard_output import print_error
from prefork.cli.registry.client import Client
from prefork.cli.verbs.ask_masters import ask_each
from prefork.cli.verbs.verb_parser import build_parser
from prefork.config.parser import parse_verb
from prefork.errors import UsageError
from prefork.wire.verb import resolve
from prefork.wire.verb_table import commands


def foreign_verb_as_ours(arguments: Sequence[str]) -> Sequence[str]:
    """Return the command line with a verb of another manager replaced by ours of that meaning.

    All other command lines stay as they are. Raises UsageError for such a verb that has no equal
    here: it is never taken for an app, because the module that Python finds under such a name would
    be imported and served.
    """
    if not arguments or arguments[0] in commands() or arguments[0].startswith("-"):
        return arguments
    from prefork.config.foreign.foreign_verbs import FOREIGN_VERBS  # noqa: PLC0415 - seldom needed

    word, *words = arguments
    foreign = FOREIGN_VERBS.get(word)
    if foreign is None:
        return arguments
    if not foreign.verb:
        hint = "" if ":" in word else f". An app of this name is {word}:CALLABLE"
        peers = "" if word in foreign.peers else f" as in {' and '.join(foreign.peers)}"
        raise UsageError(f"there is no verb {word}{peers}: {foreign.advice}{hint}")
    names = [each for each in words if not each.startswith("-")]
    # supervisorctl and systemctl show the status of those that are named.
    return ["show" if foreign.verb == "list" and names else foreign.verb, *words]


def is_verb(arguments: Sequence[str]) -> bool:
    """Return whether the command line begins with a verb; if not, it names an app to serve.

    Raises UsageError for a word that is neither and near to a verb.
    """
    if not arguments:
        return False
    word = arguments[0]
    verbs = commands()
    if word not in verbs and word.isalpha() and not _is_module(word):
        import difflib  # noqa: PLC0415 - only this error needs it

        near = difflib.get_close_matches(word, verbs, n=1)
        if near:
            raise UsageError(
                f"there is no verb {word}; did you mean {near[0]}? An app is MODULE:CALLABLE"
            )
    return word in verbs


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
    word, *words = arguments
    verb, client = commands()[word], Client()
    if verb.takes_serving_options:
        code = resolve(verb.run)(client, words)
    else:
        options, notes = parse_verb(build_parser(verb, word), words, verb.name)
        for note in notes:
            print_error(note)
        if any(map(os.path.isfile, getattr(options, "targets", ()))):
            from prefork.cli.verbs.file_targets import names_of_targets  # noqa: PLC0415 - seldom

            options.targets = names_of_targets(client, options.targets, verb.name)
        code = resolve(verb.run)(client, options) if verb.run else ask_each(client, verb, options)
    return int(code)
