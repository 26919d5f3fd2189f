"""The table of the verbs in the manual, made from their declarations by ``scripts/docs``."""

from prefork.cli.verbs.verb_parser import describe, list_choices
from prefork.wire.verb import Argument, Verb
from prefork.wire.verb_table import VERBS


def reference_table() -> str:
    """Return the table of the verbs of the command line, in Markdown."""
    lines = ["| verb | what it does | flags |", "|---|---|---|"]
    lines += [_row(verb) for verb in VERBS.values() if verb.is_command]
    return "\n".join(lines) + "\n"


def _row(verb: Verb) -> str:
    names = " or ".join(f"`{word}`" for word in (show_words(verb), *verb.words[1:]))
    flags = ", ".join(show_flag(each) for each in verb.arguments if each.flags)
    text = f"{describe(verb)} {verb.details}".strip()
    return f"| {_escape(names)} | {_escape(text)} | {_escape(flags)} |"


def show_words(verb: Verb) -> str:
    """Return the name of a verb with the words that it takes, as in ``scale APP N``."""
    words = (_show_word(each) for each in verb.arguments if not each.flags)
    return " ".join([verb.name, *words])


def _show_word(argument: Argument) -> str:
    shown = argument.metavar or "|".join(list_choices(argument))
    return {"+": f"{shown}…", "*": f"[{shown}…]", "?": f"[{shown}]"}.get(str(argument.count), shown)


def show_flag(argument: Argument) -> str:
    """Return the names of a flag with its value, in Markdown: `-n` `--lines N`."""
    *short, name = argument.flags
    value = f"[{argument.metavar}]" if argument.count == "?" else argument.metavar
    return " ".join(f"`{part}`" for part in (*short, f"{name} {value}".strip()))


def _escape(text: str) -> str:
    return text.replace("|", "\\|")
