"""Compile the format of the access log into one function that formats a line.

The time is formatted once a second; texts that clients repeat are cached in escaped form.

Control characters, quotes and characters outside of ASCII are escaped, so that a client cannot
forge lines or fields.

Design
------
- **The function is generated as Python source and executed,** as namedtuple does, because a call
  for each directive would be too slow.
"""

import binascii
import os
import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from json.encoder import encode_basestring_ascii
from typing import Any

from prefork import _speed
from prefork.config.access_format import QUOTED, TEXT, VALUE, Directive, Format
from prefork.http.exchange import Exchange
from prefork.unix.time_zone import START_ZONE

LineFormatter = Callable[[Exchange], str]

_HEAD_EXPRESSIONS = {
    "m": "word: head.method",
    "H": "present: 'HTTP/' + head.version",
    "U": "uncached: head.path or None",
    "q": "uncached: head.query or None",
    "u": "bytes: user(SENT) if SENT else None",
    "f": "bytes: SENT",
    "a": "bytes: SENT",
    "host": "bytes: SENT",
    "i": "bytes: SENT",
}
"""Directives whose value depends on the request head alone: ``kind: Python expression``.

The kind says how the value is escaped. ``bytes`` are chosen by the client; they are escaped, and
cached in escaped form. ``uncached`` is the same for values that seldom recur. A ``word`` has
nothing to escape. These may be None. A ``present`` value has nothing to escape and is never None.
"""

_SENT_FIELDS = {"u": b"authorization", "f": b"referer", "a": b"user-agent", "host": b"host"}
"""Directives whose value follows from a field of the request, which is SENT in the expression."""

_EXCHANGE_EXPRESSIONS = {
    # Addresses come from the kernel, or were parsed as addresses, so nothing needs escaping.
    "h": "word: (peer.client or no_client)[0] if head.forwarded is None else client(exchange)",
    "peer": "word: (peer.client or no_client)[0]",
    "scheme": "present: peer.scheme if head.forwarded is None else scheme(exchange)",
    "request_id": "word: exchange.request_id",
    "o": "bytes: exchange.response_field(b'FIELD')",
    "s": "number: exchange.status or NONE",
    "b": "number: exchange.body_bytes_sent or NONE",
    "B": "number: exchange.body_bytes_sent",
    "T": "number: int(monotonic() - exchange.started_at) if exchange.started_at else NONE",
    "M": "number: int((monotonic() - exchange.started_at) * 1e3) if exchange.started_at else NONE",
    "D": "number: int((monotonic() - exchange.started_at) * 1e6) if exchange.started_at else NONE",
    "L": "number: '%.6f' % (monotonic() - exchange.started_at) if exchange.started_at else NONE",
    "t": "present: clock.common",
    "time": "present: clock.iso",
}
"""All other directives, in the same notation. A ``number`` is never quoted."""

_REQUEST_LINE = "f\"{head.method or '-'} {ESCAPE(head.target)} HTTP/{head.version}\""
_UNSAFE = re.compile(r'["\\\x00-\x1f\x7f-\xff]')
_MAX_CACHED = 1024
_MAX_CACHED_LENGTH = 256


def compile_line(pieces: Format, slot: int, generation: int) -> LineFormatter:
    """Compile a parsed format into a function from an Exchange to its line, with the newline.

    The process id, ``slot`` and ``generation`` of the worker are constants of the function.
    """
    template = ""
    expressions: dict[str, str] = {}
    sent: list[bytes] = []
    for number, piece in enumerate(_fill_in(pieces, slot, generation)):
        if isinstance(piece, str):
            template += piece.replace("{", "{{").replace("}", "}}")
            continue
        kind, expression = _expression(piece)
        if "SENT" in expression:
            expression = expression.replace("SENT", f"sent{len(sent)}")
            sent.append(_SENT_FIELDS.get(piece.name) or piece.field.encode())
        placeholder = f"{{v{number}}}"
        template += (
            f'"{placeholder}"' if kind == "present" and piece.style == VALUE else placeholder
        )
        expressions[f"v{number}"] = expression
    names: dict[str, Any] = {
        "clock": CLOCK,
        "sent_names": tuple(sent),
        "time": time.time,
        "monotonic": time.monotonic,
        "no_client": ("",),
        "client": _client,
        "scheme": _scheme,
        "user": _basic_auth_user,
        **{f"escape_{style}": escape for style, escape in _ESCAPES.items()},
        **{f"escaped_{style}": EscapeCache(escape) for style, escape in _ESCAPES.items()},
    }
    exec(_source(template + "\n", expressions, len(sent)), names)
    line: LineFormatter = names["line"]
    return line


def compile_plain_lines(pieces: Format, slot: int, generation: int) -> "_speed.PlainLines | None":
    """Compile a format for plain requests, without an Exchange; None: that is not possible in the
    pure build, or with a field of the response, or with text outside of ASCII."""
    parts: list[tuple[str, bytes, bytes, bool]] = []
    for piece in (*_fill_in(pieces, slot, generation), "\n"):
        if isinstance(piece, str):
            # Words of a command line that are no UTF-8 are surrogates; Python formats them.
            parts.append(("text", piece.encode(errors="surrogatepass"), b"", False))
            continue
        none = _ESCAPES[piece.style](None).encode()
        field = _SENT_FIELDS.get(piece.name, piece.field.encode() if piece.name == "i" else b"")
        kind = "field" if field and piece.name != "u" else piece.name
        if piece.name == "request_id":  # plain requests have none (worker/http_worker.py)
            parts.append(("text", none, b"", False))
        elif piece.name == "H":
            parts.append(
                ("text", b'"HTTP/1.1"' if piece.style == VALUE else b"HTTP/1.1", b"", False)
            )
        else:
            parts.append((kind, field, none, piece.style == VALUE))
    is_known = _speed.IS_COMPILED and all(
        kind in _speed.KINDS and text.isascii() for kind, text, *_ in parts
    )
    return _speed.PlainLines(parts, CLOCK) if is_known else None


def _fill_in(pieces: Format, slot: int, generation: int) -> Iterator[str | Directive]:
    """Put in what is the same in all lines of this process."""
    constants = {"p": os.getpid(), "slot": slot, "generation": generation, "l": "-"}
    for piece in pieces:
        if isinstance(piece, str) or piece.name not in constants:
            yield piece
        elif piece.name == "l" and piece.style == VALUE:
            yield "null"
        else:
            yield str(constants[piece.name])


def _source(template: str, expressions: dict[str, str], sent: int) -> str:
    """Return Python source of ``line(exchange)``. ``sent``: number of fields of the request."""
    lines = ["def line(exchange):"]
    if "clock." in str(expressions):
        lines.append(" if time() >= clock.until: clock.advance()")
    lines.append(" head = exchange.request")
    if sent:
        variables = "".join(f"sent{number}, " for number in range(sent))
        lines.append(f" {variables} = head.find_fields(sent_names)")
    if "peer." in str(expressions):
        lines.append(" peer = exchange.connection.peer")
    lines += [f" {name} = {make}" for name, make in expressions.items()]
    lines.append(f" return f{template!r}")
    return "\n".join(lines)


def _expression(piece: Directive) -> tuple[str, str]:
    """Return the kind of a directive, and a Python expression of its escaped value."""
    style = piece.style
    if piece.name == "r":
        return "present", _REQUEST_LINE.replace(
            "ESCAPE", f"escape_{TEXT if style == TEXT else QUOTED}"
        )
    described = _HEAD_EXPRESSIONS.get(piece.name) or _EXCHANGE_EXPRESSIONS[piece.name]
    kind, _, expression = described.partition(": ")
    none = repr(_ESCAPES[style](None))
    expression = expression.replace("b'FIELD'", repr(piece.field.encode())).replace("NONE", none)
    if kind == "uncached":
        expression = f"escape_{style}({expression})"
    elif kind == "bytes":
        expression = f"escaped_{style}[{expression}]"
        if piece.name == "u" and style == TEXT:
            # The user name stands without quotes, where a space would split it into two fields.
            expression += r".replace(' ', '\\x20')"
    elif kind == "word":
        word = "word" if style != VALUE else "'\"' + word + '\"'"
        expression = f"{word} if (word := {expression}) else {none}"
    return kind, expression


class _Clock:
    """The current second, in the formats of the access log."""

    until = 0.0
    common = iso = ""

    def advance(self) -> None:
        """Format the current time, when a new second has begun."""
        seconds = int(time.time())
        self.until = seconds + 1.0
        local = datetime.fromtimestamp(seconds, START_ZONE)
        self.common = f"{local:[%d/%b/%Y:%H:%M:%S %z]}"
        self.iso = local.isoformat()


CLOCK = _Clock()


class EscapeCache(dict[bytes | None, str]):
    """A cache of escaped texts, bounded because clients choose the texts."""

    def __init__(self, escape: Callable[[bytes | None], str]) -> None:
        super().__init__()
        self._escape = escape

    def __missing__(self, value: bytes | None) -> str:
        escaped = self._escape(value)
        if not value or len(value) <= _MAX_CACHED_LENGTH:
            if len(self) >= _MAX_CACHED:
                self.clear()
            self[value] = escaped
        return escaped


def _escape_text(value: bytes | None) -> str:
    """Escape a value for a text format."""
    if not value:
        return "-"
    text = value.decode("latin-1")
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return _UNSAFE.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def _json_value(value: bytes | None) -> str:
    """Return a JSON value; bytes that are no UTF-8 become backslash escapes."""
    if value is None:
        return "null"
    text: str = encode_basestring_ascii(value.decode("utf-8", "backslashreplace"))
    return text.replace("\x7f", "\\u007f") if "\x7f" in text else text


def _escape_json_string(value: bytes | None) -> str:
    """Escape a value for the inside of a JSON string."""
    return _json_value(value)[1:-1] if value else "-"


_ESCAPES: dict[str, Callable[[bytes | None], str]] = {
    TEXT: _escape_text,
    QUOTED: _escape_json_string,
    VALUE: _json_value,
}


def _basic_auth_user(credentials: bytes) -> bytes | None:
    """Return the user name of Basic authentication (RFC 7617), not verified; None: none."""
    scheme, _, token = credentials.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        return binascii.a2b_base64(token.strip()).partition(b":")[0] or None
    except ValueError:
        return None


def _client(exchange: Exchange) -> str:
    """Return the client's address, which a trusted proxy may have sent."""
    place = exchange.client
    return place[0] if place is not None else ""


def _scheme(exchange: Exchange) -> str:
    origin = exchange.forwarded
    return (origin.scheme if origin is not None else None) or exchange.connection.peer.scheme
