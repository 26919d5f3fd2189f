# cython: language_level=3
"""Formats the lines of the access log for plain requests (observe/access_line.py).

Design
------
- **Only what needs no escaping is formatted here.** Anything else, and a line that has no room, is
  None: the function in Python formats that line. So no rule of escaping stands only here, and no
  length that a client chooses decides about memory.
- **From the head and the peer, not from an exchange.** To make one for the log took a third of
  what a line cost.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy

from prefork._speed.head_reader cimport PlainHead

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL

cdef extern from "<time.h>" nogil:
    struct timespec:
        int64_t tv_sec
        int64_t tv_nsec
    int clock_gettime(int clock, timespec* time)
    int CLOCK_MONOTONIC, CLOCK_REALTIME_COARSE

cdef enum:
    MAX_LINE = 16 * 1024
    MAX_DIGITS = 20  # of 2**64

cdef enum Kind:
    TEXT  # the same in each line
    REQUEST_LINE
    METHOD
    USER
    PATH
    QUERY
    FIELD
    CLIENT
    PEER
    SCHEME
    STATUS
    BODY_SIZE
    BODY_SIZE_OR_NONE
    SECONDS
    MILLISECONDS
    MICROSECONDS
    EXACT_SECONDS
    COMMON_TIME
    ISO_TIME

KINDS = {
    "text": TEXT, "r": REQUEST_LINE, "m": METHOD, "u": USER, "U": PATH, "q": QUERY,
    "field": FIELD, "h": CLIENT, "peer": PEER, "scheme": SCHEME, "s": STATUS, "b": BODY_SIZE_OR_NONE,
    "B": BODY_SIZE, "T": SECONDS, "M": MILLISECONDS, "D": MICROSECONDS, "L": EXACT_SECONDS,
    "t": COMMON_TIME, "time": ISO_TIME,
}
"""The directives of config/access_format.py that are known here, beside fields and fixed text."""

cdef uint8_t SAFE[256]
"""1 for bytes that no format escapes: printable ASCII but quotes and the backslash."""
cdef int _byte
for _byte in range(0x20, 0x7F):
    SAFE[_byte] = _byte != c'"' and _byte != c"\\"


cdef class Piece:
    """A part of the format."""

    cdef readonly Kind kind
    cdef bytes _text  # of TEXT; the name of FIELD
    cdef bytes _none  # stands for a value that is missing
    cdef bint _is_quoted

    def __init__(self, str kind not None, bytes text not None, bytes none not None,
                 bint is_quoted):
        self.kind = KINDS[kind]
        self._text, self._none, self._is_quoted = text, none, is_quoted


cdef class PlainLines:
    """Formats the lines of one worker."""

    cdef list _pieces
    cdef object _clock
    cdef double _until
    cdef str _common
    cdef str _iso
    cdef Py_ssize_t _size
    cdef char _line[MAX_LINE]

    def __init__(self, pieces, clock):
        """``pieces``: of the format, each a tuple of the arguments of a Piece. ``clock``: the
        present second, formatted."""
        self._pieces = [Piece(*piece) for piece in pieces]
        self._clock = clock

    def format(self, peer, PlainHead head not None, double started_at, int status,
               Py_ssize_t body_size):
        """Return the line of a request that was answered just now; None: Python formats it."""
        cdef Piece piece
        self._size = 0
        for piece in self._pieces:
            if not self._add(piece, peer, head, started_at, status, body_size):
                return None
        return PyUnicode_DecodeASCII(self._line, self._size, NULL)

    cdef bint _add(self, Piece piece, peer, PlainHead head, double started_at, int status,
                   Py_ssize_t body_size) except -1:
        """Append the value of a piece; return False if it cannot be formatted here."""
        cdef Kind kind = piece.kind
        if kind == TEXT:
            return self._copy(PyBytes_AS_STRING(piece._text), PyBytes_GET_SIZE(piece._text))
        if kind == FIELD:
            return self._add_bytes(piece, head._find_value(piece._text))
        if kind == REQUEST_LINE:
            return self._add_request_line(piece, head)
        if kind == USER:
            return head._find_value(b"authorization") is None and self._add_bytes(piece, None)
        if kind == PATH:
            return self._add_bytes(piece, head.path or None)
        if kind == QUERY:
            return self._add_bytes(piece, head.query or None)
        if kind == METHOD:
            return self._add_word(piece, head.method)
        if kind == CLIENT:
            forwarded = head.forwarded
            client = peer.client if forwarded is None else forwarded.client or peer.client
            return self._add_word(piece, client[0] if client else None)
        if kind == PEER:
            return self._add_word(piece, peer.client[0] if peer.client else None)
        if kind == SCHEME:
            forwarded = head.forwarded
            scheme = peer.scheme if forwarded is None else forwarded.scheme or peer.scheme
            return self._add_word(piece, scheme)
        if kind == COMMON_TIME or kind == ISO_TIME:
            if _now(CLOCK_REALTIME_COARSE) >= self._until:
                self._advance_clock()
            return self._add_word(piece, self._common if kind == COMMON_TIME else self._iso)
        return self._add_number(piece, started_at, status, body_size)

    cdef int _advance_clock(self) except -1:
        if _now(CLOCK_REALTIME_COARSE) >= self._clock.until:
            self._clock.advance()
        self._until, self._common, self._iso = (
            self._clock.until, self._clock.common, self._clock.iso
        )
        return 0

    cdef bint _add_request_line(self, Piece piece, PlainHead head) except -1:
        cdef Py_ssize_t size
        cdef const char* method = PyUnicode_AsUTF8AndSize(head.method, &size)
        return (
            self._quote(piece)
            and self._copy_safe(method, size)
            and self._copy(b" ", 1)
            and self._copy_safe(PyBytes_AS_STRING(head.target), PyBytes_GET_SIZE(head.target))
            and self._copy(b" HTTP/1.1", 9)
            and self._quote(piece)
        )

    cdef bint _add_bytes(self, Piece piece, bytes value) except -1:
        """Append what the client sent. An empty value is one only in quotes of its own."""
        if value is None or (not value and not piece._is_quoted):
            return self._copy(PyBytes_AS_STRING(piece._none), PyBytes_GET_SIZE(piece._none))
        return (
            self._quote(piece)
            and self._copy_safe(PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
            and self._quote(piece)
        )

    cdef bint _add_word(self, Piece piece, str value) except -1:
        cdef Py_ssize_t size
        cdef const char* data
        if not value:
            return self._copy(PyBytes_AS_STRING(piece._none), PyBytes_GET_SIZE(piece._none))
        data = PyUnicode_AsUTF8AndSize(value, &size)
        return self._quote(piece) and self._copy_safe(data, size) and self._quote(piece)

    cdef bint _add_number(self, Piece piece, double started_at, int status, Py_ssize_t body_size):
        cdef Kind kind = piece.kind
        cdef double duration
        cdef uint64_t microseconds
        if kind == STATUS:
            return self._copy_number(status, 1)
        if kind == BODY_SIZE:
            return self._copy_number(body_size, 1)
        if kind == BODY_SIZE_OR_NONE:
            if body_size:
                return self._copy_number(body_size, 1)
            return self._copy(PyBytes_AS_STRING(piece._none), PyBytes_GET_SIZE(piece._none))
        duration = _now(CLOCK_MONOTONIC) - started_at
        if kind == EXACT_SECONDS:
            microseconds = <uint64_t> (duration * 1e6 + 0.5)
            return (
                self._copy_number(microseconds // 1000000, 1)
                and self._copy(b".", 1)
                and self._copy_number(microseconds % 1000000, 6)
            )
        if kind == MILLISECONDS:
            duration *= 1e3
        elif kind == MICROSECONDS:
            duration *= 1e6
        return self._copy_number(<uint64_t> duration, 1)

    cdef bint _copy_number(self, uint64_t number, int least_digits) noexcept:
        cdef char digits[MAX_DIGITS]
        cdef int at = MAX_DIGITS
        while number or MAX_DIGITS - at < least_digits:
            at -= 1
            digits[at] = c"0" + number % 10
            number //= 10
        return self._copy(digits + at, MAX_DIGITS - at)

    cdef bint _quote(self, Piece piece) noexcept:
        return not piece._is_quoted or self._copy(b'"', 1)

    cdef bint _copy_safe(self, const char* data, Py_ssize_t size) noexcept:
        """Append bytes that need no escaping."""
        cdef char* end = self._line + self._size
        cdef Py_ssize_t index
        if size > MAX_LINE - self._size:
            return False
        for index in range(size):
            if not SAFE[<uint8_t> data[index]]:
                return False
            end[index] = data[index]
        self._size += size
        return True

    cdef bint _copy(self, const char* data, Py_ssize_t size) noexcept:
        if size > MAX_LINE - self._size:
            return False
        memcpy(self._line + self._size, data, size)
        self._size += size
        return True


cdef double _now(int clock) noexcept nogil:
    cdef timespec time
    clock_gettime(clock, &time)
    return time.tv_sec + time.tv_nsec * 1e-9
