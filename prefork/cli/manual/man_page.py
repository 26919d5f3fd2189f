"""The man page prefork(1), made from the declarations of options and verbs by ``scripts/docs``.

It has each option and each verb with its help; the pages of ``prefork help`` have the rest.
"""

from collections.abc import Iterable, Iterator

from prefork.cli.manual.manual_index import command_flags
from prefork.cli.manual.manual_pages import read_pages
from prefork.cli.verbs.verb_parser import describe
from prefork.cli.verbs.verb_reference import show_flag, show_words
from prefork.config.flags import EXIT_CODES, SIGNALS, SOURCES, help_text
from prefork.config.options import POSITIONAL, by_group
from prefork.version import __version__
from prefork.wire.verb import Verb
from prefork.wire.verb_table import VERBS

_HEAD = """\
.SH NAME
prefork \\- serve apps on all cores, with reloads that lose no request
.SH SYNOPSIS
.B prefork
.RI [ OPTIONS ] " MODULE:CALLABLE"
.br
.B prefork
.RI [ OPTIONS ]
.B \\-\\-
.I PROGRAM ARGUMENTS
.br
.B prefork
.IR VERB " ..."
.SH DESCRIPTION
prefork binds the port once, forks workers that share the socket, and replaces them one by one at a
reload without losing a request. It serves WSGI and ASGI apps, any main(listener), and programs in
any language, in the foreground or in the background.
.PP
.B prefork help
shows the manual, which is installed with the program.
"""

_FILES = (
    ("~/.prefork", "the folder of the apps in the background; $PREFORK_HOME names another one"),
    ("prefork.toml", "the settings of an app or of several; prefork init writes a sample"),
)


def man_page() -> str:
    """Return the page in the man(7) macros."""
    return "".join(
        f"{line}\n" if not line.endswith("\n") else line
        for part in (_head(), _options(), _verbs(), _meanings())
        for line in part
    )


def _head() -> Iterator[str]:
    yield '.\\" Made by scripts/docs from the declarations of options and verbs.'
    yield f'.TH PREFORK 1 "" "prefork {__version__}" "User Commands"'
    yield _HEAD


def _options() -> Iterator[str]:
    yield ".SH OPTIONS"
    yield _escape(" ".join(SOURCES.split()))
    for group, options in by_group():
        yield f'.SS "{_escape(group)}"'
        for option in options:
            if option.name not in POSITIONAL:
                names = [option.short, option.flag] if option.short else [option.flag]
                yield from _entry(_flags(names, option.value_type.metavar), help_text(option))
    yield '.SS "Instead of serving"'
    for names, action in command_flags():
        yield from _entry(_flags(names, str(action.metavar or "")), str(action.help))


def _verbs() -> Iterator[str]:
    yield ".SH VERBS"
    yield _escape(
        "APP is a name, a namespace, all, or a /regular expression/. A verb that changes something "
        "waits until its goal is reached, and exits 0 only then."
    )
    for verb in VERBS.values():
        if verb.is_command:
            yield from _verb(verb)


def _verb(verb: Verb) -> Iterator[str]:
    words = " or ".join([show_words(verb), *verb.words[1:]])
    yield from _entry(f"\\fB{_escape(words)}\\fR", f"{describe(verb)} {verb.details}".strip())
    flags = [show_flag(argument) for argument in verb.arguments if argument.flags]
    if flags:
        yield f"Flags: {_escape(', '.join(flags).replace('`', ''))}."


def _meanings() -> Iterator[str]:
    yield ".SH SIGNALS"
    yield "To the master:"
    yield from _table(SIGNALS.items())
    yield ".SH EXIT STATUS"
    yield from _table((str(code), meaning) for code, meaning in EXIT_CODES.items())
    yield ".SH FILES"
    yield from _table(_FILES)
    yield ".SH SEE ALSO"
    yield _escape("prefork help TOPIC, where TOPIC is " + ", ".join(read_pages()) + ".")


def _table(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    for name, meaning in rows:
        yield from _entry(f"\\fB{_escape(name)}\\fR", meaning)


def _entry(title: str, text: str) -> Iterator[str]:
    yield ".TP"
    yield title
    yield _escape(text.replace("`", ""))


def _flags(names: Iterable[str], metavar: str) -> str:
    shown = ", ".join(f"\\fB{_escape(name)}\\fR" for name in names)
    return f"{shown} \\fI{_escape(metavar)}\\fR" if metavar else shown


def _escape(text: str) -> str:
    """Return text in which no character has a meaning for roff (groff_char(7))."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...").replace("'", "\\(aq")
    return f"\\&{text}" if text.startswith(".") else text
