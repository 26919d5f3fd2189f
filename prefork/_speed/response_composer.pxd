# cython: language_level=3
"""Declares for other extensions the parts of response_composer.pyx that they use."""

from prefork._speed.head_reader cimport PlainHead

cdef class UsualResponses:
    cdef readonly int status
    cdef readonly bytes response
    cdef object _default_fields
    cdef object _bodiless
    cdef bytes _end_close
    cdef Py_ssize_t _join_below

    cdef Py_ssize_t _send(
        self, connection, PlainHead head, int status, bytes line, fields, body, bint are_bytes
    ) except -2
