"""The guard: a small process that ends the programs of a master that was killed.

The guard knows the sessions of all programs from a socket, whose end of file means that the master
died. Then it does what the master would have done: it sends the stop signal, and SIGKILL when the
kill timeout is over. Meanwhile it forwards their stderr, because a program may not survive a pipe
that no process reads. Lines that find no room are dropped.

Design
------
- **Why not the kernel alone.** PR_SET_PDEATHSIG reaches only the program itself, and setuid
  programs lose it. The children of a program, such as the node behind ``sh -c "node server.js"``,
  would go on and hold the port.
- **A guard that was killed is replaced** when the next program begins.
"""

import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from prefork.errors import MachineError
from prefork.unix.nonblocking_writer import write_with_timeout
from prefork.unix.pipes import read_available
from prefork.unix.process import fork, unblock_signals
from prefork.unix.process_tree import session_members, signal_session
from prefork.wire.guard_messages import (
    SessionBegan,
    SessionEnded,
    decode_message,
    encode_began,
    encode_ended,
)

_POLL_INTERVAL = 0.05
"""Seconds between two checks of the sessions that the guard has signalled."""
_MAX_MESSAGE_SIZE = 1000
"""Bytes; a message has a pid, a signal and a timeout."""


@dataclass(frozen=True, slots=True)
class GuardedSession:
    """One session that the guard ends, the way to end it, and where its stderr goes.

    ``pid`` leads the session. ``kill_timeout`` is in seconds. ``stderr`` is the reading end of its
    stderr pipe, ``stderr_target`` the descriptor that the output is forwarded to.
    """

    pid: int
    stop_signal: int
    kill_timeout: float
    stderr: int
    stderr_target: int


class OrphanGuard:
    """The master's side of the guard.

    ``log_fd`` becomes stderr of the guard; ``set_title`` is called in the guard.
    """

    def __init__(self, log_fd: int, set_title: Callable[[], None]) -> None:
        self._log_fd = log_fd
        self._set_title = set_title
        self._sessions: dict[int, GuardedSession] = {}
        self._socket: socket.socket | None = None

    def __bool__(self) -> bool:
        """Return whether a guard was started and not closed; it may have died since."""
        return self._socket is not None

    def fileno(self) -> int:
        """Return the master's end of the socket, which is readable when the guard is dead.

        The guard never writes to it. -1 when there is no guard.
        """
        return self._socket.fileno() if self._socket is not None else -1

    def start(self) -> None:
        """Fork a guard that knows all sessions of this moment. Raises MachineError."""
        try:
            ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError as error:
            raise MachineError(f"cannot open a socket: {error.strerror}") from error
        with its:
            ours.setblocking(False)
            guard = fork(lambda: self._run(its))
            os.close(guard.pidfd)  # the socket's end of file tells its death
        self._socket = ours

    def add(self, session: GuardedSession) -> None:
        """Let the guard end this session when the master dies."""
        self._sessions[session.pid] = session
        began = SessionBegan(session.pid, session.stop_signal, session.kill_timeout)
        self._send(encode_began(began), [session.stderr, session.stderr_target])

    def remove(self, pid: int) -> None:
        """Tell the guard that no process of this session is left."""
        if self._sessions.pop(pid, None) is not None:
            self._send(encode_ended(pid), [])

    def close(self) -> None:
        """Close the socket, upon which the guard ends the sessions that are left, then itself.

        In a child only the child's copy is closed.
        """
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: bytes, fds: list[int]) -> None:
        """Send one message to the guard; one that does not read misses it.

        A guard that is started later knows all sessions.
        """
        if self._socket is None:
            return  # the next guard is started with all sessions
        try:
            socket.send_fds(self._socket, [message], fds)
        except BlockingIOError:
            pass  # the guard was stopped (SIGSTOP) for so long that its queue is full
        except OSError:
            pass  # the guard was killed; its successor is started with all sessions

    # The methods below run in the guard process.

    def _run(self, sock: socket.socket) -> int:
        """Run the guard: keep the list of sessions until the end of file, then end them."""
        os.setsid()
        self._set_title()
        # The guard outlives signals to the master's group: it ends when its work is done.
        for signum in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(signum, signal.SIG_IGN)
        unblock_signals()
        # Several sessions may forward to one descriptor. Each gets a duplicate of its own, because
        # sessions are removed, and their descriptors closed, one by one.
        for pid, session in self._sessions.items():
            self._sessions[pid] = replace(session, stderr_target=os.dup(session.stderr_target))
        self._keep_only(sock.fileno())
        while True:
            message, fds, _, _ = socket.recv_fds(sock, _MAX_MESSAGE_SIZE, 2)
            if not message:
                break
            self._handle_message(message, fds)
        self._end_all()
        os._exit(0)

    def _keep_only(self, sock: int) -> None:
        """Close all descriptors but the socket, the log and those of the programs."""
        sessions = self._sessions.values()
        kept = {fd for session in sessions for fd in (session.stderr, session.stderr_target)}
        os.dup2(self._log_fd, 2)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        for name in os.listdir("/proc/self/fd"):
            if int(name) > 2 and int(name) not in {*kept, sock}:
                try:
                    os.close(int(name))
                except OSError:
                    pass  # the descriptor of /proc/self/fd itself

    def _handle_message(self, data: bytes, fds: list[int]) -> None:
        """Add or remove one session, as the message says.

        Raises ValueError for a message of a later version. The exception ends the guard, and the
        master starts one of its own version.
        """
        match decode_message(data):
            case SessionBegan(pid, stop_signal, kill_timeout):
                self._sessions[pid] = GuardedSession(pid, stop_signal, kill_timeout, *fds)
            case SessionEnded(pid) if (session := self._sessions.pop(pid, None)) is not None:
                os.close(session.stderr)
                os.close(session.stderr_target)

    def _end_all(self) -> None:
        """Signal all sessions, and kill those that live on after their kill timeout."""
        sessions = list(self._sessions.values())
        for session in sessions:
            signal_session(session.pid, session.stop_signal)
        master_died_at = time.monotonic()
        while sessions := [session for session in sessions if session_members(session.pid)]:
            for session in sessions:
                _forward_stderr(session)
                if time.monotonic() - master_died_at >= session.kill_timeout:
                    signal_session(session.pid, signal.SIGKILL)
            time.sleep(_POLL_INTERVAL)
        for session in self._sessions.values():
            _forward_stderr(session)  # its last output


def _forward_stderr(session: GuardedSession) -> None:
    """Forward what a session wrote to stderr; what finds no room is dropped.

    The guard has to end the session whether its stderr is read or not, and no master is left that
    could count dropped lines.
    """
    if data := read_available(session.stderr):
        write_with_timeout(session.stderr_target, data)
