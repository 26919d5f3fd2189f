"""Decode the datagrams that a program sends to its notify socket (sd_notify(3)). PURE.

A datagram has a few lines ``NAME=value``. Lines without ``=`` and names that prefork does not know
are ignored.
"""

from collections.abc import Mapping

MAX_DATAGRAM_SIZE = 4096
"""Bytes of a datagram that are read, as many as systemd reads."""

READY = "READY"
STOPPING = "STOPPING"
WATCHDOG = "WATCHDOG"
STATUS = "STATUS"


Notification = Mapping[str, str]


def decode_notification(data: bytes) -> Notification:
    """Decode a datagram into values by name. Of a name that occurs twice, the last value counts.

    Only LF ends a line (sd_notify(3)): text behind a NEL or U+2028 in a status is no variable.
    Bytes that are not UTF-8 become escapes.
    """
    lines = data.decode("utf-8", "backslashreplace").split("\n")
    return {name: value for name, equals, value in (ln.partition("=") for ln in lines) if equals}
