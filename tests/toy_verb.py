"""A verb that prefork does not have: one declaration, and the two functions that it names.

``python -m tests.toy_verb`` is the command ``prefork`` with this verb.
"""

import argparse
import sys

from prefork.cli.command import main
from prefork.cli.view.answers import Answer
from prefork.master.verb_actions import Fields, Reply, VerbContext
from prefork.wire.verb import Argument, PageAccess, Role, Verb
from prefork.wire.verb_table import SOME_APPS, VERBS

TONES = ("warm", "formal")

GREET = Verb(
    ("greet", "hail"),
    "greet apps in the name of a guest",
    "The greeting is one line.",
    (
        Argument("guest", "the name of the guest", metavar="GUEST", is_sent=True),
        SOME_APPS,
        Argument("loud", "greet in capitals", ("-l", "--loud"), is_sent=True),
        Argument(
            "tone", "one of", ("--tone",), "TONE", default="warm", choices="tests.toy_verb:TONES"
        ),
    ),
    role=Role.GROUP,
    page=PageAccess.WITH_TOKEN,
    action="tests.toy_verb:greet",
    printer="tests.toy_verb:print_greeting",
    timeout=5.0,
)


def greet(context: VerbContext, fields: Fields) -> Reply:
    """Carry out the verb, in the master."""
    text = f"{fields['guest']} greets {context.pool.target} workers of {context.name}"
    return Reply({"text": text.upper() if fields.get("loud") else text})


def print_greeting(answer: Answer, options: argparse.Namespace) -> None:
    """Print the answer of the master, in the command."""
    print(f"{answer.app}: {answer.values['text']} ({options.tone})")


if __name__ == "__main__":
    VERBS[GREET.name] = GREET
    sys.exit(main())
