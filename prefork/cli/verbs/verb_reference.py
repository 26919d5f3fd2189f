"""The table of the verbs in README.md, made from their declarations by ``scripts/docs``."""

from prefork.cli.verbs.verb_parser import describe, list_choices
from prefork.wire.verb import Argument, Verb
from prefork.wire.verb_table import VERBS


def reference_table() -> str:
    """Return the table of the verbs of the command line, in Markdown."""
    lines = ["| verb | what it does | flags |", "|---|---|---|"]
    lines += [_row(verb) for verb in VERBS.values() if verb.is_command]
    return "\n".join(lines) + "\n"


def _row(verb: Verb) -> str:
    name, *aliases = verb.words
    words = " ".join([name, *(_show_word(each) for each in verb.arguments if not each.flags)])
    names = " or ".join(f"`{word}`" for word in (words, *aliases))
    flags = ", ".join(_show_flag(each) for each in verb.arguments if each.flags)
    text = f"{describe(verb)} {verb.details}".strip()
    return f"| {_escape(names)} | {_escape(text)} | {_escape(flags)} |"


def _show_word(argument: Argument) -> str:
    shown = argument.metavar or "|".join(list_choices(argument))
    return {"+": f"{shown}…", "*": f"[{shown}…]"}.get(str(argument.count), shown)


def _show_flag(argument: Argument) -> str:
    *short, name = argument.flags
    value = f"[{argument.metavar}]" if argument.count == "?" else argument.metavar
    return " ".join(f"`{part}`" for part in (*short, f"{name} {value}".strip()))


def _escape(text: str) -> str:
    return text.replace("|", "\\|")
