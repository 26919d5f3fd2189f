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

A child may be hostile. Its first line that makes no sense, or is too long, or one message more
than any worker has to say, is reported as nonsense, and is the last that is heard of it: so a flood
costs the master one read and one line of its log, and a long text no more than a long traceback.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from prefork.printable import MAX_TEXT_LENGTH, cut_middle

MAX_LINE_SIZE = 256 * 1024
"""Bytes of a line: room for MOST_TEXT characters, each of which JSON writes with up to twelve."""


MAX_MESSAGES = 100
"""From one child in its life. A worker has five to say; it says one again when it is asked for its
stacks once more."""

_MAX_TEXT = MAX_TEXT_LENGTH + 100
"""Characters of a text: as many as ``encode`` leaves."""


class MessageKind(StrEnum):
    """The words."""

    READY = "ready"
    FAILED = "failed"
    LEAVING = "leaving"
    WORN = "worn"
    STUCK = "stuck"


@dataclass(frozen=True, slots=True)
class ReadyMessage:
    """One message."""

    kind: MessageKind
    text: str = ""
    code: int = 0


@dataclass(frozen=True, slots=True)
class InvalidMessage:
    """A line that is no message."""

    line: str


def encode_message(kind: MessageKind, text: str = "", code: int = 0) -> bytes:
    """One line. A long text loses its middle: a traceback tells most at both ends."""
    content = {"say": kind, "text": cut_middle(text), "code": code}
    return json.dumps(content).encode() + b"\n"


class ReadyDecoder:
    """Bytes in, words out; keeps an unfinished line for the next call. Nothing follows nonsense."""

    def __init__(self) -> None:
        self._buffer = b""
        self._messages_left = MAX_MESSAGES

    def feed(self, data: bytes) -> Iterator[ReadyMessage | InvalidMessage]:
        """All words that are complete with ``data``."""
        if not self._messages_left:
            return
        *lines, self._buffer = (self._buffer + data).split(b"\n", self._messages_left)
        for line in lines:
            message = _decode(line)
            self._messages_left -= 1
            yield message
            if isinstance(message, InvalidMessage):
                self._stop()
                return
        if not self._messages_left:
            self._stop()
            yield InvalidMessage(f"more than {MAX_MESSAGES} messages")
        elif len(self._buffer) > MAX_LINE_SIZE:
            yield InvalidMessage(_excerpt(self._buffer))
            self._stop()

    def _stop(self) -> None:
        self._messages_left, self._buffer = 0, b""


def _decode(line: bytes) -> ReadyMessage | InvalidMessage:
    try:
        message = json.loads(line)
        code = message.get("code", 0)
        if code not in range(256):
            raise ValueError(code)
        text = str(message.get("text", ""))[:_MAX_TEXT]
        return ReadyMessage(MessageKind(message["say"]), text, int(code))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return InvalidMessage(_excerpt(line))


def _excerpt(line: bytes) -> str:
    return line[:200].decode("utf-8", "backslashreplace")
