# cython: language_level=3
"""Calls an ASGI app for plain requests, and sends usual responses (asgi.readthedocs.io, HTTP 2.5).

``AsgiCalls`` is PlainCalls (http/server_state.py). The usual case, a start and one body event, goes
from the head to the written bytes in here. For anything else ``_adopt`` makes the HttpCall of
worker/asgi/asgi_http.py, which goes on; a call that waits for something has one, too.

Design
------
- **The call is the coroutine of its task,** so no frame lies between the task and the app. What
  the app is doing is found by ``find_running_call`` and the attributes ``cr_frame`` and
  ``cr_await``, as with a coroutine of Python.
- **``receive`` and ``send`` return coroutines that are ready,** and do their work when they are
  awaited, as a function of Python would. They implement the whole coroutine protocol: apps hand
  them to ``create_task`` and ``wait_for``.
- **No rule of ASGI stands only here;** tests/pure/worker/test_plain_calls.py compares both ways.
"""

cimport cython

from collections.abc import Coroutine
from types import CoroutineType
from urllib.parse import unquote

from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF

from prefork._speed.head_reader cimport PlainHead
from prefork._speed.response_composer cimport UsualResponses

cdef extern from "Python.h":
    void PyErr_SetObject(object kind, object value)
    ctypedef enum PySendResult:
        PYGEN_RETURN
        PYGEN_ERROR
        PYGEN_NEXT
    PySendResult PyIter_Send(object iterator, object value, PyObject** result) except? PYGEN_ERROR

cdef object _RECEIVE = object()
"""In the place of an event to send: receive one. An app may send None, which is an error."""

cdef PlainAsgiCall _running = None


def find_running_call():
    """Return the HttpCall whose app runs at this moment in the loop's thread; None: there is none,
    or it has not waited yet and is found by the connection's frame. Other threads may call it."""
    return None if _running is None else _running._adopted


async def _await(awaitable):
    return await awaitable


cdef class AsgiCalls(UsualResponses):
    """Calls the app of one worker."""

    cdef object _handler
    cdef object _app
    cdef object _scopes
    cdef object _start
    cdef dict _lines
    cdef str _root_path
    cdef dict _state

    def __init__(self, handler, scopes, start, http):
        """``handler``: the AsgiHandler. ``scopes``: its ScopeBuilder. ``start``: starts a task that
        runs up to its first wait. ``http``: the module response_head."""
        UsualResponses.__init__(self, http)
        self._handler, self._scopes, self._start = handler, scopes, start
        self._app, self._lines = handler.app, http.STATUS_LINES
        self._root_path, self._state = scopes.root_path, scopes.state

    def call(self, connection, PlainHead head, double started_at):
        """Call the app in a task; see PlainCalls."""
        cdef PlainAsgiCall call = PlainAsgiCall.__new__(PlainAsgiCall)
        call._calls, call._connection, call._head = self, connection, head
        call._started_at, call._size = started_at, -1
        task = self._start(call)
        if not task.done():
            self._handler.keep(call._adopt(), task)
        return call._size

    cdef dict _make_scope(self, connection, PlainHead head):
        """Return the scope, as ScopeBuilder makes it."""
        cached = connection.cache
        if cached is None:
            cached = self._scopes.add_connection(connection)
        cdef dict scope = (<dict?> cached.keys).copy()
        cdef str path = head.path.decode("ascii")
        if "%" in path:
            path = unquote(path)
        scope["http_version"] = "1.1"
        scope["method"] = head.method
        scope["path"] = self._root_path + path if self._root_path else path
        scope["raw_path"] = head.path
        scope["query_string"] = head.query
        scope["headers"] = head.make_headers()
        scope["asgi"] = {"version": "3.0", "spec_version": "2.5"}
        scope["extensions"] = {
            "http.response.early_hint": {},
            "http.response.pathsend": {},
            "http.response.trailers": {},
        }
        if self._state is not None:
            scope["state"] = self._state.copy()
        if cached.tls is not None:
            self._scopes.add_tls(scope, cached.tls)
        if head.forwarded is not None:
            self._scopes.apply_forwarded(scope, head.forwarded)
        return scope


cdef class PlainAsgiCall:
    """One call of the app: the coroutine of its task, and what the app calls."""

    cdef AsgiCalls _calls
    cdef object _connection
    cdef PlainHead _head
    cdef double _started_at
    cdef object _coroutine
    """The app's; None: it was not called yet."""
    cdef object _adopted
    """The HttpCall that goes on; None: nothing unusual has happened."""
    cdef int _status
    cdef object _fields
    cdef bytes _response
    cdef Py_ssize_t _size  # of the body that was sent; -1: none was
    cdef bint _body_read
    cdef object __weakref__

    # For the app.

    def receive_event(self):
        """Return a coroutine for the next event of the request: ``receive``."""
        return _make_event(self, _RECEIVE)

    def send_event(self, message):
        """Return a coroutine that sends an event of the response: ``send``."""
        return _make_event(self, message)

    cdef dict _receive_now(self):
        """Return the whole body, if that is what comes next; else None."""
        if self._adopted is not None or self._body_read or self._size >= 0:
            return None
        self._body_read = True
        return {"type": "http.request", "body": self._head.content, "more_body": False}

    cdef bint _send_now(self, dict message) except -1:
        """Send an event of a usual response; return whether it was one."""
        kind = None if self._adopted is not None else message.get("type")
        if kind == "http.response.start":
            status = message.get("status")
            if self._status or type(status) is not int or "trailers" in message:
                return False
            if not 200 <= status <= 599:
                return False
            self._status, self._fields = status, message.get("headers", ())
            return True
        if kind != "http.response.body" or not self._status or self._size >= 0:
            return False
        if message.get("more_body", False):
            return False
        cdef AsgiCalls calls = self._calls
        self._size = calls._send(
            self._connection, self._head, self._status, calls._lines[self._status], self._fields,
            message.get("body", b""), True,
        )
        self._response = calls.response
        return self._size >= 0

    cdef object _adopt(self):
        """Return the HttpCall that goes on, with the exchange of this request."""
        if self._adopted is None:
            if self._size >= 0:
                exchange = self._connection.make_answered_exchange(
                    self._head, self._started_at, self._status, self._response, self._size
                )
            else:
                exchange = self._connection.take_turn()
            self._adopted = self._calls._handler.adopt(
                exchange, self._status, self._fields, self._body_read
            )
        return self._adopted

    # For the task.

    def __await__(self):
        return self

    def __next__(self):
        """Run the app up to its next wait, and return what it waits for."""
        cdef bint is_over = False
        waits_for = self._advance(None, &is_over)
        if is_over:
            raise StopIteration
        return waits_for

    def send(self, value):
        """As a coroutine; asyncio sends nothing but None."""
        return next(self)

    def throw(self, kind, value=None, trace=None):
        """Raise an exception where the app waits, and run it up to its next wait."""
        cdef bint is_over = False
        waits_for = self._advance(kind if value is None else value, &is_over)
        if is_over:
            raise StopIteration
        return waits_for

    def close(self):
        """End the app where it waits."""
        if self._coroutine is not None:
            self._coroutine.close()

    cdef object _advance(self, thrown, bint* is_over):
        """Run the app up to its next wait, and return what it waits for, or None at its end."""
        global _running
        waits_for = failure = None
        _running = self
        try:
            if self._coroutine is None:
                self._coroutine = self._begin()
            if thrown is None:
                waits_for = _step(self._coroutine, is_over)
            else:
                waits_for = self._coroutine.throw(thrown)
        except StopIteration:  # of throw
            is_over[0] = True
        except BaseException as error:
            is_over[0] = True
            failure = error
        finally:
            _running = None
        if is_over[0]:
            waits_for = None
            if failure is not None or self._adopted is not None or self._size < 0:
                self._adopt().end(failure)
        return waits_for

    cdef object _begin(self):
        """Call the app, and return its coroutine."""
        scope = self._calls._make_scope(self._connection, self._head)
        coroutine = self._calls._app(scope, self.receive_event, self.send_event)
        return coroutine if type(coroutine) is CoroutineType else _await(coroutine)

    @property
    def cr_frame(self):
        return getattr(self._coroutine, "cr_frame", None)

    @property
    def cr_await(self):
        return getattr(self._coroutine, "cr_await", None)


cdef object _make_event(PlainAsgiCall call, message):
    cdef PlainEvent event = PlainEvent.__new__(PlainEvent)
    event._call, event._message = call, message
    return event


@cython.freelist(16)
cdef class PlainEvent:
    """The value of ``receive`` and ``send``: a coroutine that is ready, or goes on as one of
    HttpCall."""

    cdef PlainAsgiCall _call
    cdef object _message
    """The event to send, or ``_RECEIVE``."""
    cdef object _inner
    """The coroutine of HttpCall; None: none is needed."""
    cdef bint _has_begun

    def __await__(self):
        return self

    def __iter__(self):  # for ``yield from`` of what __await__ returns
        return self

    def __next__(self):
        cdef bint is_over = False
        value = self._advance(&is_over)
        if is_over:
            # Set and raised in two steps: so Cython adds no frame to a traceback, which would take
            # longer than all the rest.
            if value is not None:
                PyErr_SetObject(StopIteration, value)
            raise StopIteration
        return value

    def send(self, value):
        """As a coroutine; asyncio sends nothing but None."""
        return next(self)

    def throw(self, kind, value=None, trace=None):
        """Raise an exception where this waits."""
        if self._inner is not None:
            return self._inner.throw(kind if value is None else value)
        self._has_begun = True
        raise kind if value is None else value

    def close(self):
        """End this where it waits."""
        self._has_begun = True
        if self._inner is not None:
            self._inner.close()

    cdef object _advance(self, bint* is_over):
        cdef dict event
        if self._inner is None:
            if self._has_begun:
                raise RuntimeError("cannot reuse already awaited coroutine")
            self._has_begun = True
            if self._message is _RECEIVE:
                event = self._call._receive_now()
                if event is not None:
                    is_over[0] = True
                    return event
                self._inner = self._call._adopt().receive()
            elif type(self._message) is dict and self._call._send_now(self._message):
                is_over[0] = True
                return None
            else:
                self._inner = self._call._adopt().send(self._message)
        return _step(self._inner, is_over)

    @property
    def cr_frame(self):
        return getattr(self._inner, "cr_frame", None)

    @property
    def cr_await(self):
        return getattr(self._inner, "cr_await", None)


cdef object _step(coroutine, bint* is_over):
    """Resume a coroutine; return what it waits for, or its result."""
    cdef PyObject* result = NULL
    is_over[0] = PyIter_Send(coroutine, None, &result) == PYGEN_RETURN
    value = <object> result
    Py_DECREF(value)
    return value


Coroutine.register(PlainAsgiCall)
Coroutine.register(PlainEvent)
