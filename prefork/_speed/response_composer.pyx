# cython: language_level=3
"""Composes the bytes of usual responses: status line, header fields, body (RFC 9112 section 4).

The composers return None for whatever has to be decided: fields that concern the connection or the
framing, a Content-Length that is not that of the body, characters that HTTP does not allow, other
types than the interface wants. Then http/response_head.py and http/exchange.py decide, and raise
the errors.

Design
------
- **Fields are encoded each time,** not looked up: to copy and check a short field costs less than
  to hash it, and values that never repeat (Content-Length, Set-Cookie, ETag) cost the same.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.string cimport memcmp, memcpy

cdef extern from "Python.h":
    int PyUnicode_KIND(object text)
    void* PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    int PyUnicode_1BYTE_KIND

cdef enum:
    MAX_HEAD_SIZE = 8192

cdef enum Meaning:
    PLAIN
    CONTENT_LENGTH
    SPECIAL

cdef uint8_t NAME_BYTES[256]
"""The lower case of each byte of a token (RFC 9110 section 5.6.2); 0 for all others."""


cdef void _fill_table():
    cdef int byte
    for byte in b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz":
        NAME_BYTES[byte] = byte
    for byte in range(c"A", c"Z" + 1):
        NAME_BYTES[byte] = byte + 32


_fill_table()


cdef struct Head:
    uint8_t data[MAX_HEAD_SIZE]
    Py_ssize_t size
    Py_ssize_t declared  # the Content-Length; -1: none yet


cdef bint _append(Head* head, const void* data, Py_ssize_t size) noexcept nogil:
    """Append bytes; return whether there was room."""
    if size > MAX_HEAD_SIZE - head.size:
        return False
    memcpy(head.data + head.size, data, size)
    head.size += size
    return True


cdef bint _take_bytes(object part, const uint8_t** data, Py_ssize_t* size):
    if type(part) is not bytes:
        return False
    data[0] = <const uint8_t*> PyBytes_AS_STRING(part)
    size[0] = PyBytes_GET_SIZE(part)
    return True


cdef bint _take_text(object part, const uint8_t** data, Py_ssize_t* size):
    """Point at the characters of a str if each is one of latin-1."""
    if type(part) is not str or PyUnicode_KIND(part) != PyUnicode_1BYTE_KIND:
        return False
    data[0] = <const uint8_t*> PyUnicode_DATA(part)
    size[0] = PyUnicode_GET_LENGTH(part)
    return True


cdef Meaning _find_meaning(const uint8_t* lower, Py_ssize_t size) noexcept nogil:
    """Return what a name means; the parser of fields in http/response_head.py knows the same."""
    if size == 4 and memcmp(lower, b"date", 4) == 0:
        return SPECIAL
    if size == 6 and memcmp(lower, b"server", 6) == 0:
        return SPECIAL
    if size == 7 and memcmp(lower, b"upgrade", 7) == 0:
        return SPECIAL
    if size == 10 and (
        memcmp(lower, b"connection", 10) == 0 or memcmp(lower, b"keep-alive", 10) == 0
    ):
        return SPECIAL
    if size == 14 and memcmp(lower, b"content-length", 14) == 0:
        return CONTENT_LENGTH
    if size == 17 and memcmp(lower, b"transfer-encoding", 17) == 0:
        return SPECIAL
    return PLAIN


cdef bint _append_field(
    Head* head,
    const uint8_t* name,
    Py_ssize_t name_size,
    const uint8_t* value,
    Py_ssize_t value_size,
    bint lowers,
) noexcept nogil:
    """Append a field if it is valid and means nothing but itself; return whether it was."""
    cdef uint8_t lower[64]
    cdef uint8_t byte
    cdef uint8_t* out
    cdef Py_ssize_t index
    cdef Meaning meaning
    if name_size < 1 or name_size > 64 or value_size > MAX_HEAD_SIZE:
        return False
    if name_size + value_size + 4 > MAX_HEAD_SIZE - head.size:
        return False
    for index in range(name_size):
        byte = NAME_BYTES[name[index]]
        if not byte:
            return False
        lower[index] = byte
    out = head.data + head.size
    memcpy(out, name, name_size)
    if lowers:
        memcpy(out, lower, name_size)
    out += name_size
    out[0], out[1] = c":", c" "
    out += 2
    for index in range(value_size):
        byte = value[index]
        if (byte < 0x20 and byte != c"\t") or byte == 0x7F:
            return False
        out[index] = byte
    out += value_size
    out[0], out[1] = c"\r", c"\n"
    head.size += name_size + value_size + 4
    meaning = _find_meaning(lower, name_size)
    if meaning == SPECIAL:
        return False
    if meaning == CONTENT_LENGTH:
        if head.declared >= 0 or value_size < 1 or value_size > 9:
            return False
        head.declared = 0
        for index in range(value_size):
            if not c"0" <= value[index] <= c"9":
                return False
            head.declared = head.declared * 10 + (value[index] - c"0")
    return True


cdef bytes _compose(
    bytes line, object fields, bytes defaults, bytes end, bytes body, bint are_bytes
):
    cdef Head head
    cdef const uint8_t* name
    cdef const uint8_t* value
    cdef Py_ssize_t name_size = 0, value_size = 0
    cdef Py_ssize_t size = PyBytes_GET_SIZE(body)
    cdef bytes added
    cdef bytes result
    if type(fields) is not list and type(fields) is not tuple:
        return None
    head.size, head.declared = 0, -1
    if not _append(&head, PyBytes_AS_STRING(line), PyBytes_GET_SIZE(line)):
        return None
    for pair in fields:
        if (type(pair) is not tuple and type(pair) is not list) or len(pair) != 2:
            return None
        first, second = pair
        if are_bytes:
            if not _take_bytes(first, &name, &name_size):
                return None
            if not _take_bytes(second, &value, &value_size):
                return None
        elif not _take_text(first, &name, &name_size):
            return None
        elif not _take_text(second, &value, &value_size):
            return None
        if not _append_field(&head, name, name_size, value, value_size, are_bytes):
            return None
    if head.declared < 0:
        added = b"Content-Length: %d\r\n" % size
        if not _append(&head, PyBytes_AS_STRING(added), PyBytes_GET_SIZE(added)):
            return None
    elif head.declared != size:
        return None
    if not _append(&head, PyBytes_AS_STRING(defaults), PyBytes_GET_SIZE(defaults)):
        return None
    if not _append(&head, PyBytes_AS_STRING(end), PyBytes_GET_SIZE(end)):
        return None
    result = PyBytes_FromStringAndSize(NULL, head.size + size)
    memcpy(PyBytes_AS_STRING(result), head.data, head.size)
    memcpy(PyBytes_AS_STRING(result) + head.size, PyBytes_AS_STRING(body), size)
    return result


def compose_text(
    bytes line not None,
    object fields,
    bytes defaults not None,
    bytes end not None,
    bytes body not None,
):
    """Return the response, or None; names and values are str, as in WSGI.

    ``line``: the status line. ``defaults``: lines that each response has. ``end``: the last lines
    of the head. The status must be one with a body, and the method not HEAD.
    """
    return _compose(line, fields, defaults, end, body, False)


def compose_bytes(
    bytes line not None,
    object fields,
    bytes defaults not None,
    bytes end not None,
    bytes body not None,
):
    """Return the response, or None; names and values are bytes, and names are sent in lower case,
    as in ASGI. Otherwise like ``compose_text``."""
    return _compose(line, fields, defaults, end, body, True)


cdef class UsualResponses:
    """Sends usual responses to plain requests: the base class of the compiled app interfaces."""

    def __init__(self, http):
        """``http``: the module response_head."""
        self._default_fields, self._bodiless = http.DefaultFields, http.BODILESS_STATUSES
        self._end_close, self._join_below = http.HEAD_END_CLOSE, http.JOIN_BELOW

    cdef Py_ssize_t _send(
        self, connection, PlainHead head, int status, bytes line, fields, body, bint are_bytes
    ) except -2:
        """Send a response if nothing in it has to be decided. Return the size of its body; -1:
        nothing was sent."""
        if type(body) is not bytes or PyBytes_GET_SIZE(body) >= self._join_below:
            return -1
        if status in self._bodiless or head.method == "HEAD" or connection.close_requested:
            return -1
        response = _compose(
            line, fields, self._default_fields.lines,
            b"\r\n" if head.keep_alive else self._end_close, body, are_bytes,
        )
        if response is None:
            return -1
        connection.transport.write(response)
        self.status, self.response = status, response
        return PyBytes_GET_SIZE(body)
