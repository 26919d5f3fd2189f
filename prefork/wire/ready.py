"""The messages of a worker on its ready pipe: one JSON object a line. PURE.

    ready    the worker accepts requests                     {"v": 4, "say": "ready"}
    beats    its first heartbeat came after that: from here  {"say": "beats"}
             on it has a deadline
    failed   it failed to start; ``text``: the reason with   {"say": "failed", "text": "…",
             the app's traceback, ``code``: an exit code      "code": 102}
             (errors.py)
    leaving  it was told to stop, accepts no more, drains;   {"say": "leaving"}
             again with a ``text``: all requests are         {"say": "leaving", "text": "…"}
             answered, and the worker waits for ``text``
    worn     it asks to be replaced; ``text``: the reason    {"say": "worn", "text": "…"}
    resigned it was the leader, and its work as the leader   {"say": "resigned"}
             has ended
    stuck    it logged its stacks, as the master asked;      {"say": "stuck", "text": "…"}
             ``text``: the code that it was executing

Design
------
- **The first invalid line of a child is the last that the master reads from it.** A child may be
  hostile. A line that is malformed or too long, or more messages than a worker ever sends, become
  one InvalidMessage. A flood thus costs the master one read and one line in its log. The worker is
  replaced like a worn one: its successor is ready first, because its clients did nothing wrong.
  The log writer, the status server and the watcher are killed and replaced at once.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from prefork.printable import MAX_TEXT_LENGTH, cut_middle
from prefork.wire.versions import require_known_version, stamp

VERSION = 4
"""The version of the format, the ``v`` of each message (versions.py)."""

MAX_LINE_SIZE = 256 * 1024
"""Bytes of a line: MAX_TEXT_LENGTH characters, each of which takes up to twelve bytes in JSON."""


MAX_MESSAGES = 100
"""Messages of one child in its life. There are seven kinds; ``stuck`` repeats when the master asks
for stacks again."""

_MAX_TEXT = MAX_TEXT_LENGTH + 100
"""Characters of a text: as many as ``encode_message`` keeps."""


class MessageKind(StrEnum):
    """The kinds of messages; see the table above."""

    READY = "ready"
    BEATS = "beats"
    FAILED = "failed"
    LEAVING = "leaving"
    WORN = "worn"
    RESIGNED = "resigned"
    STUCK = "stuck"


@dataclass(frozen=True, slots=True)
class ReadyMessage:
    """One decoded message."""

    kind: MessageKind
    text: str = ""
    code: int = 0


@dataclass(frozen=True, slots=True)
class InvalidMessage:
    """A line that is not a valid message; ``line``: its beginning, for the log."""

    line: str


def encode_message(kind: MessageKind, text: str = "", code: int = 0) -> bytes:
    """Encode one message. A long text loses its middle, because both ends of a traceback matter
    most."""
    content = {"say": kind, "text": cut_middle(text), "code": code}
    return json.dumps(stamp(VERSION, content)).encode() + b"\n"


class ReadyDecoder:
    """Decodes the bytes of one ready pipe, and keeps an unfinished line for the next call.

    After an InvalidMessage it ignores all further bytes.
    """

    def __init__(self) -> None:
        self._buffer = b""
        self._messages_left = MAX_MESSAGES

    def feed(self, data: bytes) -> Iterator[ReadyMessage | InvalidMessage]:
        """Yield the messages that ``data`` completes."""
        if not self._messages_left:
            return
        # At most as many lines as may still come: a flood costs no more than that.
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
    """Decode one line; an invalid one becomes an InvalidMessage."""
    # A hostile child can send any JSON: other types, or nesting that exceeds Python's stack.
    try:
        message = json.loads(line)
        require_known_version(message, VERSION)
        code = message.get("code", 0)
        if code not in range(256):
            raise ValueError(code)
        text = str(message.get("text", ""))[:_MAX_TEXT]
        return ReadyMessage(MessageKind(message["say"]), text, int(code))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return InvalidMessage(_excerpt(line))


def _excerpt(line: bytes) -> str:
    return line[:200].decode("utf-8", "backslashreplace")
