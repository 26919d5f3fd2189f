"""Parse the command line with an argparse parser that is made from the declared options. PURE.

Each value is kept as text and parsed later by the value type of its option, so that a wrong value
gets the same message on the command line, in the environment and in a file. This module prints
nothing and does not exit.
"""

import argparse
import re
import textwrap
from collections.abc import Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any

from prefork.config.foreign.translation import Translation, has_foreign
from prefork.config.options import OPTIONS, POSITIONAL, Option, by_group
from prefork.config.parser import Parser
from prefork.config.sources import Layer, unknown_flag_error
from prefork.errors import AppError, MachineError, PreforkError, UsageError

DESCRIPTION = """\
Serve an app on all cores: bind once, fork workers that share the socket, reload without losing
a request. MODULE:CALLABLE is a WSGI app, an ASGI app, or a main(listener). PROGRAM is anything
that can be run; with --bind it finds the shared sockets by LISTEN_FDS (sd_listen_fds(3)).
"""

SOURCES = """\
Each option may also be set in a file (-c prefork.toml, key without the leading dashes) or in the
environment (PREFORK_ and the name in capitals). A flag overrides the environment, the environment
overrides the file, and the file overrides the default. --no-factory and --no-daemon undo what a
file says.
"""

SIGNALS = {
    "HUP": "reload",
    "TERM and INT": "graceful stop (twice: quick stop)",
    "QUIT": "quick stop",
    "TTIN and TTOU": "one worker more or less",
    "USR1": "reopen the logs",
    "WINCH": "drain the workers",
}
"""The meanings of signals to the master."""

EXIT_CODES = {
    0: "stopped as asked",
    UsageError.exit_code: "wrong usage",
    AppError.exit_code: "the app is broken",
    MachineError.exit_code: "the system refused something",
    PreforkError.exit_code: "a bug in prefork",
}
"""The meanings of the command's exit codes."""


def _epilog() -> str:
    signals = ", ".join(f"{name} {meaning}" for name, meaning in SIGNALS.items())
    codes = ", ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items())
    return "\n".join(
        [SOURCES, *textwrap.wrap(f"signals to the master: {signals}.", 98),
         *textwrap.wrap(f"exit codes: {codes}.", 98), "",
         "prefork help OPTION explains an option, prefork help lists the topics of the manual.", ""]
    )  # fmt: skip


def build_parser(epilog: str = "") -> Parser:
    """Return the parser of ``prefork [OPTIONS] MODULE:CALLABLE``.

    ``epilog`` is text that the help shows before the sources of settings, signals and exit codes.
    """
    parser = Parser(
        prog="prefork",
        usage="prefork [OPTIONS] MODULE:CALLABLE, or prefork [OPTIONS] -- PROGRAM ARGUMENTS",
        description=DESCRIPTION,
        epilog=epilog + _epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        add_help=False,
    )
    parser.add_argument("app", nargs="?", metavar="MODULE:CALLABLE", help=argparse.SUPPRESS)
    for group, options in by_group():
        section = parser.add_argument_group(group)
        for option in options:
            if option.name not in POSITIONAL:
                _add_option(section, option)
    _add_commands(parser.add_argument_group("Instead of serving"))
    return parser


def _add_option(section: "argparse._ArgumentGroup", option: Option) -> None:
    """Add the flag of an option; one without a value also gets its opposite, --no-FLAG."""
    names = [option.short, option.flag] if option.short else [option.flag]
    settings: dict[str, Any] = {"dest": option.name, "help": help_text(option).replace("%", "%%")}
    if not option.value_type.metavar:
        settings |= {"action": "store_const", "const": "true"}
    else:
        settings["metavar"] = option.value_type.metavar
        if option.value_type.is_list:
            settings["action"] = "append"
    section.add_argument(*names, **settings)
    if not option.value_type.metavar:
        undo: dict[str, Any] = {"dest": option.name, "const": "false", "help": argparse.SUPPRESS}
        section.add_argument(f"--no-{option.key}", action="store_const", **undo)


def _add_commands(section: "argparse._ArgumentGroup") -> None:
    """Add the flags that are no options, such as --config and --check."""
    section.add_argument("-c", "--config", metavar="FILE", help="read this TOML file first")
    section.add_argument(
        "--section", metavar="NAME", help="serve the app of this name from a file with several apps"
    )
    section.add_argument(
        "--stage",
        metavar="NAME",
        help="use the variables and options of the file's tables env_NAME and stage_NAME",
    )
    section.add_argument("--managed", action="store_true", help=argparse.SUPPRESS)
    section.add_argument(
        "--check",
        action="store_true",
        help="check the settings, load the app in a separate process, and exit",
    )
    section.add_argument(
        "--print-config",
        action="store_true",
        help="print all settings, each with its source, and exit",
    )
    section.add_argument("--version", action="store_true", help="print the version and exit")
    section.add_argument(
        "-h", "--help", action="store_true", help="print the options of every day and exit"
    )
    section.add_argument("--help-all", action="store_true", help="print this help and exit")


def help_text(option: Option) -> str:
    """Return the help text of an option, with its default."""
    shown = option.show_default()
    if isinstance(shown, list):
        shown = " ".join(map(str, shown))
    has_default = shown is not False and shown not in ("", {})
    return f"{option.text} (default: {shown})" if has_default else option.text


_parser = cache(build_parser)
"""The parser is built once, because starting a file with many apps parses as many command lines."""


_MILLISECONDS = "{}: a number without a unit counts seconds here, and milliseconds in PM2"


def own_flags() -> dict[str, bool]:
    """Return the flags of serving, and whether they take a value."""
    return _parser().own_flags()


def translate_arguments(arguments: Sequence[str]) -> Translation:
    """Return a command line with the flags of other servers translated. Raises UsageError."""
    words, command = split_command(arguments)
    if command is None and len(words) > 1:
        _refuse_command_line(words)
    own = own_flags()
    milliseconds = re.search(r"(?:^| )(--kill-timeout[ =]\d{4,})(?: |$)", " ".join(words))
    notes = [_MILLISECONDS.format(milliseconds[1])] if milliseconds else []
    if not has_foreign(words, own):
        return Translation(list(arguments), notes)
    # The table of foreign words is long, and few command lines need it.
    from prefork.config.foreign.flag_translator import FlagTranslator  # noqa: PLC0415

    translation = FlagTranslator(own, has_command=command is not None).translate(words)
    translation.notes += notes
    if command is not None:
        translation.words += ["--", *command]
    return translation


def _refuse_command_line(words: Sequence[str]) -> None:
    """Raise UsageError for a program and its arguments, which are typed behind ``--``."""
    if words[0].startswith("-") or ":" in words[0]:
        return
    # Only words that are neither flags nor an app with its callable need it.
    from prefork.config.foreign.command_lines import (  # noqa: PLC0415
        explain_command_line,
        is_known_program,
    )

    if is_known_program(words[0]):
        raise UsageError(explain_command_line(words, "prefork"))


def parse_arguments(
    arguments: Sequence[str], typed: Mapping[str, str] = MappingProxyType({})
) -> tuple[Layer, argparse.Namespace]:
    """Parse a command line, whose flags are those of prefork. Raises UsageError.

    ``typed``: what the operator typed for options that were translated. Returns
    the options as a layer, and the namespace of argparse, which also holds the words that are no
    options, such as --check.
    """
    parser = _parser()
    words, command = split_command(arguments)
    namespace, unknown = parser.parse_known_args(words)
    for word in unknown:
        if word.startswith("-"):
            raise unknown_flag_error(word, parser._option_string_actions)
        raise UsageError(
            f"command line: unexpected argument {word!r}: only one app can be served; "
            "see prefork --help"
        )
    values = {name: value for name, value in vars(namespace).items() if name in OPTIONS}
    # An app on the command line replaces the command of a file, and the other way round.
    if command is not None:
        if "app" in values:
            hint = "" if ":" in values["app"] else f"; prefork -- {values['app']} … runs a program"
            raise UsageError(
                f"command line: {values['app']!r} and a command after --: one of them{hint}"
            )
        values |= {"command": command, "app": ""}
    elif "app" in values:
        values["command"] = ()
    return Layer("command line", values, typed=typed), namespace


def remove_env_options(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the command line without -e and --env options, and the names of their variables."""
    words = list(arguments)
    tail = words[words.index("--") :] if "--" in words else []
    words = words[: len(words) - len(tail)]
    # -DeKEY=VALUE is -D and -eKEY=VALUE in one word.
    words = [part for word in words for part in _split_short_flags(word)]
    env_parser = Parser(argument_default=argparse.SUPPRESS, add_help=False)
    option = OPTIONS["env"]
    env_parser.add_argument(option.short, option.flag, dest="env", action="append")
    found, kept = env_parser.parse_known_args(words)
    names = [pair.partition("=")[0] for pair in getattr(found, "env", [])]
    return kept + tail, names


def _split_short_flags(word: str) -> list[str]:
    return ["-D", "-" + word[2:]] if word.startswith("-De") else [word]


def split_command(arguments: Sequence[str]) -> tuple[list[str], list[str] | None]:
    """Return the words before the first ``--``, and the command after it; None: there is no ``--``.

    Raises UsageError for an empty command.
    """
    words = list(arguments)
    if "--" not in words:
        return words, None
    at = words.index("--")
    if at + 1 == len(words):
        raise UsageError("command line: there is no program after --, as in -- node server.js")
    return words[:at], words[at + 1 :]
