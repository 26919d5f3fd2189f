"""Keys and values of a store as texts: a terminal shows them, and a command line takes them.

Workers choose both, and may have got them from a client. So no byte of them acts on a terminal, and
none ends the line of a key in a pipe.

Design
------
- **A text that stands for a key means exactly this key.** A backslash is doubled, a byte that is
  not UTF-8 is ``\\x80``, a character that is not printable ``\\n``, ``\\x1b`` or ``\\u202e``. So
  what ``keys`` prints can be given to ``get``. Rejected: the escapes of printable.py, where a byte
  and a character may have the same one.
"""

import base64
import re
from typing import Any

from prefork.printable import printable_text

MAX_SHOWN = 4096
"""Bytes of a value that is no text, of which a terminal gets the first ones."""

_ESCAPE = re.compile(rb"\\(\\|[nrt]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})")
_NAMED = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_BYTES_OF_NAMED = {text[1:].encode(): character.encode() for character, text in _NAMED.items()}


def escape_bytes(data: bytes) -> str:
    """Return a printable text that stands for ``data``."""
    text = data.decode("utf-8", "surrogateescape")
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(map(_escape, text))


def _escape(character: str) -> str:
    if character in _NAMED:
        return _NAMED[character]
    if character.isprintable():
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8 (PEP 383)
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def unescape_bytes(text: bytes) -> bytes:
    """Return the bytes that a text of ``escape_bytes`` stands for. A backslash that begins no
    escape means itself."""
    return _ESCAPE.sub(_unescape, text)


def _unescape(found: re.Match[bytes]) -> bytes:
    escape: bytes = found[1]
    if escape in _BYTES_OF_NAMED:
        return _BYTES_OF_NAMED[escape]
    code = int(escape[1:], 16)
    if escape[:1] == b"x":
        return bytes([code])
    is_character = code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF
    return chr(code).encode() if is_character else found[0]


def text_of_value(value: bytes) -> str | None:
    """Return a value as text; None: it is not UTF-8, or has control characters."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return None
    return text if printable_text(text) == text else None


def describe_value(key: bytes, value: bytes) -> dict[str, Any]:
    """Return a key and its value for JSON. ``text`` is None for a value that is no text."""
    return {
        "key": escape_bytes(key),
        "bytes": len(value),
        "text": text_of_value(value),
        "base64": base64.b64encode(value).decode(),
    }
