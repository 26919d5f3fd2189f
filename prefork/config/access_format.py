"""Parse the format of the access log: ``common``, ``combined``, ``json``, or a custom text. PURE.

A custom format contains directives in gunicorn's notation, ``%(name)s``; ``%%`` is a percent sign.
A format that begins with ``{`` produces JSON. A directive inside of JSON quotes is escaped for a
JSON string; outside of quotes it becomes a whole JSON value, quoted where necessary, and ``null``
where it has no value.
"""

import difflib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

DIRECTIVES = {
    "h": "the client's address, also behind a proxy that is trusted",
    "l": "always -",
    "u": "user name of Basic authentication",
    "t": "time, as in [22/Nov/2026:10:15:00 +0100]",
    "r": "request line",
    "m": "method",
    "U": "path",
    "q": "query",
    "H": "protocol, as in HTTP/1.1",
    "s": "status",
    "b": "bytes of the response's body, - for none",
    "B": "bytes of the response's body, 0 for none",
    "f": "Referer",
    "a": "User-Agent",
    "T": "duration in whole seconds",
    "L": "duration in seconds, to the microsecond",
    "M": "duration in milliseconds",
    "D": "duration in microseconds",
    "p": "pid of the worker",
    "time": "time, as in 2026-11-22T10:15:00+01:00",
    "host": "Host, as the client sent it",
    "scheme": "http or https, also behind a proxy that is trusted",
    "peer": "address of the peer of the connection, perhaps a proxy",
    "request_id": "id of the request, see --request-id-header",
    "slot": "slot of the worker",
    "generation": "generation of the worker",
}
"""Directive names and their meanings.

Besides these, ``{Name}i`` is a header field of the request and ``{Name}o`` one of the response.
"""

PRESETS = {
    "common": '%(h)s - %(u)s %(t)s "%(r)s" %(s)s %(b)s',
    "combined": '%(h)s - %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"',
    "json": '{"time":%(time)s,"client":%(h)s,"user":%(u)s,"scheme":%(scheme)s,"host":%(host)s,'
    '"method":%(m)s,"path":%(U)s,"query":%(q)s,"protocol":%(H)s,"status":%(s)s,"bytes":%(B)s,'
    '"duration":%(L)s,"referer":%(f)s,"agent":%(a)s,"request_id":%(request_id)s,'
    '"pid":%(p)s,"slot":%(slot)s,"generation":%(generation)s}',
}

TEXT, QUOTED, VALUE = "text", "quoted", "value"
"""How the value of a directive is escaped: as plain text, inside of a JSON string, or as a whole
JSON value."""

_PIECE = re.compile(r"%%|%\((\{([^{}]*)\}[io]|[^()]*)\)s|%|[^%]+")
_FIELD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True, slots=True)
class Directive:
    """One directive of a format.

    ``name`` is a key of DIRECTIVES, or ``i`` or ``o``; then ``field`` is the header field's name in
    lower case. ``style`` is TEXT, QUOTED or VALUE.
    """

    name: str
    field: str = ""
    style: str = TEXT


Format = tuple[str | Directive, ...]
"""A parsed format: literal texts and directives, in order."""


def parse_format(text: str) -> Format:
    """Parse a format, or the name of a preset. Raises ValueError, which says what was expected."""
    text = PRESETS.get(text, text)
    if text.startswith("{"):
        pieces = tuple(_with_json_styles(_split_format(text)))
        _check_json(pieces)
    else:
        pieces = tuple(_split_format(text))
    if not any(isinstance(piece, Directive) for piece in pieces):
        near = difflib.get_close_matches(text, PRESETS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"{', '.join(PRESETS)} or a format with directives such as %(h)s{hint}")
    return pieces


def _split_format(text: str) -> Iterator[str | Directive]:
    for match in _PIECE.finditer(text):
        inner, field = match[1], match[2]
        if inner is None:
            if match[0] == "%":
                raise ValueError(
                    "directives such as %(h)s, and %% for a percent sign, "
                    f"not {text[match.start() : match.start() + 9]!r}"
                )
            yield "%" if match[0] == "%%" else match[0]
        elif field is not None and _FIELD.fullmatch(field):
            yield Directive(inner[-1], field.lower())
        elif inner in DIRECTIVES:
            yield Directive(inner)
        else:
            raise ValueError(f"known directives, not %({inner})s{_suggest_directive(inner)}")


def _suggest_directive(name: str) -> str:
    near = difflib.get_close_matches(name, DIRECTIVES, n=1, cutoff=0.5)
    return f"; did you mean %({near[0]})s?" if near else "; prefork help logging has all of them"


def _with_json_styles(pieces: Iterator[str | Directive]) -> Iterator[str | Directive]:
    """Set the style of each directive: QUOTED inside of a JSON string, else VALUE."""
    inside = False
    for piece in pieces:
        if isinstance(piece, Directive):
            yield Directive(piece.name, piece.field, QUOTED if inside else VALUE)
        else:
            quotes = re.sub(r"\\.", "", piece).count('"')
            inside ^= quotes % 2 == 1
            yield piece


def _check_json(pieces: Format) -> None:
    sample = "".join(
        piece if isinstance(piece, str) else "-" if piece.style == QUOTED else "null"
        for piece in pieces
    )
    try:
        json.loads(sample)
    except ValueError as error:
        raise ValueError(f"JSON, as the format begins with a brace, but: {error}") from None
