# cython: language_level=3
"""Calls a WSGI app for plain requests, and sends usual responses (PEP 3333).

``WsgiCalls`` is PlainCalls (http/server_state.py). The usual case, one bytes object in a list, goes
from the head to the written bytes in here. For anything else ``_adopt`` makes the WsgiCall of
worker/wsgi/wsgi_app.py, which goes on: a second start_response, write(), an iterable, an error, a
response that the composer leaves to Python.

Design
------
- **There is no exchange until something asks for it.** It, the call and their eight functions cost
  1.5 to 3 µs a request, more than the kernel's recv.
- **No rule of PEP 3333 stands only here.** The first start_response and the whole body are the
  shortest way through wsgi_app.py; tests/pure/worker/test_plain_calls.py compares both ways.
"""

from io import BytesIO

from prefork._speed.head_reader cimport PlainHead
from prefork._speed.response_composer cimport UsualResponses

cdef extern from "Python.h":
    object PyContext_CopyCurrent()
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) except -1


cdef class WsgiCalls(UsualResponses):
    """Calls the app of one worker."""

    cdef object _handler
    cdef object _app
    cdef object _environ
    cdef object _http
    cdef object _children
    cdef dict _statuses
    cdef double _renew_timeout_at

    def __init__(self, handler, environ, http, children):
        """``handler``: the WsgiHandler. ``environ``: its EnvironBuilder. ``http``: the module
        response_head. ``children``: the module fork_hooks."""
        self._handler, self._environ, self._http, self._children = handler, environ, http, children
        UsualResponses.__init__(self, http)
        self._app, self._statuses = handler.app, http.WSGI_STATUSES

    def call(self, connection, PlainHead head, double started_at):
        """Call the app in this thread; see PlainCalls."""
        cdef PlainWsgiCall call = PlainWsgiCall.__new__(PlainWsgiCall)
        call._calls, call._connection, call._head = self, connection, head
        if started_at > self._renew_timeout_at:
            self._renew_timeout_at = self._handler.renew_timeout(started_at)
        context = PyContext_CopyCurrent()
        PyContext_Enter(context)
        try:
            return call._run(context)
        finally:
            PyContext_Exit(context)

    cdef dict _make_environ(self, connection, PlainHead head):
        """Return the environ, as EnvironBuilder makes it."""
        cached = connection.cache
        if cached is None:
            cached = self._environ.add_connection(connection)
        cdef dict environ = (<dict?> cached.keys).copy()
        head.fill_environ(environ)
        if head.content:
            environ["wsgi.input"] = BytesIO(head.content)
        if head.forwarded is not None:
            self._environ.apply_forwarded(environ, head.forwarded)
        return environ


cdef class PlainWsgiCall:
    """One call of the app; the app gets its method ``start_response``."""

    cdef WsgiCalls _calls
    cdef object _connection
    cdef PlainHead _head
    cdef object _adopted
    """The WsgiCall that goes on; None: nothing unusual has happened."""
    cdef int _status
    cdef bytes _line
    cdef object _fields
    cdef bint _is_over

    cdef Py_ssize_t _run(self, context):
        cdef Py_ssize_t size = -1
        try:
            environ = self._calls._make_environ(self._connection, self._head)
            result = self._calls._app(environ, self.start_response)
            if self._calls._children.in_child:
                self._calls._children.exit_child()
            size = self._send_usual(result)
            if size < 0:
                self._adopt().take_result(result, context)
        except BaseException as error:
            self._adopt().end_with_error(error)
        self._is_over = True
        return size

    cdef Py_ssize_t _send_usual(self, result) except -2:
        """Send a result that is one bytes object; return its size, or -1 for any other response."""
        if self._connection.current is not None:  # since a call of wsgi.early_hints
            return -1
        if not self._status or (type(result) is not list and type(result) is not tuple):
            return -1
        if len(result) != 1:
            return -1
        cdef Py_ssize_t size = self._calls._send(
            self._connection, self._head, self._status, self._line, self._fields, result[0], False
        )
        if size >= 0:
            # Else a finalizer in the environ that calls wsgi.early_hints would begin the turn of
            # the answered request again, and the next request would be taken for it.
            self._connection.unanswered = None
        return size

    def start_response(self, status, headers, exc_info=None):
        """PEP 3333, "The start_response() Callable"; see WsgiCall."""
        if self._status or self._adopted is not None:
            return self._adopt().start_response(status, headers, exc_info)
        found = self._calls._statuses.get(status)
        self._status, self._line = found or self._calls._http.encode_wsgi_status(status)
        self._fields = headers
        return self.write

    def write(self, data):
        """PEP 3333, "The write() Callable"; see WsgiCall."""
        self._adopt().write(data)

    cdef object _adopt(self):
        """Return the WsgiCall that goes on, with the exchange of this request."""
        if self._adopted is None:
            if self._is_over:
                raise self._calls._http.ResponseError("the response has ended")
            self._adopted = self._calls._handler.adopt(
                self._connection.take_turn(), self._status, self._line, self._fields
            )
        return self._adopted
