"""A worker that becomes a program in another language: what it finds, and the exec.

It finds the shared sockets from descriptor 3 on (sd_listen_fds(3)), behind them the one that it may
say READY=1 to, /dev/null as its stdin, no other descriptors, default signals, a session of its own,
and who it is in its environment. Our
ready pipe closes at the exec; that is how the master knows that it went well.
"""

import errno
import fcntl
import os
import shutil
import signal
from collections.abc import Iterable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from prefork.config.addresses import UnixAddress
from prefork.errors import AppError
from prefork.unix.listeners import Listener
from prefork.unix.notify import connect_notify_socket
from prefork.unix.process import unblock_signals
from prefork.worker.shutdown import GROUP_SIGNALS

FIRST_FD = 3


@dataclass(frozen=True, slots=True)
class ProgramPipes:
    """What the master keeps for a program: where to say that it is ready, and its stderr."""

    notify_socket: str
    stderr_fd: int


def find_executable(command: Sequence[str], environ: MutableMapping[str, str]) -> str:
    """The file that the command means, from here. Raises AppError."""
    name = command[0]
    path = shutil.which(name, path=environ.get("PATH", os.defpath))
    if path is not None:
        return path
    if "/" not in name:
        raise AppError(f"cannot run {name}: there is no such program on the PATH")
    if os.path.isdir(name):
        raise AppError(f"cannot run {name}: it is a folder")
    if os.path.exists(name):
        raise AppError(f"cannot run {name}: it is not executable; see chmod +x")
    raise AppError(f"cannot run {name}: there is no such file in {os.getcwd()}")


def start_session() -> None:
    """Leave the master's session and the terminal: signals that are meant for a whole group are the
    master's business, and our own group can be signalled as one."""
    os.setsid()


def duplicate_above_sockets(fd: int, sockets: int) -> int:
    """A copy of ``fd`` beyond those that the program finds."""
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST_FD + sockets + 1)


def exec_program(
    command: Sequence[str],
    listeners: Iterable[Listener],
    pipes: ProgramPipes,
    stop_signal: str,
    watchdog_timeout: float | None,
) -> NoReturn:
    """Exec. Raises AppError."""
    path = find_executable(command, os.environ)
    sockets = list(listeners)
    _set_variables(sockets, pipes, watchdog_timeout)
    _arrange_descriptors([listener.socket.fileno() for listener in sockets], pipes)
    _reset_signals(signal.Signals[stop_signal])
    try:
        os.execv(path, list(command))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        if error.errno == errno.ENOEXEC:
            reason = "it is no program; a script begins with a line such as #!/bin/sh"
        elif error.errno == errno.ENOENT:
            reason = "the interpreter that it names is not there"
        raise AppError(f"cannot run {path}: {reason}") from None


def _set_variables(
    listeners: list[Listener], pipes: ProgramPipes, watchdog_timeout: float | None
) -> None:
    environ, pid = os.environ, str(os.getpid())
    environ["NOTIFY_SOCKET"] = pipes.notify_socket
    environ["NOTIFY_FD"] = str(FIRST_FD + len(listeners))
    if listeners:
        environ["LISTEN_FDS"] = str(len(listeners))
        environ["LISTEN_PID"] = pid
        environ["LISTEN_FDNAMES"] = ":".join(map(_socket_name, listeners))
    if watchdog_timeout is not None:
        environ["WATCHDOG_USEC"] = str(int(watchdog_timeout * 1_000_000))
        environ["WATCHDOG_PID"] = pid


def _socket_name(listener: Listener) -> str:
    """No colon may be in it, so a port has to do."""
    if isinstance(listener.address, UnixAddress):
        return "unix-" + os.path.basename(listener.address.path).replace(":", "_")
    name = listener.socket.getsockname()
    return f"tcp-{name[1]}" if isinstance(name, tuple) else "unix"


def _arrange_descriptors(sockets: list[int], pipes: ProgramPipes) -> None:
    """Sockets to 3, 4, …, then the way to the master; nothing beyond survives the exec."""
    copies = [
        duplicate_above_sockets(fd, len(sockets))
        for fd in (*sockets, connect_notify_socket(pipes.notify_socket))
    ]
    beyond = FIRST_FD + len(copies)
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(pipes.stderr_fd, 2)
    for place, copy in enumerate(copies, FIRST_FD):
        os.dup2(copy, place)
    for name in os.listdir("/proc/self/fd"):
        try:
            if int(name) >= beyond:
                os.set_inheritable(int(name), False)
        except OSError:
            pass  # that was the folder itself


def _reset_signals(stop_signal: signal.Signals) -> None:
    """All as a program expects them. What came for the whole group before we left it is dropped."""
    for signum in set(GROUP_SIGNALS) - {stop_signal}:
        signal.signal(signum, signal.SIG_IGN)
    for signum in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(signum, signal.SIG_DFL)
    unblock_signals()
