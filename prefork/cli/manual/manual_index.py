"""Find the meanings of a word of ``prefork help``.

It may be a topic, a verb, an option, a variable, a signal, or words of a section of a topic.

A word may have several meanings: ``status`` is a topic and an option. The first one is printed, and
the others are named below it. ``--status`` and ``PREFORK_STATUS`` mean the option alone.

Design
------
- **Words without a meaning of their own find sections:** those with the words in their titles, else
  those with the words in their text, the best one first. Rejected: to name the pages that have the
  text: a search for ``TTIN`` found "setTINgs", and the reader had to search the page again.
"""

import argparse
import difflib
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter

from prefork.cli.manual.manual_pages import COMING_FROM, ManualPage, read_pages
from prefork.cli.verbs.verb_parser import build_parser
from prefork.config.flags import build_parser as build_serving_parser
from prefork.config.foreign.foreign_table import explain, find_flag, find_key
from prefork.config.option_reference import describe_option
from prefork.config.options import OPTIONS, Option
from prefork.config.sources import RESERVED
from prefork.errors import UsageError
from prefork.wire.verb_table import commands

SECTION = "topic with the section"
"""The beginning of the kind of an entry that is a section; its title follows."""

MIN_SEARCHED = 3
"""Characters that words have at least for which the text of the pages is searched."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One meaning of a word.

    ``words``: what to write behind ``prefork help`` to get it. ``kind``: what it is. ``text``: its
    text; ``is_markdown``: the text is Markdown, else it is printed as it is.
    """

    words: str
    kind: str
    text: str
    is_markdown: bool = True


def find_entries(words: str) -> list[Entry]:
    """Return all meanings of the words, the first one first.

    Raises UsageError for words without a meaning; its text has the nearest ones.
    """
    found = list(_entries(words)) or list(_entries(words.removesuffix("s")))
    if not found and not words.startswith(("-", "PREFORK_")):
        found = _sections_about(words) or _sections_with(words)
    if not found:
        raise UsageError(_unknown(words))
    return found


def _entries(words: str) -> Iterator[Entry]:
    if not words.startswith(("-", "PREFORK_")):
        yield from _topics(slug(words))
        yield from _verbs(words)
        yield from _signals(words)
    yield from _options(words)
    yield from _variables(words)
    yield from _flags_of_verbs(words)
    yield from _foreign_words(words)
    if not words.startswith(("-", "PREFORK_")):
        yield from _sections(slug(words))


def slug(words: str) -> str:
    """Return words as they stand in the link to a heading: ``Behind a proxy``, behind-a-proxy."""
    return re.sub(r"[^\w]+", "-", words.lower().replace("_", "-")).strip("-")


def _topics(name: str) -> Iterator[Entry]:
    for known in (name, COMING_FROM + name):
        if known in read_pages():
            yield Entry(known, "topic", read_pages()[known].text)


def _verbs(word: str) -> Iterator[Entry]:
    verb = commands().get(word)
    if verb is not None:
        yield Entry(word, "verb", build_parser(verb, word).format_help(), is_markdown=False)


def _signals(word: str) -> Iterator[Entry]:
    """Yield the page of the signals for the name of one, with SIG or without it."""
    page = read_pages()["signals"]
    named = re.findall(r"^\| ([A-Z0-9, ]+) \|", page.source, re.MULTILINE)
    if word.upper().removeprefix("SIG") in ", ".join(named).split(", "):
        yield Entry(page.name, "topic", page.text)


def _variables(word: str) -> Iterator[Entry]:
    if word in RESERVED:
        yield Entry(word, "variable", f"## `{word}`\n\n{as_sentence(RESERVED[word])}\n")


def _options(word: str) -> Iterator[Entry]:
    for option in OPTIONS.values():
        if word in _spellings(option):
            yield Entry(option.flag, "option", describe_option(option))
    for flags, action in command_flags():
        if word in (*flags, *(flag.lstrip("-") for flag in flags)):
            shown = f"{', '.join(flags)} {action.metavar or ''}".rstrip()
            yield Entry(flags[-1], "option", f"## `{shown}`\n\n{as_sentence(action.help)}\n")


def command_flags() -> Iterator[tuple[list[str], argparse.Action]]:
    """Yield the flags of the command that are no options, such as ``--check``, with their actions.

    The short flag comes first.
    """
    # argparse has no public way to list what a parser accepts.
    for action in build_serving_parser()._actions:
        is_shown = action.help not in (None, argparse.SUPPRESS)
        if action.option_strings and action.dest not in OPTIONS and is_shown:
            yield list(action.option_strings), action


def _flags_of_verbs(word: str) -> Iterator[Entry]:
    """Yield the help of the verbs that have this flag, if it is no option."""
    if word.startswith("--") and word not in all_flags():
        for name, verb in commands().items():
            parser = build_parser(verb, name)
            if any(word in action.option_strings for action in parser._actions):
                yield Entry(name, "verb", parser.format_help(), is_markdown=False)


def as_sentence(text: str | None) -> str:
    """Return the text of a declaration as a sentence."""
    return f"{str(text)[:1].upper()}{str(text)[1:]}."


def _spellings(option: Option) -> tuple[str, ...]:
    short = (option.short,) if option.short else ()
    return (option.flag, f"--no-{option.key}", option.key, option.name, option.variable, *short)


def _foreign_words(word: str) -> Iterator[Entry]:
    """Yield what a flag or a setting of another server is here, and our options for it."""
    found = find_flag(word) or find_key(word)
    if found and word not in all_flags() and slug(word) not in map(slug, OPTIONS):
        text = textwrap.fill(f"{explain(found, word)}.", 90, break_on_hyphens=False)
        yield Entry(word, "word of another server", f"{text}\n", is_markdown=False)
        for name in dict.fromkeys(each.option for each in found):
            if name in OPTIONS:
                yield Entry(OPTIONS[name].flag, "option", "")


def all_flags() -> set[str]:
    """Return all flags of serving: those of options, and the others."""
    flags = {flag for names, _ in command_flags() for flag in names}
    return flags | {word for option in OPTIONS.values() for word in _spellings(option)}


def _sections(name: str) -> Iterator[Entry]:
    for title, entry in _all_sections():
        if slug(title) == name:
            yield entry


def _all_sections() -> Iterator[tuple[str, Entry]]:
    """Yield the sections of all pages with their titles; those for few readers come last.

    The sections of the settings are the options, which their names find.
    """
    for page in sorted(read_pages().values(), key=_is_for_few):
        if page.name != "settings":
            for title, text in page.sections():
                yield title, Entry(page.name, f"{SECTION} {title}", text)


def _is_for_few(page: ManualPage) -> bool:
    return page.name in ("architecture", "benchmarks") or page.name.startswith(COMING_FROM)


def _sections_about(words: str) -> list[Entry]:
    """Return the sections that have all words in their title, also as plurals."""
    wanted = _singulars(words)
    found = [entry for title, entry in _all_sections() if wanted <= _singulars(title)]
    return found if wanted else []


def _sections_with(words: str) -> list[Entry]:
    """Return the sections that have all words in their text, at most one of each page.

    The pages for many readers come first, then the sections that have the words side by side, in
    their title, and most often.
    """
    wanted = _singulars(words)
    if len(words) < MIN_SEARCHED or not wanted:
        return []
    side_by_side = re.compile(rf"(?<!\w){re.escape(words)}s?(?!\w)", re.IGNORECASE)
    ranked: list[tuple[tuple[int, ...], Entry]] = []
    for title, entry in [*_all_sections(), *_pages_without_sections()]:
        found = [word.removesuffix("s") for word in slug(entry.text).split("-")]
        if wanted <= set(found):
            rank = (
                _is_for_few(read_pages()[entry.words]),
                -bool(side_by_side.search(entry.text)),
                -len(wanted & _singulars(title)),
                -sum(map(found.count, wanted)),
            )
            ranked.append((rank, entry))
    best: dict[str, Entry] = {}
    for _, entry in sorted(ranked, key=itemgetter(0)):
        best.setdefault(entry.words, entry)
    return list(best.values())


def _pages_without_sections() -> Iterator[tuple[str, Entry]]:
    for page in read_pages().values():
        if not list(page.sections()):
            yield page.title, Entry(page.name, "topic", page.text)


def _singulars(words: str) -> set[str]:
    return {word.removesuffix("s") for word in slug(words).split("-") if word}


def _unknown(words: str) -> str:
    known = [*read_pages(), *commands()]
    if words.startswith("-"):
        known = [option.flag for option in OPTIONS.values()]
    elif words.startswith("PREFORK_"):
        known = [*(option.variable for option in OPTIONS.values()), *RESERVED]
    else:
        known += [option.key for option in OPTIONS.values()]
    near = difflib.get_close_matches(words, dict.fromkeys(known), n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "prefork help lists all topics"
    return f"there is no topic, verb or option {words}; {hint}"
