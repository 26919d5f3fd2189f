"""Find the meanings of a foreign word, and say what it is called here. PURE."""

import re
from collections.abc import Iterable

from prefork.config.foreign import (
    granian_words,
    gunicorn_words,
    hypercorn_words,
    pm2_words,
    supervisor_words,
    uvicorn_words,
)
from prefork.config.foreign.foreign_word import ForeignWord, How, PeerName

WORDS: tuple[ForeignWord, ...] = (
    *gunicorn_words.WORDS,
    *uvicorn_words.WORDS,
    *hypercorn_words.WORDS,
    *granian_words.WORDS,
    *pm2_words.WORDS,
    *supervisor_words.WORDS,
)
"""All words of all peers, in the order of the documentation."""


def find_flag(flag: str, peer: PeerName | None = None, verb: str = "") -> list[ForeignWord]:
    """Return the words that have this flag; none: no peer has it.

    ``peer``: only its words. ``verb``: the flags of this verb are meant, if it has the flag.
    """
    found = [word for word in WORDS if flag in word.flags and peer in (None, word.peer)]
    own = [word for word in found if verb and word.verb == verb]
    general = [word for word in found if not word.verb]
    # The flags of supervisord are for a daemon, so those of servers are rather meant.
    servers = [word for word in general if word.peer is not PeerName.SUPERVISOR]
    return own or servers or general


def list_taken_flags() -> list[str]:
    """Return the long flags of other servers that a command line of prefork may have."""
    taken = (word for word in WORDS if word.how is How.TAKEN and not word.verb)
    return [flag for word in taken for flag in word.flags if flag.startswith("--")]


def find_key(key: str, peer: PeerName | None = None) -> list[ForeignWord]:
    """Return the words that have this name in a settings file, with dashes or underscores."""
    name = key.replace("-", "_")
    return [
        word
        for word in WORDS
        if peer in (None, word.peer)
        and any(re.fullmatch(each.replace("*", ".+"), name) for each in word.keys)
    ]


def select_by_value(words: list[ForeignWord], value: str) -> list[ForeignWord]:
    """Return the words that may be meant with this value; all, if no word says which values."""
    stated = [word for word in words if word.values and re.fullmatch(word.values, value)]
    return stated or [word for word in words if not word.values] or words


def meanings(words: Iterable[ForeignWord]) -> list[list[ForeignWord]]:
    """Return the words in groups of one meaning."""
    groups: dict[object, list[ForeignWord]] = {}
    for word in words:
        groups.setdefault(word.meaning, []).append(word)
    return list(groups.values())


def explain(words: Iterable[ForeignWord], shown: str, source: str = "") -> str:
    """Return what the words are here, with the peers that they are from.

    ``shown``: the word as the operator wrote it. ``source``: the settings file, or prefork.run(),
    that it stands in. Several meanings are told one after another.
    """
    return "; ".join(_explain_meaning(group, shown, source) for group in meanings(words))


def _explain_meaning(group: list[ForeignWord], shown: str, source: str) -> str:
    peers = list(dict.fromkeys(f"{word.peer.value}'s" for word in group))
    names = " and ".join([", ".join(peers[:-1]), peers[-1]] if len(peers) > 1 else peers)
    text = "; ".join(dict.fromkeys(word.text for word in group if word.text))
    return f"{names} {shown} {_verdict(group[0], shown, text, source)}"


def _verdict(word: ForeignWord, shown: str, text: str, source: str) -> str:
    if word.ours:
        is_same = word.how is How.SAME
        is_same_word = is_same and shown == word.ours
        ours = re.sub("(^| )--", r"\1", word.ours) if source else word.ours
        ours = ours.replace("-", "_") if source == "prefork.run()" else ours
        if is_same and shown == word.ours.partition(" ")[0] and text.startswith("of "):
            return f"is a flag {text} here"
        what = "is the same here" if is_same_word else f"is {ours} here"
        return f"{what} ({text})" if text else what
    if text.startswith("not "):
        is_refused_for_nothing = word.how is How.ABSENT and text.startswith("not needed")
        return f"is {text}; leave it out" if is_refused_for_nothing and not source else f"is {text}"
    what = "is not needed" if word.how is How.IGNORED else "has no counterpart"
    return f"{what}: {text}"
