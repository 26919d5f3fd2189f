"""Command lines: their words, and the server that they call. PURE.

Those of Procfiles and of other managers are converted; others were typed in the place of a target,
as in ``start node server.js``.

Design
------
- **In the place of a target they are refused with the line to type, and not taken.** ``start web
  api`` names two apps, and ``-m`` of ``python -m uvicorn`` is a flag of prefork, so where such a
  line ends and what belongs to prefork would be a guess. In one word, as in ``start "npm run
  dev"``, its end is clear.
"""

import posixpath
import re
import shlex
from collections.abc import Sequence

from prefork.config.foreign.foreign_word import PeerName

SERVERS = {
    peer.value: peer
    for peer in (PeerName.GUNICORN, PeerName.UVICORN, PeerName.HYPERCORN, PeerName.GRANIAN)
}
_SHELL = re.compile(r"[|&;<>()`$*?~\[\]{}]|^\w+=")
_QUOTED = re.compile(r"\\.|'[^']*'|\"[^\"$`\\]*\"")
"""Texts in which no character means anything to a shell, as in ``'shop:create_app()'``."""

_PROGRAMS = re.compile(
    r"python[\d.]*|node(js)?|npm|npx|pnpm|pnpx|yarn|bun|bunx|deno|tsx|ts-node|ruby|bundle|php|perl|"
    r"java|dotnet|go|cargo|poetry|pipenv|pdm|uv|uvx|hatch|gunicorn|uvicorn|hypercorn|granian|"
    r"(ba|da|z)?sh|env|sudo"
)


def server_words(words: list[str]) -> list[str]:
    """Return the words of a command line from the name of a server on; none: it calls no server."""
    is_module = re.fullmatch(r"python[\d.]*", posixpath.basename(words[0])) and words[1:2] == ["-m"]
    own = words[2:] if is_module else words
    return own if own and posixpath.basename(own[0]) in SERVERS else []


def split_line(line: str) -> list[str]:
    """Return the words of a command line, which a shell runs if it needs one.

    Raises ValueError for a quotation that is not closed.
    """
    words = shlex.split(line)
    bare = _QUOTED.sub("''", line)
    if _SHELL.search(bare):
        return ["sh", "-c", line if re.search("[|&;]|^\\w+=", bare) else f"exec {line}"]
    return words


def is_known_program(word: str) -> bool:
    """Return whether the word is a program that other commands are usually typed behind."""
    return _PROGRAMS.fullmatch(posixpath.basename(word)) is not None


def explain_command_line(words: Sequence[str], before: str) -> str:
    """Return what to type for a command line. ``before``: the words of prefork in front of it."""
    if server := server_words(list(words)):
        shown = shlex.join(words[: len(words) - len(server) + 1])
        return f"leave out {shown}: {before} {shlex.join(server[1:])}".rstrip()
    return (
        f"{words[0]} is a program, and a program stands behind -- with its arguments: "
        f"{before} -- {shlex.join(words)}"
    )
