"""Find the time zone of this machine, or the one that TZ names (tzset(3))."""

import io
import os
import struct
from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo

LOCALTIME = "/etc/localtime"
"""The zone of the machine (localtime(5))."""


def local_zone() -> tzinfo:
    """Return the time zone with its rules for summer time.

    TZ wins over /etc/localtime. A zone that cannot be read means UTC, as in the C library.
    """
    name = os.environ.get("TZ")
    if name is None:
        return _from_file(LOCALTIME) or UTC
    name = name.removeprefix(":")
    if name.startswith("/"):
        return _from_file(name) or UTC
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # KeyError: no zone has that name
        return _from_rule(name) or UTC


def _from_file(path: str) -> tzinfo | None:
    """Return the zone of a TZif file; None when it cannot be read."""
    try:
        with open(path, "rb") as file:
            return ZoneInfo.from_file(file, key=path)
    except (OSError, ValueError):
        return None


def _from_rule(rule: str) -> tzinfo | None:
    """Return the zone of a POSIX rule such as ``CET-1CEST,M3.5.0,M10.5.0/3``; None if it is
    invalid.

    The rule becomes the footer of a TZif file without any transitions (tzfile(5)), which is the
    only way that zoneinfo accepts a rule.
    """
    header = b"TZif2" + bytes(15) + struct.pack(">6L", 0, 0, 0, 0, 1, 4) + bytes(6) + b"UTC\0"
    try:
        file = io.BytesIO(header + header + b"\n" + rule.encode() + b"\n")
        return ZoneInfo.from_file(file, key=rule)
    except (ValueError, UnicodeError):
        return None


START_ZONE = local_zone()
"""The zone when this process, or the one that it was forked from, began.

Logs use it, and not time.localtime: an app may set TZ (Django does, from its TIME_ZONE), and the
lines of its worker would be hours off from those of the master in the same file.
"""
