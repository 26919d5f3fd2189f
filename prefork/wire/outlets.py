"""What master and log writer say to each other: one JSON object a message. PURE.

    master   {"say": "outlet", "number": 3, "slot": 0, "pid": 71, "stream": "out"}   and its pipe
             {"say": "settings", …}       how to write and rotate from now on
             {"say": "rotate", "number": 5}, likewise flush
             {"say": "reopen", "number": 6}, and the master's own log, opened anew
    writer   {"say": "drained", "number": 3}     the outlet came to its end
             {"say": "done", "number": 5}        what was asked is done

Both are always of the same version, because one is forked by the other.
"""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Outlet:
    """One stream, ``out`` or ``err``, of one worker. ``number`` is never used twice."""

    number: int
    slot: int
    pid: int
    stream: str


def message(say: str, **details: Any) -> bytes:
    """The bytes of a message."""
    return json.dumps({"say": say, **details}).encode()


def read(data: bytes) -> tuple[str, dict[str, Any]]:
    """What is said, and its details."""
    details: dict[str, Any] = json.loads(data)
    return str(details.pop("say")), details
