"""What a worker says on its ready pipe: one JSON object a line. PURE.

    ready    it accepts requests                             {"say": "ready"}
    failed   it cannot; ``text`` says why, with the app's    {"say": "failed", "text": "…",
             traceback, ``code`` who is at fault (errors.py)  "code": 102}
    leaving  it was signalled, accepts no more, drains;      {"say": "leaving"}
             again, with a ``text``: all is answered, and    {"say": "leaving", "text": "…"}
             only what the text says keeps it
    worn     it asks to be replaced; ``text`` says why       {"say": "worn", "text": "…"}
    stuck    asked for its stacks, it has logged them;       {"say": "stuck", "text": "…"}
             ``text`` says what it was at

Children are gossip: a line that makes no sense is reported as nonsense and otherwise ignored, and
a flood without a line's end is cut off, so that no app can confuse or grow the master.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from prefork.printable import shortened

LONGEST = 256 * 1024
"""Bytes of a line: room for MOST_TEXT characters, each of which JSON writes with up to twelve."""


class Say(StrEnum):
    """The words."""

    READY = "ready"
    FAILED = "failed"
    LEAVING = "leaving"
    WORN = "worn"
    STUCK = "stuck"


@dataclass(frozen=True, slots=True)
class Word:
    """One message."""

    say: Say
    text: str = ""
    code: int = 0


@dataclass(frozen=True, slots=True)
class Nonsense:
    """A line that is no message."""

    line: str


def encode(say: Say, text: str = "", code: int = 0) -> bytes:
    """One line. A long text loses its middle: a traceback tells most at both ends."""
    told = {"say": say, "text": shortened(text), "code": code}
    return json.dumps(told).encode() + b"\n"


class Decoder:
    """Bytes in, words out; keeps an unfinished line for the next call."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Word | Nonsense]:
        """All words that are complete with ``data``."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            yield _decode(line)
        if len(self._rest) > LONGEST:
            line, self._rest = self._rest, b""
            yield Nonsense(_shown(line))


def _decode(line: bytes) -> Word | Nonsense:
    try:
        message = json.loads(line)
        code = message.get("code", 0)
        if code not in range(256):
            raise ValueError(code)
        return Word(Say(message["say"]), str(message.get("text", "")), int(code))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Nonsense(_shown(line))


def _shown(line: bytes) -> str:
    return line[:200].decode("utf-8", "backslashreplace")
