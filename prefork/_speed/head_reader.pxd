# cython: language_level=3
"""Declares for other extensions the parts of head_reader.pyx that they use."""

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint16_t

cdef enum:
    MAX_FIELDS = 64
    MAX_NAME_LENGTH = 64

cdef enum Kind:
    PLAIN
    HOST
    CONNECTION
    CONTENT_LENGTH
    FORWARDING
    COOKIE
    UNUSUAL  # decides about the framing or the connection: the parser's business

cdef struct KnownName:
    uint8_t name[MAX_NAME_LENGTH]
    uint16_t length  # 0: a free place of the table
    Kind kind
    PyObject* key
    PyObject* lower

cdef struct Field:
    uint16_t name_at
    uint16_t name_length
    uint16_t value_at
    uint16_t value_length
    const KnownName* known

cdef class PlainHead:
    cdef readonly str method
    cdef readonly bytes target
    cdef readonly bytes path
    cdef readonly bytes query
    cdef readonly bytes content  # the body; empty without one
    cdef readonly bint keep_alive
    cdef readonly bint has_forwarding_fields
    cdef public object forwarded
    cdef bint _drops_forwarding_fields
    cdef bytes _data
    cdef Py_ssize_t _count
    cdef Field _fields[MAX_FIELDS]

    cdef list make_headers(self)
    cdef int fill_environ(self, dict environ) except -1
    cdef int _add_field(self, dict environ, Field* field) except -1
    cdef bytes _find_value(self, bytes name)
    cdef bint _is_forwarding(self, Field* field)
    cdef bytes _value(self, Field* field)
    cdef bytes _lower_name(self, Field* field)
    cdef str _make_key(self, Field* field)
