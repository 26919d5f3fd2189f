"""Turn a worker into a program in another language, by exec.

The program finds

* the shared sockets from descriptor 3 on (sd_listen_fds(3)), and behind them a descriptor for
  READY=1, one for the figures of its requests, and with the Node preload one for its port claims;
* /dev/null as its stdin, and no other descriptors;
* default signals, and a session of its own;
* its slot, generation and name in the environment.

The ready pipe closes at the exec, which tells the master that the exec worked.

READY=1 may also be written to a descriptor, for programs that cannot send to a unix datagram socket
(``NOTIFY_FD``, unix/notify.py), and figures to another one (``PREFORK_FIGURES_FD``,
wire/figures_message.py). The shared sockets block, which they do not in Python workers
(unix/listeners.py).
"""

import errno
import fcntl
import os
import shutil
import signal
from collections.abc import Iterable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from prefork.config import Config
from prefork.config.addresses import UnixAddress
from prefork.errors import AppError
from prefork.node.node_environment import SharedSocket, node_variables
from prefork.unix.listeners import Listener
from prefork.unix.notify import connect_notify_socket
from prefork.unix.process import unblock_signals
from prefork.worker.shutdown import GROUP_SIGNALS

FIRST_FD = 3
"""The first descriptor of the shared sockets (SD_LISTEN_FDS_START of sd_listen_fds(3))."""

_OTHER_DESCRIPTORS = 3
"""Descriptors behind the shared sockets: NOTIFY_FD, PREFORK_FIGURES_FD, and the port claims."""


@dataclass(frozen=True, slots=True)
class ProgramPipes:
    """The descriptors that the master holds for a program: the addresses for READY=1 and for the
    figures of its requests, and the pipe of its stderr.
    """

    notify_socket: str
    figures_socket: str
    stderr_fd: int


def find_executable(command: Sequence[str], environ: MutableMapping[str, str]) -> str:
    """Return the path of the executable that the command names, from this folder. Raises
    AppError."""
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
    """Start a new session without a terminal. A signal to the master's whole group does not reach
    the program, and the program's own group can be signalled as one."""
    os.setsid()


def duplicate_above_sockets(fd: int, sockets: int) -> int:
    """Return a copy of ``fd`` above the descriptors that the program will find."""
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST_FD + sockets + _OTHER_DESCRIPTORS)


def exec_program(
    config: Config, listeners: Iterable[Listener], pipes: ProgramPipes, slot: int
) -> NoReturn:
    """Replace this process by the program of the settings. Raises AppError if the exec fails."""
    command = config.command
    path = find_executable(command, os.environ)
    sockets = list(listeners)
    _set_variables(sockets, pipes, config.timeout)
    os.environ[config.instance_var] = str(slot)
    claims = [_open_port_claims()] if config.node_shim == "auto" and sockets else []
    claims_inode = os.fstat(claims[0]).st_ino if claims else 0
    shared = [_describe_socket(listener) for listener in sockets]
    _arrange_descriptors([listener.socket.fileno() for listener in sockets], pipes, claims)
    # From here on the number of a listener may be that of another socket.
    _share_with_node(config, shared, claims_inode)
    _reset_signals(signal.Signals[config.stop_signal])
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
    environ["PREFORK_FIGURES_FD"] = str(FIRST_FD + len(listeners) + 1)
    if listeners:
        environ["LISTEN_FDS"] = str(len(listeners))
        environ["LISTEN_PID"] = pid
        environ["LISTEN_FDNAMES"] = ":".join(map(_socket_name, listeners))
    if watchdog_timeout is not None:
        environ["WATCHDOG_USEC"] = str(int(watchdog_timeout * 1_000_000))
        environ["WATCHDOG_PID"] = pid


def _share_with_node(config: Config, shared: list[SharedSocket], claims_inode: int) -> None:
    """Set the variables by which a Node program finds the shared sockets among its descriptors."""
    ways = [os.environ.get(name, "") for name in ("NOTIFY_FD", "PREFORK_FIGURES_FD")]
    notify, figures = (os.fstat(int(fd)).st_ino if fd else 0 for fd in ways)
    os.environ.update(node_variables(os.environ, config, shared, notify, figures, claims_inode))


def _open_port_claims() -> int:
    """Return a file in memory to which the Node processes of this worker append (node/shim.cjs)."""
    fd = os.memfd_create("prefork-node")
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
    return fd


def _describe_socket(listener: Listener) -> SharedSocket:
    sock = listener.socket
    inode, name = os.fstat(sock.fileno()).st_ino, sock.getsockname()
    if isinstance(name, tuple):
        return SharedSocket(inode, host=name[0], port=name[1])
    return SharedSocket(
        inode, path=os.path.abspath(name) if isinstance(name, str) else os.fsdecode(name)
    )


def _socket_name(listener: Listener) -> str:
    """Return the name of a socket for LISTEN_FDNAMES. No colon is allowed, so a port has to do."""
    if isinstance(listener.address, UnixAddress):
        return "unix-" + os.path.basename(listener.address.path).replace(":", "_")
    name = listener.socket.getsockname()
    return f"tcp-{name[1]}" if isinstance(name, tuple) else "unix"


def _arrange_descriptors(sockets: list[int], pipes: ProgramPipes, claims: list[int]) -> None:
    """Move the sockets to descriptors 3, 4, … and those for READY=1, figures and port claims behind
    them. No descriptor beyond these survives the exec."""
    # Copies first: the descriptors 3, 4, … may be sockets that are still to be moved.
    copies = [
        duplicate_above_sockets(fd, len(sockets))
        for fd in (
            *sockets,
            connect_notify_socket(pipes.notify_socket),
            connect_notify_socket(pipes.figures_socket, blocking=False),
            *claims,
        )
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
            pass  # the descriptor of the listing itself


def _reset_signals(stop_signal: signal.Signals) -> None:
    """Reset all signals to their defaults. A signal that came for the whole group before this
    process left it is dropped."""
    # Ignoring a signal discards it if it is pending (POSIX, sigaction).
    for signum in set(GROUP_SIGNALS) - {stop_signal}:
        signal.signal(signum, signal.SIG_IGN)
    for signum in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(signum, signal.SIG_DFL)
    unblock_signals()
