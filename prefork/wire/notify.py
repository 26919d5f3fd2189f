"""Decode the datagrams that a program sends to its notify socket (sd_notify(3)). PURE.

A datagram has a few lines ``NAME=value``. Lines without ``=`` and names that prefork does not know
are ignored.
"""

import re
from collections.abc import Mapping

MAX_DATAGRAM_SIZE = 4096
"""Bytes of a datagram that are read, as many as systemd reads."""

READY = "READY"
STOPPING = "STOPPING"
WATCHDOG = "WATCHDOG"
STATUS = "STATUS"
NODE = "X_PREFORK_NODE"
"""The version of Node, from a process in which the shim takes connections (node/shim.cjs)."""
NODE_PORT = "X_PREFORK_NODE_PORT"
"""The port that this process asked for, if it is not the bound one."""

_VERSION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){0,3}(-[0-9A-Za-z.]{1,40})?")
_PORT = re.compile(r"[0-9]{1,5}")


Notification = Mapping[str, str]


def decode_notification(data: bytes) -> Notification:
    """Decode a datagram into values by name. Of a name that occurs twice, the last value counts.

    Only LF ends a line (sd_notify(3)): text behind a NEL or U+2028 in a status is no variable.
    Bytes that are not UTF-8 become escapes.
    """
    lines = data.decode("utf-8", "backslashreplace").split("\n")
    return {name: value for name, equals, value in (ln.partition("=") for ln in lines) if equals}


def describe_node(said: Notification) -> str:
    """Return a text for `prefork show` about a Node process that shares the sockets, else ""."""
    version, port = said.get(NODE, ""), said.get(NODE_PORT, "")
    if not _VERSION.fullmatch(version):
        return ""
    asked = f"; it asks for port {port} and gets the bound one" if _PORT.fullmatch(port) else ""
    return f"on, in Node {version}{asked}"
