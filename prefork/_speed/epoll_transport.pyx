# cython: language_level=3
"""Transports for plain TCP and unix sockets on an epoll of their own (epoll(7), asyncio-protocol).

A ``Poller`` is one descriptor to the event loop: its epoll instance, which is readable while one of
its sockets is ready. uvloop keeps timers, signals, TLS and tasks. A ``SocketTransport`` has the
methods of asyncio.Transport that prefork uses, and keeps the rules of uvloop's transport:
tests/pure/http/test_transports.py runs on both.

Design
------
- **A nested epoll instead of the loop's own watchers** saves about a microsecond a request: there
  is one callback of the loop for all sockets that are ready, and a socket costs one recv and one
  send.
- **An event names a place and its generation, not an object.** A descriptor may live on in another
  process (a shared queue, a child of the app) after it was closed here, and the kernel reports
  events for as long. So a socket is removed from the epoll before its descriptor is given away or
  closed, and an event of an earlier owner of the place is dropped.
- **A socket without interest is not in the epoll.** Errors and hang-ups are reported without being
  asked for: a paused connection whose client resets it would keep the loop busy.
- **A turn is bounded.** After a millisecond, or one call of more than two, the loop goes on with
  its timers and other sockets. The next turn begins with the events that were left: epoll_wait(2)
  would report the sockets in the order of this turn, so that clients which answer fast kept those
  at its end waiting. The longest of 32 connections waited 15 ms for a call of 50 µs.
- **The first write of a turn goes out at once, others are joined** at the end of the turn: a
  response is mostly one write, and frames or chunks that are sent one after the other cost one
  system call.
- **Responses of several connections are not held for each other,** as bjoern holds those of a turn.
  A client on the same machine would be woken once for all of them, and JSON, with calls of 40 µs,
  took a fifth less on an Intel Xeon. But a call that hangs or crashes would then take the
  responses of calls with it that had ended before.
"""

import asyncio
import os
import socket

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef extern from "<sys/socket.h>" nogil:
    ssize_t c_recv "recv"(int fd, void* data, size_t size, int flags)
    ssize_t c_send "send"(int fd, const void* data, size_t size, int flags)
    int c_shutdown "shutdown"(int fd, int how)
    int setsockopt(int fd, int level, int name, const void* value, unsigned int size)
    int AF_INET, AF_INET6, MSG_DONTWAIT, MSG_NOSIGNAL, SHUT_WR

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void* iov_base
        size_t iov_len

cdef extern from "<sys/socket.h>" nogil:
    struct msghdr:
        iovec* msg_iov
        size_t msg_iovlen
    ssize_t c_sendmsg "sendmsg"(int fd, const msghdr* message, int flags)

cdef extern from "<netinet/in.h>" nogil:
    int IPPROTO_TCP

cdef extern from "<netinet/tcp.h>" nogil:
    int TCP_NODELAY

cdef extern from "<unistd.h>" nogil:
    int c_close "close"(int fd)

cdef extern from "<sys/ioctl.h>" nogil:
    int ioctl(int fd, unsigned long request, int* value)
    unsigned long FIONBIO

cdef extern from "<string.h>" nogil:
    void* memset(void* data, int byte, size_t size)

cdef extern from "<time.h>" nogil:
    struct timespec:
        int64_t tv_sec
        int64_t tv_nsec
    int clock_gettime(int clock, timespec* time)
    int CLOCK_MONOTONIC

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        uint64_t u64
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int operation, int fd, epoll_event* event)
    int epoll_wait(int epfd, epoll_event* events, int size, int timeout)
    int EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD
    uint32_t EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP

cdef enum:
    MAX_EVENTS = 64
    RECEIVE_SIZE = 256 * 1024
    MAX_PIECES = 64  # of one sendmsg
    HIGH_WATER = 64 * 1024
    TURN_NS = 1_000_000
    LONG_CALL_NS = 2_000_000

cdef char _received[RECEIVE_SIZE]
"""Where recv puts its bytes. They are copied before anything else is received."""


cdef int64_t _now() noexcept nogil:
    cdef timespec time
    clock_gettime(CLOCK_MONOTONIC, &time)
    return time.tv_sec * 1_000_000_000 + time.tv_nsec


cdef object _last_error():
    return OSError(errno, os.strerror(errno))


cdef class Poller:
    """The epoll instance of one event loop, and its transports."""

    cdef int _fd
    cdef object _loop
    cdef list _places
    cdef list _generations
    cdef list _free
    cdef list _unflushed
    cdef epoll_event _events[MAX_EVENTS]
    cdef int _event_count
    cdef int _next_event
    cdef uint64_t _turn
    cdef bint _is_handling
    cdef bint _flush_is_scheduled

    def __cinit__(self):
        self._fd = -1

    def __init__(self, loop):
        """Must be called outside of any request: protocols are called in the context of now."""
        self._loop = loop
        self._places, self._generations, self._free, self._unflushed = [], [], [], []
        self._fd = epoll_create1(EPOLL_CLOEXEC)
        if self._fd < 0:
            raise _last_error()
        loop.add_reader(self._fd, self._handle_events)

    def __dealloc__(self):
        if self._fd >= 0:
            c_close(self._fd)

    def connect(self, int fd, int family, protocol):
        """Make a transport for a connected socket, and call ``connection_made``.

        The transport owns the descriptor from here on, also when this raises. Raises OSError when
        the kernel watches no more sockets (epoll_ctl(2), ENOSPC).
        """
        cdef SocketTransport transport = SocketTransport.__new__(SocketTransport)
        cdef int on = 1
        transport._fd, transport._family = fd, family
        transport._loop, transport._poller = self._loop, self
        transport._high_water, transport._low_water = HIGH_WATER, HIGH_WATER // 4
        transport._pieces = []
        transport._extra = {}
        transport.set_protocol(protocol)
        ioctl(fd, FIONBIO, &on)  # for sendfile(2); recv and send do not wait anyway
        if family == AF_INET or family == AF_INET6:
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on))
        self._take_place(transport)
        try:
            transport._reads = True
            transport._update_interest()
        except BaseException:
            self._leave_place(transport)
            transport._close_descriptor()
            raise
        protocol.connection_made(transport)
        return transport

    def close(self):
        """Stop watching, for good. The transports are aborted by then."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            c_close(self._fd)
            self._fd = -1

    def disown(self):
        """Forget the epoll in a forked child: the kernel shares it with the parent, which would
        lose the sockets that the child closes."""
        if self._fd >= 0:
            c_close(self._fd)
            self._fd = -1

    cdef void _take_place(self, SocketTransport transport):
        if self._free:
            transport._place = self._free.pop()
            self._places[transport._place] = transport
        else:
            transport._place = len(self._places)
            self._places.append(transport)
            self._generations.append(0)

    cdef void _leave_place(self, SocketTransport transport):
        cdef Py_ssize_t place = transport._place
        self._places[place] = None
        self._generations[place] = (self._generations[place] + 1) & 0xFFFFFFFF
        self._free.append(place)

    def _handle_events(self):
        """Handle what is ready, in the loop's callback."""
        cdef epoll_event* event
        cdef uint32_t place
        cdef int64_t started_at, before, now
        cdef object transport
        if self._next_event >= self._event_count:
            self._event_count = epoll_wait(self._fd, self._events, MAX_EVENTS, 0)
            self._next_event = 0
        self._turn += 1
        started_at = now = _now()
        self._is_handling = True
        try:
            while self._next_event < self._event_count:
                event = &self._events[self._next_event]
                self._next_event += 1
                place = <uint32_t> (event.data.u64 & 0xFFFFFFFFu)
                transport = self._places[place]
                if self._generations[place] != event.data.u64 >> 32:
                    continue  # it was closed by a call for an event before
                before = now
                (<SocketTransport> transport)._handle_events(event.events)
                now = _now()
                if now - started_at > TURN_NS or now - before > LONG_CALL_NS:
                    break
        finally:
            self._is_handling = False
            if self._unflushed:
                self._flush()

    cdef void _flush_later(self, SocketTransport transport):
        """Have what a transport keeps sent at the end of this turn."""
        self._unflushed.append(transport)
        if not self._is_handling and not self._flush_is_scheduled:
            self._flush_is_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self):
        """Send what was written by all but the first calls of this turn."""
        self._turn += 1
        self._flush_is_scheduled = False
        transports, self._unflushed = self._unflushed, []
        for transport in transports:
            (<SocketTransport> transport)._flush()


cdef class SocketTransport:
    """The transport of one connection; the interface is that of asyncio.Transport."""

    cdef Poller _poller
    cdef object _loop
    cdef object _protocol
    cdef object _data_received  # None: the protocol is a BufferedProtocol
    cdef object _socket
    cdef dict _extra
    cdef list _pieces
    cdef Py_ssize_t _place
    cdef Py_ssize_t _sent_of_first
    cdef Py_ssize_t _buffered
    cdef Py_ssize_t _high_water
    cdef Py_ssize_t _low_water
    cdef uint64_t _wrote_in_turn
    cdef uint32_t _interest
    cdef int _fd
    cdef int _family
    cdef bint _reads
    cdef bint _has_eof
    cdef bint _is_closing
    cdef bint _is_lost
    cdef bint _writing_is_paused
    cdef bint _writes_eof
    cdef bint _will_flush

    def __dealloc__(self):
        if self._fd >= 0 and self._socket is None:
            c_close(self._fd)

    # Interest and events.

    cdef int _update_interest(self) except -1:
        """Tell the epoll what to wait for; a socket without interest is not in it."""
        cdef epoll_event event
        cdef uint32_t wanted = 0
        cdef int operation
        if self._reads:
            wanted |= EPOLLIN
        if self._pieces and not self._will_flush:
            wanted |= EPOLLOUT
        if wanted == self._interest or self._poller._fd < 0:
            return 0
        if wanted == 0:
            operation = EPOLL_CTL_DEL
        elif self._interest == 0:
            operation = EPOLL_CTL_ADD
        else:
            operation = EPOLL_CTL_MOD
        event.events = wanted
        event.data.u64 = <uint64_t> self._place | (
            <uint64_t> self._poller._generations[self._place] << 32
        )
        if epoll_ctl(self._poller._fd, operation, self._fd, &event) < 0:
            raise _last_error()
        self._interest = wanted
        return 0

    cdef int _handle_events(self, uint32_t events) except -1:
        if self._pieces and events & (EPOLLOUT | EPOLLERR | EPOLLHUP):
            self._flush()
        if self._reads:
            self._receive()
        return 0

    cdef int _receive(self) except -1:
        cdef ssize_t size
        if self._data_received is None:
            return self._receive_into_buffer()
        size = c_recv(self._fd, _received, RECEIVE_SIZE, MSG_DONTWAIT)
        if size > 0:
            data = PyBytes_FromStringAndSize(_received, size)
            try:
                self._data_received(data)
            except BaseException as error:
                self._fail_call(error, "data_received")
        else:
            self._handle_no_data(size)
        return 0

    cdef int _receive_into_buffer(self) except -1:
        cdef Py_buffer view
        cdef ssize_t size
        try:
            buffer = self._protocol.get_buffer(-1)
            if not len(buffer):
                raise RuntimeError("get_buffer() returned an empty buffer")
            PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE)
        except BaseException as error:
            self._fail_call(error, "get_buffer")
            return 0
        size = c_recv(self._fd, view.buf, view.len, MSG_DONTWAIT)
        PyBuffer_Release(&view)
        if size > 0:
            try:
                self._protocol.buffer_updated(size)
            except BaseException as error:
                self._fail_call(error, "buffer_updated")
        else:
            self._handle_no_data(size)
        return 0

    cdef int _handle_no_data(self, ssize_t size) except -1:
        """Act on the end of the client's bytes, or on an error of recv."""
        if size < 0:
            if errno != EAGAIN and errno != EINTR:
                self._lose(_last_error())
            return 0
        self._reads, self._has_eof = False, True
        self._update_interest()
        try:
            keep_open = self._protocol.eof_received()
        except BaseException as error:
            self._fail_call(error, "eof_received")
            return 0
        if not keep_open:
            self.close()
        return 0

    cdef int _fail_call(self, error, str name) except -1:
        """End the connection after an exception of the protocol, and report it to the loop."""
        if isinstance(error, (SystemExit, KeyboardInterrupt)):
            raise error
        self._loop.call_exception_handler(
            {
                "message": f"Fatal error: protocol.{name}() call failed.",
                "exception": error,
                "transport": self,
                "protocol": self._protocol,
            }
        )
        self._lose(error)
        return 0

    # Writing.

    def write(self, data):
        """Send bytes, or keep what the socket does not take."""
        cdef ssize_t size
        cdef bytes piece = data if type(data) is bytes else bytes(data)
        if self._writes_eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._is_lost or not piece:
            return
        if not self._pieces and self._wrote_in_turn != self._poller._turn:
            self._wrote_in_turn = self._poller._turn
            size = c_send(
                self._fd, PyBytes_AS_STRING(piece), PyBytes_GET_SIZE(piece),
                MSG_DONTWAIT | MSG_NOSIGNAL,
            )
            if size == PyBytes_GET_SIZE(piece):
                return
            if size < 0 and errno != EAGAIN and errno != EINTR:
                self._lose(_last_error())
                return
            self._sent_of_first = max(size, 0)
            self._pieces.append(piece)
            self._buffered = PyBytes_GET_SIZE(piece) - self._sent_of_first
            self._update_interest()
        else:
            if not self._pieces:
                self._will_flush = True
                self._poller._flush_later(self)
            self._pieces.append(piece)
            self._buffered += PyBytes_GET_SIZE(piece)
        self._pause_if_full()

    def writelines(self, pieces):
        """Send several pieces."""
        cdef list parts = [part if type(part) is bytes else bytes(part) for part in pieces]
        if len(parts) > 1 and not self._pieces and not self._is_lost and not self._writes_eof:
            # They go out together.
            self._pieces = [part for part in parts if part]
            self._buffered = sum(map(len, self._pieces))
            if self._pieces:
                self._flush()
                self._pause_if_full()
            return
        for part in parts:
            self.write(part)

    cdef int _flush(self) except -1:
        """Send as much of what is kept as the socket takes."""
        cdef iovec vectors[MAX_PIECES]
        cdef msghdr message
        cdef ssize_t sent
        cdef Py_ssize_t count, index
        cdef bytes piece
        self._will_flush = False
        if self._is_lost:
            return 0
        memset(&message, 0, sizeof(message))
        message.msg_iov = vectors
        while self._pieces:
            count = min(len(self._pieces), MAX_PIECES)
            for index in range(count):
                piece = self._pieces[index]
                vectors[index].iov_base = PyBytes_AS_STRING(piece)
                vectors[index].iov_len = PyBytes_GET_SIZE(piece)
            vectors[0].iov_base = <char*> vectors[0].iov_base + self._sent_of_first
            vectors[0].iov_len -= self._sent_of_first
            message.msg_iovlen = count
            sent = c_sendmsg(self._fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL)
            if sent < 0:
                if errno != EAGAIN and errno != EINTR:
                    self._lose(_last_error())
                    return 0
                break
            self._buffered -= sent
            sent += self._sent_of_first
            index = 0
            while index < count and sent >= PyBytes_GET_SIZE(<bytes> self._pieces[index]):
                sent -= PyBytes_GET_SIZE(<bytes> self._pieces[index])
                index += 1
            del self._pieces[:index]
            self._sent_of_first = sent
            if index < count:
                break  # the socket is full
        self._update_interest()
        if self._writing_is_paused and self._buffered <= self._low_water:
            self._writing_is_paused = False
            self._call_protocol("resume_writing")
        if not self._pieces and not self._is_lost:
            if self._writes_eof:
                c_shutdown(self._fd, SHUT_WR)
            if self._is_closing:
                self._lose(None)
        return 0

    cdef int _pause_if_full(self) except -1:
        if self._buffered > self._high_water and not self._writing_is_paused:
            self._writing_is_paused = True
            self._call_protocol("pause_writing")
        return 0

    cdef int _call_protocol(self, str name) except -1:
        """Call ``pause_writing`` or ``resume_writing``; an exception is reported to the loop."""
        try:
            getattr(self._protocol, name)()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._loop.call_exception_handler(
                {
                    "message": f"protocol.{name}() failed",
                    "exception": error,
                    "transport": self,
                    "protocol": self._protocol,
                }
            )
        return 0

    def write_eof(self):
        """Half-close the connection when all that was written is sent."""
        if self._is_closing or self._writes_eof:
            return
        self._writes_eof = True
        if not self._pieces:
            c_shutdown(self._fd, SHUT_WR)

    def can_write_eof(self):
        """Return True."""
        return True

    def get_write_buffer_size(self):
        """Return the bytes that the socket has not taken."""
        return self._buffered

    def get_write_buffer_limits(self):
        """Return the low-water and the high-water mark."""
        return self._low_water, self._high_water

    def set_write_buffer_limits(self, high=None, low=None):
        """Set the water marks, in bytes. Default: 64 KiB and a quarter of it. Raises ValueError."""
        if high is None:
            high = HIGH_WATER if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._high_water, self._low_water = high, low
        self._pause_if_full()

    # Reading.

    def is_reading(self):
        """Return whether the transport reads."""
        return self._reads

    def pause_reading(self):
        """Stop reading; nothing is received from now on."""
        if self._reads:
            self._reads = False
            self._update_interest()

    def resume_reading(self):
        """Read again, unless the client has sent its last byte."""
        if not self._reads and not self._is_closing and not self._has_eof:
            self._reads = True
            self._update_interest()

    # The protocol and the end.

    def set_protocol(self, protocol):
        """Have another protocol called from now on."""
        self._protocol = protocol
        if isinstance(protocol, asyncio.BufferedProtocol):
            self._data_received = None
        else:
            self._data_received = protocol.data_received

    def get_protocol(self):
        """Return the protocol."""
        return self._protocol

    def is_closing(self):
        """Return whether the transport is closed, or will be when all was sent."""
        return self._is_closing

    def close(self):
        """Stop reading; close the connection when all that was written is sent."""
        if self._is_closing:
            return
        self._is_closing, self._reads = True, False
        if self._pieces:
            self._update_interest()
        else:
            self._lose(None)

    def abort(self):
        """Close the connection at once, and drop what was not sent."""
        self._lose(None)

    cdef int _lose(self, error) except -1:
        """End the connection: leave the epoll now, and call ``connection_lost`` soon."""
        if self._is_lost:
            return 0
        self._is_closing = self._is_lost = True
        self._reads = False
        self._pieces.clear()
        self._buffered = self._sent_of_first = 0
        self._update_interest()
        self._poller._leave_place(self)
        self._loop.call_soon(self._finish, error)
        return 0

    def _finish(self, error):
        try:
            self._protocol.connection_lost(error)
        finally:
            self._close_descriptor()
            self._protocol = self._data_received = None

    cdef void _close_descriptor(self):
        if self._socket is not None:
            self._socket.close()
        elif self._fd >= 0:
            c_close(self._fd)
        self._fd = -1

    # Facts.

    def get_extra_info(self, name, default=None):
        """Return ``socket``, ``peername`` or ``sockname``; ``default`` for anything else."""
        if name == "socket":
            return self._get_socket() if self._fd >= 0 else default
        if name != "peername" and name != "sockname":
            return default
        if name not in self._extra:
            try:
                sock = self._get_socket()
                self._extra[name] = (
                    sock.getpeername() if name == "peername" else sock.getsockname()
                )
            except OSError:  # the client has left
                return default
        return self._extra[name]

    cdef object _get_socket(self):
        """Return the socket, which is made when it is first asked for."""
        if self._socket is None:
            self._socket = socket.socket(self._family, socket.SOCK_STREAM, 0, self._fd)
        return self._socket
