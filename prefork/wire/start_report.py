"""The report of a daemon to the foreground process that started it: one JSON line. PURE.

    {"v": 2, "exit_code": 0}

The foreground process exits with this code (unix/daemon.py). A line of a later version is no
report: the foreground process says so, and the daemon serves on.
"""

import json

from prefork.wire.versions import require_known_version, stamp

VERSION = 2
"""The version of the report."""


def encode_report(exit_code: int) -> bytes:
    """Encode the report."""
    return json.dumps(stamp(VERSION, {"exit_code": exit_code})).encode() + b"\n"


def decode_report(line: bytes) -> int:
    """Return the exit code. Raises ValueError for a line of a later version, and for any other."""
    message = json.loads(line)
    if isinstance(message, dict):
        require_known_version(message, VERSION)
    match message:
        case {"exit_code": int(code)} if 0 <= code <= 255:
            return code
    raise ValueError(f"no report of a start: {line!r}")
