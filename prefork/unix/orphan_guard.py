"""The guard: a small process that ends what a killed master leaves running.

A program's own end is seen to by the kernel (PR_SET_PDEATHSIG), but not that of its children: the
node behind ``sh -c "node server.js"`` would go on, and hold the port. The guard knows the sessions
of all programs, from a socket whose end of file means that the master died. Then it does as the
master would have: the stop signal, and SIGKILL when the kill timeout is over. Meanwhile it passes
on what they write to stderr, because a program may not survive a pipe that nobody reads.
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

_POLL_INTERVAL = 0.05
_MAX_MESSAGE_SIZE = 200


@dataclass(frozen=True, slots=True)
class GuardedSession:
    """One to look after, how it is to be ended, the reading end of its stderr, and where that is
    passed on to."""

    pid: int
    stop_signal: int
    kill_timeout: float
    stderr: int
    stderr_target: int


class OrphanGuard:
    """The master's side. ``set_title`` is called in the guard, ``log_fd`` is where it passes on."""

    def __init__(self, log_fd: int, set_title: Callable[[], None]) -> None:
        self._log_fd = log_fd
        self._set_title = set_title
        self._sessions: dict[int, GuardedSession] = {}
        self._socket: socket.socket | None = None

    def __bool__(self) -> bool:
        """Whether one was begun and not closed; it may be dead."""
        return self._socket is not None

    def fileno(self) -> int:
        """Readable when it is dead: it never says anything."""
        return self._socket.fileno() if self._socket is not None else -1

    def start(self) -> None:
        """One who knows from birth all that we know. Raises MachineError."""
        try:
            ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError as error:
            raise MachineError(f"cannot open a socket: {error.strerror}") from error
        with its:
            ours.setblocking(False)
            guard = fork(lambda: self._run(its))
            os.close(guard.pidfd)  # the socket tells its end
        self._socket = ours

    def add(self, session: GuardedSession) -> None:
        """See to it that this session ends with the master."""
        self._sessions[session.pid] = session
        message = f"{session.pid} {session.stop_signal} {session.kill_timeout}"
        self._send(message, [session.stderr, session.stderr_target])

    def remove(self, pid: int) -> None:
        """Nobody of that session is left."""
        if self._sessions.pop(pid, None) is not None:
            self._send(str(pid), [])

    def close(self) -> None:
        """Let the guard end, in peace if nothing is left; in a child: let go of the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str, fds: list[int]) -> None:
        if self._socket is None:
            return  # the next one will know
        try:
            socket.send_fds(self._socket, [message.encode()], fds)
        except BlockingIOError:
            pass  # somebody stopped it for very long; it is not worth to wait for
        except OSError:
            pass  # somebody killed it; its successor will know

    # In the guard.

    def _run(self, sock: socket.socket) -> int:
        os.setsid()
        self._set_title()
        for signum in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(signum, signal.SIG_IGN)
        unblock_signals()
        for (
            pid,
            session,
        ) in self._sessions.items():  # many go to the same, and are closed one by one
            self._sessions[pid] = replace(session, stderr_target=os.dup(session.stderr_target))
        self._keep_only(sock.fileno())
        while True:
            message, fds, _, _ = socket.recv_fds(sock, _MAX_MESSAGE_SIZE, 2)
            if not message:
                break
            self._handle_message(message.split(), fds)
        self._end_all()
        os._exit(0)

    def _keep_only(self, sock: int) -> None:
        """The socket, the log, and what is the programs'; all else is the master's."""
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
                    pass  # that was the folder itself

    def _handle_message(self, message: list[bytes], fds: list[int]) -> None:
        pid, *settings = message
        if settings:
            self._sessions[int(pid)] = GuardedSession(
                int(pid), int(settings[0]), float(settings[1]), *fds
            )
        elif (session := self._sessions.pop(int(pid), None)) is not None:
            os.close(session.stderr)
            os.close(session.stderr_target)

    def _end_all(self) -> None:
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
            _forward_stderr(session)  # what it said last


def _forward_stderr(session: GuardedSession) -> None:
    """What has no room is lost: the guard has to end the session, whether its stderr is read or
    not, and no master is left to count."""
    if data := read_available(session.stderr):
        write_with_timeout(session.stderr_target, data)
