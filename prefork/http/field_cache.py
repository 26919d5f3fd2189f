"""The fields of a request without the line before them, remembered by their bytes.

A client that asks for one thing after the other sends the same fields with each request, but for
its cookie, perhaps. What they say depends on their bytes alone, so a request whose fields are known
is read here: its line is split and looked at, its cookie is, and nothing else. All that is not
plainly a path, HTTP/1.1 and a cookie of printable characters is left to the parser, and so is all
that was not exactly one request without a body when it was read there.

Traffic in which nothing recurs is not looked at for most of its time.
"""

from prefork.http.request import RequestHead
from prefork.http.validation import METHODS, SLASH

MAX_FIELDS_SIZE = 2048
"""Bytes of a request that is worth it."""

MAX_CACHED_FIELDS = 256
_MAX_SEEN = 2048

_MAX_MISSES = 512
"""Requests that may miss, one after the other, before it is given up for a while."""
_PAUSE = 8 * _MAX_MISSES

_COOKIE = b"\r\nCookie: "
_PRINTABLE = bytes([*range(0x20, 0x7F), *range(0x80, 0x100)])


class CachedFields:
    """What the fields of a request say, apart from its cookie."""

    handler_cache: dict[str, object] | None = None
    """What the handler made of them alone."""

    def __init__(self, head: RequestHead) -> None:
        self.headers = [pair for pair in head.headers if pair[0] != b"cookie"]
        self.forwarded = head.forwarded


class CachedFieldsHead(RequestHead):
    """Of a request with known fields."""

    def __init__(
        self, target: bytes, method: str, fields: CachedFields, cookie: bytes | None, place: int
    ) -> None:
        """``place``: of the cookie, among the fields."""
        self.target = self.path = target
        if b"?" in target:
            self.path, _, self.query = target.partition(b"?")
        self.method = method
        self.fields = fields
        self.forwarded = fields.forwarded
        self.cookie = cookie
        """Its value."""
        self._place = place

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:  # type: ignore[override]
        """A list of its own for each who asks."""
        headers = self.fields.headers.copy()
        if self.cookie is not None:
            headers.insert(self._place, (b"cookie", self.cookie))
        return headers


class FieldCache(dict[bytes, CachedFields]):
    """By their bytes, from the end of the line before them, the cookie's line taken out.

    Bounded; forgets all when it is full.
    """

    def __init__(self, max_fields: int) -> None:
        """``most``: fields in a request."""
        super().__init__()
        self._max_fields = max_fields
        self._seen: set[int] = set()
        self.misses = 0
        """Requests in a row whose fields were not known; more than _TRIES: it pauses."""

    def parse(self, data: bytes) -> CachedFieldsHead | None:
        """The head of a request that is all of ``data``; None: it is for the parser."""
        if self.misses >= _MAX_MISSES:
            self.misses += 1
            if self.misses > _PAUSE:
                self.misses = 0
            return None
        line, rest, cookie, at = _split(data)
        fields = self.get(rest)
        if fields is None:
            self.misses += 1
            return None
        try:
            name, target, version = line.split(b" ")
        except ValueError:
            return None
        method = METHODS.get(name)
        if method is None or version != b"HTTP/1.1" or target[:1] != b"/" or b"#" in target:
            return None
        if not line.isascii() or (line + (cookie or b"")).translate(None, _PRINTABLE):
            return None
        self.misses = 0
        place = 0
        if cookie is not None:
            cookie = cookie.strip(b" ")
            place = data.count(b"\r", len(line), at)
        return CachedFieldsHead(target, method, fields, cookie, place)

    def add(self, data: bytes, head: RequestHead) -> None:
        """The parser read ``data`` as one request with this head."""
        if head.length or len(data) > MAX_FIELDS_SIZE or self.misses >= _MAX_MISSES:
            return
        _, rest, _, _ = _split(data)
        fingerprint = hash(rest)
        if fingerprint not in self._seen:
            if len(self._seen) >= _MAX_SEEN:
                self._seen.clear()
            self._seen.add(fingerprint)
            return
        fields = CachedFields(head)
        if (
            not head.keep_alive
            or head.version != "1.1"
            or head.target[0] != SLASH
            or len(head.headers) >= self._max_fields
            # Each line is a field that is left: none was dropped, none is another cookie.
            or rest.count(b"\r\n") != len(fields.headers) + 2
        ):
            return
        if len(self) >= MAX_CACHED_FIELDS:
            self.clear()
        self[rest] = fields


def _split(data: bytes) -> tuple[bytes, bytes, bytes | None, int]:
    """The line of a request; the rest of it, without the cookie; the cookie's value; and where its
    line was.

    In fields that are known each CR is the end of a line. So if the rest is known, the cookie's
    line ended where another one begins, or before the last two ends of lines.
    """
    end = data.find(b"\r")
    if end < 0:
        return data, b"", None, 0
    line = data[:end]
    at = data.find(_COOKIE, end)
    if at < 0:
        return line, data[end:], None, 0
    value = at + len(_COOKIE)
    behind = data.find(b"\r", value)
    if value < behind <= len(data) - 4:
        return line, data[end:at] + data[behind:], data[value:behind], at
    return line, data[end:], None, 0
