"""The verbs as words of the command line: which word is one, its help, and carrying it out.

Every verb that changes something waits until its goal is reached, prints the steps on the way, and
exits 0 only then. Several apps are served one after another; the first failure decides the exit
code, and the others still get their turn.
"""

import os
import signal
from collections.abc import Sequence

from prefork.cli.registry.client import Client
from prefork.cli.verbs.ask_masters import ask_each
from prefork.cli.verbs.verb_parser import build_parser
from prefork.errors import UsageError
from prefork.wire.verb import resolve
from prefork.wire.verb_table import commands

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
    elif verb.run:
        code = resolve(verb.run)(client, build_parser(verb, word).parse_args(words))
    else:
        code = ask_each(client, verb, build_parser(verb, word).parse_args(words))
    return int(code)


def help_words_as_flags(arguments: Sequence[str]) -> Sequence[str]:
    """Return the command line with ``help``, ``help VERB`` and ``version`` written as flags.

    All other command lines stay as they are. Raises UsageError for an unknown verb after ``help``.
    """
    match list(arguments):
        case ["help"]:
            return ["--help"]
        case ["help", verb] if verb in commands():
            return [verb, "--help"]
        case ["help", verb, *_]:
            # It imports all options.
            from prefork.config.sources import suggest_nearest  # noqa: PLC0415

            raise UsageError(f"there is no verb {verb}{suggest_nearest(verb, commands())}")
        case ["version"]:
            return ["--version"]
    return arguments


def verbs_help() -> str:
    """Return the list of the verbs, for the help of the whole command."""
    lines = [f"  {word:<12} {verb.text}" for word, verb in commands().items()]
    return "\n".join(["manage apps in the background (see prefork VERB --help):", *lines, "", ""])
