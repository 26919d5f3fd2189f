"""What a program says on its notify socket: the datagrams of sd_notify(3). PURE.

Each is a few lines ``NAME=value``. Programs are gossip: what makes no sense, or means nothing to
us, is passed over.
"""

from collections.abc import Mapping

MAX_DATAGRAM_SIZE = 4096
"""Bytes of a datagram that are read; systemd reads as many."""

READY = "READY"
STOPPING = "STOPPING"
WATCHDOG = "WATCHDOG"
STATUS = "STATUS"


Notification = Mapping[str, str]


def decode_notification(data: bytes) -> Notification:
    """The values by name; of a name that stands there twice, the last. Only LF ends a line
    (sd_notify(3)): what follows a NEL or U+2028 in a status is no variable."""
    lines = data.decode("utf-8", "backslashreplace").split("\n")
    return {name: value for name, equals, value in (ln.partition("=") for ln in lines) if equals}
