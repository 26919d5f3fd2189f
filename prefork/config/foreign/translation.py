"""The translation of a command line: its parts, and whether there is anything to translate. PURE.

Design
------
- **A flag of a peer is taken where it means the same, ignored where its effect is what prefork does
  anyway, and else refused with its exact answer.** Nothing that protects an app is ignored.
  Rejected: to accept all that can be guessed; a server that drops ``--ssl-crl`` is less safe than
  one that does not start.
- **prefork's own flags keep their meaning.** ``-w 4`` is not looked up, so a command line without
  foreign words costs a look into one dictionary, and the table is not imported.
- **Where two peers use one flag differently, its value decides:** ``-k gevent`` is gunicorn's
  class of workers, and ``-k 3000`` PM2's kill timeout. If it does not, both meanings are told.
- **All foreign flags are answered at once.** A command line that was moved over has several.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # every verb imports this module, and seldom needs the table
    from prefork.config.foreign.foreign_word import Settings

ADDRESS_PARTS = ("host", "port", "uds", "uds_mode")
"""Settings of other servers that make one address together."""

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", "8000"

OPTIONAL_VALUES = {
    "--access-log": r"",
    "--server-header": r"",
    "--proxy-protocol": r"off|v1|v2|auto",
    "--watch": r"\.{0,2}/.*|\.\.?",
}
"""Flags of prefork that a peer has with another number of values.

The first two are without a value there, if the next word is a flag or there is none. The others
have no value here, and these regular expressions are those of the values that peers give them.
"""


@dataclass(slots=True)
class Translation:
    """A command line in the flags of prefork.

    ``notes``: a line for each word that was ignored or means something else than one may think.
    ``typed``: the words of the operator by the option that they were translated to.
    """

    words: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    typed: dict[str, str] = field(default_factory=dict)


def has_foreign(words: Sequence[str], own: Mapping[str, bool]) -> bool:
    """Return whether a word may be a flag of a peer; values that begin with a dash are such, too.

    ``own`` has the flags of prefork, and whether they take a value.
    """
    return any(
        word.startswith("-")
        and len(word) > 1
        and (word.partition("=")[0] not in own or word in OPTIONAL_VALUES)
        for word in words
    )


def join_address(parts: "Settings") -> str:
    """Return the address that host, port and unix socket of another server make together."""
    if "uds" in parts:
        mode = f",mode={parts['uds_mode']}" if "uds_mode" in parts else ""
        return f"unix:{str(parts['uds']).removeprefix('unix:')}{mode}"
    host, port = str(parts.get("host", DEFAULT_HOST)), parts.get("port", DEFAULT_PORT)
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"{host}:{port}"
