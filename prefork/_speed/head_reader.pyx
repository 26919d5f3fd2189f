# cython: language_level=3
"""Reads requests that are plain and whole, in one pass over their bytes (RFC 9112).

``HeadReader.read`` takes the bytes that arrived and returns a ``PlainHead``, or None. None is no
error: whatever is unusual is left to llhttp and to http/validation.py, which decide about it.

Design
------
- **A strict subset.** What is accepted here is accepted by the parser, with the same meaning: a
  known method, a path of printable ASCII without a fragment, HTTP/1.1, one well-formed Host, names
  without underscores, values without control characters, no Transfer-Encoding, Expect or Upgrade,
  a plain Content-Length whose body is all there, and nothing behind it. No rule stands only here,
  so without the extension nothing is accepted that was not before, or read in another way.
- **The head keeps offsets.** A WSGI app needs an environ, an ASGI app a list, the log often
  neither; each is made when it is asked for, without a second pass.
- **Common names are known beforehand,** others are converted each time. A table that learned names
  from clients could be filled by one of them.
- **No bounds are checked by Cython, because no array is indexed.** A pointer moves only over bytes
  that a table accepts. The NUL that CPython puts behind every bytes object is in no table, so each
  such loop ends at the end of the data at the latest. All other reads compare with the end first.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.unicode cimport PyUnicode_DecodeASCII, PyUnicode_DecodeLatin1
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy

cdef extern from "Python.h":
    PyObject* PyDict_SetDefault(object d, object key, object default) except NULL


ctypedef const uint8_t* Cursor

cdef enum:
    MAX_HEAD_SIZE = 0xFFFF
    TABLE_SIZE = 512  # a power of two, several times the number of known names

cdef uint8_t NAME_BYTES[256]
"""The lower case of each byte that a name may hold; 0 for all others, underscore included."""
cdef uint8_t TARGET_BYTES[256]
cdef uint8_t HOST_BYTES[256]
cdef KnownName NAMES[TABLE_SIZE]
cdef list _references = []
"""Keeps the objects of NAMES alive."""

KNOWN_NAMES = (
    "accept accept-charset accept-encoding accept-language access-control-request-headers "
    "access-control-request-method authorization cache-control cdn-loop cf-connecting-ip "
    "cf-ipcountry cf-ray cf-visitor content-encoding content-language content-type date dnt etag "
    "from if-match if-modified-since if-none-match if-range if-unmodified-since keep-alive "
    "max-forwards origin pragma priority proxy-authorization range referer save-data sec-ch-ua "
    "sec-ch-ua-mobile sec-ch-ua-platform sec-fetch-dest sec-fetch-mode sec-fetch-site "
    "sec-fetch-user sec-gpc te traceparent tracestate true-client-ip upgrade-insecure-requests "
    "user-agent via x-amzn-trace-id x-api-key x-client-ip x-correlation-id x-csrf-token x-csrftoken "
    "x-real-ip x-request-id x-request-start x-requested-with"
).split()


cdef void _fill_bytes(uint8_t* table, bytes accepted):
    cdef int byte
    for byte in accepted:
        table[byte] = 1


cdef uint32_t _hash_byte(uint32_t value, uint8_t byte) noexcept nogil:
    return (value ^ byte) * 16777619u  # FNV-1a


cdef void _add_name(bytes lower, str key, Kind kind):
    cdef uint32_t value = 2166136261u
    cdef int byte
    for byte in lower:
        value = _hash_byte(value, <uint8_t> byte)
    value = (value ^ (value >> 15)) & (TABLE_SIZE - 1)
    while NAMES[value].length:
        value = (value + 1) & (TABLE_SIZE - 1)
    _references.append((lower, key))
    memcpy(NAMES[value].name, PyBytes_AS_STRING(lower), len(lower))
    NAMES[value].length = len(lower)
    NAMES[value].kind = kind
    NAMES[value].lower = <PyObject*> lower
    NAMES[value].key = <PyObject*> key


cdef void _fill_tables():
    cdef int byte
    for byte in b"!#$%&'*+-.^`|~0123456789abcdefghijklmnopqrstuvwxyz":
        NAME_BYTES[byte] = byte
    for byte in range(c"A", c"Z" + 1):
        NAME_BYTES[byte] = byte + 32
    _fill_bytes(TARGET_BYTES, bytes(byte for byte in range(0x21, 0x7F) if byte != ord("#")))
    _fill_bytes(HOST_BYTES, b"._~%!$&'()*+,;=-0123456789abcdefghijklmnopqrstuvwxyz")
    _fill_bytes(HOST_BYTES, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    kinds = {
        "host": HOST,
        "connection": CONNECTION,
        "content-length": CONTENT_LENGTH,
        "cookie": COOKIE,
        "proxy-connection": UNUSUAL,
        "transfer-encoding": UNUSUAL,
        "expect": UNUSUAL,
        "upgrade": UNUSUAL,
        "forwarded": FORWARDING,
    }
    for part in ("for", "proto", "host", "port", "prefix", "server", "ssl", "by", "scheme"):
        kinds["x-forwarded-" + part] = FORWARDING
    for name in (*kinds, *KNOWN_NAMES):
        key = name.upper().replace("-", "_")
        if name not in ("content-type", "content-length"):
            key = "HTTP_" + key
        _add_name(name.encode("ascii"), key, kinds.get(name, PLAIN))


_fill_tables()


cdef const KnownName* _find_name(Cursor name, Py_ssize_t length, uint32_t value) noexcept nogil:
    """Return the entry of a name that is not longer than MAX_NAME_LENGTH, or NULL."""
    cdef const KnownName* known
    cdef Py_ssize_t index
    value = (value ^ (value >> 15)) & (TABLE_SIZE - 1)
    while True:
        known = &NAMES[value]
        if known.length == 0:
            return NULL
        if known.length == length:
            index = 0
            while index < length and NAME_BYTES[name[index]] == known.name[index]:
                index += 1
            if index == length:
                return known
        value = (value + 1) & (TABLE_SIZE - 1)


cdef Cursor _skip_value(Cursor at, Cursor end) noexcept nogil:
    """Return the first byte that is no tab, printable ASCII or above (RFC 9110 section 5.5)."""
    cdef uint64_t word, found
    # Eight bytes at a time: the high bit of a byte of ``found`` is set if, first term, it is 0x7f
    # or, second term, below 0x20. Borrows set more bits only where one is set rightly.
    while end - at >= 8:
        memcpy(&word, at, 8)
        found = word ^ <uint64_t> 0x7F7F7F7F7F7F7F7F
        found = (found - <uint64_t> 0x0101010101010101) & ~found
        found |= (word - <uint64_t> 0x2020202020202020) & ~word
        if found & <uint64_t> 0x8080808080808080:
            break
        at += 8
    while at < end and (at[0] >= 0x20 or at[0] == c"\t") and at[0] != 0x7F:
        at += 1
    return at


cdef bint _is_host(Cursor at, Py_ssize_t length) noexcept nogil:
    """Return whether a value is a name with or without a port. An IPv6 address is not tried."""
    cdef Cursor end = at + length
    cdef Cursor name = at
    while at < end and HOST_BYTES[at[0]]:
        at += 1
    if at == name:
        return False
    if at < end and at[0] == c":":
        at += 1
        while at < end and c"0" <= at[0] <= c"9":
            at += 1
    return at == end


cdef bint _is_word(Cursor value, Py_ssize_t length, const char* word, Py_ssize_t size) noexcept nogil:
    """Return whether a value is ``word``, which is in lower case, in any case."""
    cdef Py_ssize_t index
    if length != size:
        return False
    for index in range(size):
        if NAME_BYTES[value[index]] != <uint8_t> word[index]:
            return False
    return True


cdef Py_ssize_t _read_length(Cursor at, Py_ssize_t length) noexcept nogil:
    """Return a Content-Length; -1 unless it is a number of at most nine digits without a zero in
    front."""
    cdef Py_ssize_t value = 0
    cdef Py_ssize_t index
    if length < 1 or length > 9 or (at[0] == c"0" and length > 1):
        return -1
    for index in range(length):
        if not c"0" <= at[index] <= c"9":
            return -1
        value = value * 10 + (at[index] - c"0")
    return value


cdef int _hex_value(uint8_t byte) noexcept nogil:
    if c"0" <= byte <= c"9":
        return byte - c"0"
    byte |= 0x20
    return byte - c"a" + 10 if c"a" <= byte <= c"f" else -1


cdef bytes _unquote(bytes path):
    """Decode percent-encoded bytes; bytes that are not well-formed stay, as urllib.parse does it."""
    cdef Cursor at = <Cursor> PyBytes_AS_STRING(path)
    cdef Cursor end = at + PyBytes_GET_SIZE(path)
    cdef bytes result = PyBytes_FromStringAndSize(NULL, end - at)
    cdef uint8_t* start = <uint8_t*> PyBytes_AS_STRING(result)
    cdef uint8_t* out = start
    cdef int high, low
    while at < end:
        if at[0] == c"%" and end - at > 2:
            high, low = _hex_value(at[1]), _hex_value(at[2])
            if high >= 0 and low >= 0:
                out[0] = high * 16 + low
                out += 1
                at += 3
                continue
        out[0] = at[0]
        out += 1
        at += 1
    return result[: out - start]


cdef class PlainHead:
    """The head of a request that the compiled reader read. The protocol is RequestHead
    (http/request.py)."""

    @property
    def version(self):
        """Always 1.1: all others are left to the parser."""
        return "1.1"

    @property
    def length(self):
        """Bytes of the body."""
        return PyBytes_GET_SIZE(self.content)

    @property
    def headers(self):
        """Pairs of names in lower case and values, in the order sent. A new list each time."""
        return self.make_headers()

    cdef list make_headers(self):
        cdef list headers = []
        cdef Py_ssize_t index
        for index in range(self._count):
            if not (self._drops_forwarding_fields and self._is_forwarding(&self._fields[index])):
                headers.append((self._lower_name(&self._fields[index]),
                                self._value(&self._fields[index])))
        return headers

    def find_fields(self, tuple names not None):
        """Return the values of fields by their names in lower case; None: it was not sent."""
        return [self._find_value(name) for name in names]

    cdef bytes _find_value(self, bytes name):
        """Return the value of the last field with a name, or None."""
        cdef Cursor start = <Cursor> PyBytes_AS_STRING(self._data)
        cdef Py_ssize_t index
        cdef Field* field
        for index in range(self._count - 1, -1, -1):
            field = &self._fields[index]
            if _is_word(start + field.name_at, field.name_length, PyBytes_AS_STRING(name),
                        PyBytes_GET_SIZE(name)):
                if self._drops_forwarding_fields and self._is_forwarding(field):
                    return None
                return self._value(field)
        return None

    def drop_forwarding_fields(self):
        """Hide the fields that only proxies write."""
        self._drops_forwarding_fields = True

    def describe(self):
        """Return method and target for a line in the log, the target cut to 200 bytes."""
        return f"{self.method} {self.target[:200].decode('latin-1')}"

    def add_to_environ(self, dict environ not None):
        """Set the variables of PEP 3333 that follow from the head."""
        self.fill_environ(environ)

    cdef int fill_environ(self, dict environ) except -1:
        cdef bytes path = self.path
        cdef str target = _text(self.target)
        environ["REQUEST_METHOD"] = self.method
        if memchr(PyBytes_AS_STRING(path), c"%", PyBytes_GET_SIZE(path)) != NULL:
            environ["PATH_INFO"] = _text(_unquote(path))
        elif path is self.target:
            environ["PATH_INFO"] = target
        else:
            environ["PATH_INFO"] = _text(path)
        environ["QUERY_STRING"] = _text(self.query)
        environ["REQUEST_URI"] = target
        environ["RAW_URI"] = target
        environ["SERVER_PROTOCOL"] = "HTTP/1.1"
        cdef Py_ssize_t index
        for index in range(self._count):
            if not (self._drops_forwarding_fields and self._is_forwarding(&self._fields[index])):
                self._add_field(environ, &self._fields[index])
        return 0

    cdef int _add_field(self, dict environ, Field* field) except -1:
        """Set the variable of a field; fields of one name are joined."""
        cdef Cursor start = <Cursor> PyBytes_AS_STRING(self._data)
        cdef str value = PyUnicode_DecodeLatin1(
            <const char*> start + field.value_at, field.value_length, NULL
        )
        cdef str key = (
            self._make_key(field) if field.known == NULL else <str> field.known.key
        )
        cdef Py_ssize_t count = len(environ)
        cdef str present = <str> PyDict_SetDefault(environ, key, value)
        # Identity would tell nothing: CPython has each string of one character only once.
        if len(environ) == count:
            separator = "; " if field.known != NULL and field.known.kind == COOKIE else ","
            environ[key] = present + separator + value
        return 0

    cdef bint _is_forwarding(self, Field* field):
        if field.known != NULL:
            return field.known.kind == FORWARDING
        return self.has_forwarding_fields and self._lower_name(field).startswith(b"x-forwarded-")

    cdef bytes _value(self, Field* field):
        return PyBytes_FromStringAndSize(
            PyBytes_AS_STRING(self._data) + field.value_at, field.value_length
        )

    cdef bytes _lower_name(self, Field* field):
        if field.known != NULL:
            return <bytes> field.known.lower
        return PyBytes_FromStringAndSize(
            PyBytes_AS_STRING(self._data) + field.name_at, field.name_length
        ).lower()

    cdef str _make_key(self, Field* field):
        """Return the ``HTTP_…`` variable for a name that is not in the table."""
        cdef Cursor name = <Cursor> PyBytes_AS_STRING(self._data) + field.name_at
        cdef uint8_t key[5 + MAX_NAME_LENGTH]
        cdef uint8_t byte
        cdef Py_ssize_t index
        memcpy(key, b"HTTP_", 5)
        for index in range(field.name_length):  # at most MAX_NAME_LENGTH; see HeadReader
            byte = NAME_BYTES[name[index]]
            if c"a" <= byte <= c"z":
                byte -= 32
            key[5 + index] = c"_" if byte == c"-" else byte
        return PyUnicode_DecodeASCII(<const char*> key, 5 + field.name_length, NULL)


cdef str _text(bytes data):
    return PyUnicode_DecodeLatin1(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), NULL)


cdef class HeadReader:
    """Reads the requests of one worker."""

    cdef dict _methods
    cdef Py_ssize_t _max_size
    cdef Py_ssize_t _max_fields
    cdef Py_ssize_t _max_content
    cdef bint _keeps_alive

    def __init__(
        self,
        dict methods not None,
        *,
        Py_ssize_t max_size,
        Py_ssize_t max_fields,
        Py_ssize_t max_content,
        bint keeps_alive,
    ):
        """``methods``: the accepted methods, as sent and as text. ``max_size``: bytes of a head,
        at most 65,535. ``max_fields``: header fields, at most 64. ``max_content``: bytes of a body.
        ``keeps_alive``: connections stay open between requests."""
        self._methods = methods
        self._max_size = min(max_size, MAX_HEAD_SIZE)
        self._max_fields = min(max_fields, MAX_FIELDS)
        self._max_content = max_content
        self._keeps_alive = keeps_alive

    def read(self, bytes data not None):
        """Return the PlainHead of the request that is all of ``data``; None: it must be parsed."""
        cdef Cursor start = <Cursor> PyBytes_AS_STRING(data)
        cdef Cursor end = start + PyBytes_GET_SIZE(data)
        cdef Cursor at
        cdef PlainHead head = PlainHead.__new__(PlainHead)
        head._data = data
        at = self._read_line(head, start, end)
        if at == NULL:
            return None
        cdef Py_ssize_t length = 0
        at = self._read_fields(head, start, at, end, &length)
        if at == NULL or at - start > self._max_size:
            return None
        if end - at != length or length > self._max_content:
            return None
        head.content = b"" if length == 0 else data[at - start :]
        return head

    cdef Cursor _read_line(self, PlainHead head, Cursor start, Cursor end):
        """Read the request line; return the first byte behind it, or NULL."""
        cdef Cursor at = start
        cdef Cursor target
        cdef Cursor question
        if end - at > 4 and memcmp(at, b"GET ", 4) == 0:
            head.method = "GET"
            at += 3
        else:
            while NAME_BYTES[at[0]]:
                at += 1
            if at - start > MAX_NAME_LENGTH or at[0] != c" ":
                return NULL
            method = self._methods.get(PyBytes_FromStringAndSize(<const char*> start, at - start))
            if method is None:
                return NULL
            head.method = method
        target = at = at + 1
        if at[0] != c"/":
            return NULL
        while TARGET_BYTES[at[0]]:
            at += 1
        if end - at < 11 or memcmp(at, b" HTTP/1.1\r\n", 11) != 0:
            return NULL
        head.target = PyBytes_FromStringAndSize(<const char*> target, at - target)
        question = <Cursor> memchr(target, c"?", at - target)
        if question == NULL:
            head.path, head.query = head.target, b""
        else:
            head.path = PyBytes_FromStringAndSize(<const char*> target, question - target)
            head.query = PyBytes_FromStringAndSize(
                <const char*> question + 1, at - question - 1
            )
        return at + 11

    cdef Cursor _read_fields(
        self, PlainHead head, Cursor start, Cursor at, Cursor end, Py_ssize_t* length
    ) noexcept:
        """Read the header fields; return the first byte behind the head, or NULL."""
        cdef Cursor name
        cdef Cursor colon
        cdef Cursor value
        cdef Cursor value_end
        cdef uint32_t hash_value
        cdef Field* field
        cdef bint has_host = False, has_connection = False, has_length = False
        head.keep_alive = self._keeps_alive
        head._count = 0
        while True:
            name = at
            hash_value = 2166136261u
            while NAME_BYTES[at[0]]:
                hash_value = _hash_byte(hash_value, NAME_BYTES[at[0]])
                at += 1
            if at == name:
                break
            if at[0] != c":" or at - name > MAX_NAME_LENGTH or head._count >= self._max_fields:
                return NULL
            colon = at
            value = colon + 1
            while value[0] == c" " or value[0] == c"\t":
                value += 1
            value_end = at = _skip_value(value, end)
            if end - at < 2 or at[0] != c"\r" or at[1] != c"\n" or at - start > self._max_size:
                return NULL
            at += 2
            while value_end > value and (value_end[-1] == c" " or value_end[-1] == c"\t"):
                value_end -= 1
            field = &head._fields[head._count]
            head._count += 1
            # All offsets are below _max_size, which is at most 65,535.
            field.name_at = name - start
            field.value_at = value - start
            field.value_length = value_end - value
            field.name_length = colon - name
            field.known = _find_name(name, field.name_length, hash_value)
            if field.known == NULL:
                if field.name_length > 12 and _is_word(name, 12, b"x-forwarded-", 12):
                    head.has_forwarding_fields = True
            elif field.known.kind == PLAIN or field.known.kind == COOKIE:
                pass
            elif field.known.kind == HOST:
                if has_host or not _is_host(value, field.value_length):
                    return NULL
                has_host = True
            elif field.known.kind == CONNECTION:
                if has_connection:
                    return NULL
                has_connection = True
                if _is_word(value, field.value_length, b"close", 5):
                    head.keep_alive = False
                elif not _is_word(value, field.value_length, b"keep-alive", 10):
                    return NULL
            elif field.known.kind == CONTENT_LENGTH:
                if has_length:
                    return NULL
                has_length = True
                length[0] = _read_length(value, field.value_length)
                if length[0] < 0:
                    return NULL
            elif field.known.kind == FORWARDING:
                head.has_forwarding_fields = True
            else:
                return NULL
        if not has_host or end - at < 2 or at[0] != c"\r" or at[1] != c"\n":
            return NULL
        return at + 2

