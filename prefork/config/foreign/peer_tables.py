"""The tables of the coming-from pages of the manual, in Markdown. PURE."""

from collections.abc import Collection

from prefork.config.foreign.foreign_table import WORDS
from prefork.config.foreign.foreign_verbs import FOREIGN_VERBS
from prefork.config.foreign.foreign_word import ForeignWord, How, PeerName


def word_table(peer: PeerName, version: str) -> str:
    """Return the table of the flags and settings of a peer, with what each is here.

    ``version``: of the peer whose lists the table covers.
    """
    lines = [f"Every flag and setting of {peer.value} {version}:", ""]
    lines += [f"| {peer.value} | here | remark |", "|---|---|---|"]
    lines += [_row(word) for word in WORDS if word.peer is peer]
    return "\n".join(lines) + "\n"


def _row(word: ForeignWord) -> str:
    names = " ".join(f"`{name}`" for name in (*word.keys, *word.flags))
    names = f"{names} of `{word.verb}`" if word.verb else names
    names = f"{names}: {word.example}" if word.example else names
    ours = f"`{word.ours}`" if word.ours else word.how.value
    if word.how is How.TAKEN and word.flags:
        ours += ", " + word.how.value
    return f"| {_escape(names)} | {_escape(ours)} | {_escape(word.text)} |"


def verb_table(peer: str, own: Collection[str]) -> str:
    """Return the table of the verbs of PM2 or supervisorctl that are not the same here.

    ``own``: the verbs of prefork.
    """
    lines = [f"| {peer} | here | remark |", "|---|---|---|"]
    for word, foreign in FOREIGN_VERBS.items():
        if peer in foreign.peers:
            ours = f"`{foreign.verb}`, {How.TAKEN.value}" if foreign.verb in own else ""
            lines.append(f"| `{word}` | {ours} | {_escape(foreign.advice)} |")
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    return text.replace("|", "\\|")
