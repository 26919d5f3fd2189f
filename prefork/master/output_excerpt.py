"""An excerpt of a program's output that tells why it failed: the first error and the last lines.

Wrappers print much after the error: npm reports its own failure, runtimes print long stacks. So
the last lines alone often lack the line that matters.

Design
------
- **The first line that begins with the name of an error** is kept, or else the first that contains
  a word of failure. A word in the middle is weaker evidence: "0 errors" and source lines such as
  ``throw er; // Unhandled 'error' event`` contain one.
- **The search ends when the program is ready** (``stop_search``). What a program prints in months
  of service costs no search, and its first error explains no later death.
"""

import re

TAIL_BYTES = 4096
"""Bytes of the last output that are kept."""

TAIL_LINES = 12
"""Lines of the last output that are shown."""

MAX_LINE = 400
"""Bytes of the first error line that are kept, and of an unfinished line that are searched."""

MAX_LINES = 2000
"""Lines of one call that are searched, because a flood of empty lines may not cost the master more
than some milliseconds."""

_ERROR_BEGINS = re.compile(
    rb"\s*(?:\W{0,3}\s*)?(?:uncaught\s+)?"
    rb"(?:[\w.:]*(?:Error|Exception|ERROR)\b|error\b|fatal\b|panic|thread '.*' panicked)",
)
_ERROR_INSIDE = re.compile(
    rb"\b(?:\w*error|exception|fatal|panic|failed|failure|cannot|could not|not found|no such file"
    rb"|refused|denied|E[A-Z]{4,})\b",
    re.IGNORECASE,
)
_ADDRESS_IN_USE = re.compile(
    rb"EADDRINUSE|address (?:is )?already in use|address in use"
    rb"|AddrInUse|port \d+ is (?:already )?(?:in use|allocated|occupied|used)"
    rb"|is port \d+ in use",
    re.IGNORECASE,
)
_NODE_ADDRESS = re.compile(rb"\bEADDRINUSE: address already in use (\S{1,200})")
"""The message of Node's ``listen``, with the address that it could not get."""
_COLORS = re.compile(rb"\x1b\[[0-9;:]*m")
"""Colors and other attributes of characters (ECMA-48, SGR), which some runtimes print to pipes."""


class OutputExcerpt:
    """The excerpt of what ``feed`` got.

    ``is_address_in_use``: a line says that a port is taken. ``node_address``: the address in such a
    line of Node, as ``:::3000`` or ``127.0.0.1:3000``; empty: there was none.
    """

    def __init__(self) -> None:
        self.is_address_in_use = False
        self.node_address = ""
        self._searches = True
        self._line = b""
        """The beginning of a line without its end."""
        self._first = b""
        self._is_first_strong = False
        self._tail = b""

    def feed(self, data: bytes) -> None:
        """Take in the next output."""
        if self._searches:
            *lines, unfinished = (self._line + data).split(b"\n")
            for line in lines[:MAX_LINES]:
                self._search(line[:MAX_LINE])
            self._line = unfinished[:MAX_LINE]
        self._tail = _last_bytes(self._tail + data)

    def stop_search(self) -> None:
        """Forget the first error, and search for no other one."""
        self._searches = self.is_address_in_use = False
        self.node_address = ""
        self._first = self._line = b""

    def _search(self, line: bytes) -> None:
        line = _COLORS.sub(b"", line)
        if _ADDRESS_IN_USE.search(line):
            self.is_address_in_use = True
            if found := _NODE_ADDRESS.search(line):
                self.node_address = _decode(found[1])
        if self._is_first_strong:
            return
        is_strong = _ERROR_BEGINS.match(line) is not None
        if is_strong or (not self._first and _ERROR_INSIDE.search(line)):
            self._first, self._is_first_strong = line, is_strong

    def text(self) -> str:
        """Return the first error, if the last lines lack it, and the last lines, each indented."""
        if self._searches:
            self._search(self._line)
        lines = [line for line in _decode(self._tail).splitlines() if line.strip()][-TAIL_LINES:]
        first = " ".join(_decode(self._first).splitlines()).rstrip()
        if first and not any(line.startswith(first) for line in lines):
            lines = [first, "…", *lines]
        return "\n".join(f"  {line}" for line in lines)


def _decode(output: bytes) -> str:
    return _COLORS.sub(b"", output).decode("utf-8", "backslashreplace")


def _last_bytes(output: bytes) -> bytes:
    """Return the last bytes, from the start of a line on, or of a character if there is none."""
    if len(output) <= TAIL_BYTES:
        return output
    tail = output[-TAIL_BYTES:]
    if (line := tail.find(b"\n", 0, -1) + 1) > 0:
        return tail[line:]
    whole = next((at for at in range(4) if tail[at] & 0xC0 != 0x80), 0)
    return tail[whole:]
