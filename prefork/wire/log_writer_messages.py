"""What master and log writer say to each other: one JSON object a message. PURE.

    master   {"say": "outlet", "number": 3, "slot": 0, "pid": 71, "stream": "out"}   and its pipe
             {"say": "settings", …}       how to write and rotate from now on
             {"say": "rotate", "number": 5}, likewise flush
             {"say": "reopen", "number": 6}, and the master's own log, opened anew
    writer   {"say": "drained", "number": 3}     the outlet came to its end
             {"say": "done", "number": 5}        what was asked is done

The status server speaks the same language:

    server   {"say": "talk", "number": 7}        it wants a connection to the control protocol
             {"say": "logs"}                     it wants the logs, open
    master   {"say": "talk", "number": 7}        and one end of a socket pair
             {"say": "log"}, for each log, and the log; then {"say": "that_is_all"}

Both are always of the same version, because one is forked by the other. The master reads as if the
other one were hostile all the same, and gets no descriptor from it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class WorkerStream:
    """One stream, ``out`` or ``err``, of one worker. ``number`` is never used twice."""

    number: int
    slot: int
    pid: int
    stream: str


def encode_message(kind: str, /, **details: Any) -> bytes:
    """The bytes of a message."""
    return json.dumps({"say": kind, **details}).encode()


def decode_message(data: bytes) -> tuple[str, dict[str, Any]]:
    """The word and its details. Raises ValueError when it makes no sense."""
    try:
        details = json.loads(data)
    except RecursionError:
        raise ValueError("a message that is nested too deeply") from None
    if not isinstance(details, dict) or not isinstance(kind := details.pop("say", None), str):
        raise ValueError("a message that is no object which says something")
    return kind, details


def message_number(details: Mapping[str, Any]) -> int:
    """The number that a message is about. Raises ValueError when it has none."""
    number = details.get("number")
    if type(number) is not int:
        raise ValueError("a message without its number")
    return number


def unknown_message_error(kind: str) -> ValueError:
    """The error for a message that means nothing to its reader."""
    return ValueError(f"an unknown message: {kind[:40]!a}")
