"""The pages of the manual: the Markdown files of ``prefork/docs``, which are package data.

A page begins with its title and, in a paragraph of its own, a sentence that says what it is about.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "docs"

ORDER = (
    *("quickstart", "apps", "programs", "deployment", "settings", "manager", "signals"),
    *("planned-restarts", "autoscaling", "balancing", "store", "leader", "tls", "logging"),
    "status",
    *("security", "troubleshooting"),
)
"""The topics that come first in the list, in the order in which a new reader needs them."""

COMING_FROM = "coming-from-"
"""The start of the name of a page for the users of another server."""

_COMMENT = re.compile(r"^<!--.*?-->\n", re.MULTILINE | re.DOTALL)
_PICTURE = re.compile(r"^(!\[.*?\]\(.*?\)|<img .*?>)\n\n?", re.MULTILINE)
_PAGE_LINK = re.compile(r"\[([^\]]+)\]\(([\w-]+)\.md(?:#[\w-]+)?\)")
_SECTION_LINK = re.compile(r"\[([^\]]+)\]\(#[\w-]+\)")


@dataclass(frozen=True, slots=True)
class ManualPage:
    """One topic. ``name``: its word in ``prefork help``; ``source``: its file."""

    name: str
    source: str

    @property
    def title(self) -> str:
        """The title of the page."""
        return self.source.partition("\n")[0].removeprefix("# ")

    @property
    def summary(self) -> str:
        """The sentence below the title."""
        return " ".join(self.source.split("\n\n", 2)[1].split())

    @property
    def text(self) -> str:
        """The page for a terminal: without comments and pictures, and with links to topics."""
        return _for_terminal(self.source)

    def sections(self) -> Iterator[tuple[str, str]]:
        """Yield the title and the text of each section, with its heading."""
        parts = re.split(r"^(?=#{2,3} )", self.source, flags=re.MULTILINE)
        for part in parts[1:]:
            yield part.partition("\n")[0].lstrip("# ").strip("`"), _for_terminal(part)


def _for_terminal(source: str) -> str:
    text = _PICTURE.sub("", _COMMENT.sub("", source))
    return _PAGE_LINK.sub(_name_topic, _SECTION_LINK.sub(r"\1", text))


def _name_topic(link: "re.Match[str]") -> str:
    """Return the text of a link to a page, and the command that shows the page."""
    text, command = link[1], f"`prefork help {link[2]}`"
    return command if text.strip("`").lower() == link[2] else f"{text} ({command})"


@cache
def read_pages() -> dict[str, ManualPage]:
    """Return all pages by name, in the order of the list of topics."""
    found = {path.stem: ManualPage(path.stem, path.read_text()) for path in FOLDER.glob("*.md")}
    first = [name for name in ORDER if name in found]
    coming = sorted(name for name in found if name.startswith(COMING_FROM))
    others = sorted(set(found) - set(first) - set(coming))
    return {name: found[name] for name in (*first, *coming, *others)}
