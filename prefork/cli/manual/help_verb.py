"""``prefork help [TOPIC | OPTION | VERB]``: the manual on the terminal."""

from collections.abc import Sequence

from prefork.cli.manual.manual_index import SECTION, Entry, find_entries
from prefork.cli.manual.manual_pages import read_pages
from prefork.cli.manual.markdown_view import render_markdown
from prefork.cli.manual.pager import show_text
from prefork.cli.registry.client import Client


def show_help(_client: Client, words: Sequence[str]) -> int:
    """Print what the words mean, or the list of topics. Return the exit code.

    Raises UsageError for words that the manual does not have.
    """
    if not words or (words[0] in ("-h", "--help") and len(words) == 1):
        show_text(list_topics())
        return 0
    first, *others = find_entries(" ".join(words))
    text = render_markdown(first.text) if first.is_markdown else first.text
    show_text(text + _name_others(first, others))
    return 0


def list_topics() -> str:
    """Return the list of the topics, each with the sentence that says what it is about."""
    pages = read_pages().values()
    width = max(len(page.name) for page in pages) + 2
    return "\n".join(
        [
            "prefork help TOPIC       a page of the manual:",
            "",
            *(f"  {page.name:<{width}}{page.summary}" for page in pages),
            "",
            "prefork help --OPTION    an option, as in prefork help --timeout; settings has all",
            "prefork help VERB        a verb, as in prefork help start; manager has all",
            "prefork --help           the options of every day; --help-all: all, a line for each",
            "",
        ]
    )


def _name_others(first: Entry, others: Sequence[Entry]) -> str:
    """Return lines that name the other meanings of the words."""
    lines = {
        f"See also: prefork help {other.words} ({other.kind})\n": None
        for other in others
        if other.words != first.words
    }
    if first.kind.startswith(SECTION):
        lines = {f"The whole page: prefork help {first.words}\n": None, **lines}
    return "\n" + "".join(lines) if lines else ""
