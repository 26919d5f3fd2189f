"""The translation of one command line, flag by flag. PURE.

Design
------
- **A flag that some peer has without a value does not take the app for one.** uvicorn's
  ``--access-log main:app`` is a switch and an app, while ``--access-log FILE`` is ours. What looks
  like an app is the app, unless a later word does, too.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from prefork.config.foreign.foreign_table import explain, find_flag, meanings, select_by_value
from prefork.config.foreign.foreign_word import ForeignWord, How, PeerName, Settings
from prefork.config.foreign.translation import (
    ADDRESS_PARTS,
    OPTIONAL_VALUES,
    Translation,
    join_address,
)
from prefork.errors import UsageError

_APP = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*(\(.*\))?")
_MODULE = re.compile(r"(?!.*\.(log|txt|out|err|jsonl?)$)[A-Za-z_]\w*(\.\w+)*")

_IMPLIED = ("request_timeout",)
"""Options that words of other servers set among other things. They are put first, so that a flag
of prefork for them wins."""


class FlagTranslator:
    """Translates one command line into the flags of prefork.

    ``own``: the flags of prefork, and whether they take a value. ``verb``: the verb that the words
    belong to. ``peer``: the words are a command line of this peer, so its flags have precedence
    over those of prefork. ``has_command``: a command follows the words, so no app is among them.
    """

    def __init__(
        self,
        own: Mapping[str, bool],
        verb: str = "",
        peer: PeerName | None = None,
        has_command: bool = False,
    ) -> None:
        self._own = own
        self._verb = verb
        self._peer = peer
        self._done = Translation()
        self._address: Settings = {}
        self._refusals: list[str] = []
        self._has_command = has_command
        self._has_target = has_command
        """An app is among the words, or follows from a file; or a command follows them."""
        self._count = 0
        """How many words may be targets."""

    def translate(self, words: Sequence[str], is_lenient: bool = False) -> Translation:
        """Translate all words. Flags that no peer has stay.

        Raises UsageError, which answers all flags that are refused. ``is_lenient``: the answers
        become notes, and the flags are left out.
        """
        rest = list(words)
        self._has_target |= any(re.match("-c|--config(=|$)", word) for word in rest)
        self._count = len(list(self._targets(rest))) + self._has_command
        while rest:
            word = rest.pop(0)
            if not word.startswith("-") or word == "-":
                self._done.words.append(word)
                self._has_target = True
            else:
                del rest[: self._take_flag(word, rest)]
        if is_lenient:
            self._done.notes += [f"not carried over: {each}" for each in self._refusals]
        elif self._refusals:
            raise UsageError("command line: " + "\n  and ".join(self._refusals))
        self._finish_address()
        return self._done

    def _take_flag(self, word: str, rest: Sequence[str]) -> int:
        """Translate a flag. Return how many of the words behind it belong to it."""
        name, attached = self._split(word)
        following = rest[0] if rest and attached is None and not _is_flag(rest[0]) else ""
        if self._peer is None and name in self._own:
            return self._keep_own(word, name, attached, rest)
        found = find_flag(name, self._peer, self._verb)
        if not found:
            self._done.words.append(word)
            return 0
        if following and self._is_app(following, rest):
            found, following = _without_value(found, following)
        meant = select_by_value(found, following if attached is None else attached)
        takes = meant[0].takes if following else 0
        value = following if takes else attached or ""
        if meant[0].takes and not value and attached is None:
            self._refusals.append(f"{name} needs a value; {explain(found, name)}")
        elif attached and not meant[0].takes:
            self._refusals.append(f"{name} takes no value; {explain(meant, name)}")
        else:
            others = [each for each in found if each.peer not in {word.peer for word in meant}]
            self._use(name, meant, value, others)
        return takes

    def _split(self, word: str) -> tuple[str, str | None]:
        """Return a flag and the value in the same word, as in ``--port=80`` and ``-i4``."""
        name, equals, value = word.partition("=")
        if equals and word.startswith("--"):
            return name, value
        if not word.startswith("--") and len(word) > 2 and word not in self._own:
            return word[:2], word[2:]
        return word, None

    def _is_app(self, word: str, rest: Sequence[str]) -> bool:
        """Return whether a word behind a flag is the app, if the flag may be without a value.

        ``rest``: the words behind the flag, of which it is the first.
        """
        others = list(self._targets(rest[1:]))
        if _APP.fullmatch(word):
            return not any(map(_APP.fullmatch, others))
        return not others and not self._has_target and _MODULE.fullmatch(word) is not None

    def _targets(self, words: Sequence[str]) -> Iterator[str]:
        """Yield the words that are neither flags nor values of flags."""
        is_value = False
        for word in words:
            if not is_value and not word.startswith("-"):
                yield word
            takes = self._own.get(word) or any(each.takes for each in find_flag(word))
            is_value = takes and word not in OPTIONAL_VALUES

    def _keep_own(self, word: str, name: str, attached: str | None, rest: Sequence[str]) -> int:
        """Keep a flag of prefork, unless its number of values is a peer's."""
        following = rest[0] if rest and not _is_flag(rest[0]) else ""
        if attached is None and name in OPTIONAL_VALUES:
            if self._own[name] and (not following or self._is_app(following, rest)):
                self._use(name, [each for each in find_flag(name) if not each.takes], "", [])
                return 0
            is_value = re.fullmatch(OPTIONAL_VALUES[name], following) or (
                # Only one of several words can be the target.
                name == "--watch"
                and following
                and self._count > 1
                and not _APP.fullmatch(following)
            )
            if not self._own[name] and is_value:
                self._use_optional_value(name, following)
                return 1
        self._done.words.append(word)
        if attached is None and self._own[name] and rest:
            self._done.words.append(rest[0])
            return 1
        return 0

    def _use_optional_value(self, name: str, value: str) -> None:
        if name == "--watch":
            self._done.words += [name, f"--watch-path={value}"]
        else:
            self._done.words.append("--no-proxy-protocol" if value == "off" else name)

    def _use(
        self, name: str, meant: list[ForeignWord], value: str, others: list[ForeignWord]
    ) -> None:
        """Take, ignore or refuse a flag by its meaning, or refuse it by its meanings.

        ``others``: the words of peers that have the flag and are not meant.
        """
        how, same = meant[0].how, self._own_spelling(meant[0])
        typed = f"{name} {value}".strip()
        if how is How.SAME and same:
            self._done.words.append(f"{same}={value}" if value else same)
            self._done.typed[meant[0].option] = typed
        elif len(meanings(meant)) > 1 or how not in (How.TAKEN, How.IGNORED):
            first_of_each = {each.peer: each for each in reversed(others)}
            is_of_others = how is How.SAME and self._verb
            where = f"{self._verb} has no flag {name}: " if is_of_others else ""
            told = [*meant, *reversed(first_of_each.values())]
            self._refusals.append(f"{where}{explain(told, name)}")
        else:
            settings = meant[0].settings(value)
            if how is How.IGNORED:
                self._done.notes.append("ignored: " + explain(meant, typed))
            elif meant[0].is_noted:
                shown = show_settings(settings)
                noted = [replace(word, ours=shown) for word in meant]
                self._done.notes.append(explain(noted, typed))
            self._add(settings, typed)

    def _own_spelling(self, word: ForeignWord) -> str:
        """Return the flag of prefork that is one of the word's flags; empty: none is."""
        return next((flag for flag in reversed(word.flags) if flag in self._own), "")

    def _add(self, settings: Settings, typed: str) -> None:
        """Add settings. ``typed``: the words that they were made from."""
        for option, value in settings.items():
            if option in ADDRESS_PARTS:
                self._address[option] = value
                before = f"{self._done.typed['bind']} " if "bind" in self._done.typed else ""
                self._done.typed["bind"] = f"{before}{typed}"
                continue
            self._done.typed[option] = typed
            at = 0 if option in _IMPLIED else len(self._done.words)
            self._done.words[at:at] = self._spell(option, value)

    def _spell(self, option: str, value: "str | tuple[str, ...]") -> list[str]:
        flag = "--" + option.replace("_", "-")
        if flag in self._own and not self._own[flag]:
            return [flag if value == "true" else f"--no-{flag[2:]}"]
        return [f"{flag}={each}" for each in ([value] if isinstance(value, str) else value)]

    def _finish_address(self) -> None:
        """Add the address that --host, --port and --uds make together. Raises UsageError."""
        if not self._address:
            return
        if any(re.match("-b|--bind(=|$)", word) for word in self._done.words):
            part = next(iter(self._address)).replace("_", "-")
            raise UsageError(f"command line: --bind and --{part}: one of them says where to listen")
        self._done.words.append(f"--bind={join_address(self._address)}")


def show_settings(settings: Settings) -> str:
    """Return settings as they are typed, such as ``--timeout 3 --request-timeout off``."""
    return " ".join(
        f"--{option.replace('_', '-')} {each}"
        for option, value in settings.items()
        for each in ([value] if isinstance(value, str) else value)
    )


def _without_value(found: list[ForeignWord], value: str) -> tuple[list[ForeignWord], str]:
    """Return the words that are meant before an app, and what remains of the value.

    Some peer has the flag without a value, or no peer has this value; else the value stays.
    """
    is_stated = any(word.values and re.fullmatch(word.values, value) for word in found)
    bare = [word for word in found if not word.takes]
    if bare and not (is_stated and _MODULE.fullmatch(value)):
        return bare, ""
    is_wrong = not is_stated and all(word.values for word in found)
    return found, "" if is_wrong else value


def _is_flag(word: str) -> bool:
    """Return whether the word is a flag, and not a negative number or a dash, which is a value."""
    return re.fullmatch(r"-|-?\d+", word) is None and word.startswith("-")
