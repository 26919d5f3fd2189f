"""Messages of the master to the guard of its programs (unix/orphan_guard.py). PURE.

{"v": 2, "session": 71, "stop_signal": 15, "kill_timeout": 30.0}   with its stderr, and the
                                                                   target of that
{"v": 2, "gone": 71}                                               no process of it is left
"""

import json
from dataclasses import dataclass

from prefork.wire.versions import require_known_version, stamp

VERSION = 2
"""The version of these messages."""


@dataclass(frozen=True, slots=True)
class SessionBegan:
    """A program began: the pid that leads its session, and how the session is ended."""

    pid: int
    stop_signal: int
    kill_timeout: float


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """No process of a session is left."""

    pid: int


def encode_began(session: SessionBegan) -> bytes:
    """Encode the message that a program began."""
    content = {"stop_signal": session.stop_signal, "kill_timeout": session.kill_timeout}
    return json.dumps(stamp(VERSION, {"session": session.pid, **content})).encode()


def encode_ended(pid: int) -> bytes:
    """Encode the message that no process of a session is left."""
    return json.dumps(stamp(VERSION, {"gone": pid})).encode()


def decode_message(data: bytes) -> SessionBegan | SessionEnded:
    """Decode a message. Raises ValueError for one of a later version, and for anything else."""
    message = json.loads(data)
    if isinstance(message, dict):
        require_known_version(message, VERSION)
    match message:
        case {"session": int(pid), "stop_signal": int(signum), "kill_timeout": int() | float()}:
            return SessionBegan(pid, signum, float(message["kill_timeout"]))
        case {"gone": int(pid)}:
            return SessionEnded(pid)
    raise ValueError(f"no message to a guard: {data!r}")
