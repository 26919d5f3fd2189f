"""The messages between the master and the log writer or the status server. PURE.

One JSON object a message; some messages bring a descriptor (SCM_RIGHTS).

    master   {"say": "outlet", "number": 3, "slot": 0, "pid": 71, "stream": "out"}   with the pipe
             {"say": "settings", …}       write and rotate by these settings from now on
             {"say": "rotate", "number": 5}, likewise flush
             {"say": "reopen", "number": 6}      with the master's own log, opened again
    writer   {"say": "drained", "number": 3}     the stream reached its end
             {"say": "done", "number": 5}        the request with this number is done

The status server uses the same form:

    server   {"say": "talk", "number": 7}        asks for a connection to the control protocol
             {"say": "logs"}                     asks for the open logs
    master   {"say": "talk", "number": 7}        with one end of a socket pair
             {"say": "log"}                      once per log, with the log
             {"say": "that_is_all"}              after the last log

Each message has the key ``v`` (versions.py). The master reads the messages as if the other process
were hostile, and accepts no descriptor from it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prefork.wire.versions import require_known_version, stamp

VERSION = 2
"""The version of the format, the ``v`` of each message (versions.py)."""


@dataclass(frozen=True, slots=True)
class WorkerStream:
    """The output of one worker on one stream, ``out`` or ``err``. ``number`` identifies it and is
    never used again."""

    number: int
    slot: int
    pid: int
    stream: str


def encode_message(kind: str, /, **details: Any) -> bytes:
    """Encode a message: its kind and its details."""
    return json.dumps(stamp(VERSION, {"say": kind, **details})).encode()


def decode_message(data: bytes) -> tuple[str, dict[str, Any]]:
    """Decode a message into its kind and its details. Raises ValueError when it is malformed."""
    try:
        details = json.loads(data)
    except RecursionError:
        raise ValueError("the message is nested too deeply") from None
    if not isinstance(details, dict) or not isinstance(kind := details.pop("say", None), str):
        raise ValueError('the message is not an object with a "say"')
    require_known_version(details, VERSION)
    return kind, details


def message_number(details: Mapping[str, Any]) -> int:
    """Return the number in the details of a message. Raises ValueError when it has none."""
    number = details.get("number")
    if type(number) is not int:
        raise ValueError("the message has no number")
    return number


def unknown_message_error(kind: str) -> ValueError:
    """Return the error for a message of an unknown kind."""
    return ValueError(f"an unknown message: {kind[:40]!a}")
