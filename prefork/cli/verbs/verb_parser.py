"""The parser of one verb, made from the declarations of its arguments."""

import argparse
from collections.abc import Callable, Iterable
from typing import Any

from prefork.config.parser import Parser
from prefork.wire.verb import Argument, Verb, resolve


def build_parser(verb: Verb, word: str = "") -> Parser:
    """Return the parser of a verb. ``word``: the word that means it; default: its name."""
    parser = Parser(
        prog=f"prefork {word or verb.name}",
        usage="\n       ".join(verb.usage) or None,
        description=" ".join(filter(None, [describe(verb), verb.details.replace("`", "")])),
    )
    add_arguments(parser, verb.arguments)
    return parser


def describe(verb: Verb) -> str:
    """Return the help of a verb as a sentence."""
    return verb.text[:1].upper() + verb.text[1:] + "."


def add_arguments(parser: Parser, arguments: Iterable[Argument]) -> None:
    """Add declared arguments to a parser, each below the heading of its group."""
    groups: dict[str, argparse._ActionsContainer] = {"": parser}
    for argument in arguments:
        if argument.group not in groups:
            groups[argument.group] = parser.add_argument_group(argument.group)
        _add_argument(groups[argument.group], argument)


def _add_argument(group: "argparse._ActionsContainer", argument: Argument) -> None:
    names = argument.flags or (argument.name,)
    settings: dict[str, Any] = {"dest": argument.name} if argument.flags else {}
    if argument.is_switch:
        group.add_argument(*names, action="store_true", help=argument.text, **settings)
        return
    choices, text = list_choices(argument), argument.text
    if argument.metavar:
        settings["metavar"] = argument.metavar
        text = f"{text} {', '.join(choices)}".strip()
    group.add_argument(
        *names,
        type=_parse_function(argument),
        nargs=argument.count,
        default=argument.default,
        const=argument.bare,
        choices=choices or None,
        help=text,
        **settings,
    )


def list_choices(argument: Argument) -> list[str]:
    """Return the words that an argument takes; empty: any word."""
    return list(map(str, resolve(argument.choices))) if argument.choices else []


def _parse_function(argument: Argument) -> Callable[[str], Any]:
    """Return a function whose ValueError, with its text, is what argparse reports."""
    if argument.parse in (int, str):
        return argument.parse

    def parse(word: str) -> Any:
        try:
            return argument.parse(word)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse
