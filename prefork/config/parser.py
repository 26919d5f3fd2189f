"""The argument parser that the options of serving and the verbs have in common. PURE."""

import argparse
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from prefork.config.foreign.translation import has_foreign
from prefork.errors import UsageError

START_FILE = "start FILE"
"""The name of ``start`` with a file in messages."""

_VERB_ADVICE = "give it to `prefork start`, or set it in the settings file and `prefork reload APP`"
_MISSING = "the following arguments are required: "
"""How argparse begins a message."""
_FILE_ADVICE = (
    "set it in the file, where the name of an app is that of its table [apps.NAME]; or give the "
    "file by -c, with --section NAME if it has several apps: `prefork start -c FILE --name web`"
)


class Parser(argparse.ArgumentParser):
    """An argparse parser that raises UsageError instead of printing the usage and exiting.

    It takes no abbreviated flags: a script with one would break, or do something else, when a later
    version has another flag that begins with it.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        """Raise UsageError; argparse calls this for a wrong command line."""
        if message.startswith(_MISSING):
            message = "; ".join(map(self._describe_missing, message[len(_MISSING) :].split(", ")))
        raise UsageError(f"command line: {message}; see {self.prog} --help")

    def _describe_missing(self, name: str) -> str:
        """Return that an argument is missing, with what it is."""
        texts = {action.metavar: action.help for action in self._actions if action.help}
        return f"{name} is missing" + (f": {texts[name]}" if name in texts else "")

    def own_flags(self) -> dict[str, bool]:
        """Return the flags of this parser, and whether they take a value."""
        actions = self._option_string_actions
        return {flag: action.nargs != 0 for flag, action in actions.items()}


def parse_verb(parser: Parser, words: Sequence[str], verb: str) -> tuple[Any, list[str]]:
    """Parse the words of a verb, with the flags of other managers. Raises UsageError.

    Returns the options, and the notes about flags that are not needed. ``verb``: its name in
    messages, whose first word it is.
    """
    own = parser.own_flags()
    notes: list[str] = []
    end = list(words).index("--") if "--" in words else len(words)
    words, rest = words[:end], words[end:]  # what follows -- is no flag
    if has_foreign(words, own):
        # The table of foreign words is long, and few command lines need it.
        from prefork.config.foreign.flag_translator import FlagTranslator  # noqa: PLC0415

        _refuse_serving_options(words, own, verb)
        translation = FlagTranslator(own, verb.split(" ", maxsplit=1)[0]).translate(words)
        words, notes = translation.words, translation.notes
        _refuse_serving_options(words, own, verb)
        _refuse_unknown_flags(words, own, verb)
    # parse_intermixed_args loses the words behind --.
    parse = parser.parse_args if rest else parser.parse_intermixed_args
    return parse([*words, *rest]), notes


def _refuse_unknown_flags(words: Sequence[str], own: Mapping[str, bool], verb: str) -> None:
    """Raise UsageError for a flag that the verb does not have, with the one that may be meant."""
    from prefork.config.sources import suggest_nearest  # noqa: PLC0415 - only this error needs it

    is_value = False
    for word in words:
        flag = word.partition("=")[0] if word.startswith("--") else word[:2]
        is_flag = word.startswith("-") and not re.fullmatch(r"-(\d.*)?", word)
        if is_flag and not is_value and flag not in own:
            hint = suggest_nearest(flag, [each for each in own if each.startswith("--")])
            hint = f"; see prefork {verb} --help" if hint.endswith("--help") else hint
            raise UsageError(f"command line: {verb} has no flag {flag}{hint}")
        is_value = is_flag and word == flag and own.get(flag, False)


def _refuse_serving_options(words: Sequence[str], own: Mapping[str, bool], verb: str) -> None:
    """Raise UsageError for an option of serving, which a verb does not take."""
    from prefork.config.foreign.foreign_table import find_flag  # noqa: PLC0415 - as above
    from prefork.config.options import OPTIONS  # noqa: PLC0415 - only this error needs them

    flags = {flag for option in OPTIONS.values() for flag in (option.flag, option.short) if flag}
    for word in words:
        flag = word.partition("=")[0]
        is_of_verb = any(each.verb for each in find_flag(flag, verb=verb.split(" ", maxsplit=1)[0]))
        if flag in flags and flag not in own and not is_of_verb:
            raise UsageError(
                f"command line: {flag} is an option of serving, and {verb} takes none: "
                + (_FILE_ADVICE if verb == START_FILE else _VERB_ADVICE)
            )
